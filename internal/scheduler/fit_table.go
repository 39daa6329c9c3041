package scheduler

import (
	"cmp"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// table is the live nodes with what is free on them, while a pass gives it away.
type table struct {
	s     *cluster.State
	nodes []*node // in order of id
	byID  map[string]*node
	full  map[class]*api.Reason // needs for which no node has room, and the explanation once somebody asked for it
	freed bool                  // a GPU has become free
}

// newTable lists the nodes; nothing is held yet.
func newTable(s *cluster.State) *table {
	t := &table{s: s, byID: make(map[string]*node, s.Nodes.Len()), full: map[class]*api.Reason{}}
	for e := range s.Nodes.All() {
		n := &node{id: e.ID, engines: e.Value.Engines, memoryMB: e.Value.MemoryFreeMB}
		if len(e.Value.GPUs) > 0 {
			n.gpus = make([]gpu, len(e.Value.GPUs))
			for i := range n.gpus {
				n.gpus[i].GPUStatus = e.Value.GPUs[i]
			}
		}
		t.nodes, t.byID[e.ID] = append(t.nodes, n), n
	}
	return t
}

// hold marks what is taken: by every plan (of a job: by what stays of it for now), and by every engine that is
// there, whether or not a plan still names it. A plan that is dropped in this pass holds nothing any more.
func (t *table) hold(jobs []*job, dropped []Change) {
	for e := range t.s.Endpoints.All() {
		t.mark(e.Value.NodeID, e.Value.GPUIndices, e.ID, true)
	}
	for e := range t.s.Placements.All() {
		for len(jobs) > 0 && jobs[0].wish.uid < e.ID {
			jobs = jobs[1:]
		}
		if len(jobs) > 0 && jobs[0].wish.uid == e.ID {
			jobs[0].planned(func(a *api.PlacementAssignment) { t.plan(e.ID, a) })
			continue
		}
		if len(dropped) > 0 && dropped[0].UID == e.ID {
			dropped = dropped[1:]
			continue
		}
		for i := range e.Value.Assignments {
			t.plan(e.ID, &e.Value.Assignments[i])
		}
	}
}

func (t *table) plan(uid string, a *api.PlacementAssignment) {
	if n := t.byID[a.NodeID]; n != nil {
		n.replicas++
		if gpus := a.GPUs(); len(gpus) > 0 {
			t.mark(a.NodeID, gpus, api.EndpointKey(uid, a.ReplicaID), false)
		}
	}
}

func (t *table) mark(id string, indices []uint32, holder string, engine bool) {
	n := t.byID[id]
	if n == nil {
		return
	}
	for i := range n.gpus {
		g := &n.gpus[i]
		for _, index := range indices {
			if g.Index == index && g.holder == "" {
				g.holder, g.engine = holder, engine
			}
		}
	}
}

// release frees what a replica held by plan, but for what it keeps. What its engine is on stays taken until the engine is gone.
func (t *table) release(n *node, holder string, keeps []uint32) {
	for i := range n.gpus {
		if g := &n.gpus[i]; g.holder == holder && !g.engine && !slices.Contains(keeps, g.Index) {
			g.holder = ""
			t.freed = true
			clear(t.full) // what had no room may have now
		}
	}
}

// name is the model's name as people know it.
func (t *table) name(uid string) string {
	spec, _ := t.s.Models.Value(uid)
	return spec.ModelName
}

// best returns the node for another replica of a job, or nil: of the nodes that can take it, the one where
//
//  1. it gets a GPU, when it would be content with the CPU elsewhere: a replica on a GPU is worth more than a spread one;
//  2. the fewest replicas of the same model are;
//  3. the fewest replicas at all are;
//  4. the most memory is free;
//  5. whose name comes first.
func (t *table) best(j *job) *node {
	w := &j.wish.need
	if w.node != "" {
		if n := t.byID[w.node]; n != nil && j.mayGo(n) && n.fit(w, "").ok {
			return n
		}
		return nil
	}
	key := w.class()
	if _, full := t.full[key]; full {
		return nil
	}
	var best *node
	var bestSlot slot
	barred := false
	for _, n := range t.nodes {
		s := n.fit(w, "")
		if !s.ok {
			continue
		}
		if !j.mayGo(n) {
			barred = true
			continue
		}
		if best == nil || j.prefers(n, s, best, bestSlot) {
			best, bestSlot = n, s
		}
	}
	if best == nil && !barred {
		t.full[key] = nil
	}
	return best
}

// prefers tells whether a is the better node. Equals do not occur: names differ, and b comes first.
func (j *job) prefers(a *node, as slot, b *node, bs slot) bool {
	if as.onGPU != bs.onGPU {
		return as.onGPU
	}
	return cmp.Or(cmp.Compare(j.at[a.id], j.at[b.id]), cmp.Compare(a.replicas, b.replicas), cmp.Compare(b.freeMB(), a.freeMB())) < 0
}
