package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// bubble runs a test with a Store on a MemKV, in bubble time.
func bubble(t *testing.T, test func(t *testing.T, kv *storetest.MemKV, s *store.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		test(t, kv, open(t, kv, quiet()))
	})
}

func TestUpdate_readsItsOwnWrites(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		kv.SetWatchDelay(200 * time.Millisecond)
		for i := range 5 {
			uid := fmt.Sprint("m", i)
			rev := put(t, s, spec(uid))
			st, _ := s.Current()
			if e, ok := st.Models.Get(uid); !ok || e.Rev != rev {
				t.Fatalf("Update returned revision %d, the state shows %+v", rev, e)
			}
		}
	})
}

func TestUpdate_commitsSeveralDocumentsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		before := kv.Revision()
		rev, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			if err := store.Models.Put(tx, "m", spec("m")); err != nil {
				return err
			}
			return store.Deployments.Put(tx, "m", deployment("m", 1))
		})
		st, _ := s.Current()
		d, _ := st.Deployments.Get("m")
		m, _ := st.Models.Get("m")
		if err != nil || rev != before+1 || d.Rev != rev || m.Rev != rev {
			t.Errorf("revision %d after %d, spec at %d, deployment at %d, %v", rev, before, m.Rev, d.Rev, err)
		}
	})
}

func TestUpdate_sameBytesAreNoWrite(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		lease, err := kv.Grant(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		node := func(lease int64) {
			t.Helper()
			if _, err := s.Update(t.Context(), store.OwnerNode, func(tx *store.Tx) error {
				return store.Nodes.PutLeased(tx, "n", api.NodeStatus{NodeID: "n"}, lease)
			}); err != nil {
				t.Fatal(err)
			}
		}
		node(lease)
		written := kv.Revision()
		node(lease)
		if _, err := s.Update(t.Context(), store.OwnerNode, func(tx *store.Tx) error {
			if err := store.Nodes.Delete(tx, "n"); err != nil {
				return err
			}
			if _, ok, _ := store.Nodes.Get(tx, "n"); ok {
				return errors.New("a deleted document is still there")
			}
			return store.Nodes.PutLeased(tx, "n", api.NodeStatus{NodeID: "n"}, lease)
		}); err != nil {
			t.Fatal(err)
		}
		if got := kv.Revision(); got != written {
			t.Errorf("writing the same moved the revision from %d to %d", written, got)
		}
		other, err := kv.Grant(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		node(other) // a node that registers anew
		kv.Expire(lease)
		synctest.Wait()
		if st, _ := s.Current(); !st.Nodes.Has("n") {
			t.Error("the document went with the lease that it had left")
		}
	})
}

func TestUpdate_aReadOnlyFunctionCommitsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		put(t, s, spec("m"))
		kv.FailNextTxn(errors.New("nobody should ask"))
		rev, err := s.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
			if _, ok, err := store.Models.Get(tx, "m"); !ok || err != nil {
				t.Errorf("Get: %v, %v", ok, err)
			}
			if _, ok, err := store.Models.Get(tx, "../m"); ok || err != nil {
				t.Errorf("Get of an illegal uid: %v, %v", ok, err)
			}
			return store.Placements.Delete(tx, "absent")
		})
		if err != nil || rev != kv.Revision() {
			t.Errorf("revision %d, %v", rev, err)
		}
	})
}

func TestUpdate_refuses(t *testing.T) {
	other := errors.New("the function's own")
	for name, c := range map[string]struct {
		fn   func(*store.Tx) error
		want string
	}{
		"another owner's table": {
			func(tx *store.Tx) error {
				return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m"})
			},
			"only the scheduler writes this table, not the control",
		},
		"deleting from another owner's table": {
			func(tx *store.Tx) error { return store.Nodes.Delete(tx, "n") }, "only the node writes",
		},
		"an illegal id": {
			func(tx *store.Tx) error { return store.Models.Put(tx, "a/b", spec("a/b")) }, "not a legal id",
		},
		"a document with another id": {
			func(tx *store.Tx) error { return store.Models.Put(tx, "a", spec("b")) }, "names another",
		},
		"a document that its own decoder refuses": {
			func(tx *store.Tx) error {
				return store.Deployments.Put(tx, "m", api.ModelDeployment{ModelUID: "m", Replicas: 1})
			},
			"nobody could read it again",
		},
		"a swallowed refusal": {
			func(tx *store.Tx) error {
				_ = store.Models.Put(tx, "a/b", spec("a/b"))
				return store.Models.Put(tx, "c", spec("c"))
			},
			"a write was refused",
		},
		"the function's own error": {
			func(tx *store.Tx) error {
				return errors.Join(store.Models.Put(tx, "c", spec("c")), other)
			},
			"the function's own",
		},
		"too many documents": {
			func(tx *store.Tx) error {
				for i := range store.MaxDocuments + 1 {
					uid := fmt.Sprint("m", i)
					if err := store.Models.Put(tx, uid, spec(uid)); err != nil {
						return err
					}
				}
				return nil
			},
			"touches 101 documents",
		},
		"too large a document": {
			func(tx *store.Tx) error {
				big := spec("m")
				big.ModelName = strings.Repeat("x", store.MaxTxnBytes)
				return store.Models.Put(tx, "m", big)
			},
			"too large",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
				before := kv.Revision()
				_, err := s.Update(t.Context(), store.OwnerControl, c.fn)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want one with %q", err, c.want)
				}
				if kv.Revision() != before {
					t.Error("something was written")
				}
			})
		})
	}
}

