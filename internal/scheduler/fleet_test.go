package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// member makes a node a member, with what its member says from now on.
func (w *world) member(id string, cordoned, draining bool) {
	m := api.Member{Role: api.MachineNode, ID: id, Cordoned: cordoned, Draining: draining}
	put(w, &w.s.Members, m.Key(), m)
	w.note("member %s: cordoned %v, draining %v", id, cordoned, draining)
}

func (w *world) someNode() string { return "n" + w.pick("node", "0", "1", "2", "3") }

// joins makes a node a member, and connects it.
func (w *world) joins() {
	id := w.someNode()
	if !w.s.Members.Has(api.MemberKey(api.MachineNode, id)) {
		w.member(id, false, false)
	}
	w.node()
}

// cordons lets people cordon, drain or uncordon a member.
func (w *world) cordons() {
	id := w.someNode()
	if w.s.Members.Has(api.MemberKey(api.MachineNode, id)) {
		draining := w.n("drain", 2) > 0
		w.member(id, draining || w.n("cordon", 1) == 0, draining)
	}
}

// uncordons lets people take it back.
func (w *world) uncordons() {
	if id := w.someNode(); w.s.Members.Has(api.MemberKey(api.MachineNode, id)) {
		w.member(id, false, false)
	}
}

// removes takes a node out of the cluster: its credential counts no more, so its lease ends.
func (w *world) removes() {
	id := w.someNode()
	drop(w, &w.s.Members, api.MemberKey(api.MachineNode, id))
	drop(w, &w.s.Nodes, id)
	w.note("node %s is removed", id)
}

// sweep is what the leader does with what removed nodes left.
func (w *world) sweep() {
	for e := range w.s.Endpoints.All() {
		if cluster.Removed(&w.s, e.Value.NodeID) {
			drop(w, &w.s.Endpoints, e.ID)
			w.note("swept %s of %s", e.ID, e.Value.NodeID)
		}
	}
}

// TestPlan_fleetProperties lives the life of a fleet: nodes join, are cut off, return, are drained and removed, leaders change and pause.
func TestPlan_fleetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		before := w.s
		missed := map[string]time.Time{}
		t.Repeat(map[string]func(*rapid.T){
			"a node joins":      func(*rapid.T) { w.joins() },
			"a node returns":    func(*rapid.T) { w.node() },
			"a node leaves":     func(*rapid.T) { w.leave() },
			"a node is removed": func(*rapid.T) { w.removes() },
			"people cordon":     func(*rapid.T) { w.cordons() },
			"people uncordon":   func(*rapid.T) { w.uncordons() },
			"people wish":       func(*rapid.T) { w.want() },
			"people delete":     func(*rapid.T) { w.forget() },
			"agents act":        func(*rapid.T) { w.agent() },
			"agents act again":  func(*rapid.T) { w.agent() },
			"time passes":       func(*rapid.T) { w.time() },
			"the sweep":         func(*rapid.T) { w.sweep() },
			"another leader":    func(*rapid.T) { w.m = Memory{}; w.note("another leader") },
			"the leader pauses": func(*rapid.T) { w.now = w.now.Add(time.Hour); w.note("the leader pauses for an hour") },
			"": func(t *rapid.T) {
				paused := w.m.turn.IsZero() || w.now.Sub(w.m.turn) > pause
				changes := w.plan()
				problems := slices.Concat(doubleBooked(&w.s), unexplained(w), illPlaced(w, &before, changes), moved(w, &before), wrongClaims(w))
				problems = append(problems, movesAtOnce(w)...)
				problems = append(problems, evicted(w, &before, missed, paused)...)
				for _, problem := range problems {
					t.Errorf("%s, after\n%s", problem, w)
				}
				if again, _ := Plan(&w.s, w.m, w.now, LostAfter); len(again) > 0 {
					t.Errorf("applying the plan leaves something to do: %s, after\n%s", words(again), w)
				}
				before = w.s
			},
		})
		w.convergence()
	})
}

