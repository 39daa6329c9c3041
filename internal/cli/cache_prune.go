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

func (c *command) cachePrune() *cobra.Command {
	var nodes []string
	var req api.CachePrune
	cmd := &cobra.Command{
		Use: "prune", Short: "Delete files that no model on a node needs", Args: exactly(0, "no argument"),
		Long: "Delete files that no model on a node needs: what broken-off downloads left and, where the disk is fuller than the node's --cache-high, the models\n" +
			"that have not been used for longest, until it is no fuller than --cache-low. With --all-unused or --to it is as much as you say.\n\n" +
			"Files that an engine, a download or another node has open are never deleted, nor those that are pinned or that a model is to run with.\n" +
			"It exits with 1 when something could not be deleted.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := req.Validate(); err != nil {
				return usagef("--all-unused, --to (a percentage) and --orphans exclude each other: %w", err)
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.removeOn(cmd.Context(), cl, nodes, func(node string) (api.CachePruned, error) { return cl.PruneCache(cmd.Context(), node, req) })
		},
	}
	c.addNodes(cmd, &nodes, "only on this node (default: on all)")
	f := cmd.Flags()
	f.BoolVar(&req.DryRun, "dry-run", false, "only tell what would be deleted, and why the rest stays")
	f.BoolVar(&req.AllUnused, "all-unused", false, "every model that nothing on the node needs")
	f.Float64Var(&req.ToPercent, "to", 0, "models until the disk is no fuller than so many percent")
	f.BoolVar(&req.Orphans, "orphans", false, "no model, only files that belong to none")
	c.addOutput(cmd)
	return cmd
}

func (c *command) cacheEvict() *cobra.Command {
	var nodes []string
	var req api.CacheEvict
	cmd := &cobra.Command{
		Use: "evict MODEL", Short: "Delete one model's files on a node", Args: exactly(1, "the name of the model, as nebula cache list shows it"),
		Example: "  nebula cache evict Qwen/Qwen2.5-0.5B-Instruct-GGUF --node gpu-7 --dry-run\n  nebula cache evict Qwen/Qwen2.5-0.5B-Instruct-GGUF --node gpu-7",
		Long: "Delete the files that MODEL (its name, as nebula cache list shows it) has in the cache of a node, however lately they were used. The model stays\n" +
			"declared, and fetches them again when it is to run there.\n\n" +
			"Files that are pinned, in use or wanted on the node are not deleted: it says which model, replica or pull that is, and exits with 4.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(nodes) == 0 {
				return usagef("name the node with --node; nebula cache list shows which nodes have the files")
			}
			req.ModelName = args[0]
			if err := req.Validate(); err != nil {
				return &usageError{err}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			return c.removeOn(cmd.Context(), cl, nodes, func(node string) (api.CachePruned, error) { return cl.EvictFiles(cmd.Context(), node, req) })
		},
	}
	c.addNodes(cmd, &nodes, "on this node")
	f := cmd.Flags()
	f.BoolVar(&req.DryRun, "dry-run", false, "only tell what would be deleted")
	f.StringVar(&req.CachePath, "path", "", "only the files in this folder, where the node has them from more than one source")
	c.addOutput(cmd)
	return cmd
}

// removeOn has nodes remove files, all of them that report when none is named, and shows what each removed.
func (c *command) removeOn(ctx context.Context, cl *client.Client, nodes []string, remove func(node string) (api.CachePruned, error)) error {
	var all []api.CachePruned
	var errs []error
	err := onEach(ctx, cl, nodes, func(node string) {
		out, err := remove(node)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", node, err))
			return
		}
		all = append(all, out)
	})
	if err != nil {
		return err
	}
	if err := c.print(all, func(wide bool) error { return c.pruned(all, wide) }); err != nil {
		return err
	}
	for _, out := range all {
		for _, p := range out.Problems {
			errs = append(errs, fmt.Errorf("node %s: %s", out.NodeID, p))
		}
	}
	return errors.Join(errs...)
}

