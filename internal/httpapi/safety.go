package httpapi

import (
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// The names of the cookie. Under TLS the browser itself sees to it that the cookie is of this host alone and never sent in clear.
const (
	plainCookie  = "nebula-session"
	secureCookie = "__Host-nebula-session"
)

// maxCookie bounds the value of a cookie that is looked up.
const maxCookie = 128

// crossOrigin refuses what another site lets a browser send here.
var crossOrigin = http.NewCrossOriginProtection()

// sameOrigin refuses a request that a page of another site may have caused, where the browser's cookie, or nothing at all, says who asks.
func sameOrigin(r *http.Request) error {
	if err := crossOrigin.Check(r); err != nil {
		return api.Errorf(api.CodeForbidden, "another web site asks for this: open Nebula's own page, or use a key or token from a program")
	}
	return nil
}

// guardHeaders are on every answer. A page sets a policy of its own.
func guardHeaders(h http.Header, secure bool) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// credentialOf returns the bearer token or key of a request; empty when there is none.
func credentialOf(r *http.Request) (string, error) {
	secret := r.Header.Get("X-Api-Key")
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", api.Errorf(api.CodeUnauthorized, "use Authorization: Bearer with your token")
		}
		secret = strings.TrimSpace(rest)
	}
	return secret, nil
}

// cookieOf returns the value of the session's cookie; empty when there is none.
func cookieOf(r *http.Request) string {
	c, err := r.Cookie(cookieName(overTLS(r)))
	if err != nil || len(c.Value) > maxCookie {
		return ""
	}
	return c.Value
}

func cookieName(secure bool) string {
	if secure {
		return secureCookie
	}
	return plainCookie
}

// setCookie gives the browser its session, or takes it away when value is empty.
func setCookie(w http.ResponseWriter, secure bool, value string, seconds int) {
	if value == "" {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(secure), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}

// authenticate finds the one credential of a request: the certificate of a machine, else Authorization: Bearer, else x-api-key, else the
// cookie of a session. Who shows a certificate is that machine and nobody else, and beside a bearer token or a key the cookie counts for
// nothing.
func (s *server) authenticate(r *http.Request) (auth.Principal, error) {
	who, err := s.identify(r)
	if err == nil && who.Session != "" {
		s.touch(r.Context(), who.Session)
	}
	return who, err
}

// identify tells who asks, without that counting as a use of the login.
func (s *server) identify(r *http.Request) (auth.Principal, error) {
	if cert := machineCert(r); cert != nil {
		st, _ := s.View.Current()
		return machineIn(st, cert)
	}
	secret, err := credentialOf(r)
	if err != nil {
		return auth.Principal{}, err
	}
	if cookie := cookieOf(r); secret == "" && cookie != "" && s.Sessions != nil {
		return s.bySession(r, cookie)
	}
	if secret == "" {
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized,
			"a credential is needed: send Authorization: Bearer TOKEN or x-api-key; on the server's machine it is in admin.token in the data directory")
	}
	who, ok := s.Keys.Authenticate(secret)
	if !ok && s.Sessions != nil {
		who, ok = s.Sessions.TokenSession(secret)
	}
	if !ok {
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized, "this credential is not valid here")
	}
	return who, nil
}

func (s *server) bySession(r *http.Request, cookie string) (auth.Principal, error) {
	who, ok := s.Sessions.Session(cookie)
	if !ok {
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized, "you are not logged in any more: log in again")
	}
	if err := sameOrigin(r); err != nil {
		return auth.Principal{}, err
	}
	return who, nil
}
