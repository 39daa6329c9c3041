package gateway

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

// errUnhealthy ends what waits for a replica that its node has found to be silent, so that another can answer.
var errUnhealthy = errors.New("the replica does not answer its health check any more")

// replica is what the gateway itself knows of one target: what is in flight there, and how it did. It outlives the tables.
type replica struct {
	target
	name     []byte // served, as JSON
	peer     *peer  // the node that it is reached through; nil: none
	inflight atomic.Int64
	// offered: the published table has it among those that take requests. Cleared before the table without it is published.
	offered atomic.Bool
	resting atomic.Int64 // health.resting, for reading without the lock
	ailing  atomic.Bool  // health is not zero
	health  health       // under the lock of its modelLive
	listed  uint64       // the last round of live that saw it

	mu      sync.Mutex
	waiting map[*upstream.Call]bool // those whose clients have nothing yet
}

func newReplica(g target, p *peer) *replica {
	name, _ := json.Marshal(g.served) // a string
	return &replica{target: g, name: name, peer: p, waiting: map[*upstream.Call]bool{}}
}

// take counts a request in; false: the replica takes none any more. Because the count comes first and the look second, whoever has
// withdrawn the offer and then finds the count at zero knows that nothing follows.
func (r *replica) take() bool {
	r.inflight.Add(1)
	if !r.offered.Load() {
		r.inflight.Add(-1)
		return false
	}
	if r.peer != nil {
		r.peer.inflight.Add(1)
	}
	return true
}

func (r *replica) release() {
	r.inflight.Add(-1)
	if r.peer != nil {
		r.peer.inflight.Add(-1)
	}
}

// silent tells whether the node of the replica does not answer this gateway.
func (r *replica) silent() bool { return r.peer != nil && r.peer.silent.Load() }

func (r *replica) watch(c *upstream.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[c] = true
}

func (r *replica) unwatch(c *upstream.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, c)
}

// abandon ends every request that waits here and may still be answered by another replica.
func (r *replica) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.waiting {
		c.Abort(errUnhealthy)
	}
}

// modelLive is what the gateway itself knows of a model. It outlives the tables.
type modelLive struct {
	active   atomic.Int64  // requests being answered
	requests atomic.Uint64 // that there ever were
	turn     atomic.Uint64
	metrics  atomic.Pointer[modelMetrics] // nil until the first request

	mu     sync.Mutex // also over the health of all replicas, so that never more than half of them rest
	budget budget
}

// choose counts a request in at a replica that may serve it and was not tried, or returns nil. Skipped says that another one could have had it, but
// for its rest.
func (m *model) choose(need capability, tried []*replica, now time.Duration) (chosen *replica, skipped bool) {
	var few [8]load
	loads := few[:0]
	rests := false
	for _, r := range m.ready {
		resting := int64(now) < r.resting.Load()
		l := load{
			inflight: r.inflight.Load(),
			ejected:  resting || r.silent(),
			tried:    r.caps&need == 0 || slices.Contains(tried, r),
		}
		rests = rests || resting && !l.tried
		loads = append(loads, l)
	}
	for turn := m.live.turn.Add(1); ; {
		i := pick(loads, turn)
		if i < 0 {
			return nil, false
		}
		if m.ready[i].take() {
			return m.ready[i], rests && !loads[i].ejected
		}
		loads[i].tried = true
	}
}

// succeeded takes note that a replica answered.
func (m *model) succeeded(r *replica) {
	if !r.ailing.Load() {
		return
	}
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	r.health = health{}
	r.resting.Store(0)
	r.ailing.Store(false)
}

// failed takes note that a replica did not answer, and tells whether it rests from now on.
func (m *model) failed(r *replica, now time.Duration) (rests bool) {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	resting := 0
	for _, other := range m.ready {
		if other != r && other.health.ejected(now) {
			resting++
		}
	}
	before := r.health
	r.health = before.failed(now, mayRest(resting, len(m.ready)))
	r.resting.Store(int64(r.health.resting))
	r.ailing.Store(true)
	return r.health.rests > before.rests
}

// mayRetry asks for one more try after an engine has answered badly.
func (m *model) mayRetry(now time.Duration) bool {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	next, ok := m.live.budget.spend(m.live.requests.Load(), now)
	m.live.budget = next
	return ok
}

// live holds what outlives the tables. Only the goroutine that builds tables changes it.
type live struct {
	metrics *metrics

	mu       sync.Mutex
	round    uint64 // tables bound so far
	replicas map[target]*replica
	models   map[string]*modelLive
	peers    map[place]*peer
}

func newLive() *live {
	return &live{replicas: map[target]*replica{}, models: map[string]*modelLive{}, peers: map[place]*peer{}}
}

// bind connects a fresh table with what is known of its replicas and models, and forgets what is in no table and has no request.
// The table may be published after it. It returns the replicas whose waiting requests another one could answer.
func (l *live) bind(t *table) (silent []*replica) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	for uid, m := range t.models {
		m.live = l.models[uid]
		if m.live == nil {
			m.live = &modelLive{budget: budget{tries: triesPerSecond}}
			l.models[uid] = m.live
		}
		var unhealthy []*replica
		for i := range m.targets {
			r := l.replica(m.targets[i].target)
			r.listed = l.round
			switch m.targets[i].status {
			case api.EndpointReady:
				m.ready = append(m.ready, r)
			case api.EndpointUnhealthy:
				unhealthy = append(unhealthy, r)
			}
			r.offered.Store(m.targets[i].status == api.EndpointReady)
		}
		if len(m.ready) > 0 {
			silent = append(silent, unhealthy...)
		}
	}
	for g, r := range l.replicas {
		if r.listed == l.round {
			continue
		}
		r.offered.Store(false)
		if r.inflight.Load() == 0 {
			delete(l.replicas, g)
		}
	}
	l.forgetPeers()
	for uid, m := range l.models {
		if t.models[uid] == nil && m.active.Load() == 0 {
			delete(l.models, uid)
			if m.metrics.Load() != nil {
				l.metrics.forget(uid)
			}
		}
	}
	return silent
}

func (l *live) replica(g target) *replica {
	r := l.replicas[g]
	if r == nil {
		r = newReplica(g, l.peer(g))
		l.replicas[g] = r
	}
	if r.peer != nil {
		r.peer.listed = l.round
	}
	return r
}

// inFlight counts what a replica answers, in all its incarnations; one more while it may yet be given requests.
func (l *live) inFlight(uid string, id uint32) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for g, r := range l.replicas {
		if g.uid != uid || g.replica != id {
			continue
		}
		if r.offered.Load() {
			n++
		}
		n += int(r.inflight.Load())
	}
	return n
}

// active returns how many requests each model answers, for those that were ever asked.
func (l *live) active() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := make(map[string]int64, len(l.models))
	for uid, m := range l.models {
		if m.metrics.Load() != nil {
			of[uid] = m.active.Load()
		}
	}
	return of
}
