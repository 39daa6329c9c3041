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

func (c *command) templateCommand() *cobra.Command {
	cmd := group("template", "Models ready to deploy: built in, or your own",
		c.templateList(), c.templateGet(), c.templateDeploy(), c.templateSave(), c.templateCreate(), c.templateUpdate(), c.templateDelete())
	cmd.Aliases = []string{"templates"}
	return cmd
}

// completeTemplate offers the ids of templates.
func (c *command) completeTemplate(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		all, err := cl.Templates(ctx, client.TemplateOptions{})
		return each(all, func(t api.ModelTemplate) string { return t.TemplateID + "\t" + t.Name }), err
	})
}

func (c *command) templateList() *cobra.Command {
	var category, source string
	cmd := listCommand(c, listing[api.ModelTemplate]{
		Short: "List templates", Empty: "No such templates. All of them: nebula template list",
		Example: "  nebula template list\n  nebula template list --category embedding\n  nebula template list --source user -o wide",
		Key:     func(t api.ModelTemplate) string { return t.TemplateID },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.ModelTemplate, error) {
			return cl.Templates(ctx, client.TemplateOptions{Category: api.TemplateCategory(category), Source: api.TemplateSource(source)})
		},
		Columns: templateColumns(),
	})
	cmd.Flags().StringVar(&category, "category", "", "only those of this category: "+api.Spellings(api.TemplateCategories()))
	cmd.Flags().StringVar(&source, "source", "", "only those from there: "+api.Spellings(api.TemplateSources()))
	c.completeFlag(cmd, "category", words(api.TemplateCategories()))
	c.completeFlag(cmd, "source", words(api.TemplateSources()))
	return cmd
}

func templateColumns() []column[api.ModelTemplate] {
	text := func(get func(*api.ModelTemplate) string) func(api.ModelTemplate, time.Time) string {
		return func(t api.ModelTemplate, _ time.Time) string { return get(&t) }
	}
	return []column[api.ModelTemplate]{
		{Title: "ID", Text: text(func(t *api.ModelTemplate) string { return t.TemplateID })},
		{Title: "NAME", Text: text(func(t *api.ModelTemplate) string { return t.Name })},
		{Title: "CATEGORY", Text: text(func(t *api.ModelTemplate) string { return string(t.Category) })},
		{Title: "ENGINE", Text: text(templateEngine)},
		{Title: "MEMORY", Text: text(templateMemory)},
		{Title: "SOURCE", Text: text(func(t *api.ModelTemplate) string { return string(t.Source) })},
		{Title: "MODEL", Wide: true, Text: text(func(t *api.ModelTemplate) string { return t.ModelName })},
		{Title: "LICENCE", Wide: true, Text: text(func(t *api.ModelTemplate) string { return t.Licence })},
	}
}

func templateEngine(t *api.ModelTemplate) string {
	spec := t.Spec()
	return spec.Engine()
}

func templateMemory(t *api.ModelTemplate) string {
	if t.MemoryBytes == 0 {
		return ""
	}
	return size(t.MemoryBytes)
}

func (c *command) templateGet() *cobra.Command {
	return showCommand(c, showing[api.ModelTemplate]{
		Use: "get ID", Short: "Show one template", Arg: "the template's ID", Complete: c.completeTemplate,
		Example: "  nebula template get qwen3-8b\n  nebula template get qwen3-8b -o yaml",
		Fetch: func(ctx context.Context, cl *client.Client, id string) (api.ModelTemplate, error) {
			t, _, err := cl.Template(ctx, id)
			return t, err
		},
		Detail: c.templateDetail,
	})
}

func (c *command) templateDetail(t api.ModelTemplate) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name+":", clean(value))
		}
	}
	line("ID", t.TemplateID)
	line("Name", t.Name)
	line("About", t.Description)
	line("Category", string(t.Category))
	line("Model", t.ModelName)
	line("From", string(t.ModelSource))
	line("Path", t.ModelPath)
	line("Revision", t.Revision)
	line("Files", strings.Join(t.Files, ", "))
	line("Engine", templateEngine(&t))
	line("Config", configText(t.Config))
	line("Replicas", fmt.Sprint(t.DefaultReplicas))
	line("Labels", labels(t.Labels))
	line("Memory", templateMemory(&t))
	if t.Parameters > 0 {
		line("Parameters", fmt.Sprintf("%.3g billion", float64(t.Parameters)/1e9))
	}
	if t.ContextLength > 0 {
		line("Context", fmt.Sprintf("%d tokens at most", t.ContextLength))
	}
	line("Licence", t.Licence)
	line("Homepage", t.Homepage)
	line("Source", string(t.Source))
	return c.printStyled(b.String())
}

