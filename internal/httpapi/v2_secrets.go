package httpapi

import (
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// secretRoutes are the rows about stored secrets. None of them gives a value to people.
func (s *server) secretRoutes() []Route {
	const secrets = "/api/v2/secrets"
	return []Route{
		{Method: "GET", Path: secrets, Role: auth.Operator, Summary: "List secrets, without their values", Response: []api.SecretView{}, Has: Pages | Watches, Handle: s.listSecrets},
		{Method: "PUT", Path: secrets + "/{name}", Role: auth.Admin, Summary: "Store a secret, or change its value", Request: api.PutSecret{}, Response: api.SecretView{}, Has: DryRuns, Handle: s.putSecret},
		{Method: "DELETE", Path: secrets + "/{name}", Role: auth.Admin, Summary: "Forget a secret", Query: []Param{{Name: "force", Type: "boolean", Summary: "Also when models name it"}}, Response: api.SecretDeleted{}, Has: DryRuns, Handle: s.deleteSecret},
		{Method: "GET", Path: "/api/v2/nodes/{id}/secrets/{uid}", Role: auth.Node, Summary: "The token for a model that the calling node is to run", Response: api.ModelToken{}, Errors: []api.Code{api.CodeConflict, api.CodeTimeout}, Handle: s.nodeSecret},
	}
}

func (s *server) listSecrets(w http.ResponseWriter, r *http.Request) error {
	return listOrWatch(s, w, r, "secrets", cluster.SecretViews, func(v *api.SecretView) string { return v.Name })
}

func (s *server) putSecret(w http.ResponseWriter, r *http.Request) error {
	var req api.PutSecret
	if err := decode(r, &req, false); err != nil {
		return err
	}
	view, err := s.Control.PutSecret(r.Context(), r.PathValue("name"), req)
	if err != nil {
		return err
	}
	s.Log.Info("a secret was set", "secret", view.Name, "by", caller(r))
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (s *server) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := s.Control.DeleteSecret(r.Context(), name, queryBool(r, "force")); err != nil {
		return err
	}
	s.Log.Info("a secret was deleted", "secret", name, "by", caller(r))
	writeJSON(w, http.StatusOK, api.SecretDeleted{Name: name, Status: "deleted"})
	return nil
}

// nodeSecret gives the calling node the token for the download of a model that it is to run.
func (s *server) nodeSecret(w http.ResponseWriter, r *http.Request) error {
	if s.Nodes == nil {
		return errNoNodes
	}
	node, uid := r.PathValue("id"), r.PathValue("uid")
	st, _ := s.View.Current()
	name, _ := cluster.TokenSecret(st, node, uid)
	token, err := s.Nodes.Secret(node, uid)
	if err != nil {
		return err
	}
	if err := s.record(r, "secret.read", "secret/"+name+" for model/"+uid); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.ModelToken{Token: token})
	return nil
}
