package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/apply"
)

// updateFlags are the flags of model update for single fields.
var updateFlags = []struct {
	flag, usage string
	path        []string
}{
	{"name", "name at the source", []string{"model_name"}},
	{"source", "huggingface, modelscope or local", []string{"model_source"}},
	{"path", "local model: a GGUF file or a model folder on the node", []string{"model_path"}},
	{"engine", "engine: " + strings.Join(api.Engines(), ", ") + "; null: chosen by the files", []string{"engine_type"}},
	{"revision", "branch, tag or commit at the source", []string{"revision"}},
	{"token-secret", "stored secret with the token for a private or gated model", []string{"token_secret"}},
	{"max-model-len", "context length in tokens", []string{"config", "max_model_len"}},
	{"tensor-parallel", "number of GPUs that share the model", []string{"config", "tensor_parallel_size"}},
	{"gpu-memory-utilization", "share of each GPU's memory, 0 to 1", []string{"config", "gpu_memory_utilization"}},
	{"required-vram-mb", "memory that each GPU must have free, in MiB", []string{"config", "required_vram_mb"}},
}

func (c *command) modelUpdate() *cobra.Command {
	var files, labelArgs, sets []string
	single := make([]string, len(updateFlags))
	dryRun := false
	cmd := &cobra.Command{
		Use: "update UID", Short: "Change a model", Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		Long: "Change a model. What is not named stays as it is; null unsets a field. Replicas that run are replaced one at a time when their engine would see\n" +
			"the change. --set takes every field of a document, as \"nebula export model UID\" prints it.",
		Example: "  nebula model update qwen --revision v2 --max-model-len 8192\n  nebula model update qwen --label team=search --label old-\n" +
			"  nebula model update qwen --set config.required_vram_mb=null --set replicas=3",
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []apply.Assignment
			for i, f := range updateFlags {
				if cmd.Flags().Changed(f.flag) {
					all = append(all, apply.Assignment{From: "--" + f.flag, Path: f.path, Value: single[i]})
				}
			}
			all, err := moreAssignments(all, files, labelArgs, sets)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return usagef("what is to change? Give a flag, or --set FIELD=VALUE\nSee: %s --help", cmd.CommandPath())
			}
			return c.runUpdate(cmd.Context(), args[0], all, dryRun)
		},
	}
	f := cmd.Flags()
	for i, u := range updateFlags {
		f.StringVar(&single[i], u.flag, "", u.usage)
	}
	f.StringArrayVar(&files, "file", nil, "file pattern that overrides Nebula's choice of files; may be repeated, and replaces those before")
	f.StringArrayVar(&labelArgs, "label", nil, "key=value sets a label, key- removes it; may be repeated")
	f.StringArrayVar(&sets, "set", nil, "FIELD=VALUE for any field, such as config.max_model_len=4096; may be repeated")
	f.BoolVar(&dryRun, "dry-run", false, "show what would change, and change nothing")
	c.addOutput(cmd)
	return cmd
}

// moreAssignments reads the flags that may be repeated.
func moreAssignments(all []apply.Assignment, files, labelArgs, sets []string) ([]apply.Assignment, error) {
	for i := range all {
		if all[i].From == "--path" && all[i].Value != "null" { // a relative path is of this machine, and documents want it absolute
			abs, err := filepath.Abs(all[i].Value)
			if err != nil {
				return nil, fmt.Errorf("make %q absolute: %w", all[i].Value, err)
			}
			all[i].Value = abs
		}
	}
	for _, f := range files {
		all = append(all, apply.Assignment{From: "--file", Path: []string{"files"}, Value: f, Add: f != "null"})
	}
	for _, l := range labelArgs {
		key, value, found := strings.Cut(l, "=")
		if !found {
			key, found = strings.CutSuffix(l, "-")
			value = "null"
		}
		if !found || key == "" {
			return nil, usagef("label %q must be key=value, or key- to remove it", l)
		}
		all = append(all, apply.Assignment{From: "--label", Path: []string{"labels", key}, Value: value})
	}
	for _, s := range sets {
		a, err := apply.ParseAssignment("--set", s)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// maxTries is how often a change is tried again on an object that somebody else changes at the same time.
const maxTries = 4

// runUpdate changes single fields, whatever happens to the others meanwhile.
func (c *command) runUpdate(ctx context.Context, uid string, all []apply.Assignment, dryRun bool) error {
	doc, err := apply.DocOf(apply.Ref{Kind: apply.KindModel, ID: uid}, all)
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		changes, err := planOn(ctx, cl, doc, apply.Options{})
		if err != nil {
			return err
		}
		run := carrying{cl: cl, say: func(string) {}, dryRun: dryRun, patch: true}
		if dryRun {
			err = run.check(ctx, changes)
		}
		if err == nil {
			err = run.all(ctx, changes)
		}
		if api.HasCode(err, api.CodeRevisionMismatch) && try < maxTries {
			continue
		}
		if err != nil {
			return err
		}
		line := "Model " + uid + " " + pastTense(changes[0].Verbs) + run.mark()
		return c.print(run.results[0], func(bool) error {
			if dryRun {
				if err := c.printDiffs(c.env.Stdout, changes); err != nil {
					return err
				}
			}
			return c.sayWith(line, run.results[0].Explanation)
		})
	}
}

// planOn plans the change of one object that must be there.
func planOn(ctx context.Context, cl *client.Client, doc apply.Doc, o apply.Options) ([]apply.Change, error) {
	before, err := readObject(ctx, cl, doc.Ref)
	if err != nil {
		return nil, err
	}
	return apply.Plan([]apply.Doc{doc}, map[apply.Ref]apply.Object{doc.Ref: before}, o)
}
