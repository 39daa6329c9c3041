package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/etcd/etcdtest"
	"github.com/nebula-serve/nebula/internal/store"
)

// TestAudit_storeIsFull: a real etcd that has no space left takes neither a change nor its record, also where the change would make room, and leaves all as
// it was. When there is room again, changes and records go on, and the log is whole.
func TestAudit_storeIsFull(t *testing.T) {
	dir := t.TempDir()
	wide := etcdtest.ServeIn(t, dir, 0)
	const fillers = 20
	for i := range fillers {
		if _, err := wide.Txn(t.Context(), nil, []store.Op{{Key: fmt.Sprintf("/filler/%d", i), Value: make([]byte, 100_000)}}); err != nil {
			t.Fatal(err)
		}
	}
	w, closeStore := worldOn(t, wide)
	w.create(api.CreateModel{ModelName: "acme/m", ModelUID: "m"})
	closeStore()
	wide.Stop()

	narrow := etcdtest.ServeIn(t, dir, 1<<20) // half of what is there
	w, closeStore = worldOn(t, narrow)
	t.Cleanup(closeStore)
	before := stored(t, narrow)
	for name, change := range map[string]func() error{
		"create": func() error {
			_, err := w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/n", ModelUID: "n"})
			return err
		},
		"delete": func() error { return w.DeleteModel(ann(t), "m", 0) },
		"record": func() error { return w.Record(ann(t), api.AuditRecord{Verb: "secret.read", Object: "secret/hf"}) },
	} {
		if err := change(); !errors.Is(err, control.ErrFull) || !api.HasCode(err, api.CodeUnavailable) {
			t.Errorf("%s in a full store: %v, want one that says that it is full", name, err)
		}
	}
	if diff := cmp.Diff(before, stored(t, narrow)); diff != "" {
		t.Errorf("a full store has changed (-before +after):\n%s", diff)
	}
	for i := range fillers {
		if _, err := narrow.Txn(t.Context(), nil, []store.Op{{Key: fmt.Sprintf("/filler/%d", i), Delete: true}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := narrow.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.create(api.CreateModel{ModelName: "acme/n", ModelUID: "n"})
	if check, _ := w.verified(); check.Count != 2 {
		t.Errorf("%d records, want 2", check.Count)
	}
}

// worldOn is a world on a store, and what ends it.
func worldOn(t *testing.T, kv store.KV) (*world, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	return &world{control.New(st, time.Now), t, kv, st}, func() { cancel(); <-done }
}

// stored is what a store holds.
func stored(t *testing.T, kv store.KV) map[string]string {
	t.Helper()
	all, _, err := kv.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range all {
		out[e.Key] = string(e.Value)
	}
	return out
}
