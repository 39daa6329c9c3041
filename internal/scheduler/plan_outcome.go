package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
)

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
	} else if stuck := j.stuck(t); len(stuck) > 0 {
		unplaced = j.explainStuck(t, stuck)
	}
	assignments, claims := j.complete(assignments)
	if j.old != nil && same(j.old, assignments, claims, unplaced) { // 9
		return nil
	}
	plan := &api.PlacementPlan{
		ModelUID: j.wish.uid, ModelName: t.name(j.wish.uid), Version: j.newest + 1, Assignments: assignments, Displaced: claims,
		Unplaced: unplaced, PlannedAtMS: now.UnixMilli(),
	}
	if j.old != nil {
		plan.RequestID = j.old.RequestID
	}
	return plan
}

// complete adds heirs and displaced replicas to those that have the seats, says of each whose place it takes, and sorts by id.
func (j *job) complete(holders []api.PlacementAssignment) (assigned, claims []api.PlacementAssignment) {
	assigned = holders
	for _, a := range holders {
		if heir, ok := j.heirs[a.ReplicaID]; ok {
			assigned = append(assigned, heir)
		}
		claims = append(claims, j.displaced[a.ReplicaID]...)
	}
	for _, list := range j.orphans {
		claims = append(claims, list...)
	}
	known := map[uint32]bool{}
	lists := [...][]api.PlacementAssignment{assigned, claims}
	for _, list := range lists {
		slices.SortFunc(list, func(a, b api.PlacementAssignment) int { return cmp.Compare(a.ReplicaID, b.ReplicaID) })
		for i := range list {
			known[list[i].ReplicaID] = true
		}
	}
	for _, list := range lists {
		for i := range list {
			list[i].Replaces = j.replaces(list[i].ReplicaID, known)
		}
	}
	return assigned, claims
}

// replaces is the nearest predecessor of a replica that the plan still knows.
func (j *job) replaces(id uint32, known map[uint32]bool) *uint32 {
	for range len(j.chain) {
		before, ok := j.chain[id]
		if !ok {
			return nil
		}
		if known[before] {
			return &before
		}
		id = before
	}
	return nil
}

// same tells whether a plan would say nothing new.
func same(old *api.PlacementPlan, assignments, claims []api.PlacementAssignment, unplaced *api.Reason) bool {
	if (old.Unplaced == nil) != (unplaced == nil) || unplaced != nil && *unplaced != *old.Unplaced {
		return false
	}
	return slices.EqualFunc(old.Assignments, assignments, alikeReplicas) && slices.EqualFunc(old.Displaced, claims, alikeReplicas)
}

func alikeReplicas(a, b api.PlacementAssignment) bool {
	return a.ReplicaID == b.ReplicaID && a.NodeID == b.NodeID && engineOf(&a) == engineOf(&b) && slices.Equal(a.GPUs(), b.GPUs()) &&
		(a.Replaces == nil) == (b.Replaces == nil) && (a.Replaces == nil || *a.Replaces == *b.Replaces)
}

func engineOf(a *api.PlacementAssignment) string {
	if a.EngineType == nil {
		return ""
	}
	return api.CanonicalEngine(*a.EngineType)
}
