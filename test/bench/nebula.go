package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// How long parts of a start may take on a busy machine.
const (
	readyLimit   = time.Minute
	runningLimit = 2 * time.Minute
)

// nebula is one "nebula up".
type nebula struct {
	*process
	addr   string
	token  string
	client *client.Client
}

// startNebula starts one on a data directory and returns at once. bin comes first on its PATH.
func startNebula(o options, data, bin, llamaServer string) (*nebula, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(o.nebula, "up", "--data-dir", data, "--listen", addr, "--llama-server", llamaServer,
		"--drain-timeout", "2s", "--log-format", "json")
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + o.dir}
	p, err := start(cmd, data+".log")
	if err != nil {
		return nil, err
	}
	return &nebula{process: p, addr: addr}, nil
}

// ready waits until Nebula takes requests.
func (n *nebula) ready(ctx context.Context, data string) error {
	return n.await(ctx, "nebula up takes requests", readyLimit, func(ctx context.Context) error {
		b, err := os.ReadFile(filepath.Join(data, "admin.token"))
		if err != nil {
			return err
		}
		n.token = strings.TrimSpace(string(b))
		n.client = client.New("http://"+n.addr, n.token)
		return n.client.Ready(ctx)
	})
}

// declare creates a model, waits until it runs and returns the address of its engine.
func (n *nebula) declare(ctx context.Context, uid, engine, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runningLimit)
	defer cancel()
	_, err := n.client.CreateModel(ctx, api.CreateModel{
		ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal, ModelPath: path, EngineType: engine, AutoStart: true,
	})
	if err != nil {
		return "", err
	}
	for d, err := range n.client.WatchModel(ctx, uid) {
		switch {
		case err != nil:
			return "", fmt.Errorf("wait for the model %s: %w", uid, err)
		case d.State == api.StateFailed:
			return "", fmt.Errorf("the model %s is %s: %s", uid, d.State, d.Reason.Message)
		case d.State == api.StateRunning && len(d.Endpoints) > 0 && d.Endpoints[0].BaseURL != nil:
			addr, _, _ := strings.Cut(strings.TrimPrefix(*d.Endpoints[0].BaseURL, "http://"), "/")
			return addr, nil
		}
	}
	return "", errors.New("the watch ended without an error")
}

// demoModel writes a model for llama.cpp.
func demoModel(ctx context.Context, o options) (string, error) {
	out, err := exec.CommandContext(ctx, o.nebula, "demo-model", o.dir, "--reply", "one two three four five six seven eight").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("write the demo model: %w: %s", err, out)
	}
	return filepath.Join(o.dir, "demo.gguf"), nil
}

// tensorModel writes a folder that passes for a model of vLLM.
func tensorModel(dir string) (string, error) {
	dir = filepath.Join(dir, "tensors")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	header := `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	weights := string([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}) + header + "\x00\x00\x00\x00"
	return dir, errors.Join(
		os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","max_position_embeddings":2048}`), 0o644),
		os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte(weights), 0o644))
}
