package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// MaxDocuments is how many documents one transaction may read and write; etcd takes 128 conditions, fences included.
const MaxDocuments = 100

// Tx is a transaction being prepared: it reads one State, remembers what it read, and keeps its writes to itself
// until [Store.Update] commits them. It is valid only inside the function that got it, on that goroutine.
type Tx struct {
	state     *cluster.State
	owner     Owner
	revs      map[string]int64 // every key read or written, with its revision in state; 0 = absent
	writes    map[string]write
	added     []Op // append-only records
	forgotten []Op
	removed   []Cond // records that go, at the revisions at which they were read
	err       error  // the first write that was refused
}

// write is a buffered write.
type write struct {
	op     Op
	value  any // what Get returns from now on
	change Change
}

// Change is what a transaction does to one document.
type Change struct {
	Table, ID     string // "model spec", "qwen"
	Before, After []byte // as JSON; nil = absent, or there was one that could not be read
	Private       []string
}

// Changes returns what the transaction would do to documents, in the order of their keys. Records that were added are not among them.
func (tx *Tx) Changes() []Change {
	var out []Change
	for _, key := range slices.Sorted(maps.Keys(tx.writes)) {
		out = append(out, tx.writes[key].change)
	}
	return out
}

// Append adds a record under a key that nobody has used, for histories: records are in no table and in no State, and nothing changes them. [Store.Records]
// reads them. The prefix must be one of [HistoryPrefixes].
func (tx *Tx) Append(key string, value []byte, lease int64) error {
	if !slices.ContainsFunc(HistoryPrefixes(), func(p string) bool { return strings.HasPrefix(key, p) && len(key) > len(p) }) {
		return tx.failed(fmt.Errorf("append %q: not under a prefix of histories", key))
	}
	tx.added = append(tx.added, Op{Key: key, Value: value, Lease: lease})
	return nil
}

// Remove takes a record away that was read at a revision, for histories that keep only so much.
func (tx *Tx) Remove(key string, rev int64) error {
	if !slices.ContainsFunc(HistoryPrefixes(), func(p string) bool { return strings.HasPrefix(key, p) && len(key) > len(p) }) {
		return tx.failed(fmt.Errorf("remove %q: not under a prefix of histories", key))
	}
	tx.removed = append(tx.removed, Cond{Key: key, ModRev: rev})
	return nil
}

// Forget takes a record away, whatever it is. Records do not change, so there is nothing to compare.
func (tx *Tx) Forget(key string) error {
	if !strings.HasPrefix(key, EventsPrefix) || len(key) == len(EventsPrefix) {
		return tx.failed(fmt.Errorf("forget %q: not under the prefix of events", key))
	}
	tx.forgotten = append(tx.forgotten, Op{Key: key, Delete: true})
	return nil
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
	if n := len(tx.revs) + len(tx.added) + len(tx.removed) + len(tx.forgotten); n > MaxDocuments {
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
	for _, op := range tx.added {
		ifs, ops = append(ifs, Cond{Key: op.Key}), append(ops, op)
	}
	ops = append(ops, tx.forgotten...)
	for _, c := range tx.removed {
		ifs, ops = append(ifs, c), append(ops, Op{Key: c.Key, Delete: true})
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
