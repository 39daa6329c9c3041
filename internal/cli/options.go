package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

const defaultDirHelp = "$XDG_DATA_HOME/nebula or ~/.local/share/nebula"

// alsoEnv marks a flag that other tools' variables set too.
const alsoEnv = "also-env"

// applyOptions fills in what the command line left open. Every flag is an option: --listen is NEBULA_LISTEN in the environment and
// listen in the file; the command line wins over the environment, and that over the file.
func applyOptions(flags *pflag.FlagSet, getenv func(string) string) error {
	file, err := readOptionFile(flags, getenv)
	if err != nil {
		return err
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		value, from := getenv(envName(f.Name)), envName(f.Name)
		for _, name := range f.Annotations[alsoEnv] {
			if value == "" {
				value, from = getenv(name), name
			}
		}
		if v, ok := file[f.Name]; ok && value == "" {
			value, from = optionText(v), "the option file"
		}
		if value == "" {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			err = errors.Join(err, usagef("%s from %s: %w", f.Name, from, e))
		}
	})
	return err
}

// optionText is a value of the option file as the command line would have it: a list is joined by commas.
func optionText(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	var parts []string
	for _, item := range list {
		parts = append(parts, fmt.Sprint(item))
	}
	return strings.Join(parts, ",")
}

func envName(flag string) string {
	return "NEBULA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func readOptionFile(flags *pflag.FlagSet, getenv func(string) string) (map[string]any, error) {
	path, _ := flags.GetString("config") // absent only in commands without options
	if path == "" {
		path = getenv(envName("config"))
	}
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("read the option file: %w", err)
	}
	out := map[string]any{}
	if err := yaml.UnmarshalStrict(b, &out); err != nil {
		return nil, usagef("the option file %s is not valid YAML: %w", path, err)
	}
	return out, nil
}

// dataDir is where Nebula keeps its data on this machine.
func (c *command) dataDir() (string, error) {
	dir := c.dir
	if dir == "" {
		base := c.env.Getenv("XDG_DATA_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fmt.Errorf("find the data directory: %w; name one with --data-dir", err)
			}
			base = filepath.Join(home, ".local", "share")
		}
		dir = filepath.Join(base, "nebula")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the data directory: %w", err)
	}
	return abs, nil
}