func TestUpdate_holdsTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		l, err := store.Campaign(t.Context(), kv, candidate("a"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			for i := range store.MaxDocuments {
				uid := fmt.Sprint("m", i)
				if err := store.Models.Put(tx, uid, spec(uid)); err != nil {
					return err
				}
			}
			return nil
		}, store.Fence(l.Fence()))
		if err != nil {
			t.Error(err)
		}
		resign(t, l)
	})
}

// increment adds one to a deployment's version.
func increment(ctx context.Context, s *store.Store, opts ...store.Option) error {
	_, err := s.Update(ctx, store.OwnerControl, func(tx *store.Tx) error {
		d, _, err := store.Deployments.Get(tx, "m")
		if err != nil {
			return err
		}
		return store.Deployments.Put(tx, "m", deployment("m", d.Version+1))
	}, opts...)
	return err
}

// B1: no update is lost between processes (two Stores) and within one.
func TestUpdate_losesNoUpdate(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, first *store.Store) {
		second := open(t, kv, quiet())
		const writers, each = 16, 10
		var writing sync.WaitGroup
		for i := range writers {
			s := first
			if i%2 == 1 {
				s = second
			}
			writing.Go(func() {
				for range each {
					if err := increment(t.Context(), s); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writing.Wait()
		synctest.Wait() // until each has seen the other's
		st, _ := first.Current()
		if d, _ := st.Deployments.Value("m"); d.Version != writers*each {
			t.Errorf("%d increments made %d", writers*each, d.Version)
		}
	})
}

// Section 8, rule 1: a conflict runs the function again on the newer State, so a second create says "exists".
func TestUpdate_runsAgainOnConflict(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		exists := errors.New("exists")
		create := func(hook func()) error {
			_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
				_, ok, err := store.Models.Get(tx, "m")
				hook()
				switch {
				case err != nil:
					return err
				case ok:
					return exists
				}
				return store.Models.Put(tx, "m", spec("m"))
			})
			return err
		}
		runs := 0
		err := create(func() {
			if runs++; runs == 1 {
				if err := create(func() {}); err != nil {
					t.Error(err)
				}
			}
		})
		if !errors.Is(err, exists) || runs != 2 {
			t.Errorf("after %d runs: %v", runs, err)
		}
	})
}

func TestUpdate_dependsOnWhatItRead(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		put(t, s, spec("m"))
		runs := 0
		_, err := s.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
			_, ok, err := store.Models.Get(tx, "m")
			if runs++; runs == 1 {
				if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: "/models/m/spec", Delete: true}}); err != nil {
					t.Error(err)
				}
			}
			if err != nil || !ok {
				return err
			}
			return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m"})
		})
		if st, _ := s.Current(); err != nil || runs != 2 || st.Placements.Has("m") {
			t.Errorf("a model deleted meanwhile was placed (%d runs, %v)", runs, err)
		}
	})
}

func TestUpdate_givesUpAfterManyConflicts(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		runs := 0
		_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			runs++
			if err := store.Models.Put(tx, "m", spec("m")); err != nil {
				return err
			}
			kv.Put("/models/m/spec", fmt.Appendf(nil, `{"model_uid":"m","created_by":"%d"}`, runs))
			return nil
		})
		if !api.HasCode(err, api.CodeConflict) || runs < 5 || runs > 50 {
			t.Errorf("after %d runs: %v", runs, err)
		}
	})
}

func TestUpdate_ambiguous(t *testing.T) {
	for _, committed := range []bool{true, false} {
		t.Run(fmt.Sprint("committed=", committed), func(t *testing.T) {
			bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
				for i := range 3 {
					kv.AmbiguousNextTxn(committed)
					kv.AmbiguousNextTxn(false)
					if err := increment(t.Context(), s); err != nil {
						t.Fatal(err)
					}
					st, _ := s.Current()
					if d, _ := st.Deployments.Get("m"); d.Value.Version != uint64(i+1) || d.Rev != kv.Revision() {
						t.Fatalf("increment %d made %+v", i+1, d)
					}
				}
				kv.AmbiguousNextTxn(committed)
				if _, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
					return store.Deployments.Delete(tx, "m")
				}); err != nil {
					t.Fatal(err)
				}
				sameAsStored(t, s, kv)
			})
		})
	}
}

