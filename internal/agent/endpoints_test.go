package agent

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// addressed is a host whose node has an address.
type addressed struct{ *world }

func (a addressed) Node(ctx context.Context) (api.NodeStatus, error) {
	n, err := a.world.Node(ctx)
	n.APIAddr = "10.0.0.1:8083"
	return n, err
}

// told is a link that looks, at each report, at what this machine itself knows by then.
type told struct {
	*world
	t    *testing.T
	mu   sync.Mutex
	here []api.EndpointInfo
}

func (h *told) Report(ctx context.Context, o api.NodeObserved) error {
	h.mu.Lock()
	for i, e := range o.Endpoints {
		if e.Status == api.EndpointDraining && (len(h.here) <= i || h.here[i].Status != e.Status) {
			h.t.Errorf("the cluster is told of %s before this machine: %+v", e.Status, h.here)
		}
		if e.NodeAddr != "10.0.0.1:8083" {
			h.t.Errorf("endpoint with the address %q", e.NodeAddr)
		}
	}
	h.mu.Unlock()
	return h.world.Report(ctx, o)
}

func TestRun_tellsThisMachineFirst(t *testing.T) {
	w := newWorld()
	h := &told{world: w, t: t}
	now := func() []api.EndpointInfo { h.mu.Lock(); defer h.mu.Unlock(); return h.here }
	within(t, w, func(c *Config) {
		c.Link, c.Host = h, addressed{w}
		c.Endpoints = func(e []api.EndpointInfo) { h.mu.Lock(); defer h.mu.Unlock(); h.here = e }
	}, func() {
		w.wish(replicaOf("a", 0))
		after(10 * time.Second)
		if got := now(); len(got) != 1 || got[0].Status != api.EndpointReady || got[0].BaseURL == nil {
			t.Fatalf("this machine knows %+v", got)
		}
		w.mu.Lock()
		w.inFlight = 1
		w.mu.Unlock()
		w.wish()
		after(10 * time.Second)
		if got := now(); len(got) != 1 || got[0].Status != api.EndpointDraining {
			t.Fatalf("this machine knows %+v", got)
		}
		w.mu.Lock()
		w.inFlight = 0
		w.mu.Unlock()
		after(10 * time.Second)
		if got := now(); len(got) != 0 {
			t.Fatalf("this machine knows %+v", got)
		}
	})
}
