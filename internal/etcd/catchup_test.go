package etcd

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nebula-serve/nebula/internal/store"
)

// TestWatch_catchesUpOnMuch is about the silence limit: etcd prepares the one large answer of a late watch before it
// says anything.
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
