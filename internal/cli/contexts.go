package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"sigs.k8s.io/yaml"

	"github.com/nebula-serve/nebula/api"
)

// contexts are the clusters that this person works with, as config.yaml in their configuration directory keeps them. The file holds
// credentials: nobody else may read it.
type contexts struct {
	Current  string                 `json:"current,omitempty"`
	Contexts map[string]contextItem `json:"contexts,omitempty"`
}

// contextItem is one cluster.
type contextItem struct {
	Server string    `json:"server"`
	Token  api.Token `json:"token,omitempty"`   // goes to Server and nowhere else
	KeyID  string    `json:"key_id,omitempty"`  // of a token that "nebula login" made, so that "nebula logout" can revoke it
	User   string    `json:"user,omitempty"`    // whose it is, for people
	CA     string    `json:"ca_data,omitempty"` // certificate authority of Server in PEM; empty = those of the system
}

const (
	maxContextFile = 1 << 20
	onlyOwner      = 0o600
)

// contextName is what a context may be called.
var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,62}$`)

func checkContextName(name string) error {
	if !contextName.MatchString(name) {
		return usagef("%.80q is not a usable name for a context: use up to 63 letters, digits, '.', '_', ':', '@' and '-', a letter or digit first", name)
	}
	return nil
}

// contextPath is where the contexts are kept.
func (c *command) contextPath() (string, error) {
	base := c.env.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) { // as the XDG specification says
		home := c.env.Getenv("HOME")
		if home == "" {
			var err error
			if home, err = os.UserHomeDir(); err != nil {
				return "", fmt.Errorf("find the configuration directory: %w; set XDG_CONFIG_HOME", err)
			}
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "nebula", "config.yaml"), nil
}

// readContexts reads the contexts; there are none where there is no file.
func (c *command) readContexts() (contexts, error) {
	path, err := c.contextPath()
	if err != nil {
		return contexts{}, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return contexts{}, nil
	}
	if err != nil {
		return contexts{}, fmt.Errorf("read your contexts: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return contexts{}, fmt.Errorf("read your contexts: %w", err)
	}
	if !info.Mode().IsRegular() {
		return contexts{}, fmt.Errorf("%s should be a file with your contexts, and is none: move it away", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return contexts{}, fmt.Errorf("%s holds credentials and can be read by others: run chmod 600 %s, and replace the tokens in it if others use this machine", path, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxContextFile+1))
	if err != nil {
		return contexts{}, fmt.Errorf("read your contexts: %w", err)
	}
	if len(b) > maxContextFile {
		return contexts{}, fmt.Errorf("%s is too large for a file with contexts: move it away, and log in again", path)
	}
	return parseContexts(path, b)
}

// parseContexts reads the file. What its errors say of the content is where it is wrong, never what stands there.
func parseContexts(path string, b []byte) (contexts, error) {
	var out contexts
	if err := yaml.UnmarshalStrict(b, &out); err != nil {
		return contexts{}, fmt.Errorf("%s cannot be read: it is no YAML, or has fields that this version does not know; repair it, or move it away and log in again", path)
	}
	for name, item := range out.Contexts {
		if err := checkContextName(name); err != nil {
			return contexts{}, fmt.Errorf("%s: %w", path, err)
		}
		if _, err := serverURL(item.Server); err != nil {
			return contexts{}, fmt.Errorf("%s: context %s: %w", path, name, err)
		}
	}
	if _, ok := out.Contexts[out.Current]; out.Current != "" && !ok {
		return contexts{}, fmt.Errorf("%s: the current context %.80q is not in it: choose one with: nebula context use NAME", path, out.Current)
	}
	return out, nil
}

// changeContexts reads the contexts, lets change do its work and writes them, as one step: two commands at once both count.
func (c *command) changeContexts(change func(*contexts) error) error {
	path, err := c.contextPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write your contexts: %w", err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(onlyOwner))
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("write your contexts: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	all, err := c.readContexts()
	if err != nil {
		return err
	}
	if all.Contexts == nil {
		all.Contexts = map[string]contextItem{}
	}
	if err := change(&all); err != nil {
		return err
	}
	b, err := yaml.Marshal(all)
	if err != nil {
		return fmt.Errorf("write your contexts: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // somebody keeps it elsewhere
	}
	head := []byte("# Clusters that you work with; kept by \"nebula login\" and \"nebula context\". It holds credentials: give it to nobody.\n")
	if err := renameio.WriteFile(path, bytes.Join([][]byte{head, b}, nil), onlyOwner); err != nil {
		return fmt.Errorf("write your contexts: %w", err)
	}
	return nil
}

// find returns the named context, or says which ones there are.
func (all *contexts) find(name string) (contextItem, error) {
	item, ok := all.Contexts[name]
	if !ok {
		return item, api.Errorf(api.CodeNotFound, "there is no context %.80q%s; list them with \"nebula context list\", add one with \"nebula login\"",
			name, didYouMean(name, all.names()))
	}
	return item, nil
}

func (all *contexts) names() []string { return slices.Sorted(maps.Keys(all.Contexts)) }
