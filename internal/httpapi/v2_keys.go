package httpapi

import (
	"net"
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// keyRoutes are the rows about API keys. Everybody manages their own; whose a key is, control checks.
func (s *server) keyRoutes() []Route {
	const keys, key = "/api/v2/keys", "/api/v2/keys/{id}"
	return []Route{
		{Method: "GET", Path: keys, Role: auth.Viewer, Summary: "List keys: your own, or those of all for admins", Query: []Param{{Name: "owner", Type: "string", Summary: "Keys of this user only"}}, Sort: sortFields(keyOrders()), Response: []api.KeyView{}, Has: Pages, Handle: s.listKeys},
		{Method: "POST", Path: keys, Role: auth.Viewer, Summary: "Make a key; only this answer has it", Request: api.CreateKey{}, Response: api.KeyCreated{}, Status: http.StatusCreated, Errors: []api.Code{api.CodeForbidden}, Has: Creates | DryRuns, Handle: s.createKey},
		{Method: "GET", Path: key, Role: auth.Viewer, Summary: "One key, without its secret", Response: api.KeyView{}, Has: Conditional, Handle: s.getKey},
		{Method: "PUT", Path: key, Role: auth.Viewer, Summary: "Change a key", Request: api.UpdateKey{}, Response: api.KeyView{}, Has: Conditional | DryRuns, Handle: s.updateKey},
		{Method: "DELETE", Path: key, Role: auth.Viewer, Summary: "End a key for good", Response: api.KeyDeleted{}, Has: Conditional | DryRuns, Handle: s.deleteKey},
		{Method: "POST", Path: key + "/rotate", Role: auth.Viewer, Summary: "Give a key another secret; only this answer has it", Request: api.RotateKey{}, Response: api.KeyCreated{}, Has: Conditional | Creates | DryRuns | OptionalBody, Handle: s.rotateKey},
		{Method: "POST", Path: "/api/v2/gateways/{id}/key-uses", Role: auth.Gateway, Summary: "When the calling gateway has seen which keys used", Request: api.KeyUses{}, Response: api.KeyUsesStored{}, Handle: s.keyUses},
	}
}

// holder is the caller as one who manages keys.
func holder(r *http.Request) control.KeyHolder {
	who := principal(r)
	h := control.KeyHolder{Role: api.Role(who.Role.String()), KeyID: who.KeyID, Scopes: who.Scopes}
	if who.Kind == auth.KindUser {
		h.User = who.ID
	}
	return h
}

func (s *server) listKeys(w http.ResponseWriter, r *http.Request) error {
	views, err := s.Control.Keys(holder(r), r.URL.Query().Get("owner"))
	if err != nil {
		return err
	}
	return writePage(w, r, views, func(v *api.KeyView) string { return v.ID }, keyOrders()...)
}

func (s *server) createKey(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateKey
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if err := req.Validate(); err != nil {
		return err
	}
	if err := s.checkRoutes(req.Scopes); err != nil {
		return err
	}
	made, err := s.Control.CreateKey(r.Context(), holder(r), req, control.KeySecret(auth.MakeKey()))
	if err != nil {
		return err
	}
	s.setKeyETag(w, r, made.ID)
	w.Header().Set("Location", "/api/v2/keys/"+made.ID)
	writeJSON(w, http.StatusCreated, made)
	return nil
}

func (s *server) getKey(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	view, err := s.Control.Key(holder(r), id)
	if err != nil {
		return err
	}
	s.setKeyETag(w, r, id)
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (s *server) updateKey(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	var req api.UpdateKey
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if err := req.Validate(); err != nil {
		return err
	}
	if req.Scopes != nil {
		if err := s.checkRoutes(*req.Scopes); err != nil {
			return err
		}
	}
	id := r.PathValue("id")
	view, err := s.Control.UpdateKey(r.Context(), holder(r), id, req, rev)
	if err != nil {
		return err
	}
	s.setKeyETag(w, r, id)
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (s *server) deleteKey(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := s.Control.DeleteKey(r.Context(), holder(r), id, rev); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.KeyDeleted{ID: id, Status: "deleted"})
	return nil
}

func (s *server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	var req api.RotateKey
	if err := decode(r, &req, true); err != nil {
		return err
	}
	id := r.PathValue("id")
	made, err := s.Control.RotateKey(r.Context(), holder(r), id, req, rev, control.KeySecret(auth.MakeSecret(id)))
	if err != nil {
		return err
	}
	s.setKeyETag(w, r, id)
	writeJSON(w, http.StatusOK, made)
	return nil
}

// keyUses takes a gateway's report. It can make a key look used later than it was; that is all it can do.
func (s *server) keyUses(w http.ResponseWriter, r *http.Request) error {
	var req api.KeyUses
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if err := req.Validate(); err != nil {
		return err
	}
	for i := range req.Uses {
		if net.ParseIP(req.Uses[i].Source) == nil {
			req.Uses[i].Source = ""
		}
	}
	if err := s.Control.StoreKeyUses(r.Context(), req.Uses); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.KeyUsesStored{Taken: len(req.Uses)})
	return nil
}

// setKeyETag sends the revision of a key as it is now.
func (s *server) setKeyETag(w http.ResponseWriter, r *http.Request, id string) {
	if e, ok := s.Control.After(r.Context()).APIKeys.Get(id); ok {
		w.Header().Set("ETag", etag(e.Rev))
	}
}
