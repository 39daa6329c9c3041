package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// completeUser offers the names of users.
func (c *command) completeUser(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		users, err := cl.Users(ctx)
		return each(users, func(u api.User) string { return u.Name + "\t" + string(u.Role) }), err
	})
}

// fields prints names and values for people, a line each, without those that have no value.
func (c *command) fields(pairs ...string) error {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&b, "%-13s %s\n", pairs[i]+":", oneLine(clean(pairs[i+1])))
		}
	}
	return c.printStyled(b.String())
}

func (c *command) userGet() *cobra.Command {
	return showCommand(c, showing[api.User]{
		Use: "get NAME", Short: "Show one user", Example: "  nebula user get ann", Arg: "the user's NAME", Complete: c.completeUser,
		Fetch:  func(ctx context.Context, cl *client.Client, name string) (api.User, error) { return cl.User(ctx, name) },
		Detail: c.userDetail,
	})
}

func (c *command) userDetail(u api.User) error {
	return c.fields("Name", u.Name, "Role", string(u.Role), "Display name", u.DisplayName, "Email", u.Email, "Disabled", yesNo(u.Disabled), "Age", age(u.CreatedAtMS, time.Now()))
}

func (c *command) nodeGet() *cobra.Command {
	return showCommand(c, showing[api.NodeView]{
		Use: "get ID", Short: "Show one node", Example: "  nebula node get gpu-7", Arg: "the node's ID", Complete: c.completeNode,
		Fetch:  func(ctx context.Context, cl *client.Client, id string) (api.NodeView, error) { return cl.Node(ctx, id) },
		Detail: c.nodeDetail,
	})
}

func (c *command) nodeDetail(n api.NodeView) error {
	disk := ""
	if n.Disk != nil {
		disk = fmt.Sprintf("%s of %s free in %s", size(n.Disk.AvailableBytes), size(n.Disk.TotalBytes), n.Disk.ModelDir)
	}
	busy, memory := gpuUse(n.GPUs)
	return c.fields("Node", n.NodeID, "State", nodeState(n), "Heard", age(n.LastHeartbeatMS, time.Now()), "Version", n.Version, "CPU", n.CPUModel,
		"CPUs", fmt.Sprint(n.CPUs), "Memory", size(n.MemoryTotalMB<<20), "GPUs", gpuNames(n.GPUs), "GPU busy", busy, "GPU memory", memory,
		"Model disk", disk, "Engines", installed(n.Engines), "Replicas", fmt.Sprint(len(n.Replicas)))
}

// passwordCommand changes the caller's own password.
func (c *command) passwordCommand() *cobra.Command {
	return &cobra.Command{
		Use: "password", Short: "Change your own password", Args: exactly(0, "no argument"), Example: "  nebula password",
		Long: "Change your own password; your other sessions end. Both passwords are asked for. Without a terminal they come from standard input, the present\n" +
			"one in the first line and the new one in the second. An administrator changes that of somebody else with \"nebula user password NAME\".",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			var req api.ChangePassword
			if req.Current, req.New, err = c.readTwo("Present password", "New password"); err != nil {
				return err
			}
			if err := cl.ChangePassword(cmd.Context(), req); err != nil {
				return err
			}
			return c.say("Your password is changed; your other sessions are over")
		},
	}
}

// readTwo reads two secrets: a terminal is asked for each, anything else gives two lines.
func (c *command) readTwo(first, second string) (a, b api.Token, err error) {
	if terminal(c.env.Stdin) {
		if a, err = c.readHidden(first, errNoPassword); err != nil {
			return "", "", err
		}
		b, err = c.readHidden(second, errNoPassword)
		return a, b, err
	}
	text, err := c.readLines(2)
	if err != nil {
		return "", "", err
	}
	return api.Token(text[0]), api.Token(text[1]), nil
}

func (c *command) profileCommand() *cobra.Command {
	var display, email string
	cmd := &cobra.Command{
		Use: "profile", Short: "Change what you say of yourself", Args: exactly(0, "no argument"),
		Example: "  nebula profile --display-name 'Ann Example' --email ann@example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var req api.UpdateProfile
			if cmd.Flags().Changed("display-name") {
				req.DisplayName = &display
			}
			if cmd.Flags().Changed("email") {
				req.Email = &email
			}
			if req == (api.UpdateProfile{}) {
				return usagef("nothing to change: give --display-name or --email")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			u, err := cl.UpdateProfile(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.print(u, func(bool) error { return c.userDetail(u) })
		},
	}
	cmd.Flags().StringVar(&display, "display-name", "", "what to call you")
	cmd.Flags().StringVar(&email, "email", "", "your mail address")
	c.addOutput(cmd)
	return cmd
}
