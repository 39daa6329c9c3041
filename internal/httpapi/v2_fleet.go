package httpapi

import (
	"context"
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// fleetRoutes are the rows about the cluster's machines, and those for the machines themselves.
func (s *server) fleetRoutes() []Route {
	const tokens, node = "/api/v2/tokens", "/api/v2/nodes/{id}"
	return []Route{
		{Method: "POST", Path: tokens, Role: auth.Admin, Summary: "Make a join token", Request: api.CreateJoinToken{}, Response: api.JoinTokenCreated{}, Status: 201, Has: Creates | DryRuns, Handle: s.createToken},
		{Method: "GET", Path: tokens, Role: auth.Admin, Summary: "List join tokens that are not used yet", Response: []api.JoinTokenView{}, Has: Pages | Watches, Handle: s.listTokens},
		{Method: "DELETE", Path: tokens + "/{token}", Role: auth.Admin, Summary: "Take a join token back", Response: api.JoinTokenRevoked{}, Has: DryRuns, Handle: s.revokeToken},
		{Method: "GET", Path: "/api/v2/members", Role: auth.Admin, Summary: "List the machines of the cluster", Response: []api.Member{}, Has: Pages | Watches, Handle: s.listMembers},
		{Method: "GET", Path: "/api/v2/cluster", Role: auth.Viewer, Summary: "The cluster as a whole", Response: api.ClusterView{}, Handle: s.getCluster},
		{Method: "POST", Path: "/api/v2/cluster/accept-history", Role: auth.Admin, Summary: "Say that a restored cluster is right", Response: api.ClusterInfo{}, Has: DryRuns, Handle: s.acceptHistory},
		{Method: "POST", Path: node + "/cordon", Role: auth.Operator, Summary: "Place nothing new on a node", Response: api.Member{}, Has: DryRuns, Handle: s.nodeVerb((*control.Control).CordonNode)},
		{Method: "POST", Path: node + "/uncordon", Role: auth.Operator, Summary: "End cordon and drain", Response: api.Member{}, Has: DryRuns, Handle: s.nodeVerb((*control.Control).UncordonNode)},
		{Method: "POST", Path: node + "/drain", Role: auth.Operator, Summary: "Move a node's replicas elsewhere", Response: api.Member{}, Has: DryRuns, Handle: s.nodeVerb((*control.Control).DrainNode)},
		{Method: "DELETE", Path: node, Role: auth.Admin, Summary: "Remove a node, and revoke its credential", Response: api.MemberRemoved{}, Has: DryRuns, Handle: s.removeNode},
		{Method: "DELETE", Path: "/api/v2/members/{role}/{id}", Role: auth.Admin, Summary: "Remove a machine, and revoke its credential", Response: api.MemberRemoved{}, Has: DryRuns, Handle: s.removeMember},

		{Method: "POST", Path: "/api/v2/join", Role: auth.Public, Summary: "Get a machine's first credential for a join token", Request: api.JoinRequest{}, Response: api.JoinResponse{}, Errors: []api.Code{api.CodeUnauthorized, api.CodeTooManyRequests}, Handle: s.join},
		{Method: "POST", Path: "/api/v2/renew", Role: auth.Machine, Summary: "Get the next certificate of the calling machine", Request: api.RenewRequest{}, Response: api.RenewResponse{}, Handle: s.renew},
	}
}

// maxJoin bounds the body of who has no credential yet; a request of ours takes a twentieth of it.
const maxJoin = 16 << 10

func (s *server) createToken(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateJoinToken
	if err := decode(r, &req, false); err != nil {
		return err
	}
	made, err := s.Control.CreateToken(r.Context(), req)
	if err != nil {
		return err
	}
	s.Log.Info("join token made", "id", made.ID, "for", made.For, "name", made.Name, "by", caller(r))
	writeJSON(w, http.StatusCreated, made)
	return nil
}

func (s *server) listTokens(w http.ResponseWriter, r *http.Request) error {
	return listOrWatch(s, w, r, "tokens", control.Tokens, func(t *api.JoinTokenView) string { return t.ID })
}

func (s *server) revokeToken(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("token")
	if err := s.Control.RevokeToken(r.Context(), id); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.JoinTokenRevoked{ID: id, Status: "revoked"})
	return nil
}

// join is the one route that changes something for callers without a credential. Who keeps being refused has to wait.
func (s *server) join(w http.ResponseWriter, r *http.Request) error {
	if r.TLS == nil { // token and keys would travel in clear
		return api.Errorf(api.CodeMisdirected, "machines join over the server's fleet port, which speaks TLS: name that one, HOST:PORT, as in the output of: nebula token create")
	}
	if !s.refusals.allowed(r.RemoteAddr, s.Now()) {
		w.Header().Set("Retry-After", "5")
		return api.Errorf(api.CodeTooManyRequests, "too many attempts to join from this address have been refused: wait a few seconds, and check the token")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxJoin)
	var req api.JoinRequest
	err := decode(r, &req, false)
	var res api.JoinResponse
	if err == nil {
		unhurried(w, r) // a server waits here for the store to take it in
		res, err = s.Control.Join(r.Context(), req)
	}
	if err != nil {
		if api.HasCode(err, api.CodeUnauthorized) || api.HasCode(err, api.CodeInvalidRequest) {
			s.refusals.refused(r.RemoteAddr, s.Now())
		}
		return err
	}
	s.Log.Info("machine joined", "role", req.Role, "id", req.ID, "from", r.RemoteAddr)
	writeJSON(w, http.StatusOK, res)
	return nil
}

func (s *server) renew(w http.ResponseWriter, r *http.Request) error {
	var req api.RenewRequest
	if err := decode(r, &req, false); err != nil {
		return err
	}
	who := principal(r)
	res, err := s.Control.Renew(r.Context(), api.MachineRole(who.Role.String()), who.ID, req) // the roles have the same names
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, res)
	return nil
}

func (s *server) listMembers(w http.ResponseWriter, r *http.Request) error {
	return listOrWatch(s, w, r, "members", control.Members, func(m *api.Member) string { return api.MemberKey(m.Role, m.ID) })
}

func (s *server) getCluster(w http.ResponseWriter, _ *http.Request) error {
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, control.ClusterView(st))
	return nil
}

func (s *server) acceptHistory(w http.ResponseWriter, r *http.Request) error {
	info, err := s.Control.AcceptHistory(r.Context())
	if err != nil {
		return err
	}
	s.Log.Info("the restored cluster was accepted", "history", info.History, "by", caller(r))
	writeJSON(w, http.StatusOK, info)
	return nil
}

// nodeVerb is a wish about a node that has no body.
func (s *server) nodeVerb(verb func(*control.Control, context.Context, string) (api.Member, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		m, err := verb(s.Control, r.Context(), r.PathValue("id"))
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, m)
		return nil
	}
}

func (s *server) removeNode(w http.ResponseWriter, r *http.Request) error {
	return s.remove(w, r, api.MachineNode)
}

func (s *server) removeMember(w http.ResponseWriter, r *http.Request) error {
	return s.remove(w, r, api.MachineRole(r.PathValue("role")))
}

func (s *server) remove(w http.ResponseWriter, r *http.Request, role api.MachineRole) error {
	id := r.PathValue("id")
	if err := s.Control.RemoveMember(r.Context(), role, id, queryBool(r, "force")); err != nil {
		return err
	}
	s.Log.Info("machine removed", "role", role, "id", id, "by", caller(r))
	writeJSON(w, http.StatusOK, api.MemberRemoved{Role: role, ID: id, Status: "removed"})
	return nil
}
