package httpapi

import (
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// userRoutes are the rows about people.
func (s *server) userRoutes() []Route {
	const users = "/api/v2/users"
	return []Route{
		{Method: "GET", Path: "/api/v2/whoami", Role: auth.Inference, Summary: "Who you are", Response: api.Whoami{}, Handle: s.whoami},
		{Method: "PUT", Path: "/api/v2/profile", Role: auth.Viewer, Summary: "Change what you say of yourself", Request: api.UpdateProfile{}, Response: api.User{}, Errors: []api.Code{api.CodeNotFound}, Has: DryRuns, Handle: s.updateProfile},
		{Method: "PUT", Path: "/api/v2/password", Role: auth.Viewer, Summary: "Change your password; your other sessions end", Request: api.ChangePassword{}, Response: api.Done{}, Errors: []api.Code{api.CodeTooManyRequests, api.CodeNotFound}, Handle: s.changePassword},
		{Method: "GET", Path: users, Role: auth.Admin, Summary: "List users", Sort: sortFields(userOrders()), Response: []api.User{}, Has: Pages, Handle: s.listUsers},
		{Method: "POST", Path: users, Role: auth.Admin, Summary: "Make a user", Request: api.CreateUser{}, Response: api.User{}, Status: http.StatusCreated, Has: Creates | DryRuns, Handle: s.createUser},
		{Method: "GET", Path: users + "/{name}", Role: auth.Admin, Summary: "One user", Response: api.User{}, Handle: s.getUser},
		{Method: "PUT", Path: users + "/{name}", Role: auth.Admin, Summary: "Change a user: role, name, mail, disabled", Request: api.UpdateUser{}, Response: api.User{}, Has: DryRuns, Handle: s.updateUser},
		{Method: "PUT", Path: users + "/{name}/password", Role: auth.Admin, Summary: "Give a user another password; the user's sessions end", Request: api.SetPassword{}, Response: api.Done{}, Handle: s.setPassword},
		{Method: "DELETE", Path: users + "/{name}", Role: auth.Admin, Summary: "Remove a user, with sessions and keys", Response: api.UserDeleted{}, Has: DryRuns, Handle: s.deleteUser},
	}
}

func (s *server) whoami(w http.ResponseWriter, r *http.Request) error {
	who := principal(r)
	out := api.Whoami{ID: who.ID, Kind: string(who.Kind), Role: api.Role(who.Role.String()), KeyID: who.KeyID}
	if who.KeyID != "" {
		out.Scopes = &who.Scopes
	}
	st, _ := s.View.Current()
	if who.Kind == auth.KindUser {
		if u, err := control.User(st, who.ID); err == nil {
			out.User = &u
		}
	}
	if session, ok := st.Sessions.Value(who.Session); ok {
		v := session.View()
		v.Current = true
		out.Session = &v
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// self is the user who asks.
func self(r *http.Request) (string, error) {
	who := principal(r)
	if who.Kind != auth.KindUser {
		return "", api.Errorf(api.CodeConflict, "you use a token of the server's own configuration, which is no user's: log in as a user first")
	}
	return who.ID, nil
}

func (s *server) updateProfile(w http.ResponseWriter, r *http.Request) error {
	name, err := self(r)
	if err != nil {
		return err
	}
	var req api.UpdateProfile
	if err := decode(r, &req, false); err != nil {
		return err
	}
	u, err := s.Control.UpdateProfile(r.Context(), name, req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, u)
	return nil
}

func (s *server) changePassword(w http.ResponseWriter, r *http.Request) error {
	name, err := self(r)
	if err != nil {
		return err
	}
	var req api.ChangePassword
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if req.Current == "" || req.New == "" {
		return api.Errorf(api.CodeInvalidRequest, "current_password and new_password are needed")
	}
	p, err := s.proven(w, r, name, req.Current)
	if api.HasCode(err, api.CodeUnauthorized) {
		return api.Errorf(api.CodeForbidden, "the current password is wrong, so nothing was changed")
	}
	if err != nil {
		return err
	}
	hash, err := s.newPassword(r.Context(), name, req.New)
	if err != nil {
		return err
	}
	if err := s.Control.SetPassword(r.Context(), name, hash, p.hash, principal(r).Session); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Done{Status: "changed"})
	return nil
}

func (s *server) listUsers(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	return writePage(w, r, control.Users(st), func(u *api.User) string { return u.Name }, userOrders()...)
}

func (s *server) createUser(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateUser
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if err := req.Validate(); err != nil {
		return err
	}
	hash := ""
	if req.Password != "" {
		var err error
		if hash, err = s.newPassword(r.Context(), req.Name, req.Password); err != nil {
			return err
		}
	}
	u, err := s.Control.CreateUser(r.Context(), req, hash)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v2/users/"+u.Name)
	writeJSON(w, http.StatusCreated, u)
	return nil
}

func (s *server) getUser(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	u, err := control.User(st, r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, u)
	return nil
}

func (s *server) updateUser(w http.ResponseWriter, r *http.Request) error {
	var req api.UpdateUser
	if err := decode(r, &req, false); err != nil {
		return err
	}
	u, err := s.Control.UpdateUser(r.Context(), r.PathValue("name"), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, u)
	return nil
}

func (s *server) setPassword(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	var req api.SetPassword
	if err := decode(r, &req, false); err != nil {
		return err
	}
	st, _ := s.View.Current()
	if _, err := control.User(st, name); err != nil {
		return err
	}
	hash, err := s.newPassword(r.Context(), name, req.Password)
	if err != nil {
		return err
	}
	if err := s.Control.SetPassword(r.Context(), name, hash, "", ""); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Done{Status: "changed"})
	return nil
}

func (s *server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := s.Control.DeleteUser(r.Context(), name); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.UserDeleted{Name: name, Status: "deleted"})
	return nil
}
