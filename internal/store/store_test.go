package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open returns a Store that follows kv until the test ends.
func open(t *testing.T, kv store.KV, log *slog.Logger) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), kv, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return s
}

// until waits for a State that answers yes.
func until(t *testing.T, s *store.Store, what string, yes func(*cluster.State) bool) *cluster.State {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		st, changed := s.Current()
		if yes(st) {
			return st
		}
		select {
		case <-changed:
		case <-patience:
			t.Fatalf("no state in which %s; now at revision %d", what, st.Revision)
		}
	}
}

func hasModel(uid string) func(*cluster.State) bool {
	return func(s *cluster.State) bool { return s.Models.Has(uid) }
}

func spec(uid string) api.ModelSpec {
	return api.ModelSpec{ModelUID: uid, ModelName: "org/" + uid, ModelSource: api.SourceHuggingFace}
}

func deployment(uid string, version uint64) api.ModelDeployment {
	return api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: 1, Version: version}
}

// put writes a model's spec.
func put(t *testing.T, s *store.Store, v api.ModelSpec) int64 {
	t.Helper()
	rev, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
		return store.Models.Put(tx, v.ModelUID, v)
	})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// rows lists everything in a State but its revision, to compare by.
func rows(s *cluster.State) []string {
	var out []string
	add(&out, "models", s.Models)
	add(&out, "deployments", s.Deployments)
	add(&out, "placements", s.Placements)
	add(&out, "nodes", s.Nodes)
	add(&out, "endpoints", s.Endpoints)
	add(&out, "downloads", s.Downloads)
	add(&out, "cache", s.Cache)
	add(&out, "disks", s.Disks)
	add(&out, "alerts", s.Alerts)
	add(&out, "claims", s.BlobClaims)
	add(&out, "secrets", s.Secrets)
	add(&out, "bad", s.Bad)
	return out
}

func add[T any](out *[]string, table string, set cluster.Set[T]) {
	for e := range set.All() {
		*out = append(*out, fmt.Sprintf("%s %s rev %d lease %d %+v", table, e.ID, e.Rev, e.Lease, e.Value))
	}
}

// sameAsStored fails unless s shows what is in the store.
func sameAsStored(t *testing.T, s *store.Store, kv store.KV) {
	t.Helper()
	fresh, err := store.Open(t.Context(), kv, quiet())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := fresh.Current()
	got, _ := s.Current()
	if diff := cmp.Diff(rows(want), rows(got)); diff != "" || got.Revision < want.Revision {
		t.Errorf("state at revision %d differs from the store at %d (-store +state):\n%s", got.Revision, want.Revision, diff)
	}
}

func TestStore_followsWhatOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		first, second := open(t, kv, quiet()), open(t, kv, quiet())
		put(t, first, spec("a"))
		st := until(t, second, "a is there", hasModel("a"))
		if _, err := first.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			return store.Models.Delete(tx, "a")
		}); err != nil {
			t.Fatal(err)
		}
		until(t, second, "a is gone", func(s *cluster.State) bool { return !s.Models.Has("a") })
		if !st.Models.Has("a") {
			t.Error("a State changed after it was handed out")
		}
		sameAsStored(t, second, kv)
	})
}

// Rule 2: what is written between the list and the watch is not missed.
func TestStore_missesNothingBetweenListAndWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s, err := store.Open(t.Context(), kv, quiet())
		if err != nil {
			t.Fatal(err)
		}
		kv.Put("/models/a/spec", []byte(`{"model_uid":"a"}`))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		until(t, s, "a is there", hasModel("a"))
		stop()
		running.Wait()
	})
}

func TestStore_idleRevisionWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s := open(t, kv, quiet())
		_, changed := s.Current()
		rev := kv.Put("/elsewhere/1", []byte("{}")) // not a table of ours
		rev = max(rev, kv.Put("/leader/scheduler", []byte("x")))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := s.Stats(); got.Revision != rev || got.Silence > 2*time.Second {
			t.Errorf("after foreign writes up to revision %d and 5 s: %+v", rev, got)
		}
		select {
		case <-changed:
			t.Error("readers were woken although no document changed")
		default:
		}
		kv.Put("/nodes/n/status", []byte(`{"node_id":"n"}`))
		<-changed
	})
}

func TestStore_manyTransactionsBecomeFewStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s := open(t, kv, quiet())
		synctest.Wait()
		release := kv.HoldWatches()
		for i := range 1000 {
			kv.Put("/nodes/n/status", fmt.Appendf(nil, `{"node_id":"n","cpus":%d}`, i+1))
		}
		var states atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() {
			for {
				_, changed := s.Current()
				select {
				case <-changed:
					states.Add(1)
				case <-ctx.Done():
					return
				}
			}
		})
		release()
		until(t, s, "the last write shows", func(s *cluster.State) bool {
			n, _ := s.Nodes.Value("n")
			return n.CPUs == 1000
		})
		stop()
		watching.Wait()
		if n := states.Load(); n > 20 {
			t.Errorf("1000 waiting transactions made %d states", n)
		}
	})
}

// F31: a compaction under a sleeping watcher costs one relist, and no reader ever sees an emptier cluster.
func TestStore_relistsAfterCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s := open(t, kv, quiet())
		put(t, s, spec("stays"))
		put(t, s, spec("goes"))
		synctest.Wait()
		release := kv.HoldWatches()
		kv.Put("/models/new/spec", []byte(`{"model_uid":"new"}`))
		if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: "/models/goes/spec", Delete: true}}); err != nil {
			t.Fatal(err)
		}
		if err := kv.Compact(t.Context(), kv.Put("/x", nil)); err != nil {
			t.Fatal(err)
		}
		kv.FailNextList(errors.New("not now"))
		release()
		kv.DropWatches()
		for done := false; !done; {
			st, changed := s.Current()
			if !st.Models.Has("stays") {
				t.Fatal("an object that did not change was away for a moment")
			}
			if done = st.Models.Has("new") && !st.Models.Has("goes"); !done {
				<-changed
			}
		}
		sameAsStored(t, s, kv)
		if n := s.Stats().Relists; n != 1 {
			t.Errorf("%d relists, want 1", n)
		}
	})
}

func TestStore_goesOnAfterALostWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s := open(t, kv, quiet())
		for i := range 5 {
			kv.DropWatches()
			put(t, s, spec(fmt.Sprint("m", i)))
		}
		sameAsStored(t, s, kv)
		if n := s.Stats().Relists; n != 0 {
			t.Errorf("%d relists, although nothing was compacted", n)
		}
	})
}

// swap is a KV that can become another one, as etcd does when a backup is restored.
type swap struct {
	now atomic.Pointer[storetest.MemKV]
}

func (s *swap) List(ctx context.Context, prefix string) ([]store.KeyValue, int64, error) {
	return s.now.Load().List(ctx, prefix)
}

func (s *swap) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	return s.now.Load().Txn(ctx, ifs, ops)
}

func (s *swap) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	return s.now.Load().Watch(ctx, prefix, revision, fn)
}

func (s *swap) Grant(ctx context.Context, ttl int64) (int64, error) {
	return s.now.Load().Grant(ctx, ttl)
}

func (s *swap) KeepAlive(ctx context.Context, id int64) error { return s.now.Load().KeepAlive(ctx, id) }

func (s *swap) Revoke(ctx context.Context, id int64) error { return s.now.Load().Revoke(ctx, id) }

// F37: a backup with a lower revision, and one that was away long enough to have a higher one again.
func TestStore_followsARestoredBackup(t *testing.T) {
	for name, c := range map[string]struct {
		away   time.Duration
		writes int
	}{"lower revision": {0, 1}, "higher revision after a long outage": {11 * time.Second, 50}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kv, before, backup := &swap{}, storetest.NewMem(), storetest.NewMem()
				kv.now.Store(before)
				s := open(t, kv, quiet())
				for i := range 10 {
					put(t, s, spec(fmt.Sprint("m", i)))
				}
				for range c.writes {
					backup.Put("/models/old/spec", []byte(`{"model_uid":"old"}`))
				}
				release := before.HoldWatches()
				time.Sleep(c.away)
				kv.now.Store(backup)
				before.DropWatches()
				release()
				until(t, s, "the backup shows", func(s *cluster.State) bool { return s.Models.Has("old") && s.Models.Len() == 1 })
				put(t, s, spec("next"))
				sameAsStored(t, s, kv)
			})
		})
	}
}

func TestStore_closes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s, err := store.Open(t.Context(), kv, quiet())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running, waiting sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		synctest.Wait()
		if err := s.Run(ctx); err == nil {
			t.Error("a second Run was accepted")
		}
		release := kv.HoldWatches()
		defer release()
		waiting.Go(func() { // commits, but never sees it
			_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
				return store.Models.Put(tx, "a", spec("a"))
			})
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("a waiting Update got %v, want ErrClosed", err)
			}
		})
		synctest.Wait()
		stop()
		running.Wait()
		waiting.Wait()
		_, err = s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			return store.Models.Put(tx, "b", spec("b"))
		})
		if !errors.Is(err, store.ErrClosed) || !api.HasCode(err, api.CodeUnavailable) {
			t.Errorf("Update after the end: %v", err)
		}
	})
}

