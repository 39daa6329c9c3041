// Package scheduler decides which node and which GPUs each replica of each model gets, and keeps the plans in the store up to date.
//
// Plan is a pure function of the cluster; Run carries its answers out. The package never starts or stops anything:
// nodes read their plans and act. It never moves a replica that serves, never gives a GPU to two replicas, and never replaces the
// engine that people asked for by another.
package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// RejectedFor is how long a node that found no room for a model is not asked again, unless the wish changes.
const RejectedFor = 5 * time.Minute

// Change is one plan to write.
type Change struct {
	UID  string
	Plan *api.PlacementPlan // nil: delete it
	Rev  int64              // revision of the plan that it replaces; 0: there is none
}

// Plan compares what is wanted with what is planned and returns the plans to change, in order of uid, and what to remember
// for the next time. It is pure and deterministic: the order in which things came into being does not matter.
//
//  1. A model with an unreadable document is left alone, plan and all.
//  2. Not wanted (stopped, zero replicas, no spec, no deployment): its plan goes.
//  3. Too many replicas: the worst go, which is those that are to be replaced anyway, then those
//     whose node does not report, then those not ready, then the highest id.
//  4. A replica stays where it is, also when it fails: its node tries again. It is replaced only when the wish changed under
//     it (engine, number of GPUs, pin), its node was removed or has been away for lostAfter, its node refused it for lack of room, or its GPU
//     vanished while it does not serve. Except for a changed wish and a removed node, it stays until there is another place. One that
//     has got another place because its node is lost is remembered as displaced, and [usher.settle] says which of the two stays.
//     While so many nodes are absent that the fault must be ours, absence replaces nothing ([cluster.Census.MassLoss]).
//  5. Missing replicas get the lowest free ids. A replica that goes to another node gets a new id, too, so that the documents of the old
//     and the new one never collide.
//  6. First every model gets a first replica, then the rest; among equals the older wish goes first.
//  7. Where: see [table.best]. A cordoned node takes nothing new. A draining node loses its replicas one at a time: the heir is placed
//     first, and when it is ready the old one goes. So does a replica that people want to leave by itself, and its heir may be on the same node.
//  8. What has no place is explained in the plan, node by node.
//  9. A plan that would say what it says already is not written.
func Plan(s *cluster.State, m Memory, now time.Time, lostAfter time.Duration) ([]Change, Memory) {
	endpoints := s.Endpoints.Refs()
	t := newTable(s, endpoints)
	next := observe(s, m, now, lostAfter)
	next.recall(s, endpoints, m, now)
	r := review(s, t, next, now)
	if len(r.jobs) == 0 {
		return r.dropped, r.memory
	}
	settle(t, inOrder(r.jobs))
	changes := r.dropped
	for _, j := range r.jobs {
		if plan := j.plan(t, now); plan != nil { // 9
			changes = append(changes, Change{UID: j.wish.uid, Plan: plan, Rev: j.planRev})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.UID, b.UID) })
	return changes, r.memory
}

// inOrder returns the jobs with the oldest wish first.
func inOrder(jobs []*job) []*job {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b *job) int { // 6
		return cmp.Or(cmp.Compare(a.wish.rev, b.wish.rev), cmp.Compare(a.wish.uid, b.wish.uid))
	})
	return jobs
}

// settle gives every job what there is for it, in order, until nothing that becomes free on the way is of use to another.
func settle(t *table, jobs []*job) {
	for again := true; again; again = t.freed {
		t.freed = false
		for _, j := range jobs {
			j.refit(t)
		}
		if t.freed {
			continue
		}
		for _, j := range jobs {
			if len(j.keep) == 0 {
				j.place(t, 1)
			}
		}
		for _, j := range jobs {
			j.place(t, j.wish.replicas)
		}
	}
	for _, j := range jobs {
		j.move(t)
	}
}
