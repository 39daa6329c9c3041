package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/obs"
)

func liveForTest() *live {
	l := newLive()
	l.metrics = newMetrics(prometheus.NewRegistry(), l, &obs.Tally{})
	return l
}

// Who still holds the old table when a replica is withdrawn gets nothing from it any more, and who was there is counted on.
func TestLive_withdrawsOffersBeforeTheTable(t *testing.T) {
	l, s := liveForTest(), &cluster.State{}
	addModel(s, "m", "m")
	addEndpoint(s, endpointAt("m", 0, "http://127.0.0.1:1"))
	old := buildTable(s, "n1")
	l.bind(old)
	r, _ := old.models["m"].choose(canChat, nil, 0)
	if r == nil || l.inFlight("m", 0) != 2 {
		t.Fatalf("chose %v, in flight %d", r, l.inFlight("m", 0))
	}
	remove(&s.Endpoints, "m/0")
	l.bind(buildTable(s, "n1"))
	if again, _ := old.models["m"].choose(canChat, nil, 0); again != nil {
		t.Error("a replica that was withdrawn is chosen from the old table")
	}
	if n := l.inFlight("m", 0); n != 1 {
		t.Errorf("%d in flight, want the one that was there", n)
	}
	r.release()
	if n := l.inFlight("m", 0); n != 0 {
		t.Errorf("%d in flight when all is done", n)
	}
	l.bind(buildTable(s, "n1"))
	if len(l.replicas) != 0 {
		t.Error("a replica that is gone is remembered")
	}
}

// A replica keeps its counters for as long as it is the same process, and starts anew as another one.
func TestLive_knowsIncarnations(t *testing.T) {
	l, s := liveForTest(), &cluster.State{}
	addModel(s, "m", "m")
	e := endpointAt("m", 0, "http://127.0.0.1:1")
	bind := func() *model {
		addEndpoint(s, e)
		table := buildTable(s, "n1")
		l.bind(table)
		return table.models["m"]
	}
	m := bind()
	first := m.ready[0]
	m.failed(first, 0)
	for _, status := range []api.EndpointStatus{api.EndpointUnhealthy, api.EndpointReady} {
		e.Status = status
		m = bind()
	}
	if m.ready[0] != first || m.ready[0].health.fails != 1 {
		t.Error("what is known of a replica is lost when its status changes")
	}
	e.PID++
	if m = bind(); m.ready[0] == first || m.ready[0].ailing.Load() {
		t.Error("a new process inherits the failures of the old one")
	}
}

// Among two bad replicas one goes on, and a success makes up for everything.
func TestLive_neverAllRest(t *testing.T) {
	l, s := liveForTest(), &cluster.State{}
	addModel(s, "m", "m")
	addEndpoint(s, endpointAt("m", 0, "http://127.0.0.1:1"))
	addEndpoint(s, endpointAt("m", 1, "http://127.0.0.1:2"))
	table := buildTable(s, "n1")
	l.bind(table)
	m := table.models["m"]
	rests := 0
	for range 10 {
		for _, r := range m.ready {
			if m.failed(r, 0) {
				rests++
			}
		}
	}
	if rests != 1 {
		t.Errorf("%d of two replicas rest", rests)
	}
	for range 5 {
		r, _ := m.choose(canChat, nil, 0)
		if r == nil || r.health.ejected(0) {
			t.Fatalf("chose %+v", r)
		}
		r.release()
	}
	for _, r := range m.ready {
		m.succeeded(r)
		if r.ailing.Load() || r.resting.Load() != 0 || r.health != (health{}) {
			t.Errorf("after a success: %+v", r.health)
		}
	}
}
