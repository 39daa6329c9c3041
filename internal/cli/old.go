package cli

import (
	"errors"
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

// drainCommand of one replica has no counterpart: what it was for has.
func (c *command) drainCommand() *cobra.Command {
	var uid string
	var replica uint32
	cmd := &cobra.Command{
		Use: "drain --model-uid UID --replica-id N", Short: "Told what to do instead: one replica alone is not drained", Hidden: true, Args: exactly(0, "no argument"),
		Example: "  nebula drain --model-uid my-model --replica-id 0",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a single replica cannot be drained: to empty a machine use nebula node drain NODE, to run fewer replicas nebula model scale UID --replicas N; " +
				"both let requests in flight finish")
		},
	}
	cmd.Flags().StringVar(&uid, "model-uid", "", "the model's uid")
	cmd.Flags().Uint32Var(&replica, "replica-id", 0, "the replica")
	return cmd
}
