package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) cacheCommand() *cobra.Command {
	return group("cache", "Look after the models' files on the nodes", c.cacheList(), c.cachePull(), c.cachePulls(), c.cacheCancel(), c.cachePin(), c.cacheUnpin(), c.cachePrune(), c.cacheEvict(), c.cacheVerify())
}

func (c *command) cacheList() *cobra.Command {
	var node string
	cmd := listCommand(c, listing[api.CacheEntryView]{
		Short: "List the models in the nodes' caches", Empty: "Nothing is cached. Bring a model's files to a node with: nebula cache pull MODEL --node NODE",
		Key: func(e api.CacheEntryView) string { return e.NodeID + "/" + e.ModelName },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.CacheEntryView, error) {
			if node != "" {
				list, err := cl.NodeCache(ctx, node)
				if err == nil && len(list) == 0 { // an empty cache, or no such node: that is an error
					_, err = cl.Node(ctx, node)
				}
				return list, err
			}
			all, err := cl.CacheSummary(ctx)
			return all.Caches, err
		},
		Columns: []column[api.CacheEntryView]{
			{Title: "NODE", Text: func(e api.CacheEntryView, _ time.Time) string { return e.NodeID }},
			{Title: "MODEL", Text: func(e api.CacheEntryView, _ time.Time) string { return e.ModelName }},
			{Title: "SIZE", Text: func(e api.CacheEntryView, _ time.Time) string { return size(e.SizeBytes) }},
			{Title: "FILES", Text: func(e api.CacheEntryView, _ time.Time) string { return fmt.Sprint(e.FileCount) }},
			{Title: "COMPLETE", Text: func(e api.CacheEntryView, _ time.Time) string { return yesNo(e.Complete) }},
			{Title: "PINNED", Text: func(e api.CacheEntryView, _ time.Time) string { return yesNo(e.Pinned) }},
			{Title: "USED BY", Text: func(e api.CacheEntryView, _ time.Time) string { return strings.Join(e.MatchedModelUIDs, ",") }},
			{Title: "LAST USED", Text: func(e api.CacheEntryView, now time.Time) string { return age(e.LastAccessedMS, now) }},
			{Title: "PATH", Wide: true, Text: func(e api.CacheEntryView, _ time.Time) string { return e.CachePath }},
		},
	})
	c.addNode(cmd, &node, "only what this node has")
	return cmd
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// addNode adds --node for one node.
func (c *command) addNode(cmd *cobra.Command, node *string, usage string) {
	cmd.Flags().StringVar(node, "node", "", usage)
	c.completeNodeFlag(cmd)
}

// addNodes adds --node for any number of nodes.
func (c *command) addNodes(cmd *cobra.Command, nodes *[]string, usage string) {
	cmd.Flags().StringSliceVar(nodes, "node", nil, usage+"; may be repeated, or N,N")
	c.completeNodeFlag(cmd)
}

func (c *command) completeNodeFlag(cmd *cobra.Command) {
	// The command is ours and the flag was just made: it cannot fail.
	_ = cmd.RegisterFlagCompletionFunc("node", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return c.completeNode(cmd, nil, typed)
	})
}

// filesOf are the flags that name a model's files.
type filesOf struct {
	req    api.FilesRequest
	source string
}

func (f *filesOf) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.source, "source", "", "of a model that is not declared: huggingface or modelscope")
	flags.StringVar(&f.req.Revision, "revision", "", "of a model that is not declared: branch, tag or commit")
	flags.StringVar(&f.req.EngineType, "engine", "", "of a model that is not declared: the engine that its files are for (default: llamacpp for GGUF, else vllm)")
	flags.StringSliceVar(&f.req.Files, "file", nil, "of a model that is not declared: pattern of the files wanted; may be repeated")
}

// named completes the request for MODEL: the uid of a declared model or, with a "/" or a flag that says what is wanted of it, a name at its source.
func (f *filesOf) named(cmd *cobra.Command, model string) (api.FilesRequest, error) {
	named := strings.Contains(model, "/")
	for _, flag := range []string{"source", "revision", "engine", "file"} {
		named = named || cmd.Flags().Changed(flag)
	}
	f.req.ModelUID = model
	if named {
		f.req.ModelUID, f.req.ModelName = "", model
	}
	if f.source != "" {
		var err error
		if f.req.ModelSource, err = api.ParseModelSource(f.source); err != nil {
			return f.req, &usageError{err}
		}
	}
	return f.req, nil
}

// onFiles is a command on a model's files on some nodes, or on all.
func (c *command) onFiles(use, short, nodes string, run func(ctx context.Context, cl *client.Client, req api.FilesRequest) error) *cobra.Command {
	var f filesOf
	name, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Example: "  nebula cache " + name + " my-model --node gpu-7\n  nebula cache " + name + " Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0", Args: exactly(1, "the model: its UID, or its name at the source"), ValidArgsFunction: c.completeUID,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.named(cmd, args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return run(cmd.Context(), cl, req)
		},
	}
	f.add(cmd)
	c.addNodes(cmd, &f.req.NodeIDs, nodes)
	return cmd
}

