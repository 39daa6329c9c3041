package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/internal/store"
)

func testWatchFollows(t *testing.T, kv store.KV) {
	must(t, kv, put("/a/1", "before"))
	_, rev := list(t, kv, "/a/")
	second := must(t, kv, put("/a/2", "between"))
	r := watching(t, kv, "/a/", rev)
	r.wantChanges(t, "/a/2=between")
	must(t, kv, put("/b", "elsewhere"))
	third := must(t, kv, put("/a/1", "changed"))
	must(t, kv, del("/a/never"))
	fourth := must(t, kv, del("/a/1"))
	r.wantChanges(t, "/a/2=between", "/a/1=changed", "-/a/1")
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff([]store.Event{
		{KeyValue: store.KeyValue{Key: "/a/2", Value: []byte("between"), ModRev: second}},
		{KeyValue: store.KeyValue{Key: "/a/1", Value: []byte("changed"), ModRev: third}},
		{KeyValue: store.KeyValue{Key: "/a/1", ModRev: fourth}, Deleted: true},
	}, r.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// testWatchWriters lets several writers count up, each in its own key, begins to watch in the middle, and begins
// again where it was. Every number must come once and in order.
func testWatchWriters(t *testing.T, kv store.KV) {
	const writers, counts = 4, 60
	_, rev := list(t, kv, "/n/")
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range counts {
				if _, err := kv.Txn(t.Context(), nil, []store.Op{put(fmt.Sprintf("/n/%d", w), fmt.Sprint(i))}); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	next := map[string]int{}
	total, last := 0, rev
	errPause := errors.New("pause")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for total < writers*counts {
		err := kv.Watch(ctx, "/n/", last, func(b store.Batch) error {
			for _, ev := range b.Events {
				if want := fmt.Sprint(next[ev.Key]); string(ev.Value) != want {
					t.Errorf("%s: got %s, want %s", ev.Key, ev.Value, want)
				}
				if ev.ModRev <= last || ev.ModRev > b.Revision {
					t.Errorf("event at %d in a batch from %d to %d", ev.ModRev, last, b.Revision)
				}
				next[ev.Key]++
				total++
			}
			last = b.Revision
			if len(b.Events) > 0 && (total%17 == 0 || total >= writers*counts) {
				return errPause
			}
			return nil
		})
		if !errors.Is(err, errPause) {
			t.Fatalf("watch: %v after %d events", err, total)
		}
	}
	writing.Wait()
}

// testWatchWhole checks, for a watch that keeps up and for one that comes late, that a transaction never comes in parts.
func testWatchWhole(t *testing.T, kv store.KV) {
	_, rev := list(t, kv, "/")
	live := watching(t, kv, "/", rev)
	const txns = 10
	value := string(make([]byte, 2500)) // more in one late answer than etcd takes in one request
	for range txns {
		var ops []store.Op
		for k := range 100 {
			ops = append(ops, put(fmt.Sprintf("/k/%03d", k), value))
		}
		must(t, kv, ops...)
	}
	for name, r := range map[string]*reader{"live": live, "late": watching(t, kv, "/", rev)} {
		r.until(t, "all events", func(events []store.Event, _ []store.Batch) bool { return len(events) >= txns*100 })
		r.mu.Lock()
		for _, b := range r.batches {
			count := map[int64]int{}
			for _, ev := range b.Events {
				count[ev.ModRev]++
			}
			for rev, n := range count {
				if n != 100 {
					t.Errorf("%s: a batch with %d of 100 events of revision %d", name, n, rev)
				}
			}
		}
		r.mu.Unlock()
	}
}

func testWatchProgress(t *testing.T, kv store.KV) {
	_, rev := list(t, kv, "/a/")
	r := watching(t, kv, "/a/", rev)
	r.until(t, "sign of life without any write", func(_ []store.Event, batches []store.Batch) bool { return len(batches) > 0 })
	elsewhere := must(t, kv, put("/b", "1"))
	r.until(t, "progress past a write elsewhere", func(_ []store.Event, batches []store.Batch) bool {
		return batches[len(batches)-1].Revision >= elsewhere
	})
	here := must(t, kv, put("/a/1", "x"))
	r.wantChanges(t, "/a/1=x")
	r.mu.Lock()
	defer r.mu.Unlock()
	last := rev
	for _, b := range r.batches {
		if b.Revision < last || len(b.Events) == 0 && b.Revision >= here && len(r.events) == 0 {
			t.Errorf("batch at %d after %d", b.Revision, last)
		}
		last = b.Revision
	}
}

func testWatchEnds(t *testing.T, kv store.KV) {
	_, rev := list(t, kv, "/")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- kv.Watch(ctx, "/", rev, func(store.Batch) error { return nil }) }()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
	case <-time.After(patience):
		t.Fatal("watch outlives its context")
	}
	must(t, kv, put("/k", "1"))
	enough := errors.New("enough")
	if err := kv.Watch(t.Context(), "/", rev, func(store.Batch) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v, want the error of fn", err)
	}
}

func testWatchFuture(t *testing.T, kv store.KV) {
	_, rev := list(t, kv, "/")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := kv.Watch(ctx, "/", rev+1_000_000, func(store.Batch) error { return nil })
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("got %v, want ErrCompacted: the store's history is not the one that the caller has seen", err)
	}
}

