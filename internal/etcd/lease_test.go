package etcd

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

// TestKeepAlive_many renews many leases at the same time, as the nodes of a fleet do: over one stream, and without an entry in etcd's log.
func TestKeepAlive_many(t *testing.T) {
	t.Parallel()
	c := dial(t, inProcess(t, t.TempDir()), "")
	const leases = 200
	ids := make([]int64, leases)
	for i := range ids {
		var err error
		if ids[i], err = c.Grant(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
	}
	before := raftIndex(t, c)
	var renewing sync.WaitGroup
	for _, id := range append(ids, ids...) { // and two at a time for each
		renewing.Go(func() {
			if err := c.KeepAlive(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	stream := c.renewals.of(c.era.Load())
	renewing.Wait()
	if c.renewals.of(c.era.Load()) != stream || closed(stream.over) {
		t.Error("more than one stream")
	}
	stream.mu.Lock()
	if len(stream.waiting) != 0 {
		t.Errorf("%d answers are still waited for", len(stream.waiting))
	}
	stream.mu.Unlock()
	if after := raftIndex(t, c); after != before {
		t.Errorf("renewals wrote %d entries", after-before)
	}
	if err := c.Revoke(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.KeepAlive(t.Context(), ids[0]); !errors.Is(err, store.ErrLeaseGone) {
		t.Errorf("a lease that is gone: %v", err)
	}
	if err := c.KeepAlive(t.Context(), ids[1]); err != nil {
		t.Errorf("after one that is gone: %v", err)
	}
}

func raftIndex(t *testing.T, c *Client) uint64 {
	t.Helper()
	r, err := c.era.Load().etcd.Status(t.Context(), c.era.Load().endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return r.RaftIndex
}

// TestKeepAlive_breaks: a stream that breaks is replaced while callers wait, and one that is silent fails in the caller's time.
func TestKeepAlive_breaks(t *testing.T) {
	t.Parallel()
	s, _ := supervise(t, t.TempDir())
	c := dial(t, s.Endpoint(), "")
	id, err := c.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.KeepAlive(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	pid := s.PID()
	freeze(t, pid)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.KeepAlive(ctx, id); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("silence: got %v, want ErrUnavailable", err)
	}
	kill(t, pid, syscall.SIGCONT)
	eventually(t, "renewal after silence", func() bool { return c.KeepAlive(t.Context(), id) == nil })
	kill(t, pid, syscall.SIGKILL)
	eventually(t, "renewal by the next child", func() bool { return c.KeepAlive(t.Context(), id) == nil })
}

func TestChoose(t *testing.T) {
	good, bad := condition{good: true}, condition{}
	for name, c := range map[string]struct {
		seen              []condition
		present, homeGood int
		want              int
	}{
		"the first, at the start":             {[]condition{good, good}, -1, 0, 0},
		"the first that is good":              {[]condition{bad, bad, good}, -1, 0, 2},
		"none":                                {[]condition{bad, bad}, -1, 0, 0},
		"a good one is kept":                  {[]condition{bad, good, good}, 2, 0, 2},
		"a bad one is left":                   {[]condition{bad, good, good}, 0, 0, 1},
		"no better one":                       {[]condition{bad, bad, bad}, 1, 0, 1},
		"home looks good for the first time":  {[]condition{good, good}, 1, 1, 1},
		"home looks good for long":            {[]condition{good, good}, 1, homeAfter, 0},
		"home, when the present one goes bad": {[]condition{good, bad, good}, 1, 1, 0},
	} {
		if got := choose(c.seen, c.present, c.homeGood); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
