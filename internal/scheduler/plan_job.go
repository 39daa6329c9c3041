package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// job is one model whose plan may have to change.
type job struct {
	wish    wish
	old     *api.PlacementPlan
	planRev int64
	memory  *Memory

	keep    []api.PlacementAssignment // what stays, and what was placed in this pass
	replace []displaced               // what is to get another place
	ids     map[uint32]bool           // ids that no new replica may get
	at      map[string]int            // how many of keep are on each node
	newest  uint64                    // the highest plan version that is known of this model
}

// displaced is a replica that cannot stay as it is.
type displaced struct {
	at      api.PlacementAssignment
	inPlace bool // the same node may take it again, with other GPUs or another engine
	orStay  bool // when there is no other place, it stays as it is
}

// newJob sorts out what stays of the old plan (nil: there is none).
func newJob(r *reviewed, w wish, old *cluster.Entry[api.PlacementPlan]) *job {
	t, m := r.table, &r.memory
	j := &job{wish: w, memory: m, ids: map[uint32]bool{}, at: map[string]int{}}
	ready := map[uint32]string{} // replica -> the node on which it serves
	for e := range r.s.Endpoints.Prefix(w.uid + "/") {
		j.ids[e.Value.ReplicaID] = true
		j.newest = max(j.newest, e.Value.PlanVersion)
		if e.Value.Status == api.EndpointReady {
			ready[e.Value.ReplicaID] = e.Value.NodeID
		}
	}
	if old == nil {
		d, _ := r.s.Deployments.Value(w.uid)
		j.newest = max(j.newest, d.Version)
		return j
	}
	plan := old.Value
	j.old, j.planRev, j.newest = &plan, old.Rev, max(j.newest, plan.Version)
	seen := map[uint32]bool{}
	for _, a := range plan.Assignments {
		if seen[a.ReplicaID] {
			continue // two replicas under one id cannot both run
		}
		seen[a.ReplicaID], j.ids[a.ReplicaID] = true, true
		node, serves := t.byID[a.NodeID], ready[a.ReplicaID] == a.NodeID
		switch { // 4
		case w.need.changed(&a):
			j.replace = append(j.replace, displaced{at: a, inPlace: true})
		case m.gone(a.NodeID, r.now), node != nil && !serves && m.refusedBy(&w, a.NodeID):
			j.replace = append(j.replace, displaced{at: a, orStay: true})
		case node != nil && !serves && !node.hasGPUs(a.GPUs()):
			j.replace = append(j.replace, displaced{at: a, inPlace: true, orStay: true})
		default:
			j.keep = append(j.keep, a)
		}
	}
	j.shrink(func(a api.PlacementAssignment) int {
		switch {
		case ready[a.ReplicaID] == a.NodeID:
			return 0
		case t.byID[a.NodeID] != nil:
			return 1
		}
		return 2
	})
	for i := range j.keep {
		j.at[j.keep[i].NodeID]++
	}
	return j
}

// shrink lets go of the replicas that are too many, the worst first.
func (j *job) shrink(badness func(api.PlacementAssignment) int) { // 3
	slices.SortStableFunc(j.replace, func(a, b displaced) int { return cmp.Compare(a.at.ReplicaID, b.at.ReplicaID) })
	j.replace = j.replace[:min(len(j.replace), max(0, j.wish.replicas-len(j.keep)))]
	if len(j.keep) <= j.wish.replicas {
		return
	}
	slices.SortFunc(j.keep, func(a, b api.PlacementAssignment) int {
		return cmp.Or(cmp.Compare(badness(a), badness(b)), cmp.Compare(a.ReplicaID, b.ReplicaID))
	})
	j.keep = j.keep[:j.wish.replicas]
}

// hold marks what stays, and what holds what it names until another place is found.
func (j *job) hold(t *table) {
	for i := range j.keep {
		t.byID[j.keep[i].NodeID].hold(j.wish.uid, &j.keep[i])
	}
	for i := range j.replace {
		t.byID[j.replace[i].at.NodeID].hold(j.wish.uid, &j.replace[i].at)
	}
}

