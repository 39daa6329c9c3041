package store

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// MaxDocuments is how many documents one transaction may read and write; etcd takes 128 conditions, fences included.
const MaxDocuments = 100

// Tx is a transaction being prepared: it reads one State, remembers what it read, and keeps its writes to itself
// until [Store.Update] commits them. It is valid only inside the function that got it, on that goroutine.
type Tx struct {
	state  *cluster.State
	owner  Owner
	revs   map[string]int64 // every key read or written, with its revision in state; 0 = absent
	writes map[string]write
	err    error // the first write that was refused
}

// write is a buffered write.
type write struct {
	op    Op
	value any // what Get returns from now on
}

func newTx(s *cluster.State, owner Owner) *Tx {
	return &Tx{state: s, owner: owner, revs: map[string]int64{}, writes: map[string]write{}}
}

// State is the whole cluster as the transaction found it, without its own writes. What is read here is not checked
// again at commit; read what the decision hangs on through a [Table].
func (tx *Tx) State() *cluster.State { return tx.state }

// failed keeps the first refused write: half of an atomic change must not be committed because somebody dropped an error.
func (tx *Tx) failed(err error) error {
	if err != nil && tx.err == nil {
		tx.err = err
	}
	return err
}

// request returns the transaction for the KV: a condition for every key that was read or written, so that it can
// commit at most once and only on the State it was made from.
func (tx *Tx) request() ([]Cond, []Op, error) {
	if n := len(tx.revs); n > MaxDocuments {
		return nil, nil, api.Errorf(api.CodeTooLarge,
			"this change touches %d documents, and one transaction holds at most %d: split it into smaller ones", n, MaxDocuments)
	}
	var ifs []Cond
	var ops []Op
	for _, key := range slices.Sorted(maps.Keys(tx.revs)) {
		ifs = append(ifs, Cond{Key: key, ModRev: tx.revs[key]})
		if w, ok := tx.writes[key]; ok {
			ops = append(ops, w.op)
		}
	}
	return ifs, ops, nil
}

// run lets fn prepare a transaction.
func (tx *Tx) run(fn func(*Tx) error) error {
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return fmt.Errorf("a write was refused: %w", tx.err)
	}
	return nil
}
