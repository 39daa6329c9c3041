package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/client"
)

func (c *command) modelLogs() *cobra.Command {
	var o client.LogOptions
	cmd := &cobra.Command{
		Use: "logs UID", Short: "Show the log of a model's engine", Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		Example: "  nebula model logs my-model --tail 100 -f\n  nebula model logs my-model --previous\n  nebula model logs my-model --node gpu-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			log, err := cl.Logs(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			defer func() { _ = log.Close() }()
			_, err = io.Copy(c.env.Stdout, log)
			if cmd.Context().Err() != nil {
				return cmd.Context().Err()
			}
			return err
		},
	}
	f := cmd.Flags()
	c.addNode(cmd, &o.Node, "the log on this node, also when the replica is there no more")
	f.Uint32Var(&o.Replica, "replica", 0, "which replica")
	f.IntVar(&o.Tail, "tail", 0, "only the last lines")
	f.IntVar(&o.Tail, "lines", 0, "the same as --tail")
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on until Ctrl-C")
	f.BoolVar(&o.Previous, "previous", false, "the engine before this one, after a crash")
	return cmd
}
