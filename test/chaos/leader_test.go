//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/test/procs"
)

// TestF04_schedulerLeaderKilled: the server that leads the scheduling is killed, again and again. Another one takes over, no placement is lost or
// doubled, and nothing is written in between.
func TestF04_schedulerLeaderKilled(t *testing.T) {
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l, h := f.load(t), f.record(t)
	kills := 2
	if !testing.Short() {
		kills = 5
	}
	for range kills {
		leader, epoch := f.planner(t, f.up(t).store(t))
		ok(t, leader.Kill())
		began := time.Now()
		next, _ := h.next(t, f.up(t).store(t), epoch)
		t.Logf("%s killed, %s leads after %s", leader.name, next.name, time.Since(began).Round(10*time.Millisecond))
		h.flow(t)
		ok(t, leader.start())
		f.serverReady(t, leader)
	}
	h.check(t)
	finish(t, l)
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF05_schedulerLeaderPaused: the leading server stands still for twice its lease (SIGSTOP) while it is busy, and goes on. Another one has taken
// over; what the first one still had in hand is refused, and it steps down.
func TestF05_schedulerLeaderPaused(t *testing.T) {
	f := shared(t)
	l, h := f.load(t), f.record(t)
	pauseLeader(t, f, h, 10*time.Second, false)
	h.check(t)
	finish(t, l)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF49_machinePaused: the whole machine of the leading server, its store included, stands still for a minute, as a paused virtual machine does.
func TestF49_machinePaused(t *testing.T) {
	full(t)
	f := shared(t)
	l, h := f.load(t), f.record(t)
	pauseLeader(t, f, h, time.Minute, true)
	h.check(t)
	finish(t, l)
	owned(t, f.servers[0].client, f.nodes...)
}

func pauseLeader(t *testing.T, f *fleet, h *history, d time.Duration, store bool) {
	t.Helper()
	leader, epoch := f.planner(t, f.up(t).store(t))
	ok(t, leader.Pause())
	var children []procs.Process
	if store {
		children = leader.of(procs.KindEtcd)
	}
	for _, c := range children {
		ok(t, c.Signal(19))
	}
	began := time.Now()
	next, newEpoch := h.next(t, f.up(t).store(t), epoch)
	t.Logf("%s paused, %s leads after %s", leader.name, next.name, time.Since(began).Round(10*time.Millisecond))
	time.Sleep(d - time.Since(began)) // the fault itself
	for _, c := range children {
		ok(t, c.Signal(18))
	}
	ok(t, leader.Resume())
	h.flow(t)
	if now, since := f.planner(t, f.up(t).store(t)); since != newEpoch && now == leader && since == epoch {
		t.Errorf("%s holds its old office again", leader.name)
	}
	f.serverReady(t, leader)
}

// TestF06_twoSchedulers: somebody writes placements as a scheduler would, with the fence of a term that is over, or of one that never was. The store
// refuses each.
func TestF06_twoSchedulers(t *testing.T) {
	f := shared(t)
	s := f.servers[0]
	kv := s.store(t)
	_, epoch := f.planner(t, kv)
	st := follow(t, kv)
	d, err := s.client.Model(t.Context(), "m")
	ok(t, err)
	for _, wrong := range []int64{0, 1, epoch - 1, epoch + 1} {
		stolen := *d.Placement
		stolen.Version += 100
		_, err := st.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
			return store.Placements.Put(tx, "m", stolen)
		}, store.Fence(store.Cond{Key: officeKey, ModRev: wrong, Create: true}))
		if err == nil {
			t.Errorf("a placement was written in term %d; the present one is %d", wrong, epoch)
		}
	}
	after, err := s.client.Model(t.Context(), "m")
	ok(t, err)
	if after.Placement.Version != d.Placement.Version {
		t.Errorf("version %d became %d", d.Placement.Version, after.Placement.Version)
	}
}

// TestF31_compactionUnderSleepingWatcher: a server sleeps (SIGSTOP) while changes go on and the store's history is compacted. It lists everything
// anew and shows what is true.
func TestF31_compactionUnderSleepingWatcher(t *testing.T) {
	f := shared(t)
	w := f.write(t)
	_, followers := f.storeLeader(t)
	asleep, awake := followers[0], f.others(followers[0])[0]
	ok(t, asleep.Pause())
	acks, _ := w.counts()
	eventually(t, time.Minute, func() error {
		if now, _ := w.counts(); now < acks+40 {
			return fmt.Errorf("%d changes", now-acks)
		}
		return nil
	})
	_, err := awake.client.CompactStore(t.Context())
	ok(t, err)
	ok(t, asleep.Resume())
	w.finish(t)
}

// TestF32_betweenListAndWatch: changes are made after a store's list and before its watch. None is missed: its state becomes that of a list.
func TestF32_betweenListAndWatch(t *testing.T) {
	f := shared(t)
	w := f.write(t)
	kv := f.servers[0].store(t)
	late := &lateWatch{KV: kv, changed: func() {
		acks, _ := w.counts()
		for now := acks; now < acks+10; now, _ = w.counts() {
			time.Sleep(10 * time.Millisecond)
		}
	}}
	st := follow(t, late)
	w.finish(t) // nobody changes anything any more
	stored, _, err := kv.List(t.Context(), "/models/")
	ok(t, err)
	eventually(t, time.Minute, func() error {
		state, _ := st.Current()
		var all error
		for _, e := range stored {
			uid := e.Key[len("/models/") : len(e.Key)-len("/spec")]
			if m, ok := state.Models.Get(uid); !ok || m.Rev != e.ModRev {
				all = errors.Join(all, fmt.Errorf("%s is at revision %d, the store has %d", uid, m.Rev, e.ModRev))
			}
		}
		return all
	})
}

// follow opens the cluster's state on a store and keeps it up to date until the test ends.
func follow(t *testing.T, kv store.KV) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	ok(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = st.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return st
}

// lateWatch is a store whose watches begin only after something has changed.
type lateWatch struct {
	store.KV
	changed func()
}

func (l *lateWatch) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	l.changed()
	return l.KV.Watch(ctx, prefix, revision, fn)
}
