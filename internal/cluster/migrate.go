package cluster

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// MigrationStep is what a migration does with one request of version 1: with Spec or Deployment it stores what is missing, without both it does nothing.
type MigrationStep struct {
	api.MigrationDetail
	Spec       *api.ModelSpec       // to be stored; nil: it is, or nothing is to be done
	Deployment *api.ModelDeployment // the same
}

// Pending tells whether the step stores anything.
func (m *MigrationStep) Pending() bool { return m.Spec != nil || m.Deployment != nil }

// MigrationPlan says what a migration does with every request of version 1, in order of their ids. It stores what [State.WithRequests] reads out of the
// requests already, so nothing that runs notices; what is stored is never changed, and the requests stay. A State in which all is done has a plan in
// which nothing is pending, so that a migration may be broken off and repeated at any point.
func MigrationPlan(s *State) []MigrationStep {
	steps := []MigrationStep{}
	for _, e := range s.Requests.Refs() {
		steps = append(steps, migrate(s, &e.Value))
	}
	for e := range s.Bad.Prefix(requestPrefix) {
		steps = append(steps, MigrationStep{MigrationDetail: api.MigrationDetail{
			RequestID: strings.TrimPrefix(e.ID, requestPrefix), Action: api.MigrationFailed,
			Reason: "it cannot be read: " + e.Value.Err + "; it stays as it is",
		}})
	}
	slices.SortFunc(steps, func(a, b MigrationStep) int { return cmp.Compare(a.RequestID, b.RequestID) })
	return steps
}

const requestPrefix = "/model_requests/"

// MigrationOf is the step of one request; false when it is gone or cannot be read.
func MigrationOf(s *State, id string) (MigrationStep, bool) {
	r, ok := s.Requests.Value(id)
	if !ok {
		return MigrationStep{}, false
	}
	return migrate(s, &r), true
}

func migrate(s *State, r *api.ModelRequest) MigrationStep {
	uid := r.Request.ModelUID
	speaks, _ := Speaks(s, uid)
	step := MigrationStep{MigrationDetail: api.MigrationDetail{ModelUID: uid, RequestID: r.ID, Action: api.MigrationSkipped}}
	switch why, unreadable := s.unreadableWish(uid); {
	case !api.KnownUID(uid):
		step.Action = api.MigrationFailed
		step.Reason = "the uid is not legal, so that no model can have it; declare the model anew under another one"
		return step
	case unreadable:
		step.Action = api.MigrationFailed
		step.Reason = why + "; repair or delete it, then migrate again"
		return step
	case speaks != r.ID:
		step.Reason = "superseded: the request " + speaks + " of the same uid is newer"
		return step
	}
	spec, deployment := Declared(r)
	stored, known := s.StoredModels.Value(uid)
	deployed := s.StoredDeployments.Has(uid)
	switch {
	case known && (deployed || stored.CreatedBy != MigratedBy):
		step.Reason = "already_exists"
		return step
	case known || deployed:
		step.Reason = "repaired: an earlier migration left it half-written"
	case !api.ValidUID(uid):
		step.Reason = "the uid keeps working, but a new model could not be given it"
	case r.Status.Phase == api.RequestFailed:
		step.Reason = "it had failed: " + cmp.Or(r.Status.Reason, "nobody noted why")
	}
	step.Action = api.MigrationMigrated
	if !known {
		step.Spec = &spec
	}
	if !deployed {
		step.Deployment, step.DesiredState = &deployment, deployment.DesiredState
	} else if d, ok := s.StoredDeployments.Value(uid); ok {
		step.DesiredState = d.DesiredState
	}
	return step
}

// unreadableWish is [State.Unreadable] of the documents that people write.
func (s *State) unreadableWish(uid string) (string, bool) {
	for _, key := range [...]string{specKey(uid), deploymentKey(uid)} {
		if bad, ok := s.Bad.Value(key); ok {
			return key + " cannot be read: " + bad.Err, true
		}
	}
	return "", false
}