func TestOpen_reportsAStoreThatDoesNotAnswer(t *testing.T) {
	kv := storetest.NewMem()
	kv.FailNextList(store.ErrUnavailable)
	if _, err := store.Open(t.Context(), kv, quiet()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
}

// A1, A21, F59: an undecodable document is neither a deletion nor absent, and it is not overwritten.
func TestStore_leavesUnreadableDocumentsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		kv := storetest.NewMem()
		s := open(t, kv, slog.New(slog.NewTextHandler(&logged, nil)))
		put(t, s, spec("good"))
		put(t, s, spec("m"))
		rev := kv.Put("/models/m/spec", []byte(`{"model_uid":"m","labels":"hunter2"}`))
		st := until(t, s, "m is unreadable", func(s *cluster.State) bool { return s.Bad.Len() == 1 })
		if bad, _ := st.Bad.Get("/models/m/spec"); bad.Rev != rev || st.Models.Has("m") || !st.Models.Has("good") {
			t.Errorf("unreadable %+v, models %v", bad, rows(st))
		}
		if why, ok := st.Unreadable("m"); !ok || strings.Contains(why, "hunter2") {
			t.Errorf("Unreadable(m) = %q, %v", why, ok)
		}

		for what, fn := range map[string]func(*store.Tx) error{
			"Get": func(tx *store.Tx) error { _, _, err := store.Models.Get(tx, "m"); return err },
			"Put": func(tx *store.Tx) error { return store.Models.Put(tx, "m", spec("m")) },
		} {
			_, err := s.Update(t.Context(), store.OwnerControl, fn)
			if !api.HasCode(err, api.CodeConflict) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s of an unreadable document: %v", what, err)
			}
		}

		synctest.Wait()
		release := kv.HoldWatches()
		kv.Put("/x", nil)
		if err := kv.Compact(t.Context(), kv.Put("/x", nil)); err != nil {
			t.Fatal(err)
		}
		kv.DropWatches()
		release()
		time.Sleep(time.Minute)
		if s.Stats().Relists != 1 {
			t.Error("no relist")
		}
		if n := strings.Count(logged.String(), "cannot be read"); n != 1 || strings.Contains(logged.String(), "hunter2") {
			t.Errorf("logged %d times, want once and without the value:\n%s", n, logged.String())
		}
		kv.Put("/models/m/spec", []byte("something else"))
		until(t, s, "the reason is another", func(s *cluster.State) bool {
			bad, _ := s.Bad.Get("/models/m/spec")
			return bad.Rev > rev
		})
		if n := strings.Count(logged.String(), "cannot be read"); n != 2 {
			t.Errorf("a new unreadable revision made the number of log lines %d, want 2", n)
		}
		if got := s.Stats().Unreadable; got != 1 {
			t.Errorf("Stats count %d unreadable documents", got)
		}

		if _, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			return store.Models.Delete(tx, "m")
		}); err != nil {
			t.Fatalf("Delete of an unreadable document: %v", err)
		}
		put(t, s, spec("m"))
		if st, _ := s.Current(); st.Bad.Len() != 0 || !st.Models.Has("m") {
			t.Errorf("after deletion and creation: %v", rows(st))
		}
		sameAsStored(t, s, kv)
	})
}

func TestStore_unreadableIsHealedByAGoodValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		kv.Put("/placements/m", []byte(`nonsense`))
		s := open(t, kv, quiet())
		kv.Put("/placements/m", []byte(`{"model_uid":"m","assignments":[]}`))
		until(t, s, "m is placed", func(s *cluster.State) bool { return s.Placements.Has("m") && s.Bad.Len() == 0 })
		kv.Put("/placements/m", []byte(`nonsense again`))
		until(t, s, "m is unreadable", func(s *cluster.State) bool { return !s.Placements.Has("m") && s.Bad.Len() == 1 })

		remove := func(owner store.Owner) error {
			_, err := s.Update(t.Context(), owner, func(tx *store.Tx) error { return store.Placements.Delete(tx, "m") })
			return err
		}
		if err := remove(store.OwnerNode); err == nil {
			t.Error("a node deleted a placement")
		}
		if err := remove(store.OwnerControl); err != nil {
			t.Errorf("people cannot get rid of an unreadable placement: %v", err)
		}
		if st, _ := s.Current(); st.Bad.Len() != 0 {
			t.Error("still unreadable after its deletion")
		}
	})
}
