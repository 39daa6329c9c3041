package cluster

import (
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// TokenSecret names the secret with which a node may fetch a model's files, empty when the model names none. It may only while the cluster
// wants the files there, that is, while it is to run a replica of the model or to pull its files.
func TokenSecret(s *State, nodeID, uid string) (name string, may bool) {
	spec, known := s.Models.Value(uid)
	if !known || !runsOn(s, nodeID, uid) && !pulledTo(s, nodeID, &spec) {
		return "", false
	}
	return spec.TokenSecret, true
}

// runsOn tells whether a node is to run a replica of a model.
func runsOn(s *State, nodeID, uid string) bool {
	deployment, deployed := s.Deployments.Value(uid)
	if !deployed || !wantsRunning(&deployment) {
		return false
	}
	plan, _ := s.Placements.Value(uid)
	return slices.ContainsFunc(plan.Assignments, func(a api.PlacementAssignment) bool { return a.NodeID == nodeID })
}

// pulledTo tells whether a node is to pull a model's files, on the model's own account.
func pulledTo(s *State, nodeID string, spec *api.ModelSpec) bool {
	w := api.CacheWish{NodeID: nodeID, Kind: api.WishPull, Spec: *spec}
	wish, ok := s.Wishes.Value(w.Key())
	return ok && wish.Spec.ModelUID == spec.ModelUID
}

// SecretUsers returns the uids of the models that name a secret, sorted.
func SecretUsers(s *State, name string) []string {
	var uids []string
	for _, e := range s.Models.Refs() {
		if e.Value.TokenSecret == name {
			uids = append(uids, e.ID)
		}
	}
	return uids
}

// SecretViews returns every secret as people may see it, in order of name.
func SecretViews(s *State) []api.SecretView {
	views := make([]api.SecretView, 0, s.Secrets.Len())
	for e := range s.Secrets.All() {
		views = append(views, SecretView(s, &e.Value))
	}
	return views
}

// SecretView returns a secret as people may see it.
func SecretView(s *State, v *api.Secret) api.SecretView {
	return api.SecretView{
		Name: v.Name, CreatedAtMS: v.CreatedAtMS, UpdatedAtMS: v.UpdatedAtMS, CreatedBy: v.CreatedBy, UpdatedBy: v.UpdatedBy,
		UsedBy: SecretUsers(s, v.Name),
	}
}
