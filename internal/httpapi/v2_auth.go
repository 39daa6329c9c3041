package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// authRoutes are the rows about logging in.
func (s *server) authRoutes() []Route {
	tooMany := []api.Code{api.CodeTooManyRequests, api.CodeUnauthorized, api.CodeForbidden}
	return []Route{
		{Method: "POST", Path: "/api/v2/auth/login", Role: auth.Public, Summary: "Log in with a password: the answer sets the session's cookie", Request: api.Login{}, Response: api.Whoami{}, Errors: tooMany, Handle: s.login},
		{Method: "POST", Path: "/api/v2/auth/logout", Role: auth.Inference, Summary: "End the session of the cookie", Response: api.Done{}, Handle: s.logout},
		{Method: "POST", Path: "/api/v2/auth/token", Role: auth.Public, Summary: "Make a personal token, for the command line, with a password or a session", Request: api.CreatePersonalToken{}, Response: api.PersonalToken{}, Errors: tooMany, Handle: s.personalToken},
		{Method: "GET", Path: "/api/v2/sessions", Role: auth.Viewer, Summary: "List your sessions; administrators see those of all", Query: []Param{{Name: "user", Type: "string", Summary: "Only those of this user"}}, Sort: sortFields(sessionOrders()), Response: []api.SessionView{}, Has: Pages, Handle: s.listSessions},
		{Method: "DELETE", Path: "/api/v2/sessions/{id}", Role: auth.Viewer, Summary: "End a session of yours; administrators may end any", Response: api.SessionDeleted{}, Has: DryRuns, Handle: s.deleteSession},
	}
}

// logins is what logging in needs beside the store.
type logins struct {
	passwords  *auth.Passwords
	byAccount  backoff
	byAddress  backoff
	addressKey throttle // for its keys alone

	mu      sync.Mutex
	touched map[string]time.Time // when a session's lease was renewed last
}

func newLogins() *logins {
	return &logins{passwords: auth.NewPasswords(), byAccount: backoff{allowance: perAccount}, byAddress: backoff{allowance: perAddress}, touched: map[string]time.Time{}}
}

// touchEvery is how often a session that is in use has its lease renewed.
const touchEvery = time.Minute

// touch renews the lease of a session that is in use, now and then.
func (s *server) touch(ctx context.Context, id string) {
	now, l := s.Now(), s.logins
	l.mu.Lock()
	last := l.touched[id]
	due := now.Sub(last) >= touchEvery
	if due {
		for k, at := range l.touched {
			if now.Sub(at) >= control.SessionIdle {
				delete(l.touched, k)
			}
		}
		l.touched[id] = now
	}
	l.mu.Unlock()
	if !due || s.Control == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.Control.TouchSession(ctx, id); err != nil {
		s.Log.Debug("a session's lease was not renewed", "error", err)
	}
}

// proof is what a right password has shown.
type proof struct {
	user          api.User
	hash, renewed string
	external      bool // by an OpenID provider, without a password here
}

// errWrong is the one answer to a login that fails, whatever the reason.
func errWrong() error {
	return fmt.Errorf("%w: %w", errLogin, api.Errorf(api.CodeUnauthorized, "user name or password is wrong, or the user is disabled"))
}

// errLogin is in the chain of errors of logins that failed.
var errLogin = errors.New("a login failed")

// proven compares a password. An account that does not exist, one that is disabled and a wrong password cost the same work and get the same
// answer; who keeps failing has to wait, also with the right password.
func (s *server) proven(w http.ResponseWriter, r *http.Request, name string, password api.Token) (proof, error) {
	if name == "" || password == "" {
		return proof{}, api.Errorf(api.CodeInvalidRequest, "username and password are needed")
	}
	l, now := s.logins, s.Now()
	addr := l.addressKey.key(r.RemoteAddr)
	account := digest("account", name)
	wait := l.byAddress.try(addr, now)
	if wait == 0 {
		if wait = l.byAccount.try(account, now); wait > 0 {
			l.byAddress.right(addr, false)
		}
	}
	if wait > 0 {
		return proof{}, waitFirst(w, wait)
	}
	st, _ := s.View.Current()
	user, known := st.Users.Value(name)
	stored, _ := st.Passwords.Value(name)
	right, renew, err := l.passwords.Matches(r.Context(), password, stored.Hash)
	if err != nil {
		return proof{}, err
	}
	if !right || !known || user.Disabled {
		s.failedLogin(r, name, known)
		return proof{}, errWrong()
	}
	l.byAccount.right(account, true)
	l.byAddress.right(addr, false)
	p := proof{user: user, hash: stored.Hash}
	if renew {
		if p.renewed, err = l.passwords.Hash(r.Context(), password); err != nil {
			return proof{}, err
		}
	}
	return p, nil
}

