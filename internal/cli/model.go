package cli

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) modelCommand() *cobra.Command {
	cmd := group("model", "Declare, run and look at models",
		c.modelList(),
		c.modelGet(),
		c.modelCreate(),
		c.modelStart(),
		c.modelStop(),
		c.modelScale(),
		c.modelDrain(),
		c.modelUpdate(),
		c.modelEdit(),
		c.modelDelete(),
		c.modelWait(),
		c.modelExplain(),
		c.modelLogs(),
		c.modelEvents(),
		c.modelLoad(),
		c.modelUnload(),
	)
	cmd.Aliases = []string{"models"}
	return cmd
}

func (c *command) modelList() *cobra.Command {
	var o client.ListOptions
	var state string
	cmd := listCommand(c, listing[api.ModelView]{
		Short: "List models", Empty: "No models. Declare one with: nebula model create NAME",
		Example: "  nebula model list\n  nebula model list --state failed -o wide\n  nebula model list --label team=search -o json\n  nebula model list --search llama --sort -updated\n  nebula model list --watch",
		Key:     func(m api.ModelView) string { return m.ModelUID },
		Columns: modelColumns(),
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.ModelView, error) {
			o.State = api.ModelState(state)
			models, _, err := cl.Models(ctx, o)
			return models, err
		},
		Watch: func(ctx context.Context, cl *client.Client) iter.Seq2[[]api.ModelView, error] {
			o.State = api.ModelState(state)
			return cl.WatchModelList(ctx, o)
		},
	})
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if o.Sort != "" && cmd.Flags().Changed("watch") {
			return usagef("--sort and --watch do not go together: what is watched is in the order of the uids")
		}
		if state == "" {
			return nil
		}
		return checkState(state)
	}
	cmd.Flags().StringVar(&state, "state", "", "only models in this state")
	c.completeFlag(cmd, "state", words(api.ModelStates()))
	cmd.Flags().StringVarP(&o.Label, "label", "l", "", "only models with this label, key=value")
	cmd.Flags().StringVar(&o.Search, "search", "", "only models with this text in the uid, the name or the value of a label")
	cmd.Flags().StringVar(&o.Sort, "sort", "", "the order: uid, name, state, engine, replicas, created or updated; -FIELD for the reverse (default uid)")
	c.completeFlag(cmd, "sort", []string{"uid", "name", "state", "engine", "replicas", "created", "updated", "-name", "-state", "-engine", "-replicas", "-created", "-updated"})
	return cmd
}

func modelColumns() []column[api.ModelView] {
	return []column[api.ModelView]{
		{Title: "UID", Text: func(m api.ModelView, _ time.Time) string { return m.ModelUID }},
		{Title: "NAME", Text: func(m api.ModelView, _ time.Time) string { return m.ModelName }},
		{
			Title: "STATE", Text: func(m api.ModelView, _ time.Time) string { return string(m.State) },
			Colour: func(m api.ModelView) string { return stateColours[m.State] },
		},
		{Title: "READY", Text: func(m api.ModelView, _ time.Time) string {
			return fmt.Sprintf("%d/%d", m.Replicas.Ready, m.Replicas.Desired)
		}},
		{Title: "ENGINE", Text: func(m api.ModelView, _ time.Time) string { return deref(m.EngineType) }},
		{Title: "AGE", Text: func(m api.ModelView, now time.Time) string { return age(m.CreatedAtMS, now) }},
		{Title: "NODES", Wide: true, Text: func(m api.ModelView, _ time.Time) string { return endpointNodes(m.Endpoints) }},
		{Title: "LABELS", Wide: true, Text: func(m api.ModelView, _ time.Time) string { return labels(m.Labels) }},
		{Title: "REASON", Wide: true, Text: func(m api.ModelView, _ time.Time) string { return reasonText(m.Reason) }},
	}
}

func (c *command) modelGet() *cobra.Command {
	return showCommand(c, showing[api.ModelDetail]{
		Use: "get UID", Short: "Show one model", Arg: "the model's UID", Complete: c.completeUID,
		Example: "  nebula model get my-model\n  nebula model get my-model -o jsonpath='$.endpoints[*].base_url'\n  nebula model get my-model --watch",
		Fetch: func(ctx context.Context, cl *client.Client, uid string) (api.ModelDetail, error) {
			return cl.Model(ctx, uid)
		},
		Watch: func(ctx context.Context, cl *client.Client, uid string) iter.Seq2[api.ModelDetail, error] {
			return cl.WatchModel(ctx, uid)
		},
		Detail: c.modelDetail,
	})
}