// configText names what a config sets, as its flags are called.
func configText(cfg *api.ModelConfig) string {
	if cfg == nil {
		return ""
	}
	var parts []string
	add := func(name string, v any) { parts = append(parts, fmt.Sprintf("%s=%v", name, v)) }
	if v := cfg.TensorParallelSize; v != nil {
		add(api.ConfigTensorParallelSize, *v)
	}
	if v := cfg.GPUMemoryUtilization; v != nil {
		add(api.ConfigGPUMemoryUtilization, *v)
	}
	if v := cfg.MaxModelLen; v != nil {
		add(api.ConfigMaxModelLen, *v)
	}
	if v := cfg.RequiredVRAMMB; v != nil {
		add(api.ConfigRequiredVRAMMB, *v)
	}
	if cfg.LoRAModules != nil {
		add(api.ConfigLoRAModules, strings.Join(cfg.LoRAModules, ","))
	}
	return strings.Join(parts, ", ")
}

func (c *command) templateDelete() *cobra.Command {
	return doCommand(c, doing{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "Forget a template of your own; models that were made of it stay", Arg: "the template's ID",
		Complete: c.completeTemplate, Example: "  nebula template delete my-qwen",
		Do: func(ctx context.Context, cl *client.Client, id string) (any, string, error) {
			return api.TemplateDeleted{TemplateID: id, Status: "deleted"}, "Template " + id + " is deleted", cl.DeleteTemplate(ctx, id)
		},
	})
}

func (c *command) templateSave() *cobra.Command {
	var req api.SaveTemplate
	var category string
	replace := false
	cmd := doCommand(c, doing{
		Use: "save UID --name NAME", Short: "Make a template of a model, with the configuration that it runs with", Arg: "the model's UID", Complete: c.completeUID,
		Example: "  nebula template save qwen --name \"Qwen for the search team\" --id qwen-search",
		Do: func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
			if req.Name == "" {
				return nil, "", usagef("what is it to be called? Give --name NAME")
			}
			req.Category = api.TemplateCategory(category)
			t, err := cl.SaveTemplate(ctx, uid, req, replace)
			return t, "Template " + t.TemplateID + " saved; deploy it with: nebula template deploy " + t.TemplateID, err
		},
	})
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "name for people")
	f.StringVar(&req.TemplateID, "id", "", "id (default: tpl- and a random part)")
	f.StringVar(&req.Description, "description", "", "what it is for")
	f.StringVar(&category, "category", "", "category: "+api.Spellings(api.TemplateCategories()))
	f.BoolVar(&replace, "replace", false, "take the place of a template of yours with the same id")
	c.completeFlag(cmd, "category", words(api.TemplateCategories()))
	return cmd
}

func (c *command) templateDeploy() *cobra.Command {
	var req api.DeployTemplate
	var settings templateConfig
	var replicas uint32
	var gpuArgs []uint
	var wait, dryRun bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "deploy ID", Short: "Declare a model as a template says, and start it", Args: exactly(1, "the template's ID"), ValidArgsFunction: c.completeTemplate,
		Example: "  nebula template deploy qwen3-4b-gguf --wait\n  nebula template deploy qwen3-8b --uid qwen --replicas 2 --max-model-len 8192\n" +
			"  nebula template deploy bge-m3 --unset gpu_memory_utilization",
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("replicas") {
				req.Replicas = &replicas
			}
			req.ConfigOverrides = settings.config(cmd.Flags().Changed)
			for _, g := range gpuArgs {
				req.GPUIndices = append(req.GPUIndices, uint32(g))
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.On(client.Write{DryRun: dryRun}).DeployTemplate(cmd.Context(), args[0], req)
			if err != nil {
				return err
			}
			if dryRun {
				return c.print(made, func(bool) error { return c.foretold(made) })
			}
			if err := c.print(made, func(bool) error { return c.created(made) }); err != nil || !wait {
				return err
			}
			return c.waitFor(cmd.Context(), cl, made.Spec.ModelUID, waitOptions{State: api.StateRunning, Timeout: timeout})
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.ModelUID, "uid", "", "uid of the model (default: made of its name)")
	f.Uint32Var(&replicas, "replicas", 1, "number of replicas (default: the template's)")
	f.StringVar(&req.NodeID, "node", "", "run it on this node only")
	f.UintSliceVar(&gpuArgs, "gpu", nil, "run it on these GPUs of the node")
	f.BoolVar(&wait, "wait", false, "wait until it runs")
	f.BoolVar(&dryRun, "dry-run", false, "check it and say where it would go, and declare nothing")
	f.DurationVar(&timeout, "timeout", defaultWait, "with --wait: how long")
	settings.addFlags(cmd)
	c.addOutput(cmd)
	return cmd
}
