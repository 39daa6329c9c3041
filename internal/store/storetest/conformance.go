package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/internal/store"
)

// patience is how long a behaviour may take to show before it counts as missing. It is no statement about speed.
const patience = 20 * time.Second

// Conformance tests the behaviours that every KV must have. open returns one that is empty, for the given test, and
// ends it by t.Cleanup; those of different tests must not see each other's keys, but may share revisions. A KV that has
// a method Compact(ctx, revision) is tested with compactions too.
func Conformance(t *testing.T, open func(t *testing.T) store.KV) {
	for name, test := range map[string]func(*testing.T, store.KV){
		"list":                        testList,
		"list pages":                  testListPages,
		"conditions":                  testConditions,
		"transaction":                 testTransaction,
		"transaction without effect":  testNoEffect,
		"limits":                      testLimits,
		"watch follows the list":      testWatchFollows,
		"watch under writers":         testWatchWriters,
		"watch brings whole commits":  testWatchWhole,
		"watch tells progress":        testWatchProgress,
		"watch ends":                  testWatchEnds,
		"watch from the future":       testWatchFuture,
		"lease expires":               testLeaseExpires,
		"lease kept alive":            testLeaseKeptAlive,
		"lease revoked":               testLeaseRevoked,
		"key moved between leases":    testLeaseMoved,
		"context ends a call at once": testContext,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// ConformanceCompacting is the part of the suite that compacts: it must not run beside the other, which shares
// revisions with it.
func ConformanceCompacting(t *testing.T, open func(t *testing.T) store.KV) {
	for name, test := range map[string]func(*testing.T, store.KV){
		"watch from compacted revision": testWatchCompacted,
		"list while compacting":         testListCompacting,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// compacter is a KV that can forget its history.
type compacter interface {
	Compact(ctx context.Context, revision int64) error
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }
func del(key string) store.Op        { return store.Op{Key: key, Delete: true} }

// must commits ops without a condition and returns the revision.
func must(t *testing.T, kv store.KV, ops ...store.Op) int64 {
	t.Helper()
	res, err := kv.Txn(t.Context(), nil, ops)
	if err != nil || !res.OK {
		t.Fatalf("transaction: %+v, %v", res, err)
	}
	return res.Revision
}

func list(t *testing.T, kv store.KV, prefix string) ([]store.KeyValue, int64) {
	t.Helper()
	kvs, rev, err := kv.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return kvs, rev
}

// content is what a list says, as "key=value".
func content(kvs []store.KeyValue) []string {
	out := []string{}
	for _, kv := range kvs {
		out = append(out, kv.Key+"="+string(kv.Value))
	}
	return out
}

func wantContent(t *testing.T, kv store.KV, prefix string, want ...string) {
	t.Helper()
	kvs, _ := list(t, kv, prefix)
	if diff := cmp.Diff(append([]string{}, want...), content(kvs)); diff != "" {
		t.Errorf("list %q (-want +got):\n%s", prefix, diff)
	}
}

func testList(t *testing.T, kv store.KV) {
	wantContent(t, kv, "")
	first := must(t, kv, put("/a/1", "x"), put("/a/2", ""), put("/ab", "y"))
	second := must(t, kv, put("/a/1", "z"), put("/a0", "after every /a/ key"), put("/a\xff\xff", "last"))
	wantContent(t, kv, "/a/", "/a/1=z", "/a/2=")
	wantContent(t, kv, "/a", "/a/1=z", "/a/2=", "/a0=after every /a/ key", "/ab=y", "/a\xff\xff=last")
	wantContent(t, kv, "/a\xff", "/a\xff\xff=last")
	wantContent(t, kv, "/b")
	wantContent(t, kv, "", "/a/1=z", "/a/2=", "/a0=after every /a/ key", "/ab=y", "/a\xff\xff=last")

	kvs, rev := list(t, kv, "/a/")
	if rev < second || second <= first {
		t.Errorf("revisions: first %d, second %d, list %d", first, second, rev)
	}
	if kvs[0].ModRev != second || kvs[1].ModRev != first || kvs[0].Lease != 0 {
		t.Errorf("got %+v, want revisions %d and %d without leases", kvs, second, first)
	}
	must(t, kv, del("/a/1"), del("/a/2"))
	wantContent(t, kv, "/a/")
}

// testListPages lists more keys than one answer holds while somebody keeps changing the first and the last of them
// together: they must agree in every list.
func testListPages(t *testing.T, kv store.KV) {
	const n = 1300
	var ops []store.Op
	for i := range n {
		if ops = append(ops, put(fmt.Sprintf("/k/%05d", i), "0")); len(ops) == store.MaxTxnOps || i == n-1 {
			must(t, kv, ops...)
			ops = nil
		}
	}
	both := func(v string) []store.Op { return []store.Op{put("/k/00000", v), put(fmt.Sprintf("/k/%05d", n-1), v)} }
	must(t, kv, both("0")...)
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			if _, err := kv.Txn(ctx, nil, both(fmt.Sprint(i))); err != nil && ctx.Err() == nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	defer writing.Wait()
	defer cancel()
	for range 5 {
		kvs, rev := list(t, kv, "/k/")
		if len(kvs) != n {
			t.Fatalf("got %d keys, want %d", len(kvs), n)
		}
		first, last := kvs[0], kvs[n-1]
		if string(first.Value) != string(last.Value) || first.ModRev != last.ModRev || first.ModRev > rev {
			t.Fatalf("list at %d mixes revisions: %s at %d and %s at %d", rev, first.Value, first.ModRev, last.Value, last.ModRev)
		}
	}
}

func testConditions(t *testing.T, kv store.KV) {
	created := must(t, kv, put("/there", "1"))
	changed := must(t, kv, put("/there", "2"))
	for _, c := range []struct {
		name string
		cond store.Cond
		want bool
	}{
		{"absent key, no key expected", store.Cond{Key: "/absent"}, true},
		{"absent key, no creation expected", store.Cond{Key: "/absent", Create: true}, true},
		{"absent key, a revision expected", store.Cond{Key: "/absent", ModRev: created}, false},
		{"key, no key expected", store.Cond{Key: "/there"}, false},
		{"key, no creation expected", store.Cond{Key: "/there", Create: true}, false},
		{"key, its revision", store.Cond{Key: "/there", ModRev: changed}, true},
		{"key, an older revision", store.Cond{Key: "/there", ModRev: created}, false},
		{"key, its creation", store.Cond{Key: "/there", ModRev: created, Create: true}, true},
		{"key, its revision as creation", store.Cond{Key: "/there", ModRev: changed, Create: true}, false},
	} {
		for _, also := range [][]store.Cond{nil, {{Key: "/there", ModRev: changed}}} {
			probe := fmt.Sprintf("/probe/%s/%d", c.name, len(also))
			_, before := list(t, kv, "/probe/")
			res, err := kv.Txn(t.Context(), append([]store.Cond{c.cond}, also...), []store.Op{put(probe, "")})
			if err != nil || res.OK != c.want {
				t.Errorf("%s: got %+v, %v, want OK %v", c.name, res, err, c.want)
			}
			if res.Revision < before {
				t.Errorf("%s: revision %d of the answer is before %d", c.name, res.Revision, before)
			}
			kvs, _ := list(t, kv, probe)
			if (len(kvs) == 1) != c.want {
				t.Errorf("%s: written: %v, want %v", c.name, content(kvs), c.want)
			}
		}
	}
	// A key that was deleted and made again has a new creation.
	must(t, kv, del("/there"))
	must(t, kv, put("/there", "3"))
	if res, err := kv.Txn(t.Context(), []store.Cond{{Key: "/there", ModRev: created, Create: true}}, nil); err != nil || res.OK {
		t.Errorf("creation survived a deletion: %+v, %v", res, err)
	}
}

func testTransaction(t *testing.T, kv store.KV) {
	must(t, kv, put("/old", "x"))
	rev := must(t, kv, put("/one", "1"), del("/old"), put("/two", "2"), del("/never"))
	kvs, _ := list(t, kv, "/")
	if diff := cmp.Diff([]store.KeyValue{
		{Key: "/one", Value: []byte("1"), ModRev: rev},
		{Key: "/two", Value: []byte("2"), ModRev: rev},
	}, kvs); diff != "" {
		t.Errorf("one transaction is one revision (-want +got):\n%s", diff)
	}
	var wins sync.Map
	var racing sync.WaitGroup
	for i := range 8 {
		racing.Go(func() {
			res, err := kv.Txn(t.Context(), []store.Cond{{Key: "/race"}}, []store.Op{put("/race", fmt.Sprint(i))})
			if err != nil {
				t.Errorf("race: %v", err)
			} else if res.OK {
				wins.Store(i, res.Revision)
			}
		})
	}
	racing.Wait()
	winners := 0
	wins.Range(func(i, rev any) bool {
		winners++
		kvs, _ := list(t, kv, "/race")
		if string(kvs[0].Value) != fmt.Sprint(i) || kvs[0].ModRev != rev {
			t.Errorf("winner %v at %v, stored %s at %d", i, rev, kvs[0].Value, kvs[0].ModRev)
		}
		return true
	})
	if winners != 1 {
		t.Errorf("%d of 8 creations of one key succeeded", winners)
	}
}

func testNoEffect(t *testing.T, kv store.KV) {
	rev := must(t, kv, put("/k", "1"))
	for _, ops := range [][]store.Op{nil, {del("/absent")}} {
		res, err := kv.Txn(t.Context(), []store.Cond{{Key: "/k", ModRev: rev}}, ops)
		if err != nil || !res.OK || res.Revision < rev {
			t.Errorf("%v: got %+v, %v", ops, res, err)
		}
	}
	if kvs, _ := list(t, kv, "/"); len(kvs) != 1 || kvs[0].ModRev != rev {
		t.Errorf("something changed: %+v", kvs)
	}
}

func testLimits(t *testing.T, kv store.KV) {
	many := func(n int) (ifs []store.Cond, ops []store.Op) {
		for i := range n {
			ifs = append(ifs, store.Cond{Key: fmt.Sprintf("/%03d", i)})
			ops = append(ops, put(fmt.Sprintf("/%03d", i), ""))
		}
		return ifs, ops
	}
	ifs, ops := many(store.MaxTxnOps + 1)
	_, err := kv.Txn(t.Context(), nil, ops)
	wantTooLarge(t, "129 operations", err)
	_, err = kv.Txn(t.Context(), ifs, nil)
	wantTooLarge(t, "129 conditions", err)
	_, err = kv.Txn(t.Context(), nil, []store.Op{put("/big", strings.Repeat("x", store.MaxTxnBytes))})
	wantTooLarge(t, "a value over the limit", err)
	for _, ops := range [][]store.Op{{put("/k", "1"), put("/k", "2")}, {put("/k", "1"), del("/k")}, {put("", "1")}} {
		if _, err := kv.Txn(t.Context(), nil, ops); err == nil {
			t.Errorf("%v was accepted", ops)
		}
	}
	wantContent(t, kv, "/")

	ifs, ops = many(store.MaxTxnOps)
	if res, err := kv.Txn(t.Context(), ifs, ops); err != nil || !res.OK {
		t.Errorf("128 of each: %+v, %v", res, err)
	}
	must(t, kv, put("/big", strings.Repeat("x", store.MaxTxnBytes-len("/big"))))
}

func wantTooLarge(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrAmbiguous) {
		t.Errorf("%s: got %v, want ErrTooLarge", what, err)
	}
}

func testContext(t *testing.T, kv store.KV) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, listErr := kv.List(ctx, "/")
	_, txnErr := kv.Txn(ctx, nil, []store.Op{put("/k", "1")})
	for what, err := range map[string]error{"list": listErr, "txn": txnErr, "watch": kv.Watch(ctx, "/", 0, func(store.Batch) error { return nil })} {
		if err == nil {
			t.Errorf("%s ignored its context", what)
		}
	}
	wantContent(t, kv, "/")
}
