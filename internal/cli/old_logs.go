package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/client"
)

// logsCommand is model logs with a UID. Without one it is the log of the server, as it is for the existing Nebula.
func (c *command) logsCommand() *cobra.Command {
	cmd := c.modelLogs()
	ofModel := cmd.RunE
	cmd.Use, cmd.Short = "logs [UID]", "Show the log of a model's engine, or without a UID the server's own"
	cmd.Long = "Show the log of a model's engine, as \"nebula model logs\" does. Without a UID it is the log of the server that is asked: its last 200 lines, or\n" +
		"--lines of them (2,000 at most). With --follow it goes on with what is logged from then on."
	cmd.Example = "  nebula logs my-model --lines 100 -f\n  nebula logs --lines 50"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("%s takes one UID, or none for the server's own log\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return ofModel(cmd, args)
		}
		return c.serverLog(cmd)
	}
	return cmd
}

func (c *command) serverLog(cmd *cobra.Command) error {
	flags, lines := cmd.Flags(), 0
	for _, name := range []string{"replica", "node", "previous"} {
		if flags.Changed(name) {
			return usagef("--%s is of a model's log: give its UID, or leave the flag out for the server's own log\nSee: %s --help", name, cmd.CommandPath())
		}
	}
	for _, name := range []string{"tail", "lines"} {
		n, err := flags.GetInt(name)
		if err != nil {
			return err
		}
		if flags.Changed(name) && n < 1 {
			return usagef("--%s is %d: give a number of lines, from 1 to 2000", name, n)
		}
		if flags.Changed(name) {
			lines = n
		}
	}
	follow, err := flags.GetBool("follow")
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	if !follow || lines > 0 {
		if err := c.serverTail(cmd, cl, lines); err != nil || !follow {
			return err
		}
	}
	for line, err := range cl.FollowServerLog(cmd.Context()) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(c.env.Stdout, clean(line)); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) serverTail(cmd *cobra.Command, cl *client.Client, lines int) error {
	log, err := cl.ServerLog(cmd.Context(), lines)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	if _, err := io.Copy(c.env.Stdout, log); err != nil {
		return fmt.Errorf("print the log: %w", err)
	}
	return nil
}
