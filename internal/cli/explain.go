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

// maxExplained is how many nodes people are shown; programs get all.
const maxExplained = 20

func (c *command) modelExplain() *cobra.Command {
	return showCommand(c, showing[api.Explanation]{
		Use: "explain UID", Short: "Say why a model stands as it does, what each node lacks for it, and what would help",
		Long: "Say why a model stands as it does: what a replica asks of a node, where its replicas are or would go, what each node lacks for one\n" +
			"more and by how much, and what would help.",
		Example: "  nebula model explain my-model\n  nebula model explain my-model -o jsonpath='$.nodes[*].message'",
		Arg:     "the model's UID", Complete: c.completeUID,
		Fetch: func(ctx context.Context, cl *client.Client, uid string) (api.Explanation, error) {
			return cl.Explain(ctx, uid)
		},
		Detail: c.explanation,
	})
}

// explanation prints an explanation for people.
func (c *command) explanation(x api.Explanation) error {
	return c.explained(fmt.Sprintf("%s is %s: %d of %d replicas are ready.\n", clean(x.ModelUID), colouredState(x.State), x.Replicas.Ready, x.Replicas.Desired), x)
}

// explained prints an explanation below a headline, which may have colours.
func (c *command) explained(headline string, x api.Explanation) error {
	var b strings.Builder
	b.WriteString(headline)
	reason := x.Reason
	if x.Unplaced != nil && (reason == nil || reason.Code == api.ReasonPendingPlacement) {
		reason = x.Unplaced // the scheduler has not answered, or is not asked: a dry run
	}
	if reason != nil {
		fmt.Fprintf(&b, "%s\n", clean(reason.Message))
	}
	if x.Need != nil {
		fmt.Fprintf(&b, "\nA replica needs %s.\n", clean(x.Need.Message))
	}
	if err := c.printStyled(b.String()); err != nil {
		return err
	}
	for _, part := range []func(api.Explanation) error{c.explainedPlaces, c.explainedNodes} {
		if err := part(x); err != nil {
			return err
		}
	}
	if len(x.Help) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(c.env.Stdout, "\nWhat would help:\n")
	for _, h := range x.Help {
		if err == nil {
			_, err = fmt.Fprintf(c.env.Stdout, "  - %s\n", clean(h))
		}
	}
	return err
}

func (c *command) explainedPlaces(x api.Explanation) error {
	var rows [][]string
	for _, p := range x.Places {
		status := string(p.Status)
		switch {
		case !p.Planned:
			status = "would go there"
		case status == "":
			status = "planned"
		}
		if p.Failure != nil {
			status += ": " + clean(p.Failure.Message)
		}
		rows = append(rows, []string{fmt.Sprint(p.ReplicaID), clean(p.NodeID), gpus(p.GPUIndices), status})
	}
	return c.explainedTable([]string{"REPLICA", "NODE", "GPUS", "STATUS"}, rows)
}

func (c *command) explainedNodes(x api.Explanation) error {
	var rows [][]string
	for _, n := range x.Nodes[:min(len(x.Nodes), maxExplained)] {
		short := ""
		if n.GPUsShort > 0 {
			short = fmt.Sprintf("%d GPU", n.GPUsShort)
			if n.GPUsShort > 1 {
				short += "s"
			}
		}
		if n.VRAMShortMB > 0 {
			short += fmt.Sprintf(", %d MiB", n.VRAMShortMB)
		}
		fits := "no"
		if n.Fits {
			fits = "yes"
		}
		rows = append(rows, []string{clean(n.NodeID), fits, clean(n.Message), orDash(short)})
	}
	if err := c.explainedTable([]string{"NODE", "ONE MORE FITS", "BECAUSE", "SHORT OF"}, rows); err != nil || len(x.Nodes) <= maxExplained {
		return err
	}
	_, err := fmt.Fprintf(c.env.Stdout, "and %d nodes more, which lack more; -o json shows all\n", len(x.Nodes)-maxExplained)
	return err
}

// explainedTable prints a table below what is there already; nothing when it is empty.
func (c *command) explainedTable(header []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(c.env.Stdout); err != nil {
		return err
	}
	return c.printTable(header, rows)
}

// foretold prints the answer of a dry run.
func (c *command) foretold(m api.ModelCreated) error {
	return c.sayWith("Model "+m.Spec.ModelUID+" would be created (dry run)", m.Explanation)
}

func (c *command) endpointCommand() *cobra.Command {
	cmd := group("endpoint", "Look at the replicas that run, of all models", c.endpointList())
	cmd.Aliases = []string{"endpoints"}
	return cmd
}

func (c *command) endpointList() *cobra.Command {
	var f client.EndpointFilter
	var status string
	cmd := listCommand(c, listing[api.EndpointInfo]{
		Short: "List the replicas that run", Empty: "No replica runs. Start a model with: nebula model start UID",
		Example: "  nebula endpoint list\n  nebula endpoint list --node gpu-1 -o wide\n  nebula endpoint list --status unhealthy --watch",
		Key:     func(e api.EndpointInfo) string { return e.Key() },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.EndpointInfo, error) {
			f.Status = api.EndpointStatus(status)
			return cl.Endpoints(ctx, f)
		},
		Columns: []column[api.EndpointInfo]{
			{Title: "REPLICA", Text: func(e api.EndpointInfo, _ time.Time) string { return e.Key() }},
			{Title: "NODE", Text: func(e api.EndpointInfo, _ time.Time) string { return e.NodeID }},
			{Title: "STATUS", Text: func(e api.EndpointInfo, _ time.Time) string { return string(e.Status) }},
			{Title: "ENGINE", Text: func(e api.EndpointInfo, _ time.Time) string { return e.EngineType }},
			{Title: "GPUS", Text: func(e api.EndpointInfo, _ time.Time) string { return gpus(e.GPUIndices) }},
			{Title: "RESTARTS", Text: func(e api.EndpointInfo, _ time.Time) string { return fmt.Sprint(e.Restarts) }},
			{Title: "AGE", Text: func(e api.EndpointInfo, now time.Time) string { return age(e.StartedAtMS, now) }},
			{Title: "URL", Wide: true, Text: func(e api.EndpointInfo, _ time.Time) string { return deref(e.BaseURL) }},
			{Title: "FAILURE", Wide: true, Text: func(e api.EndpointInfo, _ time.Time) string {
				if e.Failure == nil {
					return ""
				}
				return e.Failure.Message
			}},
		},
	})
	cmd.Flags().StringVar(&f.Model, "model", "", "only replicas of the model with this uid")
	_ = cmd.RegisterFlagCompletionFunc("model", c.completeUID) // the flag was just made: it cannot fail
	c.addNode(cmd, &f.Node, "only replicas on this node")
	cmd.Flags().StringVar(&status, "status", "", "only replicas in this status")
	c.completeFlag(cmd, "status", []string{string(api.EndpointStarting), string(api.EndpointReady), string(api.EndpointUnhealthy), string(api.EndpointDraining)})
	return cmd
}
