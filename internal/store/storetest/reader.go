package storetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

// reader collects what one watch brings.
type reader struct {
	mu      sync.Mutex
	events  []store.Event
	batches []store.Batch
	more    chan struct{}
	ended   chan struct{}
	err     error
}

// watching starts a watch that ends with the test at the latest.
func watching(t *testing.T, kv store.KV, prefix string, revision int64) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{more: make(chan struct{}, 1), ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = kv.Watch(ctx, prefix, revision, func(b store.Batch) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.batches = append(r.batches, b)
			r.events = append(r.events, b.Events...)
			select {
			case r.more <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

// until waits until ok says so of what has come.
func (r *reader) until(t *testing.T, what string, ok func(events []store.Event, batches []store.Batch) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		done := ok(r.events, r.batches)
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-r.more:
		case <-r.ended:
			t.Fatalf("watch ended before %s: %v", what, r.err)
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("no %s after %s; got %s", what, patience, strings.Join(changes(r.events), " "))
		}
	}
}

// changes renders events as "key=value" and "-key".
func changes(events []store.Event) []string {
	out := []string{}
	for _, ev := range events {
		if ev.Deleted {
			out = append(out, "-"+ev.Key)
		} else {
			out = append(out, ev.Key+"="+string(ev.Value))
		}
	}
	return out
}

// wantChanges waits for exactly these changes.
func (r *reader) wantChanges(t *testing.T, want ...string) {
	t.Helper()
	r.until(t, strings.Join(want, " "), func(events []store.Event, _ []store.Batch) bool { return len(events) >= len(want) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := changes(r.events); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
