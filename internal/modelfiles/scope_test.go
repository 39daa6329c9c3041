package modelfiles

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/test/hub"
)

func scoped(req Request) Request {
	req.Spec.ModelSource = api.SourceModelScope
	return req
}

func atScope(h *hub.Hub) func(*Config) { return func(c *Config) { c.Scope = h.ScopeURL } }

var tensorRepo = map[string][]byte{
	"config.json": []byte(`{}`), "model.safetensors": tensors(big, 1), "tokenizer.json": []byte(`{"a":1}`), ".gitattributes": []byte("x"), "pytorch_model.bin": random(9, 1),
}

func taken(repo map[string][]byte, names ...string) map[string][]byte {
	out := maps.Clone(repo)
	maps.DeleteFunc(out, func(name string, _ []byte) bool { return !slices.Contains(names, name) })
	return out
}

func TestScope_fetch(t *testing.T) {
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: tensorRepo, Private: true, Allow: []string{"secret"}})
	s := newStore(t, h, atScope(h), func(c *Config) { c.ScopeToken = "secret" })
	req := scoped(vllm())
	m := mustFetch(t, s, req, taken(tensorRepo, "config.json", "model.safetensors", "tokenizer.json"))
	if dir := filepath.Join(s.cfg.CacheDir, "modelscope", "hub", "models--org--model", "snapshots", m.Commit); m.Path != dir || !manifest.IsCommit(m.Commit) {
		t.Errorf("opens %s of %s", m.Path, m.Commit)
	}
	if ref, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(m.Path)), "refs", "master")); string(ref) != m.Commit {
		t.Errorf("refs/master is %q: %v", ref, err)
	}
	for _, r := range h.Requests() {
		home := "http://"+r.Host == h.ScopeURL
		if want := home; (r.Authorization == "Bearer secret") != want || (r.Cookie == "m_session_id=secret") != want {
			t.Errorf("%s %s got authorization %q, cookie %q", r.Host, r.Path, r.Authorization, r.Cookie)
		}
	}
	h.Forget()
	if again := mustFetch(t, again(t, s), req, taken(tensorRepo, "config.json", "model.safetensors", "tokenizer.json")); again.Commit != m.Commit || len(h.Requests()) != 0 {
		t.Errorf("the second time: %d requests", len(h.Requests()))
	}
	entries, err := s.Scan(t.Context())
	if err != nil || len(entries) != 1 || !entries[0].Complete || entries[0].ModelName != "org/model" {
		t.Errorf("scan: %+v, %v", entries, err)
	}
}

// TestScope_unverified: a file of which the hub tells no hash is kept under the hash of what came, and marked.
func TestScope_unverified(t *testing.T) {
	files := map[string][]byte{
		"config.json": []byte(`{}`), "model.safetensors": tensors(big, 1), "empty.txt": {}, "again.json": []byte(`{}`),
		"model.safetensors.index.json": []byte(`{"weight_map":{"w":"model.safetensors"}}`),
	}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{NoSHA256: true, Cut: 2, CutAt: 1})
	s := newStore(t, h, atScope(h))
	m := mustFetch(t, s, scoped(vllm()), files)
	marked := map[string]bool{}
	for _, r := range cache.NewDir(cache.Root(scopeDir(s.cfg.CacheDir)), "org/model").Records() {
		for _, f := range r.Files {
			marked[f.Path] = f.Unverified
			if !f.Valid() || f.Algo != manifest.SHA256 {
				t.Errorf("%s is recorded as %v", f.Path, f.Hash)
			}
		}
	}
	want := map[string]bool{"config.json": true, "again.json": true, "empty.txt": true, "model.safetensors.index.json": true, "model.safetensors": false}
	if !maps.Equal(marked, want) {
		t.Errorf("unverified: %v", marked)
	}
	if left := tree(t, filepath.Dir(filepath.Dir(m.Path))); strings.Contains(left, ".nebula.") {
		t.Errorf("left behind:\n%s", left)
	}
	h.Forget()
	if mustFetch(t, again(t, s), scoped(vllm()), files); len(h.Requests()) != 0 {
		t.Errorf("the second time: %d requests", len(h.Requests()))
	}
}

