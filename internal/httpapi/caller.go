package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// anonymous is who asks on routes that are open to everybody.
var anonymous = auth.Principal{ID: "anonymous", Kind: auth.KindAnonymous}

// principal is who the middleware found to be asking.
func principal(r *http.Request) auth.Principal {
	if who, ok := r.Context().Value(keyPrincipal).(auth.Principal); ok {
		return who
	}
	return anonymous
}

func caller(r *http.Request) string { return principal(r).ID }

// withCaller puts into the request's context who asks and how: what a change is recorded with.
func withCaller(r *http.Request, route *Route, who auth.Principal) (*http.Request, error) {
	c := &control.Caller{
		Actor:  api.Actor{ID: who.ID, Kind: string(who.Kind), KeyID: who.KeyID},
		Source: sourceOf(r), RequestID: idOf(r),
		DryRun: queryBool(r, "dry_run") || queryBool(r, "validate"),
	}
	if who.Kind != auth.KindAnonymous {
		c.Role = who.Role.String()
	}
	if c.DryRun && r.Method != http.MethodGet && r.Method != http.MethodHead && route.Has&DryRuns == 0 {
		return r, api.Errorf(api.CodeInvalidRequest, "this route has no dry run, so nothing was done: leave dry_run out")
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" && route.Has&Creates != 0 {
		var err error
		if c.Idempotent, err = idempotent(r, route, who, key); err != nil {
			return r, err
		}
	}
	ctx := context.WithValue(r.Context(), keyPrincipal, who)
	return r.WithContext(control.WithCaller(ctx, c)), nil
}

// sourceOf is the address that a request came from, as the connection has it, or a proxy that is trusted: what others say about it could be anything.
func sourceOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// maxIdempotencyKey bounds an Idempotency-Key, in bytes.
const maxIdempotencyKey = 255

// idempotent reads the body, to know the same request again, and puts it back.
func idempotent(r *http.Request, route *Route, who auth.Principal, key string) (*control.Idempotent, error) {
	if len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, api.Errorf(api.CodeInvalidRequest, "Idempotency-Key must be visible ASCII without spaces, at most %d characters: a UUID is a good one", maxIdempotencyKey)
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return &control.Idempotent{
		ID: digest(who.ID, route.Method, route.Path, key),
		// The body may hold a password, and whoever reads the store could try guesses against its digest, quickly: the key, which is not stored, is in it, too.
		RequestHash: digest(key, r.URL.Path, r.URL.RawQuery, string(body)),
	}, nil
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}
