// Package provider is a real OpenID provider, zitadel/oidc, for tests: it knows the people that it is told of, each with the password "right".
package provider

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// What Nebula calls itself at the provider, and how it proves that.
const (
	ClientID     = "nebula"
	ClientSecret = "a-secret-of-the-client-0123456789"
)

// Provider is an OpenID provider that knows some people.
type Provider struct {
	*storage.Storage

	mu     sync.Mutex
	people map[string]Person
}

// Person is somebody whom the provider knows, by a name that is the subject, too.
type Person struct {
	Groups   []string
	Verified bool // the mail address is
}

// New is a provider for one client, which gets people back at the redirect address.
func New(redirect string, people map[string]Person) *Provider {
	p := &Provider{people: people}
	p.Storage = storage.NewStorageWithClients(p, map[string]*storage.Client{ClientID: storage.WebClient(ClientID, ClientSecret, redirect)})
	return p
}

// Handler serves a [Provider], or what a test has made of one, under the address that it calls itself by. It logs nothing.
func Handler(issuer string, s exampleop.Storage) http.Handler {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	slog.SetDefault(quiet) // its templates log there
	return exampleop.SetupServer(issuer, s, quiet, false)
}

// Set makes somebody known, or changes what is known of them.
func (p *Provider) Set(name string, as Person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.people[name] = as
}

// GetUserByID implements storage.UserStore.
func (p *Provider) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	who, known := p.people[id]
	if !known {
		return nil
	}
	return &storage.User{ID: id, Username: id, Password: "right", FirstName: "Some", LastName: "Body", Email: id + "@example.com", EmailVerified: who.Verified}
}

// GetUserByUsername implements storage.UserStore.
func (p *Provider) GetUserByUsername(name string) *storage.User { return p.GetUserByID(name) }

// ExampleClientID implements storage.UserStore.
func (*Provider) ExampleClientID() string { return "service" }

// SetUserinfoFromToken adds the groups, which this provider tells at its user info endpoint alone.
func (p *Provider) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	info.AppendClaims("groups", p.people[subject].Groups)
	return nil
}
