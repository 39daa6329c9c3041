package cluster

import (
	"time"

	"github.com/nebula-serve/nebula/api"
)

// verdictGrace is how long a wish may be young enough for "no place found" to mean "not yet": on the first start of
// a machine the model is often declared a moment before its node has registered.
const verdictGrace = 5 * time.Second

// pendingPatience is how long a scheduler may take before the reason says that something is wrong with it.
const pendingPatience = 30 * time.Second

// Status works out how a model stands. It is the only place that does, and it never remembers anything.
//
// The principle: running and degraded say that requests are answered. Of the states that do not serve, failed means
// that somebody has to act, or should look now; downloading and starting mean that Nebula is getting there by itself.
//
// A replica counts by its assignment: its endpoint and its download are those that the assigned node reports. What
// other nodes or former replicas report is on its way out; it neither counts as ready nor hides one that is.
//
// First match wins:
//  1. A document that decides about the model cannot be read: degraded while an engine of it answers, else failed.
//  2. Nobody wants it to run (no spec, no deployment, stopped, zero replicas): stopping while an endpoint is left,
//     else stopped.
//  3. At least as many replicas are ready as are desired, on nodes that report: running.
//  4. Some are ready: degraded, with the reason of the worst of the others. A replica that was ready when its node was
//     last heard counts as ready, because a node that is cut off goes on serving; one that has been given another place
//     counts until that place is ready.
//  5. A replica really downloads: downloading.
//  6. A replica is on its way (loads, waits for its node, is between two tries, was asked for again after it had given
//     up): starting, with the reason of the worst.
//  7. Replicas are assigned, and each has given up (a final failure, a crash loop), has gone silent (it served, and
//     does not answer its probe any more), or sits on a vanished node with no other place found: failed. Silence is
//     failed although Nebula will restart the engine: requests fail now, and nothing says that they soon will not.
//     Once it is being restarted it is starting, by rule 6.
//  8. Nothing is assigned and the scheduler found no place: failed, or starting while the wish is younger than 5 s.
//  9. Nothing is assigned and the scheduler has not answered: starting.
func Status(s *State, uid string, now time.Time) api.ModelStatus {
	if why, bad := s.Unreadable(uid); bad { // 1
		return unreadableStatus(s, uid, why)
	}
	deployment, deployed := s.Deployments.Value(uid)
	if !deployed || !wantsRunning(&deployment) || !s.Models.Has(uid) { // 2
		return leavingStatus(s, uid, deployment.Replicas)
	}
	plan, _ := s.Placements.Value(uid)
	t := takeStock(s, &deployment, &plan)
	state, reason := t.verdict(&plan, age{s, uid, &deployment, now})
	return api.ModelStatus{State: state, Reason: reason, Replicas: api.ReplicaCounts{
		Desired: deployment.Replicas, Ready: t.ready, Starting: t.starting, Unhealthy: t.unhealthy,
	}}
}

// verdict holds branches 3 to 9 of Status.
func (t *stock) verdict(plan *api.PlacementPlan, wish age) (api.ModelState, *api.Reason) {
	desired, assigned := wish.of.Replicas, len(plan.Assignments)
	switch {
	case t.ready-t.unseen >= desired: // 3
		return api.StateRunning, nil
	case t.ready > 0: // 4
		return api.StateDegraded, t.degradedBy(plan, uint64(assigned) < uint64(desired))
	case t.download.kind == downloading: // 5
		return api.StateDownloading, t.download.reason()
	case t.coming: // 6
		return api.StateStarting, t.worst.reason()
	case assigned > 0 && t.worst.kind == lost: // 7
		return api.StateFailed, plan.Unplaced
	case assigned > 0:
		return api.StateFailed, t.worst.reason()
	case plan.Unplaced == nil: // 9
		return api.StateStarting, pendingReason(!wish.younger(pendingPatience))
	case wish.younger(verdictGrace): // 8
		return api.StateStarting, plan.Unplaced
	}
	return api.StateFailed, plan.Unplaced
}

// age answers how old the wish is.
type age struct {
	s   *State
	uid string
	of  *api.ModelDeployment
	now time.Time
}

// younger tells whether spec or deployment changed less than d ago. A change in the future, by a clock that is ahead,
// is young for no longer than d either way.
func (a age) younger(d time.Duration) bool {
	return a.now.Sub(time.UnixMilli(a.changedMS())).Abs() < d
}

// changedMS is when spec or deployment last changed.
func (a age) changedMS() int64 {
	changed := a.of.UpdatedAtMS
	if spec, ok := a.s.Models.Get(a.uid); ok {
		changed = max(changed, spec.Value.UpdatedAtMS)
	}
	return changed
}

func unreadableStatus(s *State, uid, why string) api.ModelStatus {
	out := api.ModelStatus{State: api.StateFailed, Reason: unreadableReason(why)}
	if d, ok := s.Deployments.Value(uid); ok {
		out.Replicas.Desired = d.Replicas
	}
	for e := range s.Endpoints.Prefix(uid + "/") {
		switch e.Value.Status {
		case api.EndpointReady:
			out.Replicas.Ready++
		case api.EndpointStarting:
			out.Replicas.Starting++
		case api.EndpointUnhealthy:
			out.Replicas.Unhealthy++
		}
	}
	if out.Replicas.Ready > 0 {
		out.State = api.StateDegraded
	}
	return out
}

func leavingStatus(s *State, uid string, replicas uint32) api.ModelStatus {
	out := api.ModelStatus{State: api.StateStopped, Replicas: api.ReplicaCounts{Desired: replicas}}
	left := 0
	var unseen *api.EndpointInfo
	for e := range s.Endpoints.Prefix(uid + "/") {
		left++
		if unseen == nil && !s.Nodes.Has(e.Value.NodeID) {
			unseen = &e.Value
		}
	}
	switch {
	case unseen != nil:
		out.State, out.Reason = api.StateStopping, unseenReason(unseen)
	case left > 0:
		out.State, out.Reason = api.StateStopping, drainingReason(left)
	}
	return out
}
