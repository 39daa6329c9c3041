package registry

import (
	"context"
	"hash/maphash"
	"reflect"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// passShare is the part of one core that following the store may take: after a pass the next one waits passShare-1 times as long as
// this one took. After a quiet time there is no wait, so a single change is passed on at once.
const passShare = 10

// Run keeps the desired sets and the absences new until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	for {
		s, changed := r.cfg.Store.Current()
		began := time.Now()
		r.look(s, began)
		rest := time.NewTimer((passShare - 1) * time.Since(began))
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// look takes a newer state in.
func (r *Registry) look(s *cluster.State, now time.Time) {
	old := r.last()
	if old == nil || !sameNodes(old, s) {
		r.missing(s, now)
	}
	if old != nil && sameWishes(old, s) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.passed = s
		return
	}
	digests, rest := r.digests(s)
	heartbeat := heartbeatMS(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, c := range r.cells {
		if unknown(s, id) {
			delete(r.cells, id) // who still listens asks again
			close(c.changed)
			continue
		}
		if digest := digests[id] ^ rest | 1; c.digest != digest {
			c.digest = digest
			r.publish(id, c, desired(s, id, heartbeat))
		}
	}
	r.passed = s
}

func (r *Registry) last() *cluster.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}

// publish replaces a desired set when more than its revision has changed. The caller holds mu.
func (r *Registry) publish(id string, c *cell, d api.NodeDesired) {
	same := d
	same.Revision = c.value.Revision
	if reflect.DeepEqual(same, c.value) {
		c.value.Revision = d.Revision
		return
	}
	r.cells[id] = &cell{d, c.digest, make(chan struct{})}
	close(c.changed)
}

// Desired returns what a node should run and a channel that closes when that is something else. Its revision is the newest at which
// it is known to hold. Changes of other nodes wake nobody.
func (r *Registry) Desired(id string) (api.NodeDesired, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// The state must be read with the lock held: whatever is newer is then seen by the pass that finds the cell here.
	s, _ := r.cfg.Store.Current()
	c, ok := r.cells[id]
	if !ok {
		c = &cell{value: desired(s, id, heartbeatMS(s)), changed: make(chan struct{})}
		r.cells[id] = c
	}
	d := c.value
	switch {
	case r.passed != nil && sameWishes(r.passed, s):
		d.Revision = max(d.Revision, s.Revision)
	case r.passed != nil && c.digest != 0:
		d.Revision = max(d.Revision, r.passed.Revision)
	}
	return d, c.changed
}

func desired(s *cluster.State, id string, heartbeat int64) api.NodeDesired {
	d := cluster.Desired(s, id)
	d.HeartbeatMS = heartbeat
	return d
}

func heartbeatMS(s *cluster.State) int64 { return beat(fleet(s)).Milliseconds() }

// unknown tells whether a node is neither a member nor alive. One whose document cannot be read may be either.
func unknown(s *cluster.State, id string) bool {
	member, _ := store.Members.Key(nodePrefix + id)
	status, _ := store.Nodes.Key(id)
	return !s.Members.Has(nodePrefix+id) && !s.Nodes.Has(id) && !s.Bad.Has(member) && !s.Bad.Has(status)
}

// sameWishes tells whether two states say the same about what nodes should run.
func sameWishes(a, b *cluster.State) bool {
	return a.Placements == b.Placements && a.Models == b.Models && a.Deployments == b.Deployments &&
		a.Wishes == b.Wishes && a.Secrets == b.Secrets && a.Members == b.Members && a.Info == b.Info && a.Bad == b.Bad
}

func sameNodes(a, b *cluster.State) bool { return a.Nodes == b.Nodes && a.Members == b.Members }

type hashSeed = maphash.Seed

func newSeed() maphash.Seed { return maphash.MakeSeed() }

// row is what one assignment's part of a desired set is made of.
type row struct {
	uid                     string
	spec, deployment, place int64 // revisions
}

// digests returns, for each node that a plan or a wish for its files names, a number that changes whenever what its desired set is made of does, and one for
// what all of them have in common. It is one walk over the plans, with models and deployments beside, which are in the same order.
func (r *Registry) digests(s *cluster.State) (byNode map[string]uint64, rest uint64) {
	byNode = make(map[string]uint64, s.Nodes.Len())
	specs, deployments := s.Models.Refs(), s.Deployments.Refs()
	for _, plan := range s.Placements.Refs() {
		specs, deployments = from(specs, plan.ID), from(deployments, plan.ID)
		sum := maphash.Comparable(r.seed, row{plan.ID, revision(specs, plan.ID), revision(deployments, plan.ID), plan.Rev})
		for i := range plan.Value.Assignments {
			byNode[plan.Value.Assignments[i].NodeID] += sum
		}
		for i := range plan.Value.Displaced {
			byNode[plan.Value.Displaced[i].NodeID] += sum
		}
	}
	for _, w := range s.Wishes.Refs() {
		byNode[w.Value.NodeID] += maphash.Comparable(r.seed, row{uid: w.ID, spec: w.Rev})
	}
	for e := range s.Bad.All() {
		rest += maphash.Comparable(r.seed, row{uid: e.ID, spec: e.Rev})
	}
	for _, e := range s.Secrets.Refs() { // there are few, and they change seldom
		rest += maphash.Comparable(r.seed, row{uid: e.ID, spec: e.Rev, place: 1})
	}
	for e := range s.Info.All() {
		rest += maphash.Comparable(r.seed, row{uid: e.Value.History, spec: e.Rev})
	}
	for _, addr := range cluster.ServerAddrs(s) {
		rest = rest*31 + maphash.String(r.seed, addr)
	}
	return byNode, rest + uint64(heartbeatMS(s))
}

// from drops what comes before id.
func from[T any](refs []*cluster.Entry[T], id string) []*cluster.Entry[T] {
	for len(refs) > 0 && refs[0].ID < id {
		refs = refs[1:]
	}
	return refs
}

func revision[T any](refs []*cluster.Entry[T], id string) int64 {
	if len(refs) > 0 && refs[0].ID == id {
		return refs[0].Rev
	}
	return 0
}

// missing keeps account of the nodes that should be there and are not. The time is this server's monotonic clock.
func (r *Registry) missing(s *cluster.State, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := make(map[string]time.Time, len(r.absent))
	for m := range s.Members.Prefix(nodePrefix) {
		id := m.Value.ID
		if s.Nodes.Has(id) {
			continue
		}
		since, known := r.absent[id]
		if !known {
			since = now
		}
		gone[id] = since
	}
	r.absent = gone
	for id := range r.stored {
		if unknown(s, id) {
			delete(r.stored, id)
		}
	}
}

// Absent returns how long each node has been away that is a member and does not report, counted from when this server first missed
// it: neither a step of a clock nor a start of a server makes a node look lost.
func (r *Registry) Absent() map[string]time.Duration {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]time.Duration, len(r.absent))
	for id, since := range r.absent {
		out[id] = now.Sub(since)
	}
	return out
}
