package modelfiles

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/test/hub"
)

const planted = "hf_canary0123456789"

// TestFetch_withTheModelsOwnToken: it is used in the place of the node's, for this model alone, and stays out of whatever is written.
func TestFetch_withTheModelsOwnToken(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(10_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Gated: true, Files: files, Allow: []string{planted}})
	h.AddToken("hf_nodes_own")
	s := newStore(t, h, func(c *Config) { c.Token = "hf_nodes_own" })
	refused := func(token string, reason fail.Reason) {
		t.Helper()
		req := llama()
		req.Token = token
		_, err := s.Fetch(t.Context(), req, nil)
		if e, ok := fail.As(err); !ok || !e.Final || e.Reason != reason || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("with the token %q: %v; want %s", token, err, reason)
		}
	}
	refused("", fail.Gated)
	refused("hf_mistyped", fail.BadToken)
	h.Forget()
	req := llama()
	req.Token = planted
	if _, ok := s.Have(req); ok {
		t.Error("the model is here before it was fetched")
	}
	mustFetch(t, s, req, files)
	shown := 0
	for _, r := range h.Requests() {
		switch auth := r.Authorization; {
		case auth == "Bearer "+planted:
			shown++
		case auth != "":
			t.Errorf("%s %s with %q", r.Method, r.Path, auth)
		}
	}
	if shown == 0 {
		t.Error("the token was never shown")
	}
	err := filepath.WalkDir(s.cfg.CacheDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), planted) {
			t.Errorf("the token is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	// What is here needs no token and no hub.
	h.Forget()
	if m, ok := s.Have(llama()); !ok || filepath.Base(m.Path) != "a.gguf" {
		t.Errorf("have %+v, %v", m, ok)
	}
	if m, ok := again(t, s).Have(llama()); !ok || m.Bytes == 0 {
		t.Errorf("after a restart: %+v, %v", m, ok)
	}
	if n := len(h.Requests()); n != 0 {
		t.Errorf("%d requests for what is here", n)
	}
	for what, change := range map[string]func(*Request){
		"another revision": func(r *Request) { r.Spec.Revision = "v2" },
		"other files":      func(r *Request) { r.Spec.Files = []string{"b.gguf"} },
		"another engine":   func(r *Request) { r.Engine = api.EngineVLLM },
		"a local model":    func(r *Request) { r.Spec.ModelSource = api.SourceLocal },
		"no repository":    func(r *Request) { r.Spec.ModelName = "../x" },
	} {
		r := llama()
		change(&r)
		if _, ok := s.Have(r); ok {
			t.Errorf("%s: taken for what is here", what)
		}
	}
	if err := os.WriteFile(s.mustPath(t), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Have(llama()); ok {
		t.Error("a file that was changed is taken for whole")
	}
}

// mustPath is the file that the engine would open.
func (s *Store) mustPath(t *testing.T) string {
	t.Helper()
	m, ok := s.Have(llama())
	if !ok {
		t.Fatal("the model is not here")
	}
	path, err := filepath.EvalSymlinks(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFetch_tokensDoNotMix: who has the wrong token neither joins nor spoils the transfer of who has the right one.
func TestFetch_tokensDoNotMix(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(300_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Private: true, Files: files, Allow: []string{planted}})
	h.Break(hub.Faults{BytesPerSecond: 600_000})
	s := newStore(t, h)
	right, wrong := llama(), llama()
	right.Token, wrong.Token = planted, "hf_mistyped"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun, done := make(chan struct{}), make(chan error, 1)
	go func() {
		open := true
		_, err := s.Fetch(ctx, right, func(p Progress) {
			if open && p.DoneBytes > 0 {
				open = false
				close(begun)
			}
		})
		done <- err
	}()
	<-begun
	if _, err := s.Fetch(t.Context(), wrong, nil); !fail.Has(err, fail.BadToken) {
		t.Errorf("with the wrong token, beside the right one: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("with the right one: %v", err)
	}
}
