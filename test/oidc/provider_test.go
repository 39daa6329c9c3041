package oidc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"

	known "github.com/nebula-serve/nebula/test/oidc/provider"
)

const clientID, clientSecret = known.ClientID, known.ClientSecret

type person = known.Person

// provider is one whose answers can be falsified.
type provider struct {
	*known.Provider
	t *testing.T

	mu      sync.Mutex
	forge   func(claims map[string]any) // changes ID tokens on their way, which are signed again
	key     *rsa.PrivateKey             // with which they are then; nil: the provider's own
	expired bool                        // every code is
}

// AuthRequestByCode is where a code is redeemed.
func (p *provider) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	p.mu.Lock()
	expired := p.expired
	p.mu.Unlock()
	if expired {
		return nil, errors.New("the code has expired")
	}
	return p.Storage.AuthRequestByCode(ctx, code)
}

func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// startProvider serves a provider at an address that was free before.
func startProvider(t *testing.T, addr, redirect string, people map[string]person) *provider {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return serveProvider(t, ln, "http://"+addr, redirect, people)
}

func serveProvider(t *testing.T, ln net.Listener, issuer, redirect string, people map[string]person) *provider {
	t.Helper()
	p := &provider{t: t, Provider: known.New(redirect, people)}
	s := &http.Server{Handler: p.falsify(known.Handler(issuer, p))}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	return p
}

// falsify changes the ID tokens of the token endpoint.
func (p *provider) falsify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		forge, key := p.forge, p.key
		p.mu.Unlock()
		if forge == nil || !strings.HasSuffix(r.URL.Path, "/token") {
			next.ServeHTTP(w, r)
			return
		}
		seen := httptest.NewRecorder()
		next.ServeHTTP(seen, r)
		var answer map[string]any
		if err := json.Unmarshal(seen.Body.Bytes(), &answer); err != nil || seen.Code != 200 {
			p.t.Errorf("the provider answers %d %s", seen.Code, seen.Body)
			return
		}
		answer["id_token"] = p.sign(r.Context(), answer["id_token"].(string), key, forge)
		b, err := json.Marshal(answer)
		if err != nil {
			p.t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, bytes.NewReader(b))
	})
}

func (p *provider) sign(ctx context.Context, token string, key *rsa.PrivateKey, forge func(map[string]any)) string {
	own, err := p.SigningKey(ctx)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	parsed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{own.SignatureAlgorithm()})
	if err != nil {
		p.t.Error(err)
		return ""
	}
	claims := map[string]any{}
	if err := json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &claims); err != nil {
		p.t.Error(err)
	}
	forge(claims)
	text, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	with := own.Key()
	if key != nil {
		with = key
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: own.SignatureAlgorithm(), Key: jose.JSONWebKey{Key: with, KeyID: own.ID()}}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signed, err := signer.Sign(text)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return out
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
