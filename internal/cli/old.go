package cli

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

// The commands of the existing Nebula that have another name here. They do the same by the routes of today, or say what to do instead.

func (c *command) metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "metrics", Short: "Print the server's metrics, in the format of Prometheus", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			res, err := cl.Do(cmd.Context(), http.MethodGet, "/metrics", nil, nil)
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			if _, err = io.Copy(c.env.Stdout, res.Body); err != nil {
				return fmt.Errorf("print the metrics: %w", err)
			}
			return nil
		},
	}
}

// drainCommand is model drain with the model and the replica as flags.
func (c *command) drainCommand() *cobra.Command {
	var uid string
	var replica uint32
	cmd := &cobra.Command{
		Use: "drain --model-uid UID --replica-id N", Short: "Let one replica finish and go; the same as: model drain", Hidden: true, Args: exactly(0, "no argument, but --model-uid and --replica-id"),
		Example: "  nebula drain --model-uid my-model --replica-id 0",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if uid == "" || !cmd.Flags().Changed("replica-id") {
				return usagef("which replica? Give --model-uid UID and --replica-id N")
			}
			return c.drainReplica(cmd.Context(), uid, replica)
		},
	}
	cmd.Flags().StringVar(&uid, "model-uid", "", "the model's uid")
	cmd.Flags().Uint32Var(&replica, "replica-id", 0, "the replica")
	c.addOutput(cmd)
	return cmd
}
