package scheduler

import (
	"cmp"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// job is one model whose plan may have to change.
type job struct {
	wish    wish
	old     *api.PlacementPlan
	planRev int64
	memory  *Memory

	keep      []api.PlacementAssignment            // what stays, and what was placed in this pass
	replace   []displaced                          // what is to get another place
	heirs     map[uint32]api.PlacementAssignment   // by the id of the one in keep that goes when the heir is ready
	displaced map[uint32][]api.PlacementAssignment // by the id of the one in keep or replace that has their seat
	orphans   [][]api.PlacementAssignment          // displaced replicas whose seat nobody has
	chain     map[uint32]uint32                    // replica -> the one whose place it takes
	ids       map[uint32]bool                      // ids that no new replica may get
	at        map[string]int                       // how many of keep and heirs are on each node
	newest    uint64                               // the highest plan version that is known of this model
}

// displaced is a replica that cannot stay as it is.
type displaced struct {
	at      api.PlacementAssignment
	inPlace bool // the same node may take it again, with other GPUs or another engine
	orStay  bool // when there is no other place, it stays as it is
}

// newJob sorts out what stays of the old plan (nil: there is none).
func newJob(r *reviewed, w wish, old *cluster.Entry[api.PlacementPlan]) *job {
	j := &job{wish: w, memory: &r.memory, at: map[string]int{}, chain: map[uint32]uint32{}}
	ready, ids, newest := readyReplicas(r.s, w.uid)
	j.ids, j.newest = ids, newest
	for _, d := range w.draining {
		j.ids[d.ReplicaID] = true
	}
	if old == nil {
		d, _ := r.s.Deployments.Value(w.uid)
		j.newest = max(j.newest, d.Version)
		return j
	}
	plan := old.Value
	j.old, j.planRev, j.newest = &plan, old.Rev, max(j.newest, plan.Version)
	j.heirs, j.displaced = map[uint32]api.PlacementAssignment{}, map[uint32][]api.PlacementAssignment{}
	for _, list := range [...][]api.PlacementAssignment{plan.Assignments, plan.Displaced} {
		for i := range list {
			j.ids[list[i].ReplicaID] = true
		}
	}
	u := &usher{r: r, w: &j.wish, ready: ready}
	u.link(&plan)
	j.chain = u.chain
	for _, st := range u.seats(&plan) {
		j.take(u, st)
	}
	j.shrink(u)
	for i := range j.keep {
		a := &j.keep[i]
		j.at[a.NodeID]++
		if heir, ok := j.heirs[a.ReplicaID]; ok {
			j.at[heir.NodeID]++
			r.table.moving[a.NodeID] = true
		}
	}
	return j
}

// take decides what becomes of the holder of a seat.
func (j *job) take(u *usher, st seat) { // 4
	a, r := st.holder, u.r
	if a == nil || r.removed(a.NodeID) {
		if len(st.displaced) > 0 {
			j.orphans = append(j.orphans, st.displaced)
		}
		return
	}
	if len(st.displaced) > 0 {
		j.displaced[a.ReplicaID] = st.displaced
	}
	node, serves := r.table.byID[a.NodeID], u.ready[a.ReplicaID] == a.NodeID
	switch {
	case st.heir != nil:
		j.heirs[a.ReplicaID] = *st.heir
		j.keep = append(j.keep, *a)
	case j.wish.need.changed(a):
		j.replace = append(j.replace, displaced{at: *a, inPlace: true})
	case r.memory.gone(a.NodeID, r.now), node != nil && !serves && r.memory.refusedBy(&j.wish, a.NodeID):
		j.replace = append(j.replace, displaced{at: *a, orStay: true})
	case node != nil && !serves && !node.hasGPUs(a.GPUs()):
		j.replace = append(j.replace, displaced{at: *a, inPlace: true, orStay: true})
	default:
		j.keep = append(j.keep, *a)
	}
}

// shrink lets go of the seats that are too many, the worst first.
func (j *job) shrink(u *usher) { // 3
	slices.SortStableFunc(j.replace, func(a, b displaced) int { return cmp.Compare(a.at.ReplicaID, b.at.ReplicaID) })
	j.replace = j.replace[:min(len(j.replace), max(0, j.wish.replicas-len(j.keep)))]
	j.orphans = j.orphans[:min(len(j.orphans), max(0, j.wish.replicas-len(j.keep)-len(j.replace)))]
	if len(j.keep) <= j.wish.replicas {
		return
	}
	badness := func(a *api.PlacementAssignment) int {
		switch {
		case u.r.table.byID[a.NodeID] == nil:
			return 3
		case !u.serves(a):
			return 2
		case j.leaves(u.r.table, a):
			return 1
		}
		return 0
	}
	slices.SortFunc(j.keep, func(a, b api.PlacementAssignment) int {
		return cmp.Or(cmp.Compare(badness(&a), badness(&b)), cmp.Compare(a.ReplicaID, b.ReplicaID))
	})
	j.keep = j.keep[:j.wish.replicas]
}

// hold marks what stays, and what holds what it names until another place is found.
func (j *job) hold(t *table) {
	for i := range j.keep {
		t.byID[j.keep[i].NodeID].hold(j.wish.uid, &j.keep[i])
		if heir, ok := j.heirs[j.keep[i].ReplicaID]; ok {
			t.byID[heir.NodeID].hold(j.wish.uid, &heir)
		}
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
			if claims := j.displaced[d.at.ReplicaID]; len(claims) > 0 {
				j.orphans = append(j.orphans, claims)
			}
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
		id := j.freeID()
		if staying := len(j.keep) + len(j.replace); staying >= j.wish.replicas { // it takes the place of one that cannot stay
			j.succeed(id, j.replace[0].at)
			j.leave(t, j.replace[0].at)
			j.replace = j.replace[1:]
		} else if len(j.orphans) > 0 {
			j.displaced[id], j.chain[id] = j.orphans[0], j.orphans[0][0].ReplicaID
			j.orphans = j.orphans[1:]
		}
		n.replicas++
		j.assign(n, id)
	}
}

// succeed gives a new replica the seat of another, with all claims to it. The other keeps a claim of its own if its node is lost: it
// may still run there.
func (j *job) succeed(id uint32, old api.PlacementAssignment) {
	j.chain[id] = old.ReplicaID
	claims := j.displaced[old.ReplicaID]
	if j.memory.lost(old.NodeID) {
		claims = append(slices.Clip(claims), old)
	}
	if len(claims) > 0 {
		j.displaced[id] = claims
	}
}

// leaves tells whether a replica is to leave: its node is drained, or it is by itself.
func (j *job) leaves(t *table, a *api.PlacementAssignment) bool {
	return t.draining[a.NodeID] || j.wish.drains(a)
}

// move gives the replicas that are to leave an heir elsewhere, which is not on a draining node. A node loses one replica at a time.
func (j *job) move(t *table) {
	for _, from := range j.leaving(t) {
		if t.moving[from.NodeID] || j.memory.mass {
			continue
		}
		n := t.best(j)
		if n == nil {
			return
		}
		t.moving[from.NodeID] = true
		n.replicas++
		heir := j.freeID()
		j.assign(n, heir)
		last := len(j.keep) - 1
		j.heirs[from.ReplicaID], j.chain[heir] = j.keep[last], from.ReplicaID
		j.keep = j.keep[:last]
	}
}

// leaving lists the replicas that are to leave and have no heir yet, in order of id.
func (j *job) leaving(t *table) (list []api.PlacementAssignment) {
	if len(t.draining) == 0 && len(j.wish.draining) == 0 {
		return nil
	}
	for _, a := range j.keep {
		if _, moving := j.heirs[a.ReplicaID]; !moving && j.leaves(t, &a) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b api.PlacementAssignment) int { return cmp.Compare(a.ReplicaID, b.ReplicaID) })
	return list
}

// stuck lists the replicas that are to leave and have nowhere to go.
func (j *job) stuck(t *table) []api.PlacementAssignment {
	list := j.leaving(t)
	if len(list) > 0 && !j.memory.mass && t.best(j) != nil {
		return nil // their turn comes
	}
	return list
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