func (c *command) modelDetail(d api.ModelDetail) error {
	now := time.Now()
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name+":", value)
		}
	}
	line("UID", clean(d.ModelUID))
	line("Name", clean(d.ModelName))
	line("State", colouredState(d.State))
	line("Reason", reasonText(d.Reason))
	line("Engine", deref(d.EngineType))
	if d.Spec != nil {
		line("Source", string(d.Spec.ModelSource))
		line("Path", clean(d.Spec.ModelPath))
	}
	r := d.Replicas
	line("Replicas", fmt.Sprintf("%d desired, %d ready, %d starting, %d unhealthy", r.Desired, r.Ready, r.Starting, r.Unhealthy))
	line("Labels", labels(d.Labels))
	line("Age", age(d.CreatedAtMS, now))
	if s := d.CacheStatus; s != nil && len(s.CachedOnNodes) > 0 {
		line("Cached", size(s.TotalSizeBytes)+" on "+clean(strings.Join(s.CachedOnNodes, ", ")))
	}
	if d.DownloadProgress != nil {
		for _, p := range d.DownloadProgress.Replicas {
			line("Download", fmt.Sprintf("replica %d on %s: %s, %s", p.ReplicaID, clean(p.NodeID), p.Phase, downloadText(p)))
		}
	}
	if err := c.printStyled(b.String()); err != nil {
		return err
	}
	if len(d.Endpoints) == 0 {
		return nil
	}
	fmt.Fprintln(c.env.Stdout)
	var rows [][]string
	for _, e := range d.Endpoints {
		failure := ""
		if e.Failure != nil {
			failure = clean(e.Failure.Message)
		}
		rows = append(rows, []string{
			fmt.Sprint(e.ReplicaID), clean(e.NodeID), string(e.Status), gpus(e.GPUIndices), fmt.Sprint(e.Restarts), age(e.StartedAtMS, now),
			clean(deref(e.BaseURL)), failure,
		})
	}
	return c.printTable([]string{"REPLICA", "NODE", "STATUS", "GPUS", "RESTARTS", "AGE", "URL", "FAILURE"}, rows)
}

// downloadText says how far a download is and, while it moves, when it will be over.
func downloadText(p api.DownloadProgress) string {
	text := fmt.Sprintf("%.0f %%, %s of %s, %d of %d files", p.ProgressPct, size(p.DownloadedBytes), size(p.TotalBytes), p.FilesDone, p.FilesTotal)
	if p.SpeedBytesPerSec > 0 {
		text += ", " + size(p.SpeedBytesPerSec) + "/s"
	}
	if p.ETASeconds > 0 {
		text += ", " + seconds(p.ETASeconds).String() + " left"
	}
	if p.LastError != "" {
		text += ", trying again: " + clean(p.LastError)
	}
	return text
}

