package modelfiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/test/hub"
)

// TestFetch_hostileNames: a name that could leave its folder spoils the whole listing, on both hubs, and nothing is written.
func TestFetch_hostileNames(t *testing.T) {
	names := []string{
		"../x.gguf", "/etc/x.gguf", "a/../../x.gguf", `C:\x.gguf`, `a\..\b.gguf`, "a\x00b.gguf", ".", "..", "a//b.gguf", "a/./b.gguf", "./x.gguf", "x.gguf/",
		strings.Repeat("n", 256), strings.Repeat("d/", 2100) + "x.gguf", "a.gguf/x", "a\nb", "a\u202eb",
	}
	for source, change := range map[api.ModelSource]func(*hub.Hub) func(*Config){
		api.SourceHuggingFace: func(*hub.Hub) func(*Config) { return func(*Config) {} },
		api.SourceModelScope:  atScope,
	} {
		for _, name := range names {
			repo := one("a.gguf", ggufFile(100, 1))
			repo.Listed = []hub.Listed{{Path: name, Size: 3}}
			h := hub.Start(t, repo)
			s := newStore(t, h, change(h))
			req := llama()
			req.Spec.ModelSource = source
			_, err := s.Fetch(t.Context(), req, nil)
			if e, ok := fail.As(err); !ok || e.Reason != fail.UnsafeName || !e.Final {
				t.Errorf("%s, %q: %v", source, name, err)
			}
			unpublished(t, s)
			h.Close()
		}
	}
}

// TestFetch_hostileLinks: links that somebody planted where a snapshot goes lead nothing out of the repository's folder.
func TestFetch_hostileLinks(t *testing.T) {
	for _, planted := range []string{"snapshots", "snapshots/COMMIT", "snapshots/COMMIT/sub"} {
		outside := t.TempDir()
		files := map[string][]byte{"sub/a.gguf": ggufFile(100, 1)}
		h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
		s := newStore(t, h)
		m := mustFetch(t, s, llama(), files)
		at := filepath.Join(s.cfg.CacheDir, "hub", "models--org--model", strings.Replace(planted, "COMMIT", m.Commit, 1))
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, at); err != nil {
			t.Fatal(err)
		}
		if _, err := again(t, s).Fetch(t.Context(), llama(), nil); err == nil {
			t.Errorf("%s is a link: fetched", planted)
		}
		if all, err := os.ReadDir(outside); err != nil || len(all) > 0 {
			t.Errorf("%s is a link: written outside: %v %v", planted, all, err)
		}
	}
}
