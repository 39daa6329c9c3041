package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// templateConfig are the flags for the fields of a config.
type templateConfig struct {
	maxLen, tp uint32
	gmu        float32
	vram       uint64
	loras      []string
	unset      []string
}

func (s *templateConfig) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint32Var(&s.maxLen, "max-model-len", 0, "context length in tokens")
	f.Uint32Var(&s.tp, "tensor-parallel", 0, "number of GPUs that share the model")
	f.Float32Var(&s.gmu, "gpu-memory-utilization", 0, "share of each GPU's memory, 0 to 1")
	f.Uint64Var(&s.vram, "required-vram-mb", 0, "memory that each GPU must have free, in MiB")
	f.StringArrayVar(&s.loras, "lora", nil, "LoRA adapter, NAME=/path on the node; may be repeated")
	f.StringSliceVar(&s.unset, "unset", nil, "clear a field of the config: "+strings.Join(api.ConfigFields(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("unset", cobra.FixedCompletions(api.ConfigFields(), cobra.ShellCompDirectiveNoFileComp))
}

// config is what the flags say, or nil.
func (s *templateConfig) config(set func(string) bool) *api.ModelConfig {
	cfg := configOf(set, s.maxLen, s.tp, s.gmu, s.vram)
	if cfg == nil && (set("lora") || set("unset")) {
		cfg = &api.ModelConfig{}
	}
	if set("lora") {
		cfg.LoRAModules = s.loras
	}
	if set("unset") {
		cfg.Unset = s.unset
	}
	return cfg
}

// templateFlags are the flags of what a template holds, for create and update.
type templateFlags struct {
	name, description, category, model, source, path, engine, revision, secret, licence, homepage string
	files, labels                                                                                 []string
	replicas                                                                                      uint32
	config                                                                                        templateConfig
}

func (t *templateFlags) addTo(c *command, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.name, "name", "", "name for people")
	f.StringVar(&t.model, "model-name", "", "the model's name at its source, for example Qwen/Qwen3-8B")
	f.StringVar(&t.description, "description", "", "what it is for")
	f.StringVar(&t.category, "category", "", "category: "+api.Spellings(api.TemplateCategories()))
	f.StringVar(&t.source, "source", "", "where the model comes from: huggingface, modelscope or local (default huggingface)")
	f.StringVar(&t.path, "path", "", "local model: the absolute path of a GGUF file or a model folder on the node")
	f.StringVar(&t.engine, "engine", "", "engine: "+strings.Join(api.Engines(), ", ")+" (default: llamacpp for GGUF, else vllm)")
	f.StringVar(&t.revision, "revision", "", "branch, tag or commit at the source")
	f.StringVar(&t.secret, "token-secret", "", "stored secret with the token for a private or gated model")
	f.StringVar(&t.licence, "licence", "", "the model's licence")
	f.StringVar(&t.homepage, "homepage", "", "address of the model's card")
	f.StringArrayVar(&t.files, "file", nil, "file pattern that overrides Nebula's choice of files; may be repeated")
	f.StringArrayVar(&t.labels, "label", nil, "label key=value that its models get; may be repeated")
	f.Uint32Var(&t.replicas, "replicas", 1, "number of replicas that a deployment has when it does not say")
	t.config.addFlags(cmd)
	c.completeFlag(cmd, "category", words(api.TemplateCategories()))
	c.completeFlag(cmd, "engine", api.Engines())
}

// update is what the flags that were given change.
func (t *templateFlags) update(set func(string) bool) (api.UpdateTemplate, error) {
	var u api.UpdateTemplate
	for flag, to := range map[string]struct {
		field **string
		value *string
	}{
		"name": {&u.Name, &t.name}, "description": {&u.Description, &t.description}, "model-name": {&u.ModelName, &t.model}, "path": {&u.ModelPath, &t.path},
		"engine": {&u.EngineType, &t.engine}, "revision": {&u.Revision, &t.revision}, "token-secret": {&u.TokenSecret, &t.secret},
		"licence": {&u.Licence, &t.licence}, "homepage": {&u.Homepage, &t.homepage},
	} {
		if set(flag) {
			*to.field = to.value
		}
	}
	if set("category") {
		u.Category = (*api.TemplateCategory)(&t.category)
	}
	if set("replicas") {
		u.DefaultReplicas = &t.replicas
	}
	if set("file") {
		u.Files = slices.DeleteFunc(t.files, func(f string) bool { return f == "" }) // --file "" clears
	}
	if set("source") {
		s, err := api.ParseModelSource(t.source)
		if err != nil {
			return u, &usageError{err}
		}
		u.ModelSource = &s
	}
	if set("label") {
		l, err := parseLabels(t.labels)
		if err != nil {
			return u, err
		}
		u.Labels = l
	}
	return u, nil
}

func (c *command) templateCreate() *cobra.Command {
	var t templateFlags
	var id string
	replace := false
	cmd := &cobra.Command{
		Use: "create --name NAME --model-name MODEL", Short: "Write a template of your own", Args: exactly(0, "no argument; the name is --name"),
		Example: "  nebula template create --name \"Qwen for search\" --id qwen-search --model-name Qwen/Qwen3-8B --engine vllm --max-model-len 8192\n" +
			"  nebula template create --name Demo --model-name demo --source local --path /models/demo.gguf",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.name == "" || t.model == "" {
				return usagef("what is it to be called, and which model is it? Give --name NAME and --model-name MODEL")
			}
			set := cmd.Flags().Changed
			u, err := t.update(set)
			if err != nil {
				return err
			}
			req := api.CreateTemplate{
				TemplateID: id, Name: t.name, Description: t.description, Category: api.TemplateCategory(t.category), ModelName: t.model, ModelPath: t.path,
				EngineType: t.engine, Config: t.config.config(set), DefaultReplicas: u.DefaultReplicas, Labels: u.Labels, Revision: t.revision, Files: u.Files,
				TokenSecret: t.secret, Licence: t.licence, Homepage: t.homepage,
			}
			if u.ModelSource != nil {
				req.ModelSource = *u.ModelSource
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.CreateTemplate(cmd.Context(), req, replace)
			if err != nil {
				return err
			}
			return c.print(made, func(bool) error {
				return c.say("Template " + made.TemplateID + " created; deploy it with: nebula template deploy " + made.TemplateID)
			})
		},
	}
	t.addTo(c, cmd)
	cmd.Flags().StringVar(&id, "id", "", "id (default: tpl- and a random part)")
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of a template of yours with the same id")
	c.addOutput(cmd)
	return cmd
}

func (c *command) templateUpdate() *cobra.Command {
	var t templateFlags
	var cmd *cobra.Command
	cmd = doCommand(c, doing{
		Use: "update ID", Short: "Change a template of your own", Arg: "the template's ID", Complete: c.completeTemplate,
		Long: "Change a template of your own. What is not named stays as it is; \"\" clears a text, and --unset a field of the config. --file and --label replace\n" +
			"all that there were. Models that were made of it stay as they are.",
		Example: "  nebula template update qwen-search --max-model-len 16384 --unset required_vram_mb\n  nebula template update qwen-search --description \"\"",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			set := cmd.Flags().Changed
			u, err := t.update(set)
			if err != nil {
				return nil, "", err
			}
			over := t.config.config(set)
			out, err := c.changeTemplate(ctx, cl, id, u, over)
			return out, "Template " + id + " is changed", err
		},
	})
	t.addTo(c, cmd)
	return cmd
}

// changeTemplate sends a change. A change of single fields of the config needs the whole of it, as it is now: then nobody may change it meanwhile.
func (c *command) changeTemplate(ctx context.Context, cl *client.Client, id string, u api.UpdateTemplate, over *api.ModelConfig) (api.ModelTemplate, error) {
	if over == nil {
		return cl.UpdateTemplate(ctx, id, u)
	}
	for try := 1; ; try++ {
		now, rev, err := cl.Template(ctx, id)
		if err != nil {
			return now, err
		}
		if err := (&api.ModelDeployment{DesiredState: api.DesiredRunning, Replicas: 1, ConfigOverrides: over}).Validate(); err != nil {
			return now, err
		}
		u.Config = api.EffectiveConfig(&api.ModelSpec{Config: now.Config}, &api.ModelDeployment{ConfigOverrides: over})
		out, err := cl.On(client.Write{IfMatch: rev}).UpdateTemplate(ctx, id, u)
		if !api.HasCode(err, api.CodeRevisionMismatch) || try == maxTries {
			return out, err
		}
	}
}
