package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

const ttl = 5 * time.Second

func candidate(id string) store.Candidate {
	return store.Candidate{Name: "scheduler", ID: id, TTLSeconds: int64(ttl / time.Second), Log: quiet()}
}

func campaign(t *testing.T, kv store.KV, id string) *store.Leader {
	t.Helper()
	l, err := store.Campaign(t.Context(), kv, candidate(id))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func resign(t *testing.T, l *store.Leader) {
	t.Helper()
	if err := l.Resign(t.Context()); err != nil {
		t.Error(err)
	}
}

func leads(l *store.Leader) bool {
	select {
	case <-l.Done():
		return false
	default:
		return true
	}
}

// deaf is a KV as one process sees it, which can be cut off: nothing it asks arrives.
type deaf struct {
	store.KV
	mu  sync.Mutex
	cut bool
}

func (d *deaf) set(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = cut
}

func (d *deaf) KeepAlive(ctx context.Context, lease int64) error {
	d.mu.Lock()
	cut := d.cut
	d.mu.Unlock()
	if cut {
		<-ctx.Done()
		return ctx.Err()
	}
	return d.KV.KeepAlive(ctx, lease)
}

func TestLeader_holdsOfficeUntilItResigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		first := campaign(t, kv, "a")
		elected := make(chan *store.Leader, 1)
		go func() { elected <- campaign(t, kv, "b") }()
		time.Sleep(time.Hour)
		if !leads(first) || len(elected) > 0 {
			t.Fatalf("after an hour the first leads: %v, the second was elected: %v", leads(first), len(elected) > 0)
		}
		start := time.Now()
		resign(t, first)
		second := <-elected
		if took := time.Since(start); took > time.Second {
			t.Errorf("the office was vacant for %s after a resignation", took)
		}
		if leads(first) || first.Fence().ModRev >= second.Fence().ModRev {
			t.Errorf("first leads: %v; fences %v, %v", leads(first), first.Fence(), second.Fence())
		}
		resign(t, first) // again
		if !leads(second) {
			t.Error("resigning twice took the office from the next leader")
		}
		resign(t, second)
	})
}

// P7, F5: a leader that is cut off or stopped loses the office by its own clock before the next one has it, and
// what it writes late is refused.
func TestLeader_pausedLeaderCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		s := open(t, kv, quiet())
		link := &deaf{KV: kv}
		old := campaign(t, link, "old")
		write := func(l *store.Leader, version uint64) error {
			_, err := s.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
				return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: version})
			}, store.Fence(l.Fence()))
			return err
		}
		if err := write(old, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		link.set(true)
		cut := time.Now()
		next := campaign(t, kv, "next")
		if took := time.Since(cut); took > ttl+time.Second {
			t.Errorf("take-over took %s", took)
		}
		synctest.Wait() // both clocks show the same instant
		if leads(old) {
			t.Error("two leaders: the old one did not notice in time")
		}
		if err := write(old, 2); !errors.Is(err, store.ErrFenced) {
			t.Errorf("a late write of the old leader: %v, want ErrFenced", err)
		}
		if err := write(next, 3); err != nil {
			t.Error(err)
		}
		if err := write(old, 4); !errors.Is(err, store.ErrFenced) {
			t.Errorf("a late write of the old leader: %v, want ErrFenced", err)
		}
		st, _ := s.Current()
		if p, _ := st.Placements.Value("m"); p.Version != 3 {
			t.Errorf("placement is version %d", p.Version)
		}
		link.set(false)
		resign(t, old)
		time.Sleep(time.Minute)
		if !leads(next) {
			t.Error("the old leader's resignation ended the new one's office")
		}
		resign(t, next)
	})
}

// A fenced write that meets an ordinary conflict is tried again, not given up.
func TestLeader_fencedConflictIsOnlyAConflict(t *testing.T) {
	bubble(t, func(t *testing.T, kv *storetest.MemKV, s *store.Store) {
		l := campaign(t, kv, "a")
		runs := 0
		_, err := s.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
			if runs++; runs == 1 {
				kv.Put("/placements/m", []byte(`{"model_uid":"m","assignments":[]}`))
			}
			return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: 9})
		}, store.Fence(l.Fence()))
		if err != nil || runs != 2 {
			t.Errorf("after %d runs: %v", runs, err)
		}
		resign(t, l)
	})
}

