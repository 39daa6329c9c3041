package scheduler

import (
	"cmp"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// seat is one of the replicas that a model should have: whose it is, and who else has a claim to it. There is never more than one
// replica in a seat for good, and never none that once was there and may still run.
type seat struct {
	holder    *api.PlacementAssignment  // nil: all that had it are displaced
	heir      *api.PlacementAssignment  // takes the seat as soon as it is ready: the holder is to leave
	displaced []api.PlacementAssignment // had the seat before and are on nodes that do not report, the oldest claim first
}

// usher finds who has the seats of one model.
type usher struct {
	r     *reviewed
	w     *wish
	ready map[uint32]string // replica -> the node that said last that it serves
	chain map[uint32]uint32 // replica -> the one whose place it takes
}

// seats groups the replicas of a plan by seat, in order of the plan, and settles every claim. Two replicas under one id cannot both run:
// the first counts.
func (u *usher) seats(plan *api.PlacementPlan) []seat {
	type group struct{ assigned, displaced []api.PlacementAssignment }
	named := map[uint32]bool{}
	var groups []*group
	byRoot := map[uint32]*group{}
	sort := func(list []api.PlacementAssignment, into func(*group) *[]api.PlacementAssignment) {
		for i := range list {
			a := &list[i]
			if named[a.ReplicaID] {
				continue
			}
			named[a.ReplicaID] = true
			root, _ := u.root(a.ReplicaID)
			g := byRoot[root]
			if g == nil {
				g = &group{}
				byRoot[root], groups = g, append(groups, g)
			}
			l := into(g)
			*l = append(*l, *a)
		}
	}
	sort(plan.Assignments, func(g *group) *[]api.PlacementAssignment { return &g.assigned })
	sort(plan.Displaced, func(g *group) *[]api.PlacementAssignment { return &g.displaced })
	out := make([]seat, 0, len(groups))
	for _, g := range groups {
		u.byAge(g.assigned)
		u.byAge(g.displaced)
		out = append(out, u.settle(g.assigned, g.displaced))
	}
	return out
}

// link notes whose place each replica of a plan takes, as far as the plan still knows that one.
func (u *usher) link(plan *api.PlacementPlan) {
	u.chain = map[uint32]uint32{}
	known := map[uint32]bool{}
	all := slices.Concat(plan.Assignments, api.List[api.PlacementAssignment](plan.Displaced))
	for i := range all {
		known[all[i].ReplicaID] = true
	}
	for i := range all {
		if r := all[i].Replaces; r != nil && known[*r] && *r != all[i].ReplicaID {
			u.chain[all[i].ReplicaID] = *r
		}
	}
}

// root is the replica that had a seat first, and how many have followed it.
func (u *usher) root(id uint32) (first uint32, depth int) {
	for depth <= len(u.chain) { // a circle, which nobody writes, ends too
		before, ok := u.chain[id]
		if !ok {
			break
		}
		id, depth = before, depth+1
	}
	return id, depth
}

func (u *usher) byAge(list []api.PlacementAssignment) {
	slices.SortStableFunc(list, func(a, b api.PlacementAssignment) int {
		_, x := u.root(a.ReplicaID)
		_, y := u.root(b.ReplicaID)
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.ReplicaID, b.ReplicaID))
	})
}

// settle decides who has one seat. Both lists have the oldest claim first.
//
//  1. A displaced replica whose node is back has its seat again if it serves; and if it does not, when nobody else has the seat. Otherwise
//     its claim ends. So does that of one that was removed with its node, or that is not what is wanted any more.
//  2. Of two that are assigned, the older leaves, if it is to, when the younger serves; until then both stay. When it is to leave no more, the
//     younger goes, unless only it serves.
func (u *usher) settle(assigned, displaced []api.PlacementAssignment) seat {
	var st seat
	var claimant *api.PlacementAssignment
	for i := range displaced { // 1
		d := &displaced[i]
		switch n := u.r.table.byID[d.NodeID]; {
		case u.w.need.changed(d), u.r.removed(d.NodeID):
		case n == nil:
			st.displaced = append(st.displaced, *d)
		case u.serves(d) && !((n.draining || u.w.drains(d)) && slices.ContainsFunc(assigned, func(a api.PlacementAssignment) bool { return u.serves(&a) })):
			return seat{holder: d}
		case len(assigned) == 0 && claimant == nil:
			claimant = d
		}
	}
	if claimant != nil {
		return seat{holder: claimant}
	}
	if len(assigned) == 0 {
		return st
	}
	st.holder = &assigned[0]
	if len(assigned) > 1 { // 2
		u.succeed(&st, &assigned[0], &assigned[1])
	}
	return st
}

// succeed decides between a holder and the one that is to follow it.
func (u *usher) succeed(st *seat, old, heir *api.PlacementAssignment) {
	m, need := &u.r.memory, &u.w.need
	switch {
	case u.r.removed(old.NodeID), need.changed(old) && !need.changed(heir):
		st.holder = heir
	case need.changed(old):
	case m.gone(old.NodeID, u.r.now):
		st.holder, st.displaced = heir, append(st.displaced, *old)
	case !u.leaves(old):
		if u.serves(heir) && !u.serves(old) {
			st.holder = heir
		}
	case u.fails(heir):
	case u.serves(heir):
		st.holder = heir
	default:
		st.heir = heir
	}
}

// leaves tells whether a replica is to leave: its node is drained, or it is by itself.
func (u *usher) leaves(a *api.PlacementAssignment) bool {
	return u.r.table.draining[a.NodeID] || u.w.drains(a)
}

// fails tells whether an heir has to be replaced by another.
func (u *usher) fails(heir *api.PlacementAssignment) bool {
	n := u.r.table.byID[heir.NodeID]
	if u.w.need.changed(heir) || u.r.removed(heir.NodeID) || u.r.memory.gone(heir.NodeID, u.r.now) || u.leaves(heir) {
		return true
	}
	return n != nil && !u.serves(heir) && (!n.hasGPUs(heir.GPUs()) || u.r.memory.refusedBy(u.w, heir.NodeID))
}

// serves tells whether a replica is ready on a node that reports.
func (u *usher) serves(a *api.PlacementAssignment) bool {
	return u.ready[a.ReplicaID] == a.NodeID && u.r.table.byID[a.NodeID] != nil
}

// readyReplicas lists where the replicas of a model serve, by what their nodes said last. It also returns every id that an endpoint has, and
// the newest plan that one was started by.
func readyReplicas(s *cluster.State, uid string) (ready map[uint32]string, ids map[uint32]bool, newest uint64) {
	ready, ids = map[uint32]string{}, map[uint32]bool{}
	for e := range s.Endpoints.Prefix(uid + "/") {
		ids[e.Value.ReplicaID] = true
		newest = max(newest, e.Value.PlanVersion)
		if e.Value.Status == api.EndpointReady {
			ready[e.Value.ReplicaID] = e.Value.NodeID
		}
	}
	return ready, ids, newest
}
