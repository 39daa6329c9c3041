package httpapi

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/openid"
)

const (
	callbackPath = "/api/v2/auth/oidc/callback"
	// attemptLife is how long somebody may take to log in at the provider.
	attemptLife = 10 * time.Minute
	// maxAttempt bounds the cookie of an attempt, and maxReturn the path in it.
	maxAttempt = 2048
	maxReturn  = 512
	maxCode    = 2048
)

func (s *server) oidcRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/auth/oidc/login", Role: auth.Public, Summary: "Log in at the OpenID provider: the answer leads there", Query: []Param{{Name: "return", Type: "string", Summary: "The path on this server to come back to; / when absent"}}, Status: http.StatusSeeOther, Errors: []api.Code{api.CodeNotFound}, Handle: s.oidcLogin},
		{
			Method: "GET", Path: callbackPath, Role: auth.Public, Summary: "The way back from the OpenID provider: sets the session's cookie", Status: http.StatusSeeOther,
			Query: []Param{
				{Name: "code", Type: "string", Summary: "From the provider"},
				{Name: "state", Type: "string", Summary: "As this server gave it to the provider"},
				{Name: "error", Type: "string", Summary: "Why the provider let nobody in"},
			},
			Errors: []api.Code{api.CodeNotFound, api.CodeUnauthorized, api.CodeForbidden, api.CodeConflict, api.CodeTooManyRequests, api.CodeTimeout}, Handle: s.oidcCallback,
		},
	}
}

// attempt is a login at the provider that is under way. It is in a signed cookie of the one browser that began it, so no server keeps it.
type attempt struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Return   string `json:"r"`
	UntilMS  int64  `json:"u"`
}

func (s *server) needOpenID() error {
	if s.OpenID == nil {
		return api.Errorf(api.CodeNotFound, "no login provider is set up here: log in with a password, or start the server with --oidc-issuer")
	}
	return nil
}

// oidcLogin begins a login.
func (s *server) oidcLogin(w http.ResponseWriter, r *http.Request) error {
	back := cmp.Or(r.URL.Query().Get("return"), "/")
	if !ownPath(back) {
		return api.Errorf(api.CodeInvalidRequest, "return must be a path on this server, such as /api/docs")
	}
	return s.tellInConsole(w, r, s.beginLogin(w, r, back), back)
}

func (s *server) beginLogin(w http.ResponseWriter, r *http.Request, back string) error {
	if err := s.needOpenID(); err != nil {
		return err
	}
	a := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: back, UntilMS: s.Now().Add(attemptLife).UnixMilli()}
	to, err := s.OpenID.URL(r.Context(), s.forProvider(r, a))
	if err != nil {
		return err
	}
	value, err := a.sign(s.attemptKey)
	if err != nil {
		return err
	}
	setAttempt(w, r, value)
	seeOther(w, to)
	return nil
}

// forProvider is what the provider, and whoever asks it, needs of an attempt.
func (s *server) forProvider(r *http.Request, a attempt) openid.Attempt {
	base := strings.TrimRight(s.OpenID.PublicURL, "/")
	if base == "" {
		base = "http://" + r.Host // a provider leads browsers only to where its administrator has allowed it
		if overTLS(r) {
			base = "https://" + r.Host
		}
	}
	return openid.Attempt{State: a.State, Nonce: a.Nonce, Verifier: a.Verifier, Redirect: base + callbackPath}
}

// oidcCallback ends a login.
func (s *server) oidcCallback(w http.ResponseWriter, r *http.Request) error {
	a, err := s.attemptOf(r)
	return s.tellInConsole(w, r, s.finishLogin(w, r, a, err), a.Return)
}

// tellInConsole leads a person whose login at the provider failed back to the console's page, which says why in their language and leads on to where they
// wanted to go: it gets a code, the request's id and that path, and no text that somebody could put into a link. Programs get the error itself.
func (s *server) tellInConsole(w http.ResponseWriter, r *http.Request, err error, next string) error {
	e, ok := api.AsError(err)
	if !ok || s.console == nil || !takesHTML(r) {
		return err
	}
	if status := e.Code.HTTPStatus(); (status == http.StatusUnauthorized || status == http.StatusForbidden) && !errors.Is(err, errLogin) {
		s.denied(r, e.Code)
	}
	s.Log.Warn("a login by the provider failed", "request_id", idOf(r), "error", err)
	q := url.Values{"error": {string(e.Code)}, "request": {idOf(r)}}
	if next != "" && next != "/" {
		q.Set("next", next)
	}
	seeOther(w, "/login?"+q.Encode())
	return nil
}

