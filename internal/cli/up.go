package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/internal/app"
	"github.com/nebula-serve/nebula/internal/demomodel"
)

func (c *command) upCommand() *cobra.Command {
	var o app.Options
	var logLevel, logFormat, tokenFile string
	cmd := &cobra.Command{
		Use: "up", Short: "Run all of Nebula on this machine, until Ctrl-C",
		Long: "Run the API, the OpenAI-compatible endpoint, the scheduler, the node agent and the store in one go, on one port.\n\n" +
			"It needs no configuration. Data is kept in the data directory, and so is admin.token, the credential that the other commands on\n" +
			"this machine find by themselves. Every flag may also be set as NEBULA_NAME in the environment or name: value in the file of --config.",
		Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := c.logger(logLevel, logFormat)
			if err != nil {
				return err
			}
			if o.DataDir, err = c.dataDir(); err != nil {
				return err
			}
			if o.Exe, err = os.Executable(); err != nil {
				return fmt.Errorf("find nebula's own program file: %w", err)
			}
			if o.HFToken, err = hfToken(tokenFile, c.env.Getenv); err != nil {
				return err
			}
			o.Log, o.Version = log, ownVersion()
			return c.up(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8081", "address for the API and /v1")
	f.StringVar(&o.NodeID, "node-id", "", "name of this machine (default: its host name)")
	f.StringSliceVar(&o.AllowedHosts, "allowed-host", nil, "host name, beside addresses and localhost, that callers may use")
	f.StringVar(&o.ModelDir, "model-dir", "", "where downloaded models are kept (default: models in the data directory)")
	f.StringVar(&o.LlamaServer, "llama-server", "", "llama-server's program file (default: the one on the PATH)")
	f.StringVar(&o.HFEndpoint, "hf-endpoint", "https://huggingface.co", "Hugging Face or a mirror of it")
	f.StringVar(&tokenFile, "hf-token-file", "", "file with a Hugging Face token, for gated models")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", time.Minute, "how long requests in flight may take to finish when a replica stops")
	f.BoolVar(&o.KeepEngines, "keep-engines", false, "on Ctrl-C leave the engines running for the next start")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&logFormat, "log-format", "auto", "text, json, or auto: text on a terminal")
	// The flags were just made: annotating them cannot fail.
	_ = f.SetAnnotation("hf-endpoint", alsoEnv, []string{"HF_ENDPOINT"})
	_ = f.SetAnnotation("hf-token-file", alsoEnv, []string{"HF_TOKEN_PATH"})
	return cmd
}

// hfToken reads the token from its file, else from the variable that Hugging Face's own tools use.
func hfToken(file string, getenv func(string) string) (string, error) {
	if file == "" {
		return strings.TrimSpace(getenv("HF_TOKEN")), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("read the Hugging Face token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// up runs the app and tells people where it is.
func (c *command) up(ctx context.Context, o app.Options) error {
	o.Started = func(info app.Info) {
		if info.TokenCreated {
			fmt.Fprintf(c.env.Stderr, "Admin credential written to %s (only you can read it).\n", info.TokenFile)
		}
		fmt.Fprintf(c.env.Stderr, "Nebula is up at %s (OpenAI API at %s/v1). Ctrl-C stops it.\n", info.URL, info.URL)
	}
	err := app.Up(ctx, o)
	if held, ok := errors.AsType[*app.InUseError](err); ok {
		fmt.Fprintln(c.env.Stderr, "Error:", held)
		return &quiet{exitConflict}
	}
	return err
}

const exitConflict = 4

func (c *command) logger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("log level %q is unknown: use debug, info, warn or error", level)
	}
	tty := terminal(c.env.Stderr)
	switch {
	case format == "json", format == "auto" && !tty:
		return slog.New(slog.NewJSONHandler(c.env.Stderr, &slog.HandlerOptions{Level: l})), nil
	case format == "text", format == "auto":
		return slog.New(tint.NewTextHandler(c.env.Stderr, &tint.Options{Level: l, TimeFormat: time.TimeOnly, NoColor: !tty})), nil
	}
	return nil, usagef("log format %q is unknown: use text, json or auto", format)
}

// writeDemoModel writes the demo model into a folder and returns its absolute path.
func writeDemoModel(dir string, o demomodel.Options) (string, error) {
	if o.Name == "" || strings.ContainsAny(o.Name, "/\\\x00") || strings.HasPrefix(o.Name, ".") {
		return "", usagef("%q is not a usable file name", o.Name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, o.Name+".gguf"))
	if err != nil {
		return "", fmt.Errorf("make the path absolute: %w", err)
	}
	if err := demomodel.WriteFile(path, o); err != nil {
		return "", err
	}
	return path, nil
}
