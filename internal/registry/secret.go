package registry

import (
	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Secret returns the token with which a node may fetch a model's files. It gets the one of a model that it is to run, or to pull, now, and no other. Its
// errors say nothing final: this server may lag behind what the node knows.
func (r *Registry) Secret(id, uid string) (api.Token, error) {
	s, _ := r.cfg.Store.Current()
	name, may := cluster.TokenSecret(s, id, uid)
	switch {
	case !may:
		r.cfg.Log.Warn("node asked for the token of a model that it is neither to run nor to pull", "node", id, "model", uid)
		return "", api.Errorf(api.CodeForbidden, "node %s is neither to run nor to pull the model %.80q now, so it gets no token for it", id, uid)
	case name == "":
		return "", api.Errorf(api.CodeNotFound, "the model %s names no secret", uid)
	}
	stored, ok := s.Secrets.Value(name)
	switch {
	case !ok:
		return "", api.Errorf(api.CodeNotFound, "the model %s names the secret %s, which cannot be found: store it with: nebula secret set %s", uid, name, name)
	case r.cfg.Open == nil:
		return "", api.Errorf(api.CodeUnavailable, "this server has no key for secrets: use another server of the cluster")
	}
	token, err := r.cfg.Open(stored)
	if err != nil {
		return "", err
	}
	r.cfg.Log.Info("a secret was given to a node", "secret", name, "node", id, "model", uid)
	return token, nil
}
