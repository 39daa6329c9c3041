package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// step is one thing that happens to a store.
type step struct {
	Do   string
	Who  int // which of the two Stores acts
	What int // which document
}

var deeds = []string{
	"put", "put", "put", "scale", "node", "delete", "garbage", "raw delete", "foreign", "compact", "drop", "hold", "release",
	"ambiguous", "ambiguous lost", "unreachable", "list fails", "expire", "wait",
}

// F31, F32, F33, F36: whatever happens, the States end up showing what is stored, and every Update that reported
// success showed in its State.
func TestState_alwaysConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				rapid.SampledFrom(deeds).Draw(rt, "do"), rapid.IntRange(0, 1).Draw(rt, "who"), rapid.IntRange(0, 3).Draw(rt, "what"),
			}
		}), 1, 40).Draw(rt, "steps")
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = play(t, steps) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// play carries out steps and returns what is wrong in the end.
func play(t *testing.T, steps []step) string {
	kv := storetest.NewMem()
	lease, err := kv.Grant(t.Context(), 3600)
	if err != nil {
		return err.Error()
	}
	stores := []*store.Store{open(t, kv, quiet()), open(t, kv, quiet())}
	release := func() {}
	for i, step := range steps {
		s, uid := stores[step.Who], fmt.Sprint("m", step.What)
		switch step.Do {
		case "compact":
			_ = kv.Compact(t.Context(), kv.Revision())
		case "drop":
			kv.DropWatches()
		case "hold":
			release()
			release = kv.HoldWatches()
		case "release":
			release()
		case "ambiguous":
			kv.AmbiguousNextTxn(true)
		case "ambiguous lost":
			kv.AmbiguousNextTxn(false)
		case "unreachable":
			kv.FailNextTxn(store.ErrUnavailable)
		case "list fails":
			kv.FailNextList(store.ErrUnavailable)
		case "expire":
			kv.Expire(lease)
		case "wait":
			time.Sleep(time.Duration(step.What) * 5 * time.Second)
		case "garbage":
			kv.Put("/models/"+uid+"/spec", []byte("garbage"))
		case "foreign":
			kv.Put("/elsewhere/"+uid, []byte("garbage"))
		case "raw delete":
			_, _ = kv.Txn(t.Context(), nil, []store.Op{{Key: "/models/" + uid + "/spec", Delete: true}})
		default:
			if problem := act(t.Context(), s, change{step.Do, uid, uint64(i + 1), lease}); problem != "" {
				return fmt.Sprintf("step %d: %s", i, problem)
			}
		}
	}
	release()
	time.Sleep(time.Minute)
	fresh, err := store.Open(t.Context(), kv, quiet())
	for err != nil { // a "list fails" that nobody has used up
		fresh, err = store.Open(t.Context(), kv, quiet())
	}
	want, _ := fresh.Current()
	for i, s := range stores {
		got, _ := s.Current()
		if diff := cmp.Diff(rows(want), rows(got)); diff != "" || got.Revision != want.Revision {
			return fmt.Sprintf("state %d at revision %d, the store at %d (-store +state):\n%s", i, got.Revision, want.Revision, diff)
		}
	}
	return ""
}

// change is a change through a Store.
type change struct {
	do, uid string
	version uint64
	lease   int64
}

// act makes a change and returns what is wrong with its outcome.
func act(ctx context.Context, s *store.Store, c change) string {
	owner := store.OwnerControl
	var fn func(*store.Tx) error
	switch c.do {
	case "put":
		fn = func(tx *store.Tx) error {
			return errors.Join(store.Models.Put(tx, c.uid, spec(c.uid)), store.Deployments.Put(tx, c.uid, deployment(c.uid, c.version)))
		}
	case "scale":
		fn = func(tx *store.Tx) error {
			_, ok, err := store.Models.Get(tx, c.uid)
			if err != nil || !ok {
				return err
			}
			return store.Deployments.Put(tx, c.uid, deployment(c.uid, c.version))
		}
	case "delete":
		fn = func(tx *store.Tx) error {
			return errors.Join(store.Models.Delete(tx, c.uid), store.Deployments.Delete(tx, c.uid))
		}
	case "node":
		owner = store.OwnerNode
		fn = func(tx *store.Tx) error {
			return store.Nodes.PutLeased(tx, c.uid, api.NodeStatus{NodeID: c.uid, CPUs: uint32(c.version)}, c.lease)
		}
	}
	rev, err := s.Update(ctx, owner, fn)
	st, _ := s.Current()
	switch {
	case err != nil: // faults have their own tests
	case st.Revision < rev:
		return fmt.Sprintf("%s was committed at %d and the state is at %d", c.do, rev, st.Revision)
	case c.do == "put" && st.Deployments.Len() == 0, c.do == "node" && st.Nodes.Len() == 0:
		return c.do + " reported success and does not show"
	}
	return ""
}

// late is a KV whose answers get lost at random, and whose requests may then arrive much later or not at all.
type late struct {
	store.KV
	mu   sync.Mutex
	rand *rand.Rand
	wg   sync.WaitGroup
}

func (l *late) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	l.mu.Lock()
	fate, delay := l.rand.IntN(10), time.Duration(l.rand.IntN(300))*time.Millisecond
	l.mu.Unlock()
	switch fate {
	case 0: // the answer is lost
		_, _ = l.KV.Txn(ctx, ifs, ops)
	case 1: // the request arrives late
		l.wg.Go(func() {
			time.Sleep(delay)
			_, _ = l.KV.Txn(context.WithoutCancel(ctx), ifs, ops)
		})
	case 2: // the request is lost
	default:
		return l.KV.Txn(ctx, ifs, ops)
	}
	return store.TxnResult{}, fmt.Errorf("injected: %w", store.ErrAmbiguous)
}

// F36, B1: with answers lost and requests late, every Update that reports success is there exactly once, whoever
// else writes the same document at the same time.
func TestUpdate_losesNothingWhenAnswersAreLost(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) { loseAnswers(t, storetest.NewMem(), seed) })
	}
}

func loseAnswers(t *testing.T, under store.KV, seed uint64) {
	t.Helper()
	kv := &late{KV: under, rand: rand.New(rand.NewPCG(seed, 1))}
	stores := []*store.Store{open(t, kv, quiet()), open(t, kv, quiet())}
	const writers, each = 6, 5
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				label := fmt.Sprintf("w%d-%d", w, n)
				if _, err := stores[w%2].Update(t.Context(), store.OwnerControl, addLabel(label)); err != nil {
					t.Errorf("seed %d, %s: %v", seed, label, err)
				}
			}
		})
	}
	writing.Wait()
	kv.wg.Wait()
	st := until(t, stores[0], "all labels are there", func(s *cluster.State) bool {
		m, _ := s.Models.Value("m")
		return len(m.Labels) == writers*each
	})
	if m, _ := st.Models.Value("m"); m.CreatedAtMS != writers*each {
		t.Errorf("seed %d: %d commits for %d updates", seed, m.CreatedAtMS, writers*each)
	}
	sameAsStored(t, stores[0], under)
}

// addLabel adds a label of its own to a model, counts the changes in created_at_ms, and moves the deployment along.
// Committed twice, it would count twice.
func addLabel(label string) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		m, ok, err := store.Models.Get(tx, "m")
		if err != nil {
			return err
		}
		if !ok {
			m = spec("m")
		}
		m = m.Clone()
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[label] = "1"
		m.CreatedAtMS++
		return errors.Join(store.Models.Put(tx, "m", m), store.Deployments.Put(tx, "m", deployment("m", uint64(m.CreatedAtMS))))
	}
}