// finishLogin lets in whom the provider names in its answer to the attempt, which may be none at all.
func (s *server) finishLogin(w http.ResponseWriter, r *http.Request, a attempt, none error) error {
	if err := s.needOpenID(); err != nil {
		return err
	}
	l, now := s.logins, s.Now()
	addr := l.addressKey.key(r.RemoteAddr)
	if wait := l.byAddress.try(addr, now); wait > 0 {
		return waitFirst(w, wait)
	}
	setAttempt(w, r, "") // it serves once, however it ends
	if none != nil {
		return none
	}
	if err := s.comeIn(w, r, a); err != nil {
		return err
	}
	l.byAddress.right(addr, false)
	seeOther(w, a.Return)
	return nil
}

// attemptOf returns the attempt that this browser began, and that this is the answer to. Of one that has taken too long it still says where it was to lead.
func (s *server) attemptOf(r *http.Request) (attempt, error) {
	begin := api.Errorf(api.CodeUnauthorized, "this is not the answer to a login that this browser has just begun: start again at /api/v2/auth/oidc/login")
	c, err := r.Cookie(attemptCookie(r))
	if err != nil {
		return attempt{}, begin
	}
	a, ok := readAttempt(s.attemptKey, c.Value)
	state := r.URL.Query().Get("state")
	if !ok || subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) != 1 {
		return attempt{}, begin
	}
	if s.Now().UnixMilli() >= a.UntilMS {
		return attempt{Return: a.Return}, begin
	}
	return a, nil
}

// comeIn gives the browser a session of the user whom the provider names.
func (s *server) comeIn(w http.ResponseWriter, r *http.Request, a attempt) error {
	q := r.URL.Query()
	if q.Get("error") != "" { // its texts are the provider's, or anybody's: they are not shown
		return s.noLogin(r, api.Errorf(api.CodeForbidden, "the provider let nobody in: start again at /api/v2/auth/oidc/login"))
	}
	code := q.Get("code")
	if code == "" || len(code) > maxCode {
		return api.Errorf(api.CodeInvalidRequest, "the provider's answer has no code: start again at /api/v2/auth/oidc/login")
	}
	who, err := s.OpenID.Redeem(r.Context(), s.forProvider(r, a), code)
	if api.HasCode(err, api.CodeUnavailable) {
		return err
	}
	if err != nil {
		return s.noLogin(r, err)
	}
	user, err := s.Control.External(r.Context(), api.ExternalID{Issuer: who.Issuer, Subject: who.Subject},
		api.CreateUser{Name: who.Name, Role: who.Role, DisplayName: who.DisplayName, Email: who.Email})
	if err != nil {
		return s.noLogin(r, err)
	}
	_, err = s.startSession(w, r, proof{user: user, external: true})
	return err
}

// noLogin records a login that failed, once: its error is not recorded as a refusal, too.
func (s *server) noLogin(r *http.Request, err error) error {
	s.failedLogin(r, "", false)
	return fmt.Errorf("%w: %w", errLogin, err)
}

// ownPath tells whether a browser that is sent to path stays on this server.
func ownPath(path string) bool {
	u, err := url.Parse(path)
	return err == nil && len(path) <= maxReturn && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && u.Scheme == "" && u.Host == "" &&
		!strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' })
}

// seeOther leads a browser elsewhere, without a body.
func seeOther(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

func (a attempt) sign(key []byte) (string, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(b)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(key, []byte(text))), nil
}

func readAttempt(key []byte, value string) (attempt, bool) {
	var a attempt
	text, sum, _ := strings.Cut(value, ".")
	given, err := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || len(value) > maxAttempt || !hmac.Equal(given, mac(key, []byte(text))) {
		return a, false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	return a, err == nil && json.Unmarshal(b, &a) == nil && ownPath(a.Return)
}

func attemptCookie(r *http.Request) string {
	return strings.Replace(cookieName(overTLS(r)), "session", "login", 1)
}

// setAttempt gives the browser the cookie of an attempt, or takes it away when value is empty.
func setAttempt(w http.ResponseWriter, r *http.Request, value string) {
	seconds := int(attemptLife / time.Second)
	if value == "" {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: attemptCookie(r), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: overTLS(r), SameSite: http.SameSiteLaxMode,
	})
}
