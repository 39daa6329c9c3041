package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/apply"
)

func (c *command) exportCommand() *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use: "export [KIND] [NAME…]", Short: "Print documents that apply takes", ValidArgsFunction: c.completeExport,
		Long: "Print what people have declared as YAML documents that \"nebula apply\" takes: what is set, and nothing that the cluster works out by itself.\n" +
			"Without NAME everything, sorted. Secrets are not part of it; a model's document names them.",
		Example: "  nebula export > cluster.yaml\n  nebula export models -l team=search\n  nebula export model qwen gemma",
		RunE: func(cmd *cobra.Command, args []string) error {
			kinds, names, err := exportWhat(args)
			if err != nil {
				return err
			}
			var sel selector
			if label != "" {
				if len(names) > 0 {
					return usagef("give names or -l, not both")
				}
				if sel, err = parseSelector(label); err != nil {
					return err
				}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			objects, err := exported(cmd.Context(), cl, kinds, names, sel)
			if err != nil {
				return err
			}
			if len(objects) == 0 {
				fmt.Fprintln(c.env.Stderr, "There is nothing to export")
				return nil
			}
			text, err := apply.Texts(objects)
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.env.Stdout, text)
			return err
		},
	}
	cmd.Flags().StringVarP(&label, "label", "l", "", "only what has this label, key=value; several with commas between them")
	return cmd
}

// exportWhat reads KIND and names; no KIND is all kinds.
func exportWhat(args []string) ([]apply.Kind, []string, error) {
	if len(args) == 0 {
		return apply.Kinds(), nil, nil
	}
	var words []string
	for _, k := range apply.Kinds() {
		word := strings.ToLower(string(k))
		if low := strings.ToLower(args[0]); low == word || low == word+"s" {
			return []apply.Kind{k}, args[1:], nil
		}
		words = append(words, word)
	}
	return nil, nil, usagef("%q is not a kind: use %s%s", args[0], strings.Join(words, ", "), didYouMean(args[0], words))
}

func exported(ctx context.Context, cl *client.Client, kinds []apply.Kind, names []string, sel selector) ([]apply.Object, error) {
	var refs []apply.Ref
	for _, k := range kinds {
		for _, n := range names {
			refs = append(refs, apply.Ref{Kind: k, ID: n})
		}
	}
	if len(names) == 0 {
		var err error
		if refs, err = objectsWith(ctx, cl, kinds, sel); err != nil {
			return nil, err
		}
	}
	live, err := readObjects(ctx, cl, unique(refs))
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		if _, ok := live[r]; !ok && len(names) > 0 {
			return nil, api.Errorf(api.CodeNotFound, "there is no %s; list what there is with: nebula export", r)
		}
	}
	out := slices.Collect(maps.Values(live))
	slices.SortFunc(out, func(a, b apply.Object) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (c *command) completeExport(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return c.completeUID(cmd, nil, word)
	}
	var kinds []string
	for _, k := range apply.Kinds() {
		kinds = append(kinds, strings.ToLower(string(k)))
	}
	return kinds, cobra.ShellCompDirectiveNoFileComp
}
