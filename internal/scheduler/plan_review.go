package scheduler

import (
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// wish is what people want of one model, as far as placement goes.
type wish struct {
	uid      string
	rev      int64 // of spec and deployment, whichever is newer
	replicas int
	need     need
	draining []api.DrainMark // the replicas that are to leave by themselves
}

// drains tells whether a replica is to leave by itself, whatever its node.
func (w *wish) drains(a *api.PlacementAssignment) bool {
	return len(w.draining) > 0 && slices.Contains(w.draining, api.DrainMark{ReplicaID: a.ReplicaID, NodeID: a.NodeID})
}

// reviewed is the outcome of looking at every model once.
type reviewed struct {
	s       *cluster.State
	table   *table
	now     time.Time
	memory  Memory
	on      []*node  // scratch of look
	jobs    []*job   // the models whose plan may have to change, in order of uid
	dropped []Change // plans that nobody wants any more
}

// review finds the models that need work, and marks what all plans hold but those that go. Nearly always nearly no model
// needs work, so it walks the tables side by side once and allocates next to nothing for one that is as it should be.
func review(s *cluster.State, t *table, memory Memory, now time.Time) *reviewed {
	r := &reviewed{s: s, table: t, memory: memory, now: now}
	models, deployments, placements := s.Models.Refs(), s.Deployments.Refs(), s.Placements.Refs()
	for _, d := range deployments {
		for len(placements) > 0 && placements[0].ID < d.ID {
			r.planned(false, &wish{}, placements[0])
			placements = placements[1:]
		}
		for len(models) > 0 && models[0].ID < d.ID {
			models = models[1:]
		}
		var w wish
		wanted := len(models) > 0 && models[0].ID == d.ID && d.Value.DesiredState == api.DesiredRunning && d.Value.Replicas > 0
		if wanted {
			w = wishOf(models[0], d)
		}
		switch {
		case len(placements) > 0 && placements[0].ID == d.ID:
			r.planned(wanted, &w, placements[0])
			placements = placements[1:]
		case wanted && r.readable(d.ID):
			r.jobs = append(r.jobs, newJob(r, w, nil))
		}
	}
	for _, p := range placements {
		r.planned(false, &wish{}, p)
	}
	for _, j := range r.jobs {
		j.hold(t)
	}
	for _, n := range t.nodes {
		n.recount()
	}
	return r
}

func wishOf(m *cluster.Entry[api.ModelSpec], d *cluster.Entry[api.ModelDeployment]) wish {
	w := wish{
		uid: m.ID, rev: max(m.Rev, d.Rev), replicas: int(min(d.Value.Replicas, api.MaxReplicas)), need: need{engine: m.Value.Engine()},
		draining: d.Value.Draining,
	}
	w.need.configure(m.Value.Config)
	w.need.configure(d.Value.ConfigOverrides)
	w.need.pin(&d.Value, w.replicas)
	return w
}

// planned looks at one plan and at what is wanted, if anything is.
func (r *reviewed) planned(wanted bool, w *wish, e *cluster.Entry[api.PlacementPlan]) {
	on, settled := r.look(w, &e.Value)
	switch {
	case wanted && settled && len(r.memory.rejected[e.ID]) == 0:
	case !r.readable(e.ID): // 1
	case !wanted: // 2
		r.dropped = append(r.dropped, Change{UID: e.ID, Rev: e.Rev})
		return
	default:
		r.jobs = append(r.jobs, newJob(r, *w, e))
		return
	}
	for i, n := range on {
		n.hold(e.ID, &e.Value.Assignments[i])
	}
}

// look finds the nodes of a plan's assignments (nil: it does not report) and tells whether the plan is, by the
// looks of it, as it should be. The list is valid until the next call.
func (r *reviewed) look(w *wish, plan *api.PlacementPlan) (on []*node, settled bool) {
	r.on = r.on[:0]
	settled = len(plan.Assignments) == w.replicas && plan.Unplaced == nil && len(plan.Displaced) == 0
	for i := range plan.Assignments {
		a := &plan.Assignments[i]
		n := r.table.byID[a.NodeID]
		r.on = append(r.on, n)
		settled = settled && !w.need.changed(a) && n.hasGPUs(a.GPUs()) && (i == 0 || plan.Assignments[i-1].ReplicaID < a.ReplicaID)
		if n == nil && (r.memory.gone(a.NodeID, r.now) || r.removed(a.NodeID)) || r.table.draining[a.NodeID] || w.drains(a) {
			settled = false
		}
	}
	return r.on, settled
}

func (r *reviewed) readable(uid string) bool {
	_, bad := r.s.Unreadable(uid)
	return !bad
}

// removed tells whether the node was taken out of the cluster: it does not report, and nobody misses it.
func (r *reviewed) removed(id string) bool {
	return r.table.byID[id] == nil && !r.memory.lost(id)
}
