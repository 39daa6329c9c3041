package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// onNode is a command on one node.
func (c *command) onNode(use, short string, do func(ctx context.Context, cl *client.Client, id string) (any, string, error)) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return doCommand(c, doing{Use: use, Short: short, Example: "  nebula node " + name + " gpu-7", Arg: "the node's ID", Complete: c.completeNode, Do: do})
}

func (c *command) nodeCordon() *cobra.Command {
	return c.onNode("cordon ID", "Place nothing new on a node; what it runs stays", func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
		m, err := cl.CordonNode(ctx, id)
		return m, fmt.Sprintf("Node %s takes nothing new; undo it with: nebula node uncordon %s", id, id), err
	})
}

func (c *command) nodeUncordon() *cobra.Command {
	return c.onNode("uncordon ID", "End cordon and drain of a node", func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
		m, err := cl.UncordonNode(ctx, id)
		return m, fmt.Sprintf("Node %s takes replicas again", id), err
	})
}

func (c *command) nodeDelete() *cobra.Command {
	force := false
	cmd := c.onNode("delete ID", "Remove a node from the cluster, and revoke its credential", func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
		err := cl.RemoveNode(ctx, id, force)
		return nil, fmt.Sprintf("Node %s is removed, and its credential is of no use any more", id), err
	})
	cmd.Aliases = []string{"rm"}
	cmd.Flags().BoolVar(&force, "force", false, "also while it serves: its replicas get another place only afterwards")
	return cmd
}

func (c *command) nodeDrain() *cobra.Command {
	wait, timeout := false, defaultWait
	cmd := c.onNode("drain ID", "Move a node's replicas elsewhere, one by one", func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
		m, err := cl.DrainNode(ctx, id)
		if err != nil {
			return nil, "", err
		}
		if !wait {
			return m, fmt.Sprintf("Node %s is being drained; undo it with: nebula node uncordon %s", id, id), nil
		}
		return m, fmt.Sprintf("Node %s is drained", id), c.waitDrained(ctx, cl, id, timeout)
	})
	cmd.Long = "Move a node's replicas elsewhere, one by one: each goes when its successor serves, and requests in flight finish.\n\n" +
		"With --wait it returns when the node is empty. Ctrl-C ends the waiting, not the drain. It exits with 4 when somebody ends the drain\n" +
		"meanwhile, and with 5 when the time is over."
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until nothing is left on it")
	cmd.Flags().DurationVar(&timeout, "timeout", defaultWait, "with --wait: how long; 0 waits for ever")
	return cmd
}

// drainLook is how often a drain is looked at.
const drainLook = time.Second

// waitDrained returns when nothing is left on the node, with a line for each change until then.
func (c *command) waitDrained(parent context.Context, cl *client.Client, id string, timeout time.Duration) error {
	ctx, cancel := within(parent, timeout)
	defer cancel()
	last := ""
	for {
		n, err := cl.Node(ctx, id)
		var line string
		switch {
		case err == nil && n.Drained:
			return nil
		case err == nil && !n.Draining:
			return api.Errorf(api.CodeConflict, "node %s is not being drained any more: somebody has ended it", id)
		case err == nil:
			line = drainLine(n)
		case !api.HasCode(err, api.CodeUnavailable) && ctx.Err() == nil:
			return err
		default: // the server may be restarting
			line = err.Error()
		}
		if line != last && ctx.Err() == nil {
			last = line
			fmt.Fprintf(c.env.Stderr, "%s %s\n", id, clean(line))
		}
		select {
		case <-ctx.Done():
		case <-time.After(drainLook):
			continue
		}
		if errors.Is(parent.Err(), context.Canceled) {
			fmt.Fprintf(c.env.Stderr, "The drain goes on; look with \"nebula node list\", undo it with \"nebula node uncordon %s\".\n", id)
			return parent.Err()
		}
		return api.Errorf(api.CodeTimeout, "node %s is not drained after %s; it goes on, and was last seen with: %s", id, timeout, last)
	}
}

func drainLine(n api.NodeView) string {
	line := plural(uint32(len(n.Replicas)), "replica") + " left"
	if n.State != api.NodeReady {
		line += "; the node is " + nodeState(n)
	}
	return line
}

// nodeState says how a node stands, in the words of people.
func nodeState(n api.NodeView) string {
	text := string(n.State)
	switch n.State {
	case api.NodeCutOff, api.NodeLost:
		text = map[api.NodeState]string{api.NodeCutOff: "cut off", api.NodeLost: "lost"}[n.State] + " for " + (time.Duration(n.AbsentSeconds) * time.Second).String()
	}
	switch {
	case n.Drained:
		text += ", drained"
	case n.Draining:
		text += ", draining"
	case n.Cordoned:
		text += ", cordoned"
	}
	return clean(text)
}