// wrongClaims looks for displaced replicas that are anywhere but on a node that may come back, for two replicas under one id, and for
// a replica that takes the place of one that the plan does not know.
func wrongClaims(w *world) (problems []string) {
	for e := range w.s.Placements.All() {
		if _, bad := w.s.Unreadable(e.ID); bad {
			continue
		}
		ids := map[uint32]bool{}
		all := slices.Concat(e.Value.Assignments, api.List[api.PlacementAssignment](e.Value.Displaced))
		for _, a := range all {
			if ids[a.ReplicaID] {
				problems = append(problems, fmt.Sprintf("%s: two replicas %d", e.ID, a.ReplicaID))
			}
			ids[a.ReplicaID] = true
		}
		for _, a := range all {
			if a.Replaces != nil && (!ids[*a.Replaces] || *a.Replaces == a.ReplicaID) {
				problems = append(problems, fmt.Sprintf("%s: %s", e.ID, assignment(&a)))
			}
		}
		for _, a := range e.Value.Displaced {
			if w.s.Nodes.Has(a.NodeID) || cluster.Removed(&w.s, a.NodeID) {
				problems = append(problems, fmt.Sprintf("%s: displaced %s", e.ID, assignment(&a)))
			}
		}
		for _, a := range e.Value.Assignments {
			if cluster.Removed(&w.s, a.NodeID) {
				problems = append(problems, fmt.Sprintf("%s: assigned %s to a removed node", e.ID, assignment(&a)))
			}
		}
	}
	return problems
}

// movesAtOnce looks for nodes that lose more than one replica at a time, and for moves away from nodes that nobody drains.
func movesAtOnce(w *world) (problems []string) {
	moves, unasked := map[string]int{}, map[string]bool{} // by node; unasked: one moves that nobody wants to leave by itself
	for e := range w.s.Placements.All() {
		d, _ := w.s.Deployments.Value(e.ID)
		on := map[uint32]api.PlacementAssignment{}
		for _, a := range e.Value.Assignments {
			on[a.ReplicaID] = a
		}
		for _, a := range e.Value.Assignments {
			if a.Replaces == nil {
				continue
			}
			if old, ok := on[*a.Replaces]; ok {
				moves[old.NodeID]++
				unasked[old.NodeID] = unasked[old.NodeID] || !d.Drains(&old)
			}
		}
	}
	for node, n := range moves {
		if m, _ := w.s.Members.Value(api.MemberKey(api.MachineNode, node)); n > 1 || unasked[node] && !m.Draining {
			problems = append(problems, fmt.Sprintf("%d replicas move away from %s, draining %v", n, node, m.Draining))
		}
	}
	return problems
}

// evicted looks for replicas that lost their place on an absent node although it was missed for too short a time, most nodes are absent, or
// the observer had looked away. missed is this test's own account of absences.
func evicted(w *world, before *cluster.State, missed map[string]time.Time, anew bool) (problems []string) {
	c := cluster.Count(&w.s)
	for node := range missed {
		if !slices.Contains(c.Absent, node) {
			delete(missed, node)
		}
	}
	for _, node := range c.Absent {
		if _, ok := missed[node]; !ok || anew || c.MassLoss() {
			missed[node] = w.now
		}
	}
	for e := range before.Placements.All() {
		d, _ := w.s.Deployments.Get(e.ID)
		spec, known := w.s.Models.Get(e.ID)
		now, planned := w.s.Placements.Value(e.ID)
		if !known || !planned {
			continue
		}
		wish := wishOf(&spec, &d)
		for _, a := range now.Displaced {
			held := slices.ContainsFunc(e.Value.Displaced, func(o api.PlacementAssignment) bool { return o.ReplicaID == a.ReplicaID })
			since, absent := missed[a.NodeID]
			if !held && (!absent || w.now.Sub(since) < LostAfter) {
				problems = append(problems, fmt.Sprintf("%s: %s displaced after %v (%d of %d absent)", e.ID, assignment(&a), w.now.Sub(since), len(c.Absent), c.Known))
			}
		}
		for _, a := range e.Value.Assignments { // nothing on an absent node may simply vanish while the model has seats for all
			_, absent := missed[a.NodeID]
			all := slices.Concat(now.Assignments, api.List[api.PlacementAssignment](now.Displaced))
			is := slices.ContainsFunc(all, func(o api.PlacementAssignment) bool { return o.ReplicaID == a.ReplicaID && o.NodeID == a.NodeID })
			paired := slices.ContainsFunc(e.Value.Assignments, func(o api.PlacementAssignment) bool {
				return a.Replaces != nil && o.ReplicaID == *a.Replaces || o.Replaces != nil && *o.Replaces == a.ReplicaID
			})
			if absent && !is && !paired && !wish.need.changed(&a) && w.servingSeats(&wish, &now, &e.Value) < wish.replicas && len(e.Value.Assignments) <= wish.replicas &&
				len(e.Value.Displaced) == 0 {
				problems = append(problems, fmt.Sprintf("%s: %s on an absent node vanished", e.ID, assignment(&a)))
			}
		}
	}
	return problems
}

