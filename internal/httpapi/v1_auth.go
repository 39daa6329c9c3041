package httpapi

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// v1AuthRoutes are version 1's rows about people. They fail with {"error": "text"}.
func (s *server) v1AuthRoutes() []Route {
	const at, user = "/api/auth", "/api/auth/users/{id}"
	tooMany := []api.Code{api.CodeTooManyRequests, api.CodeUnauthorized, api.CodeForbidden}
	noUser := []api.Code{api.CodeNotFound, api.CodeConflict}
	return []Route{
		{Method: "POST", Path: at + "/login", Role: auth.Public, Summary: "Log in with a password: the answer has a bearer token", Request: api.Login{}, Response: api.V1Session{}, Errors: tooMany, Successor: "/api/v2/auth/token", Handle: s.v1Login},
		{Method: "POST", Path: at + "/logout", Role: auth.Inference, Summary: "End the session of the token", Response: api.V1OK{}, Successor: "/api/v2/auth/logout", Handle: s.v1Logout},
		{Method: "GET", Path: at + "/me", Role: auth.Inference, Summary: "The user who asks", Response: api.V1User{}, Errors: noUser, Successor: "/api/v2/whoami", Handle: s.v1Me},
		{Method: "PUT", Path: at + "/profile", Role: auth.Viewer, Summary: "Change what you say of yourself; what is absent stays", Request: api.UpdateProfile{}, Response: api.V1OK{}, Errors: noUser, Successor: "/api/v2/profile", Handle: s.v1Profile},
		{Method: "GET", Path: at + "/settings", Role: auth.Viewer, Summary: "What you have chosen", Response: api.V1Settings{}, Errors: noUser, Successor: "/api/v2/whoami", Handle: s.v1Settings},
		{Method: "PUT", Path: at + "/settings", Role: auth.Viewer, Summary: "Choose; what is absent stays", Request: api.V1UpdateSettings{}, Response: api.V1OK{}, Errors: noUser, Successor: "/api/v2/profile", Handle: s.v1PutSettings},
		{Method: "GET", Path: at + "/users", Role: auth.Admin, Summary: "List users, the oldest first", Response: []api.V1UserListed{}, Has: Pages, Successor: "/api/v2/users", Handle: s.v1Users},
		{Method: "POST", Path: at + "/users", Role: auth.Admin, Summary: "Make a user", Request: api.V1CreateUser{}, Response: api.V1UserCreated{}, Status: http.StatusCreated, Successor: "/api/v2/users", Handle: s.v1CreateUser},
		{Method: "PUT", Path: user, Role: auth.Admin, Summary: "Change a user; what is absent stays", Request: api.V1UpdateUser{}, Response: api.V1OK{}, Successor: "/api/v2/users/{name}", Handle: s.v1UpdateUser},
		{Method: "DELETE", Path: user, Role: auth.Admin, Summary: "Remove a user, with sessions and keys", Response: api.V1OK{}, Successor: "/api/v2/users/{name}", Handle: s.v1DeleteUser},
	}
}

