package control_test

import (
	"context"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/control"
)

// ann is the context of a test in which ann asks for changes.
func ann(t *testing.T) context.Context {
	t.Helper()
	return control.WithCaller(t.Context(), &control.Caller{
		Actor: api.Actor{ID: "ann", Kind: "user", Role: "admin"}, Source: "192.0.2.7", RequestID: "req_test",
	})
}