// convergence lets all absent members return and nothing fail any more: the cluster comes to rest with each replica once.
func (w *world) convergence() {
	if w.s.Members.Len() == 0 && w.s.Nodes.Len() == 0 {
		return // nobody is left to come to rest
	}
	w.calm = true
	w.note("all is well from here on")
	for id := range 4 {
		node := fmt.Sprintf("n%d", id)
		if w.s.Nodes.Has(node) && !w.s.Members.Has(api.MemberKey(api.MachineNode, node)) {
			w.member(node, false, false) // one in the server's own process registers itself
		}
		if w.s.Members.Has(api.MemberKey(api.MachineNode, node)) {
			w.connect(node)
		}
	}
	w.sweep()
	for round := 0; ; round++ {
		was := w.s
		for id := range 4 {
			w.act(fmt.Sprintf("n%d", id))
		}
		w.plan()
		if w.s.Placements == was.Placements && w.s.Revision == was.Revision {
			break
		}
		if round > 200 {
			w.t.Fatalf("no rest after\n%s", w)
		}
	}
	for _, problem := range slices.Concat(w.unrest(), doubleBooked(&w.s), unexplained(w)) {
		w.t.Errorf("at rest: %s, after\n%s", problem, w)
	}
}

// unrest looks for what should not be when nothing happens any more.
func (w *world) unrest() (problems []string) {
	for e := range w.s.Placements.All() {
		if len(e.Value.Displaced) > 0 {
			problems = append(problems, fmt.Sprintf("%s: displaced %+v", e.ID, e.Value.Displaced))
		}
		for _, a := range e.Value.Assignments {
			there, ok := w.s.Endpoints.Value(api.EndpointKey(e.ID, a.ReplicaID))
			switch {
			case a.Replaces != nil:
				problems = append(problems, fmt.Sprintf("%s: %s still moves", e.ID, assignment(&a)))
			case !w.s.Nodes.Has(a.NodeID): // the node was never a member and did not return
			case !ok || there.NodeID != a.NodeID || there.Status != api.EndpointReady:
				problems = append(problems, fmt.Sprintf("%s: %s does not run", e.ID, assignment(&a)))
			}
		}
	}
	for e := range w.s.Endpoints.All() {
		plan, _ := w.s.Placements.Value(e.Value.ModelUID)
		if w.s.Nodes.Has(e.Value.NodeID) && !slices.ContainsFunc(plan.Assignments, func(a api.PlacementAssignment) bool {
			return a.ReplicaID == e.Value.ReplicaID && a.NodeID == e.Value.NodeID
		}) {
			problems = append(problems, fmt.Sprintf("%s runs on %s, and nobody wants it there", e.ID, e.Value.NodeID))
		}
	}
	return problems
}
