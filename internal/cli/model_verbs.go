package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// verb makes a command on one model that can be tried before, and can wait for its effect.
func (c *command) verb(d doing, o waitOptions, until string) *cobra.Command {
	wait, dryRun := false, false
	do := d.Do
	d.Do = func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
		answer, line, err := do(ctx, cl.On(client.Write{DryRun: dryRun}), uid)
		if dryRun {
			line = "Nothing is changed (dry run)"
		}
		return answer, line, err
	}
	d.Arg, d.Complete = "the model's UID", c.completeUID
	d.After = func(ctx context.Context, cl *client.Client, uid string) error {
		if !wait {
			return nil
		}
		return c.waitFor(ctx, cl, uid, o)
	}
	cmd := doCommand(c, d)
	o.add(cmd, &wait, until)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check it and say where replicas would go, and change nothing")
	return cmd
}

func (c *command) modelStart() *cobra.Command {
	var replicas uint32
	var node string
	var cmd *cobra.Command
	cmd = c.verb(doing{
		Use: "start UID", Short: "Start a model",
		Example: "  nebula model start my-model --wait\n  nebula model start my-model --replicas 2 --node gpu-7",
		Do: func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
			var req api.StartModel // what no flag says stays as it was
			if cmd.Flags().Changed("replicas") {
				req.Replicas = &replicas
			}
			if cmd.Flags().Changed("node") {
				req.NodeID = &node
			}
			d, err := cl.StartModel(ctx, uid, req)
			return d, fmt.Sprintf("Model %s is to run with %s", uid, plural(d.Replicas, "replica")), err
		},
	}, waitOptions{State: api.StateRunning}, "the model is running")
	cmd.Flags().Uint32Var(&replicas, "replicas", 1, "number of replicas (default: as before)")
	c.addNode(cmd, &node, "run it on this node only")
	return cmd
}

func (c *command) modelStop() *cobra.Command {
	return c.verb(doing{
		Use: "stop UID", Short: "Stop a model; its declaration and files stay", Example: "  nebula model stop my-model --wait",
		Do: func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
			d, err := cl.StopModel(ctx, uid)
			return d, fmt.Sprintf("Model %s is to stop; start it again with: nebula model start %s", uid, uid), err
		},
	}, waitOptions{State: api.StateStopped}, "the model is stopped")
}

func (c *command) modelScale() *cobra.Command {
	var replicas uint32
	var cmd *cobra.Command
	cmd = c.verb(doing{
		Use: "scale UID --replicas N", Aliases: []string{"scale-model"}, Short: "Change the number of replicas",
		Example: "  nebula model scale my-model --replicas 3 --wait",
		Do: func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
			if !cmd.Flags().Changed("replicas") {
				return nil, "", usagef("how many? Give --replicas N")
			}
			d, err := cl.ScaleModel(ctx, uid, replicas)
			return d, fmt.Sprintf("Model %s is to run with %s", uid, plural(d.Replicas, "replica")), err
		},
	}, waitOptions{State: api.StateRunning, All: true}, "every replica is ready")
	cmd.Flags().Uint32Var(&replicas, "replicas", 0, "number of replicas")
	return cmd
}

// modelDrain lets one replica go; another takes its place first.
func (c *command) modelDrain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drain UID REPLICA", Short: "Let one replica finish its requests and go, when another has taken its place", Args: exactly(2, "the model's UID and the number of a replica"),
		Long: "Let one replica go: another is placed first, where there is room, on the same node or elsewhere; when it is ready, the old one takes no new\n" +
			"requests, finishes those that it has, and stops. Where there is no room it stays, and nebula model get says why.",
		Example: "  nebula model drain my-model 0", ValidArgsFunction: c.completeUID,
		RunE: func(cmd *cobra.Command, args []string) error {
			replica, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return usagef("%q is not the number of a replica: nebula endpoint list --model %s shows those that there are", args[1], args[0])
			}
			return c.drainReplica(cmd.Context(), args[0], uint32(replica))
		},
	}
	c.addOutput(cmd)
	return cmd
}

func (c *command) drainReplica(ctx context.Context, uid string, replica uint32) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	d, err := cl.DrainReplica(ctx, uid, replica)
	if err != nil {
		return err
	}
	return c.print(d, func(bool) error {
		text := "goes when another has taken its place; see: nebula model get " + uid
		if d.Status == api.AlreadyDraining {
			text = "is going already; see: nebula model get " + uid
		}
		_, err := fmt.Fprintf(c.env.Stdout, "Replica %d of %s, on node %s, %s\n", replica, uid, d.NodeID, text)
		return err
	})
}

func (c *command) modelDelete() *cobra.Command {
	purge, wait := false, false
	var o waitOptions
	cmd := doCommand(c, doing{
		Use: "delete UID", Aliases: []string{"rm"}, Short: "Remove a model; its files stay, unless --purge is given", Arg: "the model's UID", Complete: c.completeUID,
		Example: "  nebula model delete my-model --wait\n  nebula model delete my-model --purge",
		Do: func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
			out := api.ModelDeleted{ModelUID: uid, Status: "deleted"}
			if !purge {
				return out, "Model " + uid + " deleted; its files stay where they are", cl.DeleteModel(ctx, uid)
			}
			p, err := cl.PurgeModel(ctx, uid)
			out.Purge = &p
			return out, purgeText(uid, p), err
		},
		After: func(ctx context.Context, cl *client.Client, uid string) error {
			if !wait {
				return nil
			}
			return c.waitGone(ctx, cl, uid, o.Timeout)
		},
	})
	cmd.Flags().BoolVar(&purge, "purge", false, "delete its files on the nodes, too, but those that something else uses")
	o.add(cmd, &wait, "no node runs it any more")
	return cmd
}

// purgeText says what becomes of a deleted model's files.
func purgeText(uid string, p api.Purged) string {
	lines := []string{"Model " + uid + " deleted"}
	switch {
	case p.Kept != "":
		return lines[0] + "\nIts files stay: " + p.Kept
	case len(p.Nodes) == 0:
		return lines[0] + "\nNo node has files of it"
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
		lines = append(lines, "Node "+n.NodeID+" "+text)
	}
	return strings.Join(lines, "\n")
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
