package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// verb is a command on one model that prints one line and can wait for its effect.
func (c *command) verb(use, short string, wanted api.ModelState, run func(context.Context, *client.Client, string, *cobra.Command) (string, error)) *cobra.Command {
	var wait bool
	o := waitOptions{State: wanted}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			line, err := run(cmd.Context(), cl, args[0], cmd)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.env.Stdout, line)
			if !wait {
				return nil
			}
			return c.waitFor(cmd.Context(), cl, args[0], o)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the model is "+string(wanted))
	cmd.Flags().DurationVar(&o.Timeout, "timeout", defaultWait, "with --wait: how long")
	return cmd
}

func (c *command) modelStart() *cobra.Command {
	var replicas uint32
	var node string
	cmd := c.verb("start UID", "Start a model", api.StateRunning, func(ctx context.Context, cl *client.Client, uid string, cmd *cobra.Command) (string, error) {
		var req api.StartModel
		if cmd.Flags().Changed("replicas") {
			req.Replicas = &replicas
		}
		if cmd.Flags().Changed("node") {
			req.NodeID = &node
		}
		d, err := cl.StartModel(ctx, uid, req)
		return fmt.Sprintf("Model %s is to run with %s", uid, plural(d.Replicas, "replica")), err
	})
	cmd.Flags().Uint32Var(&replicas, "replicas", 1, "number of replicas (default: as before)")
	cmd.Flags().StringVar(&node, "node", "", "run it on this node only")
	return cmd
}

func (c *command) modelStop() *cobra.Command {
	return c.verb("stop UID", "Stop a model; its declaration and files stay", api.StateStopped,
		func(ctx context.Context, cl *client.Client, uid string, _ *cobra.Command) (string, error) {
			_, err := cl.StopModel(ctx, uid)
			return fmt.Sprintf("Model %s is to stop; start it again with: nebula model start %s", uid, uid), err
		})
}

func (c *command) modelScale() *cobra.Command {
	var replicas uint32
	cmd := c.verb("scale UID --replicas N", "Change the number of replicas", api.StateRunning,
		func(ctx context.Context, cl *client.Client, uid string, cmd *cobra.Command) (string, error) {
			if !cmd.Flags().Changed("replicas") {
				return "", usagef("how many? Give --replicas N")
			}
			d, err := cl.ScaleModel(ctx, uid, replicas)
			return fmt.Sprintf("Model %s is to run with %s", uid, plural(d.Replicas, "replica")), err
		})
	cmd.Aliases = []string{"scale-model"}
	cmd.Flags().Uint32Var(&replicas, "replicas", 0, "number of replicas")
	return cmd
}

func (c *command) modelDelete() *cobra.Command {
	purge := false
	cmd := &cobra.Command{
		Use: "delete UID", Aliases: []string{"rm"}, Short: "Remove a model; its files stay, unless --purge is given", Args: exactly(1, "the model's UID"),
		ValidArgsFunction: c.completeUID,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if purge {
				return c.purge(cmd.Context(), cl, args[0])
			}
			if err := cl.DeleteModel(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.env.Stdout, "Model %s deleted; its files stay where they are\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "delete its files on the nodes, too, but those that something else uses")
	return cmd
}

func (c *command) purge(ctx context.Context, cl *client.Client, uid string) error {
	p, err := cl.PurgeModel(ctx, uid)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.env.Stdout, "Model %s deleted\n", uid)
	if p.Kept != "" {
		fmt.Fprintf(c.env.Stdout, "Its files stay: %s\n", clean(p.Kept))
		return nil
	}
	if len(p.Nodes) == 0 {
		fmt.Fprintln(c.env.Stdout, "No node has files of it")
	}
	for _, n := range p.Nodes {
		text := map[api.PurgeState]string{
			api.PurgeAsked: "removes the files that nothing else uses",
			api.PurgeAway:  "is away: it removes them if it is back within the hour, else they stay",
			api.PurgeKept:  "keeps them",
		}[n.State]
		if n.Why != "" {
			text += ": " + n.Why
		}
		fmt.Fprintf(c.env.Stdout, "Node %s %s\n", clean(n.NodeID), clean(text))
	}
	return nil
}

func plural(n uint32, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func endpointNodes(es []api.EndpointInfo) string {
	var names []string
	for _, e := range es {
		if !slices.Contains(names, e.NodeID) {
			names = append(names, e.NodeID)
		}
	}
	return clean(strings.Join(names, ","))
}

func labels(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return clean(strings.Join(out, ","))
}

func gpus(indices []uint32) string {
	if len(indices) == 0 {
		return "-"
	}
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(indices)), ","), "[]")
}
