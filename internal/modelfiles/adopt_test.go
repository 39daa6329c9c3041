package modelfiles

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/test/hub"
)

// place writes a file below dir.
func place(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func info(t *testing.T, name string) fs.FileInfo {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// TestFetch_adoptsFromOthers: what another program has of a model is used instead of fetched: from the Hub's cache of its own client, and from each
// generation of ModelScope's tools. What is not what it says is fetched. Nothing there changes.
func TestFetch_adoptsFromOthers(t *testing.T) {
	content := ggufFile(300_000, 1)
	hash := fmt.Sprintf("%x", sum256(content))
	wrong := bytes.Clone(content)
	wrong[1000] ^= 1
	for _, c := range []struct {
		name, at string
		content  []byte
		mode     fs.FileMode
		fetched  bool
		same     bool // the cache has the same file, not a copy
	}{
		{"the Hub's client", "models--org--model/blobs/" + hash, content, 0o644, false, true},
		{"another repository of the Hub's client", "models--who--ever/blobs/" + hash, content, 0o644, false, true},
		{"a file that others may write to", "models--org--model/blobs/" + hash, content, 0o666, false, false},
		{"ModelScope until 1.20", "hub/org/model/a.gguf", content, 0o644, false, false},
		{"ModelScope until 1.20 with MODELSCOPE_CACHE", "org/model/a.gguf", content, 0o644, false, false},
		{"ModelScope until 1.37", "hub/models/org/model/a.gguf", content, 0o644, false, false},
		{"ModelScope until 1.37 with MODELSCOPE_CACHE", "models/org/model/a.gguf", content, 0o644, false, false},
		{"ModelScope 2.0", "models/org--model/snapshots/master/a.gguf", content, 0o644, false, false},
		{"a flipped bit", "models--org--model/blobs/" + hash, wrong, 0o644, true, false},
		{"another length", "hub/org/model/a.gguf", content[:len(content)-1], 0o644, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hub.Start(t, one("a.gguf", content))
			theirs := t.TempDir()
			file := place(t, theirs, c.at, c.content)
			if err := os.Chmod(file, c.mode); err != nil {
				t.Fatal(err)
			}
			before, names := info(t, file), tree(t, theirs)
			s := newStore(t, h, func(cfg *Config) { cfg.AdoptFrom = []string{theirs} })
			var last Progress
			m, err := s.Fetch(t.Context(), llama(), func(p Progress) { last = p })
			if err != nil {
				t.Fatal(err)
			}
			same(t, m, map[string][]byte{"a.gguf": content})
			if sent := h.Sent(); sent > 0 != c.fetched {
				t.Errorf("the hub sent %d bytes", sent)
			}
			if reused := uint64(len(content)); !c.fetched && (last.ReusedBytes != reused || last.NetworkBytes != 0) {
				t.Errorf("%+v, want %d reused bytes", last, reused)
			}
			after := info(t, file)
			if after.ModTime() != before.ModTime() || after.Mode() != before.Mode() || tree(t, theirs) != names {
				t.Errorf("it was changed: %v, then %v", before, after)
			}
			if got := os.SameFile(after, info(t, m.Path)); got != c.same {
				t.Errorf("the same file: %t, want %t", got, c.same)
			}
			if left := tree(t, s.cfg.CacheDir); strings.Contains(left, ".incomplete") || strings.Contains(left, ".nebula.") {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

// TestFetch_adoptsWithoutSpace: a model that is on the disk already needs no more of it.
func TestFetch_adoptsWithoutSpace(t *testing.T) {
	content := ggufFile(6<<20, 1)
	h := hub.Start(t, one("a.gguf", content))
	dir := mountDisk(t, "size=10m")
	place(t, filepath.Join(dir, "theirs"), fmt.Sprintf("models--org--model/blobs/%x", sum256(content)), content)
	s := newStore(t, h, func(c *Config) {
		c.CacheDir, c.AdoptFrom = filepath.Join(dir, "ours"), []string{filepath.Join(dir, "theirs")}
	})
	mustFetch(t, s, llama(), map[string][]byte{"a.gguf": content})
}

// TestFetch_adoptsAcrossDisks: from another disk it is copied, and verified.
func TestFetch_adoptsAcrossDisks(t *testing.T) {
	content := ggufFile(2<<20, 1)
	h := hub.Start(t, one("a.gguf", content))
	theirs := t.TempDir()
	place(t, theirs, fmt.Sprintf("models--org--model/blobs/%x", sum256(content)), content)
	s := newStore(t, h, func(c *Config) { c.CacheDir, c.AdoptFrom = mountDisk(t, "size=10m"), []string{theirs} })
	mustFetch(t, s, llama(), map[string][]byte{"a.gguf": content})
	if h.Sent() != 0 {
		t.Errorf("%d bytes were fetched", h.Sent())
	}
}

// TestFetch_adoptsFromItself: a file that another repository of this node has is not fetched again, and outlives that repository.
func TestFetch_adoptsFromItself(t *testing.T) {
	content := ggufFile(100_000, 1)
	h := hub.Start(t, one("a.gguf", content), hub.Repo{ID: "other/copy", Files: map[string][]byte{"b.gguf": content}})
	s := newStore(t, h)
	first := mustFetch(t, s, llama(), map[string][]byte{"a.gguf": content})
	sent := h.Sent()
	req := llama()
	req.Spec.ModelName = "other/copy"
	second := mustFetch(t, s, req, map[string][]byte{"b.gguf": content})
	if again := h.Sent() - sent; again != 0 {
		t.Errorf("%d bytes were fetched again", again)
	}
	if !os.SameFile(info(t, first.Path), info(t, second.Path)) {
		t.Error("it takes the space twice")
	}
	p, err := s.Look(t.Context(), nil)
	if err != nil || p.Disk.ModelCacheBytes != uint64(len(content)) || len(p.Models) != 2 || p.Models[1].SizeBytes != uint64(len(content)) {
		t.Errorf("%+v %+v: %v", p.Disk, p.Models, err)
	}
	if err := os.RemoveAll(filepath.Join(s.cfg.CacheDir, "hub", "models--org--model")); err != nil {
		t.Fatal(err)
	}
	same(t, second, map[string][]byte{"b.gguf": content})
}
