package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) modelCommand() *cobra.Command {
	cmd := group("model", "Declare, run and look at models",
		c.modelList(), c.modelGet(), c.modelCreate(), c.modelStart(), c.modelStop(), c.modelScale(), c.modelDelete(), c.modelWait(), c.modelLogs())
	cmd.Aliases = []string{"models"}
	return cmd
}

func (c *command) modelList() *cobra.Command {
	var o client.ListOptions
	var state string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List models", Args: exactly(0, "no argument"),
		Example: "  nebula model list\n  nebula model list --state failed -o wide\n  nebula model list --label team=search -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			o.State = api.ModelState(state)
			models, _, err := cl.Models(cmd.Context(), o)
			if err != nil {
				return err
			}
			return c.print(models, func(wide bool) error { return c.modelTable(models, wide) })
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only models in this state")
	cmd.Flags().StringVar(&o.Label, "label", "", "only models with this label, key=value")
	c.addOutput(cmd)
	return cmd
}

func (c *command) modelTable(models []api.ModelView, wide bool) error {
	if len(models) == 0 {
		fmt.Fprintln(c.env.Stderr, "No models. Declare one with: nebula model create NAME")
		return nil
	}
	header := []string{"UID", "NAME", "STATE", "READY", "ENGINE", "AGE"}
	if wide {
		header = append(header, "NODES", "LABELS", "REASON")
	}
	var rows [][]string
	for _, m := range models {
		row := []string{
			clean(m.ModelUID), clean(m.ModelName), colouredState(m.State), fmt.Sprintf("%d/%d", m.Replicas.Ready, m.Replicas.Desired),
			deref(m.EngineType), age(m.CreatedAtMS, time.Now()),
		}
		if wide {
			row = append(row, endpointNodes(m.Endpoints), labels(m.Labels), reasonText(m.Reason))
		}
		rows = append(rows, row)
	}
	return c.printTable(header, rows)
}

func (c *command) modelGet() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "get UID", Short: "Show one model", Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if watch {
				for d, err := range cl.WatchModel(cmd.Context(), args[0]) {
					if err != nil {
						return err
					}
					if err := c.print(d, func(bool) error { return c.modelDetail(d) }); err != nil {
						return err
					}
				}
				return nil
			}
			d, err := cl.Model(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(d, func(bool) error { return c.modelDetail(d) })
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print it again at every change, until Ctrl-C")
	c.addOutput(cmd)
	return cmd
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
	var wait bool
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
			if err := c.checkOutput(); err != nil {
				return err
			}
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
			made, err := cl.CreateModel(cmd.Context(), req)
			if err != nil {
				return err
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
	f.DurationVar(&timeout, "timeout", defaultWait, "with --wait: how long")
	f.Uint32Var(&replicas, "replicas", 1, "number of replicas, with --start")
	f.StringVar(&req.NodeID, "node", "", "run it on this node only")
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

func (c *command) modelLogs() *cobra.Command {
	var o client.LogOptions
	cmd := &cobra.Command{
		Use: "logs UID", Short: "Show the log of a model's engine", Args: exactly(1, "the model's UID"), ValidArgsFunction: c.completeUID,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			log, err := cl.Logs(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			defer func() { _ = log.Close() }()
			_, err = io.Copy(c.env.Stdout, log)
			if cmd.Context().Err() != nil {
				return cmd.Context().Err()
			}
			return err
		},
	}
	f := cmd.Flags()
	f.Uint32Var(&o.Replica, "replica", 0, "which replica")
	f.IntVar(&o.Tail, "tail", 0, "only the last lines")
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on until Ctrl-C")
	f.BoolVar(&o.Previous, "previous", false, "the engine before this one, after a crash")
	return cmd
}

// completeUID offers the uids that the server knows.
func (c *command) completeUID(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || applyOptions(cmd.Flags(), c.env.Getenv) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	models, _, err := cl.Models(cmd.Context(), client.ListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var uids []string
	for _, m := range models {
		uids = append(uids, m.ModelUID+"\t"+string(m.State))
	}
	return uids, cobra.ShellCompDirectiveNoFileComp
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