func TestLeader_noticesItsLoss(t *testing.T) {
	for name, lose := range map[string]func(*storetest.MemKV){
		"lease expired": func(kv *storetest.MemKV) { kv.Expire(1) },
		"key deleted": func(kv *storetest.MemKV) {
			_, _ = kv.Txn(context.Background(), nil, []store.Op{{Key: "/leader/scheduler", Delete: true}})
		},
		"key overwritten": func(kv *storetest.MemKV) { kv.Put("/leader/scheduler", []byte("me")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kv := storetest.NewMem()
				l := campaign(t, kv, "a")
				time.Sleep(time.Minute)
				lose(kv)
				select {
				case <-l.Done():
				case <-time.After(ttl / 2):
					t.Errorf("still believes to lead after %s", ttl/2)
				}
				resign(t, l)
			})
		})
	}
}

// A short disturbance does not cost the office.
func TestLeader_survivesAMissedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		l := campaign(t, kv, "a")
		for range 20 {
			kv.FailLeases(store.ErrUnavailable)
			time.Sleep(ttl / 2)
			kv.FailLeases(nil)
			time.Sleep(ttl)
		}
		if !leads(l) {
			t.Error("office lost although the lease never ended")
		}
		resign(t, l)
	})
}

func TestCampaign_ambiguous(t *testing.T) {
	for _, committed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			kv := storetest.NewMem()
			kv.AmbiguousNextTxn(committed)
			l := campaign(t, kv, "a")
			if res, err := kv.Txn(t.Context(), []store.Cond{l.Fence()}, nil); err != nil || !res.OK {
				t.Errorf("committed=%v: the fence does not hold: %v", committed, err)
			}
			time.Sleep(time.Minute)
			if !leads(l) {
				t.Errorf("committed=%v: office lost", committed)
			}
			resign(t, l)
		})
	}
}

// beaten is a KV on which somebody else is faster by a moment, once.
type beaten struct {
	*storetest.MemKV
	first  func()
	answer error // of the transaction that came too late
	lease  int64 // that it carried
}

func (b *beaten) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	if b.first == nil {
		return b.MemKV.Txn(ctx, ifs, ops)
	}
	b.first()
	b.first, b.lease = nil, ops[0].Lease
	res, err := b.MemKV.Txn(ctx, ifs, ops)
	return res, errors.Join(err, b.answer)
}

func TestCampaign_whoComesSecondWaits(t *testing.T) {
	for _, answer := range []error{nil, store.ErrAmbiguous} {
		synctest.Test(t, func(t *testing.T) {
			kv := &beaten{MemKV: storetest.NewMem(), answer: answer}
			var winner *store.Leader
			kv.first = func() { winner = campaign(t, kv.MemKV, "fast") }
			elected := make(chan *store.Leader, 1)
			go func() { elected <- campaign(t, kv, "slow") }()
			time.Sleep(time.Second)
			synctest.Wait()
			if len(elected) > 0 {
				t.Fatalf("answer %v: two leaders", answer)
			}
			if err := kv.KeepAlive(t.Context(), kv.lease); !errors.Is(err, store.ErrLeaseGone) {
				t.Errorf("answer %v: the lease of a lost election is still there: %v", answer, err)
			}
			resign(t, winner)
			resign(t, <-elected)
		})
	}
}

func TestCampaign_throughDisturbances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		first := campaign(t, kv, "a")
		elected := make(chan *store.Leader)
		go func() { elected <- campaign(t, kv, "b") }()
		synctest.Wait()
		kv.FailNextList(store.ErrUnavailable)
		kv.DropWatches()
		time.Sleep(time.Minute)
		if err := kv.Compact(t.Context(), kv.Put("/x", nil)); err != nil {
			t.Fatal(err)
		}
		kv.DropWatches()
		kv.FailNextTxn(store.ErrUnavailable)
		resign(t, first)
		resign(t, <-elected)
	})
}

func TestCampaign_ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		if _, err := store.Campaign(t.Context(), kv, store.Candidate{Name: "a/b", TTLSeconds: 5, Log: quiet()}); err == nil {
			t.Error("an illegal office was accepted")
		}
		l := campaign(t, kv, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := store.Campaign(ctx, kv, candidate("b")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a campaign against a living leader ended with %v", err)
		}
		resign(t, l)
	})
}
