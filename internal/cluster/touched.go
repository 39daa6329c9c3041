package cluster

import (
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// TouchedViews calls fn with the uid of every model whose [View] may differ between two States at the same time, some of them more than once. It
// knows what a view is made of, and looks at nothing else; what the clock alone changes is the matter of [NextLook].
//
// It returns false when nothing was written that a view is made of, so that there has been no other view between the two States either.
func TouchedViews(before, after *State, fn func(uid string)) bool {
	same := after.Models == before.Models && after.Deployments == before.Deployments && after.Placements == before.Placements &&
		after.Endpoints == before.Endpoints && after.Downloads == before.Downloads && after.Bad == before.Bad &&
		after.Nodes == before.Nodes && after.Secrets == before.Secrets
	if same {
		return false
	}
	after.Models.Changed(before.Models, fn)
	after.Deployments.Changed(before.Deployments, fn)
	after.Placements.Changed(before.Placements, fn)
	ofReplica := func(id string) {
		uid, _, _ := strings.Cut(id, "/")
		fn(uid)
	}
	after.Endpoints.Changed(before.Endpoints, ofReplica)
	after.Downloads.Changed(before.Downloads, ofReplica)
	after.Bad.Changed(before.Bad, func(key string) {
		if parts := strings.Split(key, "/"); len(parts) > 2 {
			fn(parts[2])
		}
	})
	touchedByNodes(before, after, fn)
	touchedBySecrets(before, after, fn)
	return true
}

// touchedByNodes finds the models with a replica on a node that has come or gone. What else a node tells of itself is in no view.
func touchedByNodes(before, after *State, fn func(uid string)) {
	flipped := map[string]bool{}
	after.Nodes.Changed(before.Nodes, func(id string) {
		if before.Nodes.Has(id) != after.Nodes.Has(id) {
			flipped[id] = true
		}
	})
	if len(flipped) == 0 {
		return
	}
	note := func(uid string, list []api.PlacementAssignment) {
		for i := range list {
			if flipped[list[i].NodeID] {
				fn(uid)
			}
		}
	}
	for _, e := range after.Placements.Refs() {
		note(e.ID, e.Value.Assignments)
		note(e.ID, e.Value.Displaced)
	}
	for _, e := range after.Endpoints.Refs() {
		if flipped[e.Value.NodeID] {
			fn(e.Value.ModelUID)
		}
	}
}

// touchedBySecrets finds the models whose files are fetched with a secret that has another version.
func touchedBySecrets(before, after *State, fn func(uid string)) {
	names := map[string]bool{}
	after.Secrets.Changed(before.Secrets, func(name string) { names[name] = true })
	if len(names) == 0 {
		return
	}
	for _, e := range after.Models.Refs() {
		if names[e.Value.TokenSecret] {
			fn(e.ID)
		}
	}
}

// NextLook tells whether the status of a model was worked out with the clock, and when, after now, it may become another one by the clock alone; the
// zero time is never.
func NextLook(s *State, uid string, now time.Time) (next time.Time, byClock bool) {
	deployment, _ := s.Deployments.Value(uid)
	plan, _ := s.Placements.Value(uid)
	if !wantsRunning(&deployment) || len(plan.Assignments) > 0 {
		return time.Time{}, false
	}
	changed := time.UnixMilli(age{s, uid, &deployment, now}.changedMS())
	for _, d := range []time.Duration{verdictGrace, pendingPatience} {
		for _, at := range []time.Time{changed.Add(time.Millisecond - d), changed.Add(d)} { // a clock that is ahead makes a wish of the future
			if at.After(now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next, true
}