// refit gives displaced replicas another slot on the node where they are, under the same id. One whose wish
// changed and that fits there no more is given up, so that what it held is free for all.
func (j *job) refit(t *table) {
	var rest []displaced
	for _, d := range j.replace {
		switch n := t.byID[d.at.NodeID]; {
		case d.inPlace && n != nil && j.mayGo(n) && n.fit(&j.wish.need, j.holder(d.at.ReplicaID)).ok:
			j.assign(n, d.at.ReplicaID)
			t.release(n, j.holder(d.at.ReplicaID), j.keep[len(j.keep)-1].GPUs())
		case d.orStay:
			rest = append(rest, d)
		default:
			j.leave(t, d.at)
		}
	}
	j.replace = rest
}

// mayGo tells whether a node is allowed for this model: it is not pinned elsewhere, and the node has not refused it.
func (j *job) mayGo(n *node) bool {
	pin := j.wish.need.node
	return (pin == "" || pin == n.id) && !j.memory.refusedBy(&j.wish, n.id)
}

// leave frees what a displaced replica held by plan.
func (j *job) leave(t *table, a api.PlacementAssignment) {
	if n := t.byID[a.NodeID]; n != nil {
		t.release(n, j.holder(a.ReplicaID), nil)
		n.replicas--
	}
}

// place finds slots until the model has that many replicas with a place, or there is no more room.
func (j *job) place(t *table, upTo int) {
	for len(j.keep) < upTo {
		n := t.best(j)
		if n == nil {
			return
		}
		if staying := len(j.keep) + len(j.replace); staying >= j.wish.replicas { // it takes the place of one that cannot stay
			j.leave(t, j.replace[0].at)
			j.replace = j.replace[1:]
		}
		n.replicas++
		j.assign(n, j.freeID())
	}
}

// assign gives a replica its slot on n, which fits.
func (j *job) assign(n *node, id uint32) {
	a := api.PlacementAssignment{ReplicaID: id, NodeID: n.id, EngineType: &j.wish.need.engine}
	if gpus := n.take(&j.wish.need, j.holder(id)); len(gpus) > 0 {
		a.GPUIndices, a.GPUIndex = gpus, &gpus[0]
	}
	j.keep = append(j.keep, a)
	j.at[n.id]++
}

func (j *job) holder(id uint32) holder { return holder{j.wish.uid, id} }

func (j *job) freeID() uint32 { // 5
	id := uint32(0)
	for j.ids[id] {
		id++
	}
	j.ids[id] = true
	return id
}

// plan returns the model's new plan, or nil when the old one says the same.
func (j *job) plan(t *table, now time.Time) *api.PlacementPlan {
	assignments := append(make([]api.PlacementAssignment, 0, len(j.keep)+len(j.replace)), j.keep...)
	for _, d := range j.replace {
		assignments = append(assignments, d.at)
	}
	staying := assignments[len(j.keep):]
	var unplaced *api.Reason
	if gone := j.memory.missedBy(staying, now); len(gone) > 0 || len(assignments) < j.wish.replicas {
		unplaced = j.explain(t, len(assignments), gone) // 8
	}
	slices.SortFunc(assignments, func(a, b api.PlacementAssignment) int { return cmp.Compare(a.ReplicaID, b.ReplicaID) })
	if j.old != nil && same(j.old, assignments, unplaced) { // 9
		return nil
	}
	plan := &api.PlacementPlan{
		ModelUID: j.wish.uid, ModelName: t.name(j.wish.uid), Version: j.newest + 1, Assignments: assignments, Unplaced: unplaced,
		PlannedAtMS: now.UnixMilli(),
	}
	if j.old != nil {
		plan.RequestID = j.old.RequestID
	}
	return plan
}

// same tells whether a plan would say nothing new.
func same(old *api.PlacementPlan, assignments []api.PlacementAssignment, unplaced *api.Reason) bool {
	if (old.Unplaced == nil) != (unplaced == nil) || unplaced != nil && *unplaced != *old.Unplaced {
		return false
	}
	return slices.EqualFunc(old.Assignments, assignments, func(a, b api.PlacementAssignment) bool {
		return a.ReplicaID == b.ReplicaID && a.NodeID == b.NodeID && engineOf(&a) == engineOf(&b) && slices.Equal(a.GPUs(), b.GPUs())
	})
}

func engineOf(a *api.PlacementAssignment) string {
	if a.EngineType == nil {
		return ""
	}
	return api.CanonicalEngine(*a.EngineType)
}
