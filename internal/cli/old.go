package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// The commands of the existing Nebula that have another name here. They do the same by the routes of today, or say what to do instead.

// modelLoad is create and start in one.
func (c *command) modelLoad() *cobra.Command {
	var req api.CreateModel
	var replicas, maxLen, tp uint32
	var vram uint64
	var gmu float32
	var lora []string
	cmd := &cobra.Command{
		Use: "load --name NAME --uid UID", Short: "Declare and start a model; the same as: model create --start", Args: exactly(0, "no argument, but --name and --uid"),
		Example: "  nebula model load --name Qwen/Qwen2.5-0.5B-Instruct-GGUF --uid qwen --replicas 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.ModelName == "" || req.ModelUID == "" {
				return usagef("which model? Give --name NAME and --uid UID")
			}
			req.AutoStart, req.Replicas = true, &replicas
			req.Config = configOf(cmd.Flags().Changed, maxLen, tp, gmu, vram)
			if len(lora) > 0 {
				if req.Config == nil {
					req.Config = &api.ModelConfig{}
				}
				req.Config.LoRAModules = lora
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			made, err := cl.CreateModel(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.print(made, func(bool) error { return c.created(made) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.ModelName, "name", "", "name at the source")
	f.StringVar(&req.ModelUID, "uid", "", "uid")
	f.Uint32Var(&replicas, "replicas", 1, "number of replicas")
	f.Uint64Var(&vram, "required-vram-mb", 0, "memory that each GPU must have free, in MiB")
	f.Uint32Var(&tp, "tensor-parallel-size", 0, "number of GPUs that share the model")
	f.Float32Var(&gmu, "gpu-memory-utilization", 0, "share of each GPU's memory, 0 to 1")
	f.Uint32Var(&maxLen, "max-model-len", 0, "context length in tokens")
	f.StringSliceVar(&lora, "lora", nil, "LoRA modules, name=path; may be repeated, or A,B")
	c.addOutput(cmd)
	return cmd
}

func (c *command) modelUnload() *cobra.Command {
	return doCommand(c, doing{
		Use: "unload UID", Short: "Stop a model; the same as: model stop", Arg: "the model's UID", Complete: c.completeUID, Example: "  nebula model unload qwen",
		Long: "Stop a model. The existing Nebula took the id of a load request here; requests have no ids of their own any more, models have uids.",
		Do: func(ctx context.Context, cl *client.Client, uid string) (any, string, error) {
			d, err := cl.StopModel(ctx, uid)
			if api.HasCode(err, api.CodeNotFound) || api.HasCode(err, api.CodeInvalidUID) {
				err = api.Errorf(api.CodeNotFound, "no model has the uid %.80q: ids of load requests are no longer used, look for the model with: nebula model list", uid)
			}
			return d, "Model " + uid + " is to stop; remove it with: nebula model delete " + uid, err
		},
	})
}

// scaleCommand is model scale with the uid as a flag.
func (c *command) scaleCommand() *cobra.Command {
	cmd := c.modelScale()
	id, do, complete := "", cmd.RunE, cmd.ValidArgsFunction
	cmd.Use, cmd.Aliases, cmd.Hidden = "scale --id UID --replicas N", nil, true
	cmd.Short = "Change the number of replicas; the same as: model scale"
	cmd.Example = "  nebula scale --id my-model --replicas 2"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) == 1 == (id != "") {
			return usagef("which model? Give its UID once, with --id or as argument\nSee: %s --help", cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return do(cmd, append(args, id)[:1]) }
	cmd.Flags().StringVar(&id, "id", "", "the model's uid")
	_ = cmd.RegisterFlagCompletionFunc("id", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, nil, typed)
	}) // the flag was just made: it cannot fail
	return cmd
}

// logsCommand is model logs.
func (c *command) logsCommand() *cobra.Command {
	cmd := c.modelLogs()
	logs := cmd.RunE
	cmd.Use, cmd.Short = "logs [UID]", "Show the log of a model's engine; the same as: model logs"
	cmd.Example = "  nebula logs my-model --lines 100 -f"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("%s takes one UID\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return logs(cmd, args)
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		models, _, err := cl.Models(cmd.Context(), client.ListOptions{})
		if err != nil {
			return err
		}
		if len(models) != 1 {
			return usagef("whose log? Give the UID of one of your %s; a server writes its own log where it was started\nSee: %s --help",
				plural(uint32(len(models)), "model"), cmd.CommandPath())
		}
		return logs(cmd, []string{models[0].ModelUID})
	}
	return cmd
}

func (c *command) metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "metrics", Short: "Print the server's metrics, in the format of Prometheus", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			res, err := cl.Do(cmd.Context(), http.MethodGet, "/metrics", nil, nil)
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			if _, err = io.Copy(c.env.Stdout, res.Body); err != nil {
				return fmt.Errorf("print the metrics: %w", err)
			}
			return nil
		},
	}
}

// drainCommand of one replica has no counterpart: what it was for has.
func (c *command) drainCommand() *cobra.Command {
	var uid string
	var replica uint32
	cmd := &cobra.Command{
		Use: "drain --model-uid UID --replica-id N", Short: "Told what to do instead: one replica alone is not drained", Hidden: true, Args: exactly(0, "no argument"),
		Example: "  nebula drain --model-uid my-model --replica-id 0",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a single replica cannot be drained: to empty a machine use nebula node drain NODE, to run fewer replicas nebula model scale UID --replicas N; " +
				"both let requests in flight finish")
		},
	}
	cmd.Flags().StringVar(&uid, "model-uid", "", "the model's uid")
	cmd.Flags().Uint32Var(&replica, "replica-id", 0, "the replica")
	return cmd
}
