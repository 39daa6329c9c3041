package etcd

import (
	"context"
	"errors"
	"testing"
)

// TestRenewal_whoLeavesBeforeAskingTakesNoAnswer: the caller of a heartbeat is gone before the stream is open; the next one of the same
// lease gets the answer to its own question.
func TestRenewal_whoLeavesBeforeAskingTakesNoAnswer(t *testing.T) {
	const lease = 7
	r := &renewal{over: make(chan struct{}), ask: make(chan int64), waiting: map[int64][]chan int64{}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.renew(gone, lease); !errors.Is(err, context.Canceled) || closed(r.over) {
		t.Fatalf("the first: %v", err)
	}
	if len(r.waiting) != 0 {
		t.Errorf("%d leases are waited for, and nobody has asked", len(r.waiting))
	}
	go func() { r.deliver(<-r.ask, 15) }()
	if ttl, err := r.renew(t.Context(), lease); err != nil || ttl != 15 {
		t.Errorf("the second: %d, %v", ttl, err)
	}
}