func waitFirst(w http.ResponseWriter, wait time.Duration) error {
	seconds := int((wait + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	return api.Errorf(api.CodeTooManyRequests, "too many logins have failed: try again in %d s", seconds)
}

// failedLogin is recorded. A name that is no user's may be a password typed in the wrong place: it is written nowhere.
func (s *server) failedLogin(r *http.Request, name string, known bool) {
	object := "user/(unknown)"
	if known {
		object = "user/" + name
	}
	s.collect(r, api.AuditRecord{Verb: "login", Object: object, Result: api.AuditFailed, Code: api.CodeUnauthorized})
	s.Log.Warn("a login failed", "user", object, "source", sourceOf(r), "request_id", idOf(r))
}

func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loginProof(w, r)
	if err != nil {
		return err
	}
	return s.openSession(w, r, p)
}

// loginProof reads who logs in, with which password, and compares it. No page of another origin may do so with a browser.
func (s *server) loginProof(w http.ResponseWriter, r *http.Request) (proof, error) {
	if err := sameOrigin(r); err != nil {
		return proof{}, err
	}
	var req api.Login
	if err := decode(r, &req, false); err != nil {
		return proof{}, err
	}
	return s.proven(w, r, req.Username, req.Password)
}

// openSession gives the browser a session of a user.
func (s *server) openSession(w http.ResponseWriter, r *http.Request, p proof) error {
	session, err := s.startSession(w, r, p)
	if err != nil {
		return err
	}
	view := session.View()
	view.Current = true
	writeJSON(w, http.StatusOK, api.Whoami{ID: p.user.Name, Kind: string(auth.KindUser), Role: p.user.Role, User: &p.user, Session: &view})
	return nil
}

// startSession stores a session of a user and sets its cookie.
func (s *server) startSession(w http.ResponseWriter, r *http.Request, p proof) (api.Session, error) {
	b, err := newSessionSecret()
	if err != nil {
		return api.Session{}, err
	}
	cookie := base64.RawURLEncoding.EncodeToString(b)
	session, err := s.Control.OpenSession(control.As(r.Context(), p.user), control.NewSession{
		ID: auth.Digest(cookie), User: p.user.Name, UserAgent: r.UserAgent(), Hash: p.hash, Renewed: p.renewed, External: p.external,
	})
	if err != nil {
		return api.Session{}, err
	}
	setCookie(w, overTLS(r), cookie, int(control.SessionLife/time.Second))
	return session, nil
}

func newSessionSecret() ([]byte, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make a session: %w", err)
	}
	return b, nil
}

func (s *server) logout(w http.ResponseWriter, r *http.Request) error {
	who := principal(r)
	if who.Session == "" {
		return api.Errorf(api.CodeConflict, "only a session ends by logging out: delete a key or token instead")
	}
	if err := s.Control.CloseSession(r.Context(), who.Session); err != nil {
		return err
	}
	setCookie(w, overTLS(r), "", 0)
	writeJSON(w, http.StatusOK, api.Done{Status: "logged out"})
	return nil
}

// personalToken makes a token for who shows a password, or has a session. Another token or key is not enough: it may be able to do less.
func (s *server) personalToken(w http.ResponseWriter, r *http.Request) error {
	var req api.CreatePersonalToken
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if err := req.Validate(); err != nil {
		return err
	}
	p, err := s.tokenOwner(w, r, req)
	if err != nil {
		return err
	}
	id, key, err := auth.NewKey()
	if err != nil {
		return err
	}
	days := req.Days
	if days == 0 {
		days = api.TokenDays
	}
	made, err := s.Control.CreatePersonalToken(control.As(r.Context(), p.user), control.NewPersonalToken{
		Key:  api.APIKey{ID: id, Name: req.Name, SecretHash: auth.Digest(key), Prefix: auth.KeyPrefix(id)},
		User: p.user.Name, Hash: p.hash, Life: time.Duration(days) * 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.PersonalToken{Token: api.Token(key), ID: made.ID, User: made.Owner, Role: made.Role, ExpiresAtMS: made.ExpiresAtMS})
	return nil
}

func (s *server) tokenOwner(w http.ResponseWriter, r *http.Request, req api.CreatePersonalToken) (proof, error) {
	if err := sameOrigin(r); err != nil {
		return proof{}, err
	}
	if req.Username != "" || req.Password != "" {
		return s.proven(w, r, req.Username, req.Password)
	}
	who, err := s.authenticate(r)
	if err != nil {
		return proof{}, err
	}
	if who.Session == "" {
		return proof{}, api.Errorf(api.CodeForbidden, "a personal token is made with a user's password, or in a session: send username and password")
	}
	st, _ := s.View.Current()
	user, err := control.User(st, who.ID)
	return proof{user: user}, err
}

// newPassword checks and hashes a password to store.
func (s *server) newPassword(ctx context.Context, user string, password api.Token) (string, error) {
	if err := auth.CheckPassword(password, user); err != nil {
		return "", err
	}
	return s.logins.passwords.Hash(ctx, password)
}

func (s *server) listSessions(w http.ResponseWriter, r *http.Request) error {
	who := principal(r)
	user := r.URL.Query().Get("user")
	if who.Role < auth.Admin {
		if user != "" && user != who.ID {
			return api.Errorf(api.CodeForbidden, "only administrators see the sessions of others")
		}
		user = who.ID
	}
	st, _ := s.View.Current()
	return writePage(w, r, control.Sessions(st, user, who.Session, s.Now()), func(v *api.SessionView) string { return v.ID }, sessionOrders()...)
}

func (s *server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	who, id := principal(r), r.PathValue("id")
	user := who.ID
	if who.Role == auth.Admin {
		user = ""
	}
	if err := s.Control.RevokeSession(r.Context(), id, user); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.SessionDeleted{ID: id, Status: "deleted"})
	return nil
}
