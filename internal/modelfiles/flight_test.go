package modelfiles

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	wire "github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/test/hub"
)

// TestFetch_oneTransferForAll: many ask for the same model, some leave, one transfer serves the rest.
func TestFetch_oneTransferForAll(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(400_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 1_000_000})
	s := newStore(t, h)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			saw := false
			_, err := s.Fetch(ctx, llama(), func(p Progress) {
				if p.DoneBytes > 0 && p.Phase == api.PhaseDownloading {
					if saw = true; i%2 == 0 {
						cancel() // half of them leave on the way, the first one too
					}
				}
			})
			switch {
			case !saw:
				t.Errorf("waiter %d saw no progress", i)
			case i%2 == 0 && !errors.Is(err, context.Canceled), i%2 == 1 && err != nil:
				t.Errorf("waiter %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if sent := h.Sent(); sent != int64(len(files["a.gguf"])) {
		t.Errorf("sent %d bytes for a file of %d", sent, len(files["a.gguf"]))
	}
}

// TestFetch_firstMayLeave: a transfer belongs to all who wait for it, not to the one that began it.
func TestFetch_firstMayLeave(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(400_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 800_000})
	s := newStore(t, h)
	ctx, leave := context.WithCancel(t.Context())
	begun, left := make(chan struct{}), make(chan error)
	go func() {
		once := sync.OnceFunc(func() { close(begun) })
		_, err := s.Fetch(ctx, llama(), func(p Progress) {
			if p.DoneBytes > 0 {
				once()
			}
		})
		left <- err
	}()
	<-begun
	gone := false
	_, err := s.Fetch(t.Context(), llama(), func(p Progress) {
		if !gone {
			gone = true
			leave()
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	if sent := h.Sent(); sent != int64(len(files["a.gguf"])) {
		t.Errorf("sent %d bytes for a file of %d", sent, len(files["a.gguf"]))
	}
}

// TestFetch_nobodyJoinsTheDying: one who asks while the last one leaves gets the model, not the other's cancellation.
func TestFetch_nobodyJoinsTheDying(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(100, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	rt := wire.Transport(nil)
	defer rt.CloseIdleConnections()
	asked, dying, die := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var second atomic.Bool
	s := newStore(t, h, func(c *Config) {
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if !second.Swap(true) { // the first request ends late
				close(asked)
				<-r.Context().Done()
				close(dying)
				<-die
			}
			return rt.RoundTrip(r)
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = s.Fetch(ctx, llama(), nil) })
	<-asked
	cancel()
	<-dying
	wg.Go(func() {
		time.Sleep(100 * time.Millisecond) // as slow as a stop may be; the second does not wait for it
		close(die)
	})
	mustFetch(t, s, llama(), files)
	wg.Wait()
}

// TestFetch_lastToLeaveStops: when nobody waits any more the transfer ends at once, and the next one goes on.
func TestFetch_lastToLeaveStops(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(1_000_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 1_000_000})
	s := newStore(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Fetch(ctx, llama(), func(p Progress) {
		if p.DoneBytes > 200_000 {
			cancel()
		}
	})
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	unpublished(t, s)
	h.Break(hub.Faults{})
	mustFetch(t, again(t, s), llama(), files)
	if sent := h.Sent(); sent > int64(len(files["a.gguf"]))*5/4 {
		t.Errorf("sent %d bytes for a file of %d", sent, len(files["a.gguf"]))
	}
}

// TestFetch_sharedBlob: two models that share a file fetch it once, and both see it grow.
func TestFetch_sharedBlob(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(400_000, 1), "b.gguf": ggufFile(10, 2)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 800_000})
	s := newStore(t, h)
	var wg sync.WaitGroup
	for _, req := range []Request{llama("a.gguf"), llama("*.gguf"), llama("a.gguf", "b.gguf")} {
		wg.Go(func() {
			steps := 0
			if _, err := s.Fetch(t.Context(), req, func(Progress) { steps++ }); err != nil {
				t.Error(err)
			}
			if steps < 4 {
				t.Errorf("%v: progress told %d times", req.Spec.Files, steps)
			}
		})
	}
	wg.Wait()
	if sent, want := h.Sent(), int64(len(files["a.gguf"])+len(files["b.gguf"])); sent != want {
		t.Errorf("sent %d bytes, want %d", sent, want)
	}
}