// TestScope_moves: what changes between the listing and the fetch is noticed by the hash or the size, and listed once more.
func TestScope_moves(t *testing.T) {
	for name, other := range map[string][]byte{"same size": tensors(big, 2), "another size": tensors(big+9, 2)} {
		t.Run(name, func(t *testing.T) {
			before, after := maps.Clone(tensorRepo), maps.Clone(tensorRepo)
			after["model.safetensors"] = other
			h := hub.Start(t, hub.Repo{ID: "org/model", Files: before})
			h.PushAfterListing(hub.Repo{ID: "org/model", Files: after})
			s := newStore(t, h, atScope(h))
			m := mustFetch(t, s, scoped(vllm()), taken(after, "config.json", "model.safetensors", "tokenizer.json"))
			if dirs, err := os.ReadDir(filepath.Dir(m.Path)); err != nil || len(dirs) != 1 {
				t.Errorf("snapshots: %v %v", dirs, err)
			}
		})
	}
}

func TestScope_givesUp(t *testing.T) {
	plain := hub.Repo{ID: "org/model", Files: tensorRepo}
	private, gated := plain, plain
	private.Private, gated.Gated = true, true
	private.Allow, gated.Allow = []string{"friend"}, []string{"friend"}
	hostile := plain
	hostile.Listed = []hub.Listed{{Path: "../../evil.json", Size: 3}}
	revised := scoped(vllm())
	revised.Spec.Revision = "nope"
	cases := []struct {
		name   string
		repo   hub.Repo
		faults hub.Faults
		token  string
		req    Request
		reason fail.Reason
		final  bool
		says   string
		most   int // requests
	}{
		{"missing", hub.Repo{ID: "other/repo"}, hub.Faults{}, "", scoped(vllm()), fail.NotFound, true, "check the name", 1},
		{"private without a token", private, hub.Faults{}, "", scoped(vllm()), fail.Gated, true, "no token", 1},
		{"private with a stranger's token", private, hub.Faults{}, "stranger", scoped(vllm()), fail.Gated, true, "no access", 1},
		{"gated without a token", gated, hub.Faults{}, "", scoped(vllm()), fail.Gated, true, "no token", 4},
		{"no such revision", plain, hub.Faults{}, "", revised, fail.NoRevision, true, "master", 1},
		{"a hostile name", hostile, hub.Faults{}, "", scoped(vllm()), fail.UnsafeName, true, "../../evil.json", 1},
		{"nothing there", hub.Repo{ID: "org/model"}, hub.Faults{NullFiles: true}, "", scoped(vllm()), fail.NoWeights, true, "no files", 1},
		{"listed but gone", plain, hub.Faults{Gone: []string{"config.json"}}, "", scoped(vllm()), fail.Inconsistent, true, "does not have", 13},
		{"a listing that is none", plain, hub.Faults{BadListing: true}, "", scoped(vllm()), fail.BadServer, false, "not what a hub says", 6},
		{"an error with HTTP 200", plain, hub.Faults{ScopeCode: 500}, "", scoped(vllm()), fail.Server, false, "code 500", 6},
		{"always damaged", plain, hub.Faults{Flip: hub.Always, FlipAt: 300}, "", scoped(vllm()), fail.Corrupt, true, "damaged twice", 20},
		{"redirects to another scheme", plain, hub.Faults{Redirect: 1, RedirectTo: "file:///etc/passwd"}, "", scoped(vllm()), fail.Redirect, true, "not encrypted", 5},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, c.repo)
			h.AddToken("stranger")
			h.Break(c.faults)
			s := newStore(t, h, atScope(h), func(cfg *Config) { cfg.ScopeToken = c.token })
			_, err := s.Fetch(t.Context(), c.req, nil)
			e, ok := fail.As(err)
			if !ok || e.Reason != c.reason || e.Final != c.final || !strings.Contains(e.Message, c.says) {
				t.Fatalf("got %+v", err)
			}
			if n := len(h.Requests()); n > c.most {
				t.Errorf("%d requests, at most %d are needed to know", n, c.most)
			}
			if all := tree(t, s.cfg.CacheDir); strings.Contains(all, "/snapshots/") || strings.Contains(all, "/refs/") || strings.Contains(all, "manifests") {
				t.Errorf("published:\n%s", all)
			}
		})
	}
}
