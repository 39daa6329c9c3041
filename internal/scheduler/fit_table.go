package scheduler

import (
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

	draining map[string]bool // the nodes that are to be empty, also those that do not report
	moving   map[string]bool // of these, the ones that lose a replica now
}

// newTable lists the nodes and what the engines on them hold, whether or not a plan still names them.
func newTable(s *cluster.State, endpoints []*cluster.Entry[api.EndpointInfo]) *table {
	t := &table{s: s, byID: make(map[string]*node, s.Nodes.Len()), full: map[class]*api.Reason{}, moving: map[string]bool{}}
	t.nodes = make([]*node, 0, s.Nodes.Len())
	for _, e := range s.Nodes.Refs() {
		n := &node{id: e.ID, engines: e.Value.Engines, free: e.Value.MemoryFreeMB}
		if len(e.Value.GPUs) > 0 {
			n.gpus = make([]gpu, len(e.Value.GPUs))
			for i := range n.gpus {
				n.gpus[i].GPUStatus = &e.Value.GPUs[i]
			}
		}
		t.nodes, t.byID[e.ID] = append(t.nodes, n), n
	}
	t.heed(s)
	for _, e := range endpoints {
		if i := &e.Value; len(i.GPUIndices) > 0 {
			t.byID[i.NodeID].mark(i.GPUIndices, holder{i.ModelUID, i.ReplicaID}, true)
		}
	}
	return t
}

// heed marks the nodes that people have cordoned or want empty.
func (t *table) heed(s *cluster.State) {
	for _, m := range s.Members.Refs() {
		if m.Value.Role != api.MachineNode || !m.Value.Cordoned && !m.Value.Draining {
			continue
		}
		if m.Value.Draining {
			if t.draining == nil {
				t.draining = map[string]bool{}
			}
			t.draining[m.Value.ID] = true
		}
		if n := t.byID[m.Value.ID]; n != nil {
			n.cordoned, n.draining = true, m.Value.Draining
		}
	}
}

// hold marks what an assignment holds on the node. Nobody knows of a node that does not report.
func (n *node) hold(uid string, a *api.PlacementAssignment) {
	if n != nil {
		n.replicas++
		n.mark(a.GPUs(), holder{uid, a.ReplicaID}, false)
	}
}

// mark gives GPUs to a holder; one that has a holder already keeps it.
func (n *node) mark(indices []uint32, by holder, engine bool) {
	if n == nil || len(indices) == 0 {
		return
	}
	for i := range n.gpus {
		if g := &n.gpus[i]; g.holder == (holder{}) && slices.Contains(indices, g.Index) {
			g.holder, g.engine = by, engine
		}
	}
}

// release frees what a replica held by plan, but for what it keeps. What its engine is on stays taken until the engine is gone.
func (t *table) release(n *node, by holder, keeps []uint32) {
	for i := range n.gpus {
		if g := &n.gpus[i]; g.holder == by && !g.engine && !slices.Contains(keeps, g.Index) {
			g.holder = holder{}
			t.freed = true
			clear(t.full) // what had no room may have now
		}
	}
	n.recount()
}

// name is the model's name as people know it.
func (t *table) name(uid string) string {
	spec, _ := t.s.Models.Value(uid)
	return spec.ModelName
}

// best returns the node for another replica of a job, or nil: of the nodes that can take it and are not cordoned, the one where
//
//  1. it gets a GPU, when it would be content with the CPU elsewhere: a replica on a GPU is worth more than a spread one;
//  2. the fewest replicas of the same model are;
//  3. the fewest replicas at all are;
//  4. the most memory is free;
//  5. whose name comes first.
func (t *table) best(j *job) *node {
	w := &j.wish.need
	if w.node != "" {
		if n := t.byID[w.node]; n != nil && !n.cordoned && j.mayGo(n) && n.fit(w, holder{}).ok {
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
		if n.cordoned {
			continue
		}
		s := n.fit(w, holder{})
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
	if len(j.at) > 0 {
		if x, y := j.at[a.id], j.at[b.id]; x != y {
			return x < y
		}
	}
	if a.replicas != b.replicas {
		return a.replicas < b.replicas
	}
	return a.free > b.free
}