func (c *command) modelCreate() *cobra.Command {
	var req api.CreateModel
	var source, path string
	var labelArgs []string
	var replicas, maxLen, tp uint32
	var vram uint64
	var gmu float32
	var gpuArgs []uint
	var wait, dryRun bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Declare a model, and start it with --start",
		Example: "  nebula model create Qwen/Qwen2.5-0.5B-Instruct-GGUF --engine llamacpp --start --wait\n" +
			"  nebula model create --path ./my-model.gguf --uid my-model --start",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one NAME\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if req.ModelName != "" {
					return usagef("give the name once: as argument or with --name")
				}
				req.ModelName = args[0]
			}
			if err := fillLocal(&req, source, path); err != nil {
				return err
			}
			var err error
			if req.Labels, err = parseLabels(labelArgs); err != nil {
				return err
			}
			set := cmd.Flags().Changed
			if set("replicas") {
				req.Replicas = &replicas
			}
			req.Config = configOf(set, maxLen, tp, gmu, vram)
			for _, g := range gpuArgs {
				req.GPUIndices = append(req.GPUIndices, uint32(g))
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.On(client.Write{DryRun: dryRun}).CreateModel(cmd.Context(), req)
			if err != nil {
				return err
			}
			if dryRun {
				return c.print(made, func(bool) error { return c.foretold(made) })
			}
			if err := c.print(made, func(bool) error { return c.created(made) }); err != nil || !wait || !req.AutoStart {
				return err
			}
			return c.waitFor(cmd.Context(), cl, made.Spec.ModelUID, waitOptions{State: api.StateRunning, Timeout: timeout})
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.ModelName, "name", "", "name at the source, for example Qwen/Qwen2.5-0.5B-Instruct-GGUF; with :Q8_0 after it that quantisation")
	f.StringVar(&req.ModelUID, "uid", "", "uid (default: made of the name)")
	f.StringVar(&source, "source", "", "huggingface, modelscope or local (default: local with --path, else huggingface)")
	f.StringVar(&path, "path", "", "local model: a GGUF file or a model folder on the node")
	f.StringVar(&req.EngineType, "engine", "", "engine: "+strings.Join(api.Engines(), ", ")+" (default: llamacpp for GGUF, else vllm)")
	f.StringVar(&req.Revision, "revision", "", "branch, tag or commit at the source")
	f.StringSliceVar(&req.Files, "file", nil, "file pattern that overrides Nebula's choice of files; may be repeated")
	f.StringVar(&req.TokenSecret, "token-secret", "", "stored secret with the token for a private or gated model; see: nebula secret set --help")
	f.StringSliceVar(&labelArgs, "label", nil, "label key=value; may be repeated")
	f.BoolVar(&req.AutoStart, "start", false, "start it at once")
	f.BoolVar(&wait, "wait", false, "with --start: wait until it runs")
	f.BoolVar(&dryRun, "dry-run", false, "check it and say where it would go, and declare nothing")
	f.DurationVar(&timeout, "timeout", defaultWait, "with --wait: how long")
	f.Uint32Var(&replicas, "replicas", 1, "number of replicas, with --start")
	c.addNode(cmd, &req.NodeID, "run it on this node only")
	c.completeFlag(cmd, "engine", api.Engines())
	c.completeFlag(cmd, "source", []string{string(api.SourceHuggingFace), string(api.SourceModelScope), string(api.SourceLocal)})
	_ = cmd.RegisterFlagCompletionFunc("token-secret", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return c.completeSecret(cmd, nil, typed)
	}) // the flag was just made: it cannot fail
	f.UintSliceVar(&gpuArgs, "gpu", nil, "run it on these GPUs of the node")
	f.Uint32Var(&maxLen, "max-model-len", 0, "context length in tokens")
	f.Uint32Var(&tp, "tensor-parallel", 0, "number of GPUs that share the model")
	f.Float32Var(&gmu, "gpu-memory-utilization", 0, "share of each GPU's memory, 0 to 1")
	f.Uint64Var(&vram, "required-vram-mb", 0, "memory that each GPU must have free, in MiB")
	c.addOutput(cmd)
	return cmd
}

// fillLocal works out source, path and name. A relative path is of this machine, and the API wants it absolute.
func fillLocal(req *api.CreateModel, source, path string) error {
	if source != "" {
		s, err := api.ParseModelSource(source)
		if err != nil {
			return &usageError{err}
		}
		req.ModelSource = s
	}
	if path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("make %q absolute: %w", path, err)
		}
		req.ModelPath = abs
		if req.ModelSource == "" {
			req.ModelSource = api.SourceLocal
		}
		if req.ModelName == "" {
			req.ModelName = strings.TrimSuffix(filepath.Base(abs), filepath.Ext(abs))
		}
	}
	if req.ModelName == "" {
		return usagef("which model? Give its NAME, or --path for one on this machine")
	}
	return nil
}

func configOf(set func(string) bool, maxLen, tp uint32, gmu float32, vram uint64) *api.ModelConfig {
	var cfg api.ModelConfig
	if set("max-model-len") {
		cfg.MaxModelLen = &maxLen
	}
	if set("tensor-parallel") {
		cfg.TensorParallelSize = &tp
	}
	if set("gpu-memory-utilization") {
		cfg.GPUMemoryUtilization = &gmu
	}
	if set("required-vram-mb") {
		cfg.RequiredVRAMMB = &vram
	}
	if cfg.MaxModelLen == nil && cfg.TensorParallelSize == nil && cfg.GPUMemoryUtilization == nil && cfg.RequiredVRAMMB == nil {
		return nil
	}
	return &cfg
}

func parseLabels(args []string) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, usagef("label %q must be key=value", a)
		}
		out[k] = v
	}
	return out, nil
}

func (c *command) created(m api.ModelCreated) error {
	next := "start it with: nebula model start " + m.Spec.ModelUID
	if m.Deployment != nil {
		next = "watch it with: nebula model wait " + m.Spec.ModelUID
	}
	_, err := fmt.Fprintf(c.env.Stdout, "Model %s created; %s\n", clean(m.Spec.ModelUID), next)
	return err
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func reasonText(r *api.Reason) string {
	if r == nil {
		return ""
	}
	return clean(r.Message)
}
