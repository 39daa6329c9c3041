package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// The commands of the existing Nebula that know models by the requests that load them.

// isRequestID tells whether name looks like the id of a request: a UUID, as programs write it. A model's uid may look so, too.
func isRequestID(name string) bool {
	_, err := uuid.Parse(name)
	return err == nil && len(name) == len(uuid.UUID{}.String())
}

// requestNamed is the one rule for a name that may be a request's id or a model's uid: it is a request's id if there is such a request, and it is a UUID.
// Whatever else it is, it is a uid.
func requestNamed(requests []api.ModelRequest, name string) (api.ModelRequest, bool) {
	if !isRequestID(name) {
		return api.ModelRequest{}, false
	}
	for _, r := range requests {
		if r.ID == name {
			return r, true
		}
	}
	return api.ModelRequest{}, false
}

// findRequest looks for the request of a name, and asks the server only where there can be one.
func findRequest(ctx context.Context, cl *client.Client, name string) (api.ModelRequest, bool, error) {
	if !isRequestID(name) {
		return api.ModelRequest{}, false, nil
	}
	requests, err := cl.Requests(ctx)
	if err != nil {
		return api.ModelRequest{}, false, err
	}
	r, ok := requestNamed(requests, name)
	return r, ok, nil
}

// modelLoad is create and start in one, by a request whose id it prints.
func (c *command) modelLoad() *cobra.Command {
	req := api.ModelLoadRequest{}
	var maxLen, tp uint32
	var vram uint64
	var gmu float32
	var lora []string
	cmd := &cobra.Command{
		Use: "load --name NAME --uid UID", Short: "Declare and start a model by a request, as the existing Nebula does; see: model create --start",
		Long: "Declare a model and have it run, by a request of version 1, whose id is printed: model unload and scale --id take it, and the model's uid as well.\n" +
			"\"nebula model create --start\" does the same without a request, and takes more options.",
		Args: exactly(0, "no argument, but --name and --uid"), Example: "  nebula model load --name Qwen/Qwen2.5-0.5B-Instruct-GGUF --uid qwen --replicas 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if req.ModelName == "" || req.ModelUID == "" {
				return usagef("which model? Give --name NAME and --uid UID")
			}
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
			made, err := cl.LoadModel(cmd.Context(), req)
			if err != nil {
				return err
			}
			return c.print(made, func(bool) error { return c.loaded(req.ModelUID, made) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.ModelName, "name", "", "name at the source")
	f.StringVar(&req.ModelUID, "uid", "", "uid")
	f.Uint32Var(&req.Replicas, "replicas", 1, "number of replicas")
	f.Uint64Var(&vram, "required-vram-mb", 0, "memory that each GPU must have free, in MiB")
	f.Uint32Var(&tp, "tensor-parallel", 0, "number of GPUs that share the model; --tensor-parallel-size is the same")
	f.Float32Var(&gmu, "gpu-memory-utilization", 0, "share of each GPU's memory, 0 to 1")
	f.Uint32Var(&maxLen, "max-model-len", 0, "context length in tokens")
	f.StringSliceVar(&lora, "lora", nil, "LoRA modules, name=path; may be repeated, or A,B")
	c.addOutput(cmd)
	return cmd
}

// loaded prints a line, and the answer as the existing Nebula did, from which scripts take the request's id.
func (c *command) loaded(uid string, made api.V1Loaded) error {
	b, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	if err := c.say("Model " + uid + " is to be loaded; watch it with: nebula model wait " + uid); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.env.Stdout, string(b))
	return err
}

func (c *command) modelUnload() *cobra.Command {
	return doCommand(c, doing{
		Use: "unload ID", Short: "Stop the model of a request, and forget the request; with a UID the same as: model stop", Arg: "the request's ID, or the model's UID",
		Complete: c.completeUID, Example: "  nebula model unload 0b5d4b0e-7d0f-4c5e-9f6c-6f1b2d3a4e5f\n  nebula model unload qwen",
		Do: func(ctx context.Context, cl *client.Client, name string) (any, string, error) {
			r, ok, err := findRequest(ctx, cl, name)
			if err != nil {
				return nil, "", err
			}
			if ok {
				out, err := cl.UnloadRequest(ctx, name)
				return out, "Model " + r.Request.ModelUID + " is to stop, and then request " + name + " is forgotten", err
			}
			d, err := cl.StopModel(ctx, name)
			return d, "Model " + name + " is to stop; remove it with: nebula model delete " + name, neither(err, name)
		},
	})
}

// neither says of a name that was taken for a uid that it is no request's either.
func neither(err error, name string) error {
	if isRequestID(name) && api.HasCode(err, api.CodeNotFound) {
		return api.Errorf(api.CodeNotFound, "there is no request and no model %s; list models with: nebula model list", name)
	}
	return err
}

// scaleCommand is model scale with the uid, or a request's id, as a flag.
func (c *command) scaleCommand() *cobra.Command {
	cmd := c.modelScale()
	id, byUID, complete := "", cmd.RunE, cmd.ValidArgsFunction
	cmd.Use, cmd.Aliases, cmd.Hidden = "scale --id ID --replicas N", nil, true
	cmd.Short = "Change the number of replicas of a request or a model; see: model scale"
	cmd.Example = "  nebula scale --id my-model --replicas 2"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) == 1 == (id != "") {
			return usagef("which model? Give its UID, or the ID of its request, once, with --id or as argument\nSee: %s --help", cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := append(args, id)[0]
		done, err := c.scaleRequest(cmd, name, byUID)
		if done || err != nil {
			return err
		}
		return neither(byUID(cmd, []string{name}), name)
	}
	cmd.Flags().StringVar(&id, "id", "", "the model's uid, or the id of its request")
	_ = cmd.RegisterFlagCompletionFunc("id", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, nil, typed)
	}) // the flag was just made: it cannot fail
	return cmd
}

// scaleRequest scales the request of a name, if it is one's. What only the model can be asked, a trial and waiting, the command for its uid does.
func (c *command) scaleRequest(cmd *cobra.Command, name string, byUID func(*cobra.Command, []string) error) (done bool, err error) {
	flags := cmd.Flags()
	if !flags.Changed("replicas") || !isRequestID(name) { // the other command says what is missing
		return false, nil
	}
	replicas, err := flags.GetUint32("replicas")
	if err != nil {
		return false, err
	}
	cl, err := c.client()
	if err != nil {
		return false, err
	}
	r, ok, err := findRequest(cmd.Context(), cl, name)
	if err != nil || !ok {
		return false, err
	}
	uid := r.Request.ModelUID
	trial, errTrial := flags.GetBool("dry-run")
	wait, errWait := flags.GetBool("wait")
	timeout, errTimeout := flags.GetDuration("timeout")
	if err := errors.Join(errTrial, errWait, errTimeout); err != nil {
		return true, err
	}
	if trial {
		return true, byUID(cmd, []string{uid})
	}
	out, err := cl.ScaleRequest(cmd.Context(), name, replicas)
	if err != nil {
		return true, err
	}
	line := fmt.Sprintf("Model %s is to run with %s, and not %d", uid, plural(out.NewReplicas, "replica"), out.OldReplicas)
	if err := c.print(out, func(bool) error { return c.say(line) }); err != nil || !wait {
		return true, err
	}
	return true, c.waitFor(cmd.Context(), cl, uid, waitOptions{State: api.StateRunning, All: true, Timeout: timeout})
}