func testWatchCompacted(t *testing.T, kv store.KV) {
	c, ok := kv.(compacter)
	if !ok {
		t.Fatalf("%T has no method Compact", kv)
	}
	old := must(t, kv, put("/k", "1"))
	_, begin := list(t, kv, "/")
	follower := watching(t, kv, "/", begin)
	must(t, kv, put("/k", "2"))
	now := must(t, kv, put("/k", "3"))
	follower.wantChanges(t, "/k=2", "/k=3")
	if err := c.Compact(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := kv.Watch(ctx, "/", old, func(store.Batch) error { return nil }); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watch from before the compaction: got %v, want ErrCompacted", err)
	}
	// Nobody else is disturbed.
	must(t, kv, put("/k", "4"))
	follower.wantChanges(t, "/k=2", "/k=3", "/k=4")
	watching(t, kv, "/", now).wantChanges(t, "/k=4")
	wantContent(t, kv, "/", "/k=4")
}

// testListCompacting lists while the history is forgotten as fast as it is made.
func testListCompacting(t *testing.T, kv store.KV) {
	c, ok := kv.(compacter)
	if !ok {
		t.Fatalf("%T has no method Compact", kv)
	}
	const n = 1100
	var ops []store.Op
	for i := range n {
		if ops = append(ops, put(fmt.Sprintf("/k/%05d", i), "0")); len(ops) == store.MaxTxnOps || i == n-1 {
			must(t, kv, ops...)
			ops = nil
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var compacting sync.WaitGroup
	compacting.Go(func() {
		for ctx.Err() == nil {
			res, err := kv.Txn(ctx, nil, []store.Op{put("/other", "")})
			if err == nil {
				err = c.Compact(ctx, res.Revision)
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("compact: %v", err)
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	defer compacting.Wait()
	defer cancel()
	for range 5 {
		if kvs, _ := list(t, kv, "/k/"); len(kvs) != n {
			t.Fatalf("got %d keys, want %d", len(kvs), n)
		}
	}
}

// grant makes a lease and puts keys with it.
func grant(t *testing.T, kv store.KV, ttl int64, keys ...string) int64 {
	t.Helper()
	id, err := kv.Grant(t.Context(), ttl)
	if err != nil || id == 0 {
		t.Fatalf("grant: %d, %v", id, err)
	}
	for _, key := range keys {
		must(t, kv, store.Op{Key: key, Value: []byte("leased"), Lease: id})
	}
	return id
}

func wantGone(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrLeaseGone) {
		t.Errorf("%s: got %v, want ErrLeaseGone", what, err)
	}
}

func testLeaseExpires(t *testing.T, kv store.KV) {
	if _, err := kv.Grant(t.Context(), 0); err == nil {
		t.Error("a lease of 0 s was granted")
	}
	_, rev := list(t, kv, "/")
	r := watching(t, kv, "/", rev)
	id := grant(t, kv, 1, "/x", "/y")
	must(t, kv, put("/free", "stays"))
	if kvs, _ := list(t, kv, "/x"); len(kvs) != 1 || kvs[0].Lease != id {
		t.Errorf("got %+v, want the key with lease %d", kvs, id)
	}
	r.until(t, "deletions", func(events []store.Event, _ []store.Batch) bool { return len(events) >= 5 })
	r.mu.Lock()
	if a, b := r.events[3], r.events[4]; !a.Deleted || !b.Deleted || a.Lease != 0 || a.ModRev != b.ModRev {
		t.Errorf("got %+v and %+v, want two deletions at one revision", a, b)
	}
	r.mu.Unlock()
	wantContent(t, kv, "/", "/free=stays")
	wantGone(t, "keep alive", kv.KeepAlive(t.Context(), id))
	_, err := kv.Txn(t.Context(), nil, []store.Op{{Key: "/x", Lease: id}, put("/also", "")})
	wantGone(t, "put with an expired lease", err)
	wantContent(t, kv, "/", "/free=stays")
}

func testLeaseKeptAlive(t *testing.T, kv store.KV) {
	kept, left := grant(t, kv, 2, "/kept"), grant(t, kv, 2, "/left")
	_, rev := list(t, kv, "/")
	r := watching(t, kv, "/", rev)
	ctx, cancel := context.WithCancel(t.Context())
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for ctx.Err() == nil {
			if err := kv.KeepAlive(ctx, kept); err != nil && ctx.Err() == nil {
				t.Errorf("keep alive: %v", err)
				return
			}
			select {
			case <-time.After(300 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	defer renewing.Wait()
	defer cancel()
	r.wantChanges(t, "-/left")
	wantContent(t, kv, "/", "/kept=leased")
	wantGone(t, "keep alive", kv.KeepAlive(t.Context(), left))
}

func testLeaseRevoked(t *testing.T, kv store.KV) {
	id := grant(t, kv, 60, "/x", "/y")
	other := grant(t, kv, 60, "/z")
	for range 2 { // the second finds it gone
		if err := kv.Revoke(t.Context(), id); err != nil {
			t.Errorf("revoke: %v", err)
		}
		wantContent(t, kv, "/", "/z=leased")
	}
	wantGone(t, "keep alive", kv.KeepAlive(t.Context(), id))
	if err := kv.KeepAlive(t.Context(), other); err != nil {
		t.Errorf("another lease: %v", err)
	}
}

func testLeaseMoved(t *testing.T, kv store.KV) {
	old, fresh := grant(t, kv, 60, "/moved", "/freed", "/left"), grant(t, kv, 60)
	must(t, kv, store.Op{Key: "/moved", Value: []byte("new"), Lease: fresh}, put("/freed", "no lease"))
	if err := kv.Revoke(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	wantContent(t, kv, "/", "/freed=no lease", "/moved=new")
	if err := kv.Revoke(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	wantContent(t, kv, "/", "/freed=no lease")
}
