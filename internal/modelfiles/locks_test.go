package modelfiles

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/test/hub"
)

// TestFetch_locksExcludeNobody: transfers of one file at the same time write files of their own, stop without a trace, and are told about once.
func TestFetch_locksExcludeNobody(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(1_000_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	var log bytes.Buffer
	s := newStore(t, h, func(c *Config) {
		c.exclusive = func(cache.Root) (bool, error) { return false, nil }
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	other := again(t, s)

	h.Break(hub.Faults{BytesPerSecond: 1_000_000})
	ctx, stop := context.WithCancel(t.Context())
	_, err := s.Fetch(ctx, llama(), func(p Progress) {
		if p.DoneBytes > 0 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left := partials(t, s); len(left) > 0 {
		t.Errorf("a stopped transfer left %q, which nobody takes up", left)
	}

	begun, sent := make(chan struct{}), h.Sent()
	var once sync.Once
	var both sync.WaitGroup
	both.Go(func() {
		m, err := s.Fetch(t.Context(), llama(), func(p Progress) {
			if p.DoneBytes > 0 {
				once.Do(func() { close(begun) })
			}
		})
		if err != nil {
			t.Error(err)
			return
		}
		same(t, m, files)
	})
	<-begun
	if err := os.RemoveAll(filepath.Join(s.cfg.CacheDir, "hub", ".locks")); err != nil { // so that it excludes nobody
		t.Fatal(err)
	}
	most := 0
	m, err := other.Fetch(t.Context(), llama(), func(Progress) { most = max(most, len(partials(t, s))) })
	if err != nil {
		t.Fatal(err)
	}
	same(t, m, files)
	both.Wait()
	if most != 2 {
		t.Errorf("%d partial files at most, want one of each transfer", most)
	}
	if got := h.Sent() - sent; got < 2*int64(len(files["a.gguf"])) {
		t.Errorf("%d bytes sent: the transfers shared some", got)
	}
	if left := partials(t, s); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if n := strings.Count(log.String(), "file locks exclude nobody"); n != 2 {
		t.Errorf("warned %d times in two processes:\n%s", n, log.String())
	}
}

// partials lists the partial files.
func partials(t *testing.T, s *Store) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.cfg.CacheDir, "hub/*/blobs/*.nebula.part"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
