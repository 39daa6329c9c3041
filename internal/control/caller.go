package control

import (
	"context"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Caller is who asks for a change, and how. It travels in the context of the request: every verb needs it, and none decides by it.
type Caller struct {
	api.Actor
	Source    string // IP address
	RequestID string
	// DryRun: check and work out everything, and commit nothing.
	DryRun bool
	// Idempotent makes a create happen once; nil: the request has no Idempotency-Key.
	Idempotent *Idempotent
	// Replayed is set by a create that was carried out before and has now been answered the same again.
	Replayed bool

	after *cluster.State // of a dry run: the State as it would be
}

// Idempotent is the Idempotency-Key of a request.
type Idempotent struct {
	ID          string // SHA-256, in hex, of caller, route and key
	RequestHash string // of what was asked: the same key with another request is refused
}

type callerKey struct{}

// WithCaller puts who asks into a context.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asks, or nil.
func CallerOf(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}

// System is the context of a part of Nebula that changes something by itself.
func System(ctx context.Context, part string) context.Context {
	return WithCaller(ctx, &Caller{Actor: api.Actor{ID: part, Kind: "system"}})
}

// by names who asks in documents.
func by(ctx context.Context) string {
	if c := CallerOf(ctx); c != nil {
		return c.ID
	}
	return ""
}

func dryRun(ctx context.Context) bool {
	c := CallerOf(ctx)
	return c != nil && c.DryRun
}

// After returns the State that shows what the context's caller has just done, or, after a dry run, would have done.
func (c *Control) After(ctx context.Context) *cluster.State {
	if who := CallerOf(ctx); who != nil && who.after != nil {
		return who.after
	}
	s, _ := c.store.Current()
	return s
}
