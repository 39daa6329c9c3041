package feed

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// keyDelay is how soon every gateway follows a change of a key.
const keyDelay = 2 * time.Second

// TestKeys_onAGateway: what a server commits about keys and their owners counts at a gateway that knows the cluster by the feed alone, in time; and
// while no server is there, a key ends all the same when its time is over.
func TestKeys_onAGateway(t *testing.T) {
	kv := storetest.NewMem()
	s := serve(t, Config{KV: kv, Closing: make(chan struct{})})
	open := func(kv store.KV) *store.Store {
		ctx, cancel := context.WithCancel(context.Background())
		st, err := store.Open(ctx, kv, slog.New(slog.DiscardHandler))
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = st.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		return st
	}
	join(t, kv, gateway1)
	at, gw := open(kv), open(NewKV(s))
	now := time.Now()
	gateway := auth.Directory{View: gw, Now: func() time.Time { return now }}
	made := auth.MakeKey()
	key := api.APIKey{ID: made.ID, Owner: "ann", Role: api.RoleInference, SecretHash: made.Hash, ExpiresAtMS: now.Add(time.Hour).UnixMilli()}
	user := api.User{Name: "ann", Role: api.RoleViewer}

	for _, step := range []struct {
		what string
		do   func(tx *store.Tx) error
		want bool
	}{
		{"created", func(tx *store.Tx) error {
			if err := store.Users.Put(tx, "ann", user); err != nil {
				return err
			}
			return store.APIKeys.Put(tx, key.ID, key)
		}, true},
		{"disabled", func(tx *store.Tx) error { off := key; off.Disabled = true; return store.APIKeys.Put(tx, key.ID, off) }, false},
		{"enabled", func(tx *store.Tx) error { return store.APIKeys.Put(tx, key.ID, key) }, true},
		{"owner disabled", func(tx *store.Tx) error { off := user; off.Disabled = true; return store.Users.Put(tx, "ann", off) }, false},
		{"owner enabled", func(tx *store.Tx) error { return store.Users.Put(tx, "ann", user) }, true},
		{"deleted", func(tx *store.Tx) error { return store.APIKeys.Delete(tx, key.ID) }, false},
		{"created again", func(tx *store.Tx) error { return store.APIKeys.Put(tx, key.ID, key) }, true},
	} {
		if _, err := at.Update(t.Context(), store.OwnerControl, step.do); err != nil {
			t.Fatal(err)
		}
		from := time.Now()
		until(t, step.what, func() bool { _, ok := gateway.Authenticate(string(made.Secret)); return ok == step.want })
		took := time.Since(from)
		t.Logf("%s: after %s", step.what, took)
		if took > keyDelay {
			t.Errorf("%s: the gateway followed after %s, want at most %s", step.what, took, keyDelay)
		}
	}

	s.CloseClientConnections()
	s.Close()
	if _, ok := gateway.Authenticate(string(made.Secret)); !ok {
		t.Error("without servers the key is of no use")
	}
	now = now.Add(time.Hour)
	if _, ok := gateway.Authenticate(string(made.Secret)); ok {
		t.Error("without servers the key does not expire")
	}
}
