// Package openid finds out at an OpenID provider who a person is, by the authorization code flow with PKCE. It knows no users, no sessions and no
// cookies, and its errors hold nothing that is secret.
package openid

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/nebula-serve/nebula/api"
)

// Config tells of the provider, and what its claims mean here.
type Config struct {
	Issuer       string
	ClientID     string
	ClientSecret api.Token // "" = a public client
	Scopes       []string  // beside openid
	RoleClaim    string
	Roles        Roles
	// Otherwise is the role of those whose claim stands for none; "" = they may not come in.
	Otherwise api.Role
	PublicURL string // under which browsers reach this server; "" = as each of them calls it
	// Roots are the authorities that the provider's certificate may be of; nil = those that this machine trusts.
	Roots *x509.CertPool
	Now   func() time.Time
	Log   *slog.Logger
}

// Person is who the provider says that somebody is.
type Person struct {
	Issuer, Subject string
	Name            string // a legal user name
	DisplayName     string
	Email           string // only one that the provider has verified
	Role            api.Role
}

// Limits of what the provider may cost.
const (
	answerTime = 10 * time.Second
	maxAnswer  = 1 << 20
	retryAfter = 2 * time.Second // after the provider was away
)

// Provider is an OpenID provider. It is looked up when it is first needed, and again while it is away: nothing waits for it at the start.
type Provider struct {
	Config
	http *http.Client

	mu    sync.Mutex
	found *oidc.Provider
	tried time.Time // when it was looked up in vain
}

// New checks the configuration. It does not call the provider.
func New(c Config) (*Provider, error) {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, api.Errorf(api.CodeInvalidRequest, "--oidc-issuer must be the provider's URL, for example https://login.example.com/realms/main")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, api.Errorf(api.CodeInvalidRequest, "--oidc-issuer must begin with https://, because whoever can change what the provider says can come in as anybody")
	case c.ClientID == "":
		return nil, api.Errorf(api.CodeInvalidRequest, "--oidc-client-id is missing: it is what the provider calls this server")
	case len(c.Roles) == 0 && c.Otherwise == "":
		return nil, api.Errorf(api.CodeInvalidRequest, "nobody could log in: say which claims mean which role with --oidc-role-map, for example --oidc-role-map admin=platform-team, or give --oidc-default-role")
	case c.Otherwise != "" && !ForPeople(c.Otherwise):
		return nil, api.Errorf(api.CodeInvalidRequest, "--oidc-default-role %q is no role of a user: use viewer, operator or admin", c.Otherwise)
	}
	if p, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || p.Host == "" || p.User != nil || p.Scheme != "https" && p.Scheme != "http" || strings.Trim(p.Path, "/") != "") {
		return nil, api.Errorf(api.CodeInvalidRequest, "--public-url must be as browsers call this server, without a path, for example https://nebula.example.com")
	}
	return &Provider{Config: c, http: &http.Client{Timeout: answerTime, Transport: bounded{transport(c.Roots)}}}, nil
}

// Host is the provider's host, which whoever logs in there sees in the address of its page.
func (p *Provider) Host() string {
	u, err := url.Parse(p.Issuer)
	if err != nil {
		return "" // New takes none such
	}
	return u.Host
}

