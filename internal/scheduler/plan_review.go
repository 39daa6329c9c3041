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
}

// reviewed is the outcome of looking at every model once.
type reviewed struct {
	jobs    []*job   // the models whose plan may have to change, in order of uid
	dropped []Change // plans that nobody wants any more
	memory  Memory
}

// review finds the models that need work. Nearly always nearly none does, so it walks the tables side by side once and
// allocates next to nothing for a model that is as it should be.
func review(s *cluster.State, t *table, m Memory, now time.Time) *reviewed {
	r := &reviewed{memory: recall(s, m, now)}
	wishes := wishes(s)
	readable := func(uid string) bool {
		_, bad := s.Unreadable(uid)
		return !bad
	}
	for e := range s.Placements.All() {
		for len(wishes) > 0 && wishes[0].uid < e.ID { // wanted, and no plan yet
			if readable(wishes[0].uid) {
				r.jobs = append(r.jobs, newJob(s, t, wishes[0], nil, &r.memory, now))
			}
			wishes = wishes[1:]
		}
		var w *wish
		if len(wishes) > 0 && wishes[0].uid == e.ID {
			w, wishes = &wishes[0], wishes[1:]
		}
		away := r.missing(t, &e.Value, m, now)
		switch {
		case w != nil && !away && settled(w, &e.Value, t) && len(r.memory.rejected[e.ID]) == 0:
		case !readable(e.ID): // 1
		case w == nil: // 2
			r.dropped = append(r.dropped, Change{UID: e.ID, Rev: e.Rev})
		default:
			old := e // a copy, so that no other entry of the walk goes to the heap
			r.jobs = append(r.jobs, newJob(s, t, *w, &old, &r.memory, now))
		}
	}
	for _, w := range wishes {
		if readable(w.uid) {
			r.jobs = append(r.jobs, newJob(s, t, w, nil, &r.memory, now))
		}
	}
	return r
}

// missing notes the nodes that a plan names and that do not report, and tells whether one has been away for too long.
func (r *reviewed) missing(t *table, plan *api.PlacementPlan, before Memory, now time.Time) bool {
	away := false
	for i := range plan.Assignments {
		id := plan.Assignments[i].NodeID
		if t.byID[id] != nil {
			continue
		}
		since, known := before.missed[id]
		if !known {
			since = now
		}
		if r.memory.missed == nil {
			r.memory.missed = map[string]time.Time{}
		}
		r.memory.missed[id] = since
		away = away || r.memory.gone(id, now)
	}
	return away
}

// settled tells whether a plan is as it should be by the looks of it.
func settled(w *wish, plan *api.PlacementPlan, t *table) bool {
	if len(plan.Assignments) != w.replicas || plan.Unplaced != nil {
		return false
	}
	for i := range plan.Assignments {
		a := &plan.Assignments[i]
		if w.need.changed(a) || !t.byID[a.NodeID].hasGPUs(a.GPUs()) || i > 0 && plan.Assignments[i-1].ReplicaID >= a.ReplicaID {
			return false
		}
	}
	return true
}

// wishes lists what is wanted, in order of uid. Models that cannot be read are not in there; neither are their plans touched.
func wishes(s *cluster.State) []wish {
	type partial struct {
		uid  string
		rev  int64
		need need
	}
	specs := make([]partial, 0, s.Models.Len())
	for e := range s.Models.All() {
		p := partial{uid: e.ID, rev: e.Rev, need: need{engine: e.Value.Engine()}}
		p.need.configure(e.Value.Config)
		specs = append(specs, p)
	}
	out := make([]wish, 0, s.Deployments.Len())
	for e := range s.Deployments.All() {
		for len(specs) > 0 && specs[0].uid < e.ID {
			specs = specs[1:]
		}
		d := &e.Value
		if len(specs) == 0 || specs[0].uid != e.ID || d.DesiredState != api.DesiredRunning || d.Replicas == 0 {
			continue
		}
		w := wish{uid: e.ID, rev: max(specs[0].rev, e.Rev), need: specs[0].need, replicas: int(min(d.Replicas, api.MaxReplicas))}
		w.need.configure(d.ConfigOverrides)
		w.need.pin(d, w.replicas)
		out = append(out, w)
	}
	return out
}

// recall carries over the rejections that are still young, and adds those that nodes report now.
func recall(s *cluster.State, before Memory, now time.Time) Memory {
	var m Memory
	note := func(uid string, r rejection) {
		if m.rejected == nil {
			m.rejected = map[string][]rejection{}
		}
		m.rejected[uid] = append(m.rejected[uid], r)
	}
	for e := range s.Endpoints.All() {
		if f := e.Value.Failure; f != nil && f.Code == api.FailAdmission {
			uid := e.Value.ModelUID
			r := rejection{node: e.Value.NodeID, wish: cluster.Revision(s, uid), report: e.Rev, at: now}
			for _, old := range before.rejected[uid] {
				if old.report == r.report { // it was said of the wish of then
					r.wish = old.wish
				}
			}
			note(uid, r)
		}
	}
	for uid, list := range before.rejected {
		for _, r := range list {
			again := slices.ContainsFunc(m.rejected[uid], func(n rejection) bool { return n.report == r.report })
			if !again && now.Sub(r.at) < RejectedFor && r.wish == cluster.Revision(s, uid) {
				note(uid, r)
			}
		}
	}
	return m
}

// refusedBy tells whether that node has refused the model as it is wanted now.
func (m *Memory) refusedBy(w *wish, node string) bool {
	return slices.ContainsFunc(m.rejected[w.uid], func(r rejection) bool { return r.node == node && r.wish == w.rev })
}

// gone tells whether a node has been away for so long that its replicas get another place.
func (m *Memory) gone(node string, now time.Time) bool {
	since, ok := m.missed[node]
	return ok && now.Sub(since) >= LostAfter
}

// missedBy lists the nodes of the assignments that have been away for too long, sorted.
func (m *Memory) missedBy(list []api.PlacementAssignment, now time.Time) []string {
	var out []string
	for _, a := range list {
		if m.gone(a.NodeID, now) && !slices.Contains(out, a.NodeID) {
			out = append(out, a.NodeID)
		}
	}
	slices.Sort(out)
	return out
}