// v1Login is the login of version 2, with the same waits and the one answer for all that fails, and gives a token instead of a cookie.
func (s *server) v1Login(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loginProof(w, r)
	if err != nil {
		return err
	}
	b, err := newSessionSecret()
	if err != nil {
		return err
	}
	token := hex.EncodeToString(b)
	session, err := s.Control.OpenSession(control.As(r.Context(), p.user), control.NewSession{
		ID: auth.Digest(token), User: p.user.Name, UserAgent: r.UserAgent(), Hash: p.hash, Renewed: p.renewed, Bearer: true,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.V1Session{
		Token: api.Token(token), ExpiresAt: time.UnixMilli(session.ExpiresAtMS).UTC().Format(time.RFC3339), User: v1User(&p.user),
	})
	return nil
}

func (s *server) v1Logout(w http.ResponseWriter, r *http.Request) error {
	who := principal(r)
	if who.Session == "" {
		return api.Errorf(api.CodeInvalidRequest, "only a session ends by logging out: delete a key or token instead")
	}
	if err := s.Control.CloseSession(r.Context(), who.Session); err != nil {
		return err
	}
	return v1OK(w)
}

func v1OK(w http.ResponseWriter) error {
	writeJSON(w, http.StatusOK, api.V1OK{OK: true})
	return nil
}

// v1Self is the user who asks.
func (s *server) v1Self(r *http.Request) (api.User, error) {
	name, err := self(r)
	if err != nil {
		return api.User{}, err
	}
	st, _ := s.View.Current()
	return control.User(st, name)
}

func (s *server) v1Me(w http.ResponseWriter, r *http.Request) error {
	u, err := s.v1Self(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, v1User(&u))
	return nil
}

func (s *server) v1Profile(w http.ResponseWriter, r *http.Request) error {
	u, err := s.v1Self(r)
	if err != nil {
		return err
	}
	var req api.UpdateProfile
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if _, err := s.Control.UpdateProfile(r.Context(), u.Name, req); err != nil {
		return err
	}
	return v1OK(w)
}

func (s *server) v1Settings(w http.ResponseWriter, r *http.Request) error {
	u, err := s.v1Self(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.V1Settings{InAppAlerts: !u.InAppAlertsOff, EmailAlerts: u.EmailAlerts})
	return nil
}

func (s *server) v1PutSettings(w http.ResponseWriter, r *http.Request) error {
	u, err := s.v1Self(r)
	if err != nil {
		return err
	}
	var req api.V1UpdateSettings
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if _, err := s.Control.UpdateSettings(r.Context(), u.Name, req); err != nil {
		return err
	}
	return v1OK(w)
}

func (s *server) v1Users(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	var out []api.V1UserListed
	order := map[string]string{}
	for _, u := range control.Users(st) {
		out = append(out, api.V1UserListed{V1User: v1User(&u), IsActive: !u.Disabled})
		order[u.Name] = fmt.Sprintf("%020d %s", max(u.CreatedAtMS, 0), u.Name)
	}
	return writePage(w, r, out, func(u *api.V1UserListed) string { return order[u.Username] })
}

func (s *server) v1CreateUser(w http.ResponseWriter, r *http.Request) error {
	var req api.V1CreateUser
	if err := decode(r, &req, false); err != nil {
		return err
	}
	made := api.CreateUser{Name: req.Username, Role: v1Role(req.Role), DisplayName: valueOf(req.DisplayName), Email: valueOf(req.Email)}
	if err := made.Validate(); err != nil {
		return err
	}
	hash, err := s.newPassword(r.Context(), made.Name, req.Password)
	if err != nil {
		return err
	}
	u, err := s.Control.CreateUser(r.Context(), made, hash)
	if err != nil {
		return err
	}
	id := v1UserID(&u)
	w.Header().Set("Location", "/api/auth/users/"+id)
	writeJSON(w, http.StatusCreated, api.V1UserCreated{OK: true, ID: id})
	return nil
}

// v1UpdateUser changes all that is asked for or nothing.
func (s *server) v1UpdateUser(w http.ResponseWriter, r *http.Request) error {
	name, err := s.v1UserName(r)
	if err != nil {
		return err
	}
	var req api.V1UpdateUser
	if err := decode(r, &req, false); err != nil {
		return err
	}
	change := api.UpdateUser{DisplayName: req.DisplayName, Email: req.Email}
	if req.Role != nil {
		role := v1Role(*req.Role)
		change.Role = &role
	}
	if req.IsActive != nil {
		disabled := !*req.IsActive
		change.Disabled = &disabled
	}
	if err := change.Validate(); err != nil {
		return err
	}
	hash := ""
	if req.Password != nil {
		if hash, err = s.newPassword(r.Context(), name, *req.Password); err != nil {
			return err
		}
	}
	if _, err := s.Control.UpdateUserAndPassword(r.Context(), name, change, hash); err != nil {
		return err
	}
	return v1OK(w)
}

func (s *server) v1DeleteUser(w http.ResponseWriter, r *http.Request) error {
	name, err := s.v1UserName(r)
	if err != nil {
		return err
	}
	if err := s.Control.DeleteUser(r.Context(), name); err != nil {
		return err
	}
	return v1OK(w)
}

// v1UserName finds the user whose id is in the path.
func (s *server) v1UserName(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return "", api.Errorf(api.CodeInvalidRequest, "%.80q is not the id of a user: it is a UUID, as GET /api/auth/users has it", id)
	}
	st, _ := s.View.Current()
	for _, e := range st.Users.Refs() {
		if v1UserID(&e.Value) == id {
			return e.ID, nil
		}
	}
	return "", api.Errorf(api.CodeNotFound, "there is no user with that id; list them with GET /api/auth/users")
}
