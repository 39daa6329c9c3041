package cluster

import (
	"slices"
	"sync"

	"github.com/nebula-serve/nebula/api"
)

// nodeIndex finds the models that have a replica on a node. It belongs to one version of the placements and is built
// by whoever asks first.
type nodeIndex struct {
	of   Set[api.PlacementPlan]
	once sync.Once
	uids map[string][]string // by node id; sorted, each uid once
}

// Indexed returns s with an index by node, which makes [Desired] cost what the node runs instead of what the cluster
// runs. The store calls it for every State it publishes: it is free until somebody asks, and States that differ in
// everything but their placements (nearly all do) share one index.
//
// The index is a pointer that remembers which placements it was made of, so a State that was copied and changed
// without another call is merely slower, never wrong.
func (s *State) Indexed() *State {
	c := *s
	if c.nodes == nil || c.nodes.of != s.Placements {
		c.nodes = &nodeIndex{of: s.Placements}
	}
	return &c
}

// placedOn returns the uids of the models with an assignment to the node, displaced or not, sorted.
func (s *State) placedOn(node string) []string {
	if s.nodes == nil || s.nodes.of != s.Placements {
		var uids []string
		for e := range s.Placements.All() {
			here := func(a api.PlacementAssignment) bool { return a.NodeID == node }
			if slices.ContainsFunc(e.Value.Assignments, here) || slices.ContainsFunc(e.Value.Displaced, here) {
				uids = append(uids, e.ID)
			}
		}
		return uids
	}
	s.nodes.once.Do(s.nodes.build)
	return s.nodes.uids[node]
}

func (x *nodeIndex) build() {
	x.uids = map[string][]string{}
	for e := range x.of.All() {
		x.add(e.ID, e.Value.Assignments)
		x.add(e.ID, e.Value.Displaced)
	}
}

func (x *nodeIndex) add(uid string, list []api.PlacementAssignment) {
	for i := range list {
		node := list[i].NodeID
		if uids := x.uids[node]; len(uids) == 0 || uids[len(uids)-1] != uid {
			x.uids[node] = append(uids, uid)
		}
	}
}
