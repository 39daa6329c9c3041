package etcd

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nebula-serve/nebula/internal/store"
)

// TestWatch_catchesUpOnMuch: etcd prepares the one large answer of a late watch before it says anything, which must
// not count as silence.
func TestWatch_catchesUpOnMuch(t *testing.T) {
	t.Parallel()
	c := dial(t, inProcess(t, t.TempDir()), "")
	_, rev, err := c.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	const txns, ops, bytes = 100, 100, 400
	for range txns {
		var puts []store.Op
		for k := range ops {
			puts = append(puts, put(fmt.Sprintf("/k/%d", k), string(make([]byte, bytes))))
		}
		if _, err := c.Txn(t.Context(), nil, puts); err != nil {
			t.Fatal(err)
		}
	}
	seen, done := 0, errors.New("done")
	err = c.Watch(t.Context(), "/", rev, func(b store.Batch) error {
		if seen += len(b.Events); seen == txns*ops {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("got %v after %d of %d events", err, seen, txns*ops)
	}
}

// TestWatch_idle watches a store in which nothing at all happens, for longer than the silence limit, from its newest
// revision: etcd reports no progress to a watch that it counts as one from the future.
func TestWatch_idle(t *testing.T) {
	t.Parallel()
	c := dial(t, inProcess(t, t.TempDir()), "")
	rev := mustPut(t, c, "/k", "v")
	batches, enough := 0, errors.New("enough")
	err := c.Watch(t.Context(), "/", rev, func(b store.Batch) error {
		if b.Revision != rev || len(b.Events) != 0 {
			t.Errorf("got %+v, want progress at %d", b, rev)
		}
		if batches++; batches > int(silence/askEvery)+1 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("watch: %v after %d signs of life", err, batches)
	}
}