// transport trusts roots alone; nil = what this machine trusts.
func transport(roots *x509.CertPool) http.RoundTripper {
	if roots == nil {
		return http.DefaultTransport
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bounded cuts answers off that are longer than any that a provider has reason to give.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// errAway is the answer while the provider cannot be reached.
func (p *Provider) errAway() error {
	return api.Errorf(api.CodeUnavailable, "the login provider at %.200s does not answer: try again soon, or log in with a password", p.Issuer)
}

// provider is what the provider says of itself.
func (p *Provider) provider(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if p.Now().Sub(p.tried) < retryAfter {
		return nil, p.errAway()
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.http), p.Issuer)
	if err != nil {
		p.tried = p.Now()
		p.Log.Warn("the login provider cannot be used", "issuer", p.Issuer, "error", err)
		return nil, p.errAway()
	}
	p.found = found
	return found, nil
}

func (p *Provider) oauth(found *oidc.Provider, redirect string) oauth2.Config {
	return oauth2.Config{
		ClientID: p.ClientID, ClientSecret: string(p.ClientSecret), Endpoint: found.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
}

// Attempt is one login, from the way to the provider to the way back. All but Redirect are secrets of the one browser.
type Attempt struct {
	State, Nonce, Verifier string
	Redirect               string // the URL of the way back
}

// URL is where the browser is to go.
func (p *Provider) URL(ctx context.Context, a Attempt) (string, error) {
	found, err := p.provider(ctx)
	if err != nil {
		return "", err
	}
	c := p.oauth(found, a.Redirect)
	return c.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

// errRefused is the one answer to a login that the provider's answers do not prove. The log has the reason.
func (p *Provider) errRefused(reason string, err error) error {
	p.Log.Warn("a login by the provider was refused", "issuer", p.Issuer, "reason", reason, "error", plain(err))
	return api.Errorf(api.CodeUnauthorized, "the login at the provider could not be proven: start again at /api/v2/auth/oidc/login")
}

// plain leaves out of an error what a provider may have put into it: its answer may name tokens.
func plain(err error) error {
	if r, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		switch r.ErrorCode { // those of RFC 6749, section 5.2: anything else may be what the provider was told
		case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
			return fmt.Errorf("the provider answered %s", r.ErrorCode)
		}
		return errors.New("the provider answered with an error of its own")
	}
	return err
}

// Redeem gives the code of the way back to the provider, and returns who it says that the person is.
func (p *Provider) Redeem(ctx context.Context, a Attempt, code string) (Person, error) {
	found, err := p.provider(ctx)
	if err != nil {
		return Person{}, err
	}
	ctx = oidc.ClientContext(ctx, p.http)
	c := p.oauth(found, a.Redirect)
	tokens, err := c.Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		if _, answered := errors.AsType[*oauth2.RetrieveError](err); !answered {
			p.Log.Warn("the login provider does not answer", "issuer", p.Issuer, "error", err)
			return Person{}, p.errAway()
		}
		return Person{}, p.errRefused("the code was not taken", err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.Now}).Verify(ctx, raw)
	if err != nil {
		return Person{}, p.errRefused("the ID token is not valid", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return Person{}, p.errRefused("the ID token is of another login", nil)
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return Person{}, p.errRefused("the ID token cannot be read", err)
	}
	p.addInfo(ctx, found, oauth2.StaticTokenSource(tokens), id.Subject, claims)
	return p.person(id.Issuer, id.Subject, claims)
}

// addInfo adds what the provider says of the person elsewhere, where the ID token has no role or no name: many providers keep it short.
func (p *Provider) addInfo(ctx context.Context, found *oidc.Provider, tokens oauth2.TokenSource, subject string, claims map[string]any) {
	if found.UserInfoEndpoint() == "" || at(claims, p.RoleClaim) != nil && claims["preferred_username"] != nil {
		return
	}
	more := map[string]any{}
	info, err := found.UserInfo(ctx, tokens)
	if err == nil && info.Subject != subject {
		err = errors.New("it is about somebody else")
	}
	if err == nil {
		err = info.Claims(&more)
	}
	if err != nil { // the ID token alone has to do
		p.Log.Warn("the login provider's user info cannot be used", "issuer", p.Issuer, "error", plain(err))
		return
	}
	for name, v := range more {
		if _, there := claims[name]; !there { // what is signed counts
			claims[name] = v
		}
	}
}

// person reads the claims.
func (p *Provider) person(issuer, subject string, claims map[string]any) (Person, error) {
	text := func(name string) string { s, _ := claims[name].(string); return s }
	who := Person{Issuer: issuer, Subject: subject, Role: p.Roles.Of(at(claims, p.RoleClaim), p.Otherwise)}
	if verified, _ := claims["email_verified"].(bool); verified {
		who.Email = text("email")
	}
	for _, name := range []string{text("preferred_username"), who.Email, subject} {
		if who.Name = strings.ToLower(name); api.ValidUserName(who.Name) {
			break
		}
	}
	who.DisplayName = text("name")
	about := api.CreateUser{Name: "a", Role: api.RoleViewer, DisplayName: who.DisplayName}
	if about.Validate() != nil {
		who.DisplayName = ""
	}
	if about.DisplayName, about.Email = "", who.Email; about.Validate() != nil {
		who.Email = ""
	}
	switch {
	case !api.ValidUserName(who.Name):
		return Person{}, api.Errorf(api.CodeForbidden, "the provider gives you no name that can be a user name here (lower-case letters, digits, \".\", \"_\", \"@\" and \"-\"): ask its administrator for a preferred_username")
	case subject == "" || len(subject) > 255:
		return Person{}, p.errRefused("the subject is empty or too long", nil)
	case who.Role == "":
		return Person{}, api.Errorf(api.CodeForbidden, "the provider knows you, but nothing it says gives you a role here: ask an administrator of this server which group you have to be in")
	}
	return who, nil
}
