package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/etcd/etcdtest"
	"github.com/nebula-serve/nebula/internal/store"
)

// The promises that hang on details of the KV, on the real one.
func TestStore_onEtcd(t *testing.T) {
	kv := etcdtest.Serve(t)
	t.Run("loses nothing when answers are lost", func(t *testing.T) { loseAnswers(t, kv, 1) })
	t.Run("relists after a compaction", func(t *testing.T) {
		s, err := store.Open(t.Context(), kv, quiet())
		if err != nil {
			t.Fatal(err)
		}
		res, err := kv.Txn(t.Context(), nil, []store.Op{
			{Key: "/models/m/spec", Delete: true}, {Key: "/nodes/n/status", Value: []byte(`{"node_id":"n","last_heartbeat_ms":1}`)},
		})
		if err != nil || !res.OK {
			t.Fatal(res, err)
		}
		if res, err = kv.Txn(t.Context(), nil, []store.Op{{Key: "/x"}}); err != nil {
			t.Fatal(err)
		}
		if err := kv.Compact(t.Context(), res.Revision); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		until(t, s, "both changes show", func(s *cluster.State) bool { return s.Nodes.Has("n") && !s.Models.Has("m") })
		if n := s.Stats().Relists; n != 1 {
			t.Errorf("%d relists, want 1", n)
		}
		sameAsStored(t, s, kv)
		stop()
		running.Wait()
	})
	t.Run("fences a deposed leader", func(t *testing.T) {
		s := open(t, kv, quiet())
		old, err := store.Campaign(t.Context(), kv, candidate("old"))
		if err != nil {
			t.Fatal(err)
		}
		resign(t, old)
		next, err := store.Campaign(t.Context(), kv, candidate("next"))
		if err != nil {
			t.Fatal(err)
		}
		place := func(l *store.Leader, version uint64) error {
			_, err := s.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
				return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: version})
			}, store.Fence(l.Fence()))
			return err
		}
		if err := place(old, 1); !errors.Is(err, store.ErrFenced) {
			t.Errorf("the deposed leader's write: %v", err)
		}
		if err := place(next, 2); err != nil {
			t.Error(err)
		}
		resign(t, next)
	})
}