// Its own commit of unknown outcome must not be mistaken for somebody else's, nor the other way round.
func TestUpdate_ambiguousAndOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		put(t, s, spec("m"))
		kv.AmbiguousNextTxn(false)
		runs := 0
		_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			m, _, err := store.Models.Get(tx, "m")
			if err != nil {
				return err
			}
			m = m.Clone()
			m.DockerImage = "mine"
			if runs++; runs == 1 {
				kv.Put("/models/m/spec", []byte(`{"model_uid":"m","created_by":"theirs"}`))
			}
			return store.Models.Put(tx, "m", m)
		})
		st, _ := s.Current()
		if m, _ := st.Models.Value("m"); err != nil || runs != 2 || m.CreatedBy != "theirs" || m.DockerImage != "mine" {
			t.Errorf("after %d runs %+v, %v", runs, m, err)
		}
	})
}

// A commit of unknown outcome in a part of the history that nobody has seen stays unknown: neither reported as done
// nor done twice.
func TestUpdate_ambiguousAndCompacted(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		synctest.Wait()
		release := kv.HoldWatches()
		kv.AmbiguousNextTxn(true)
		var updating sync.WaitGroup
		runs := 0
		updating.Go(func() {
			_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
				runs++
				return store.Deployments.Put(tx, "m", deployment("m", 1))
			})
			if !api.HasCode(err, api.CodeTimeout) || !strings.Contains(err.Error(), "may or may not") || runs != 1 {
				t.Errorf("after %d runs: %v", runs, err)
			}
		})
		synctest.Wait()
		kv.Put("/deployments/m", []byte(`{"model_uid":"m","desired_state":"stopped"}`))
		if err := kv.Compact(t.Context(), kv.Put("/x", nil)); err != nil {
			t.Fatal(err)
		}
		kv.DropWatches()
		release()
		updating.Wait()
	})
}

func TestUpdate_saysWhatIsWrongWithTheStore(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(*storetest.MemKV)
		code  api.Code
		is    error
		text  string
	}{
		"unreachable": {
			func(kv *storetest.MemKV) { kv.FailNextTxn(store.ErrUnavailable) },
			api.CodeUnavailable, store.ErrUnavailable, "nothing was changed",
		},
		"full": {
			func(kv *storetest.MemKV) { kv.FailNextTxn(store.ErrFull) },
			api.CodeUnavailable, store.ErrFull, "full",
		},
		"no answer, outcome unknown": {
			func(kv *storetest.MemKV) {
				for range 1000 {
					kv.AmbiguousNextTxn(false)
				}
			},
			api.CodeTimeout, context.DeadlineExceeded, "may or may not",
		},
		"saved, but the watch is silent": {
			func(kv *storetest.MemKV) { kv.HoldWatches() },
			api.CodeTimeout, context.DeadlineExceeded, "is saved",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
				synctest.Wait()
				c.fault(kv)
				start := time.Now()
				err := increment(t.Context(), s)
				if !api.HasCode(err, c.code) || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("error %v, want %s with %q", err, c.code, c.text)
				}
				if took := time.Since(start); took > 15*time.Second {
					t.Errorf("took %s to say so", took)
				}
			})
		})
	}
}

func TestUpdate_aCallerWhoLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := increment(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want canceled", err)
		}
	})
}

func TestUpdate_leaseGone(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		_, err := s.Update(t.Context(), store.OwnerNode, func(tx *store.Tx) error {
			return store.Nodes.PutLeased(tx, "n", api.NodeStatus{NodeID: "n"}, 4711)
		})
		if !errors.Is(err, store.ErrLeaseGone) {
			t.Errorf("error %v, want ErrLeaseGone", err)
		}
	})
}

// Of many that write one document, each waits for its turn and runs once: nobody loses a race, however many there are.
func TestUpdate_inTurn(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storetest.MemKV, s *store.Store) {
		const writers = 100
		var runs atomic.Int64
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
					runs.Add(1)
					d, _, err := store.Deployments.Get(tx, "m")
					if err != nil {
						return err
					}
					return store.Deployments.Put(tx, "m", deployment("m", d.Version+1))
				}, store.InTurn())
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if st, _ := s.Current(); runs.Load() != writers {
			t.Errorf("%d writers ran %d times", writers, runs.Load())
		} else if d, _ := st.Deployments.Value("m"); d.Version != writers {
			t.Errorf("%d increments made %d", writers, d.Version)
		}
	})
}

// Whoever waits for a turn does so no longer than its context lets it, and has changed nothing.
func TestUpdate_turnEndsWithTheContext(t *testing.T) {
	bubble(t, func(t *testing.T, _ *storetest.MemKV, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			cancel()
			_, err := s.Update(ctx, store.OwnerControl, func(*store.Tx) error { t.Error("it was not its turn"); return nil }, store.InTurn())
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the waiting one: %v", err)
			}
			return store.Models.Put(tx, "m", spec("m"))
		}, store.InTurn())
		if err != nil {
			t.Error(err)
		}
	})
}