func (c *command) cachePin() *cobra.Command {
	return c.onFiles("pin MODEL", "Never delete a model's files to make room", "only on this node (default: on all)",
		func(ctx context.Context, cl *client.Client, req api.FilesRequest) error {
			got, err := cl.PinFiles(ctx, req)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.env.Stdout, "The files of %s are pinned on %s; lift it with: nebula cache unpin %s\n",
				clean(got.ModelName), clean(strings.Join(got.NodeIDs, ", ")), clean(nameOf(req)))
			return err
		})
}

func (c *command) cacheUnpin() *cobra.Command {
	return c.onFiles("unpin MODEL", "Lift pins of a model's files", "only on this node (default: on all)",
		func(ctx context.Context, cl *client.Client, req api.FilesRequest) error {
			got, err := cl.UnpinFiles(ctx, req)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.env.Stdout, "The files of %s are no longer pinned on %s\n", clean(got.ModelName), clean(strings.Join(got.NodeIDs, ", ")))
			return err
		})
}

func nameOf(req api.FilesRequest) string {
	if req.ModelUID != "" {
		return req.ModelUID
	}
	return req.ModelName
}

func (c *command) cacheCancel() *cobra.Command {
	var nodes []string
	cmd := &cobra.Command{
		Use: "cancel MODEL", Short: "Cancel the pulls of a model; what has come already stays", Args: exactly(1, "the model: its UID, or its name at the source"),
		ValidArgsFunction: c.completeUID, Example: "  nebula cache cancel my-model --node gpu-7",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			list, err := cl.Pulls(cmd.Context(), "")
			if err != nil {
				return err
			}
			found := false
			for _, p := range list {
				if !pullOf(p, args[0]) || len(nodes) > 0 && !slices.Contains(nodes, p.NodeID) {
					continue
				}
				if err := cl.CancelPull(cmd.Context(), p.NodeID, p.PullID); err != nil {
					return err
				}
				found = true
				fmt.Fprintf(c.env.Stdout, "Pull of %s on %s cancelled\n", clean(p.Spec.ModelName), clean(p.NodeID))
			}
			if !found {
				return api.Errorf(api.CodeNotFound, "there is no pull of %s there; list them with: nebula cache pulls", args[0])
			}
			return nil
		},
	}
	c.addNodes(cmd, &nodes, "only on this node (default: on all)")
	return cmd
}

// pullOf tells whether a pull is one of MODEL: its uid, or its name, with the quantisation behind a ":" or without.
func pullOf(p api.PullView, model string) bool {
	name, files := api.SplitTag(p.Spec.ModelSource, model, nil)
	return p.Spec.ModelUID == model || p.Spec.ModelName == name && (files == nil || slices.Equal(p.Spec.Files, files))
}

func (c *command) diskCommand() *cobra.Command {
	node := ""
	status := &cobra.Command{
		Use: "status", Short: "Show the nodes' model disks, and what people should look at", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			var s diskStatus
			if node != "" {
				return c.diskOf(cmd.Context(), cl, node)
			}
			all, err := cl.CacheSummary(cmd.Context())
			if err != nil {
				return err
			}
			if s.Alerts, err = cl.Alerts(cmd.Context()); err != nil {
				return err
			}
			s.Nodes = all.Nodes
			return c.print(s, func(bool) error { return c.diskTable(s) })
		},
	}
	status.Flags().StringVar(&node, "node", "", "the disk of this node alone")
	c.addOutput(status)
	c.completeNodeFlag(status)
	return group("disk", "Look at the nodes' model disks", status)
}

// diskOf shows the disk of one node.
func (c *command) diskOf(ctx context.Context, cl *client.Client, node string) error {
	d, err := cl.NodeDisk(ctx, node)
	if err != nil {
		return err
	}
	return c.print(d, func(bool) error { return c.diskTable(diskStatus{Nodes: []api.NodeDiskStatus{d}, OneNode: true}) })
}

// diskStatus is what "disk status" prints as JSON or YAML.
type diskStatus struct {
	Nodes  []api.NodeDiskStatus `json:"nodes"`
	Alerts []api.DiskAlert      `json:"alerts"`

	OneNode bool `json:"-"` // nobody has asked for the alerts
}

func (c *command) diskTable(s diskStatus) error {
	var rows [][]string
	for _, d := range s.Nodes {
		rows = append(rows, []string{
			clean(d.NodeID), clean(d.ModelDir), fmt.Sprintf("%.0f %%", d.UsagePct), size(d.AvailableBytes), size(d.TotalBytes), size(d.ModelCacheBytes), fmt.Sprint(d.ModelCount),
		})
	}
	if err := c.printTable([]string{"NODE", "MODEL DIR", "USED", "FREE", "TOTAL", "MODELS TAKE", "MODELS"}, rows); err != nil {
		return err
	}
	for _, a := range s.Alerts {
		fmt.Fprintf(c.env.Stdout, "%s: %s\n", clean(a.AlertType), clean(a.Message))
	}
	if len(s.Alerts) == 0 && !s.OneNode {
		fmt.Fprintln(c.env.Stdout, "No alerts")
	}
	return nil
}