// onEach calls do for each of the nodes or, when none is named, for all that report.
func onEach(ctx context.Context, cl *client.Client, nodes []string, do func(node string)) error {
	if len(nodes) == 0 {
		list, err := cl.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range list {
			if n.State == api.NodeReady {
				nodes = append(nodes, n.NodeID)
			}
		}
		if len(nodes) == 0 {
			return api.Errorf(api.CodeUnavailable, "no node reports now; look with: nebula node list")
		}
	}
	for _, n := range nodes {
		do(n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (c *command) pruned(all []api.CachePruned, wide bool) error {
	var rows [][]string
	for _, out := range all {
		verb := "deleted"
		if out.DryRun {
			verb = "would delete"
		}
		for _, r := range out.Removed {
			what := shortCommit(r.Commit)
			if what == "" {
				what = r.File[:min(len(r.File), 12)] + "…"
			}
			rows = append(rows, []string{clean(out.NodeID), verb, clean(r.ModelName), clean(what), size(r.FreedBytes), lastUse(r.LastUsedMS), clean(r.Reason)})
		}
		if !out.DryRun && !wide {
			continue
		}
		for _, k := range out.Kept {
			rows = append(rows, []string{clean(out.NodeID), "keeps", clean(k.ModelName), shortCommit(k.Commit), "-", lastUse(k.LastUsedMS), clean(k.Reason)})
		}
	}
	if len(rows) > 0 {
		if err := c.printTable([]string{"NODE", "", "MODEL", "COMMIT OR FILE", "FREES", "LAST USED", "WHY"}, rows); err != nil {
			return err
		}
	}
	for _, out := range all {
		word := "freed"
		if out.DryRun {
			word = "would free"
		}
		line := fmt.Sprintf("Node %s: %s %s", clean(out.NodeID), word, size(out.FreedBytes))
		if out.ShortBytes > 0 {
			line += fmt.Sprintf("; %s are missing to what was asked, because the rest is in use or kept", size(out.ShortBytes))
		}
		fmt.Fprintln(c.env.Stdout, line)
	}
	return nil
}

func shortCommit(s string) string { return clean(s[:min(len(s), 12)]) }

func lastUse(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return age(ms, time.Now())
}

func (c *command) cacheVerify() *cobra.Command {
	var nodes []string
	cmd := &cobra.Command{
		Use: "verify [MODEL]", Short: "Read the models' files and compare them with their hashes",
		Long: "Read every file of MODEL (its name at the source), or of all models, on a node and compare it with its hash. A damaged file is named, and marked:\n" +
			"the next start of its model fetches it again. Nothing is deleted, because an engine may have it open.\n\n" +
			"It exits with 1 when something is damaged or could not be read.",
		Example: "  nebula cache verify\n  nebula cache verify Qwen/Qwen2.5-0.5B-Instruct-GGUF --node gpu-7",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one model, or none for all\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			req := api.CacheVerify{ModelName: strings.Join(args, "")}
			var errs []error
			damaged := 0
			err = onEach(cmd.Context(), cl, nodes, func(node string) {
				end, err := cl.VerifyCache(cmd.Context(), node, req, func(e api.VerifyEvent) { c.verifying(node, e) })
				damaged += end.Damaged
				if err != nil {
					errs = append(errs, fmt.Errorf("node %s: %w", node, err))
					return
				}
				fmt.Fprintf(c.env.Stdout, "Node %s: %d files, %s read, %d damaged\n", clean(node), end.Files, size(end.DoneBytes), end.Damaged)
			})
			if err != nil {
				return err
			}
			if len(errs) == 0 && damaged > 0 {
				fmt.Fprintln(c.env.Stderr, "Damaged files are fetched again at the next start of their model: nebula model stop, then start.")
				return &quiet{exitError}
			}
			return errors.Join(errs...)
		},
	}
	c.addNodes(cmd, &nodes, "only on this node (default: on all)")
	return cmd
}

// verifying tells how a verification goes: damage in lines that stay, and how far it is on a terminal.
func (c *command) verifying(node string, e api.VerifyEvent) {
	switch e.Type {
	case api.VerifyDamaged:
		fmt.Fprintf(c.env.Stdout, "%s: DAMAGED %s of %s: %s (%s)\n", clean(node), clean(e.File), clean(e.ModelName), clean(e.Fault), clean(e.Path))
	case api.VerifyProgress:
		if e.FilesTotal > 0 && terminal(c.env.Stderr) {
			fmt.Fprintf(c.env.Stderr, "%s: %d of %d files, %s of %s\n", clean(node), e.Files, e.FilesTotal, size(e.DoneBytes), size(e.TotalBytes))
		}
	}
}
