package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Table is one kind of document: its keys, its owner and its place in the State. A new kind is one declaration
// in tables.go.
//
// The values that a Table hands out are shared with every reader of the State: what they point to must not be
// changed. Clone before editing.
type Table[T any] struct {
	name  string // of one document, for people
	owner Owner
	keys  layout
	set   func(*cluster.State) *cluster.Set[T]
	// claims tells whether the document itself says that it is the one with that id.
	claims func(id string, v *T) bool
	// private are top-level fields whose values no log and no answer may show.
	private []string
}

// Name is what one document is called.
func (t *Table[T]) Name() string { return t.name }

// Key returns the store key of a document; false when id is not legal for this table.
func (t *Table[T]) Key(id string) (string, bool) { return t.keys.key(id) }

// Get returns a document as the transaction sees it: its own writes first, then the State it started from. The
// commit fails when the document has changed by then. A document that cannot be decoded is an *api.Error with
// CodeConflict, never "absent".
func (t *Table[T]) Get(tx *Tx, id string) (T, bool, error) {
	e, ok, err := t.Entry(tx, id)
	return e.Value, ok, err
}

// Entry is [Table.Get] with the revision and the lease that the document has in the store. After a write in the
// same transaction they are still the stored ones; both are 0 for a new document.
func (t *Table[T]) Entry(tx *Tx, id string) (cluster.Entry[T], bool, error) {
	key, ok := t.keys.key(id)
	if !ok {
		return cluster.Entry[T]{}, false, nil // nothing can be stored there
	}
	e, ok, err := t.stored(tx, key, id)
	if err != nil {
		return cluster.Entry[T]{}, false, err
	}
	if w, written := tx.writes[key]; written {
		if w.op.Delete {
			return cluster.Entry[T]{}, false, nil
		}
		e.ID, e.Value, ok = id, w.value.(T), true
	}
	return e, ok, nil
}

// Put writes a document when the transaction commits. Writing what is stored already is no write at all. It fails
// for another owner's table, an illegal id, a document that could not be read again or names another id, and over a
// stored one that cannot be decoded; a transaction in which a write has failed does not commit.
func (t *Table[T]) Put(tx *Tx, id string, v T) error { return t.PutLeased(tx, id, v, 0) }

// PutLeased is [Table.Put] of a document that vanishes with its lease. The same document under another lease is
// written again.
func (t *Table[T]) PutLeased(tx *Tx, id string, v T, lease int64) error {
	return tx.failed(t.put(tx, id, v, lease))
}

func (t *Table[T]) put(tx *Tx, id string, v T, lease int64) error {
	key, err := t.writable(tx, id)
	if err != nil {
		return err
	}
	old, exists, err := t.stored(tx, key, id)
	if err != nil {
		return err
	}
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s %q: %w", t.name, id, err)
	}
	if exists && old.Lease == lease && encodesTo(old.Value, value) {
		delete(tx.writes, key) // an earlier write of this transaction is taken back
		return nil
	}
	if _, err := t.decode(id, value); err != nil {
		return fmt.Errorf("put %s %q: nobody could read it again: %w", t.name, id, err)
	}
	var before []byte
	if exists {
		if before, err = json.Marshal(old.Value); err != nil {
			return fmt.Errorf("encode the stored %s %q: %w", t.name, id, err)
		}
	}
	tx.writes[key] = write{Op{Key: key, Value: value, Lease: lease}, v, Change{t.name, id, before, value, t.private}}
	return nil
}

// Delete removes a document when the transaction commits; no error when it is absent. It is the one thing that
// works on a document that cannot be decoded, and there people (OwnerControl) may do it in every table.
func (t *Table[T]) Delete(tx *Tx, id string) error { return tx.failed(t.del(tx, id)) }

func (t *Table[T]) del(tx *Tx, id string) error {
	key, ok := t.keys.key(id)
	bad, unreadable := tx.state.Bad.Get(key)
	if !ok || !unreadable || tx.owner != OwnerControl {
		if _, err := t.writable(tx, id); err != nil {
			return err
		}
	}
	old, exists := t.set(tx.state).Get(id)
	tx.revs[key] = max(old.Rev, bad.Rev)
	delete(tx.writes, key)
	if !exists && !unreadable {
		return nil
	}
	var before []byte
	if exists {
		var err error
		if before, err = json.Marshal(old.Value); err != nil {
			return fmt.Errorf("encode the stored %s %q: %w", t.name, id, err)
		}
	}
	tx.writes[key] = write{op: Op{Key: key, Delete: true}, change: Change{t.name, id, before, nil, t.private}}
	return nil
}

// writable returns the key to write, or why this transaction may not write it.
func (t *Table[T]) writable(tx *Tx, id string) (string, error) {
	if tx.owner != t.owner {
		return "", fmt.Errorf("write %s %q: only the %s writes this table, not the %s", t.name, id, t.owner, tx.owner)
	}
	key, ok := t.keys.key(id)
	if !ok {
		return "", fmt.Errorf("write %s %q: not a legal id", t.name, id)
	}
	return key, nil
}

// stored returns the document of the transaction's State and makes the commit depend on it.
func (t *Table[T]) stored(tx *Tx, key, id string) (cluster.Entry[T], bool, error) {
	if bad, ok := tx.state.Bad.Get(key); ok {
		tx.revs[key] = bad.Rev
		if _, written := tx.writes[key]; written {
			return cluster.Entry[T]{}, false, nil // only a deletion could be the first write: room for a new one
		}
		return cluster.Entry[T]{}, false, api.Errorf(api.CodeConflict,
			"the stored %s %q cannot be read (%s), so it is neither used nor overwritten: repair %s in the store, or delete it and create it again",
			t.name, id, bad.Value.Err, key)
	}
	e, ok := t.set(tx.state).Get(id)
	tx.revs[key] = e.Rev
	return e, ok, nil
}

func encodesTo[T any](v T, want []byte) bool {
	have, err := json.Marshal(v)
	return err == nil && bytes.Equal(have, want)
}

// decode reads a stored value. Its errors never carry any of the value, which may hold anything, and it cannot
// panic: one malformed value must not stop the server that all others are served by.
func (t *Table[T]) decode(id string, b []byte) (v T, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("its decoder failed")
		}
	}()
	if err := json.Unmarshal(b, &v); err != nil {
		return v, withoutValue(err)
	}
	if !t.claims(id, &v) {
		return v, errors.New("it names another document than its key does")
	}
	return v, nil
}

// withoutValue says what is wrong with a JSON text without quoting any of it.
func withoutValue(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON from byte %d on", e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(e.Value, " ") // "number 12" quotes the number
		if e.Field == "" {
			return fmt.Errorf("it is a JSON %s where an object belongs", kind)
		}
		return fmt.Errorf("its field %s holds a JSON %s that does not fit %s", e.Field, kind, e.Type.Kind())
	}
	return errors.New("one of its fields is missing or holds a value that this version does not know")
}

// kind is a Table without its type, for the loop that follows the store.
type kind interface {
	prefix() string
	parse(key string) (id string, ok bool)
	edit(s *cluster.State, apart bool) editor  // apart: of a copy, for who is not the only one to edit
	each(*cluster.State, func(KeyValue)) error // every readable document, as it is stored
}

// editor changes one table of a State that is being built.
type editor interface {
	put(id string, kv KeyValue) error // an error means: not decodable, and not in the table now
	remove(id string)
	done(*cluster.State)
}

func (t *Table[T]) prefix() string                  { return t.keys.prefix }
func (t *Table[T]) parse(key string) (string, bool) { return t.keys.id(key) }

func (t *Table[T]) each(s *cluster.State, fn func(KeyValue)) error {
	for e := range t.set(s).All() {
		key, _ := t.keys.key(e.ID)
		b, err := json.Marshal(e.Value)
		if err != nil {
			return fmt.Errorf("encode %s %q: %w", t.name, e.ID, err)
		}
		fn(KeyValue{key, b, e.Rev, e.Lease})
	}
	return nil
}

func (t *Table[T]) edit(s *cluster.State, apart bool) editor {
	rows := *t.set(s)
	if apart {
		rows = rows.Copy()
	}
	return &tableEdit[T]{t, rows.Edit()}
}

type tableEdit[T any] struct {
	table *Table[T]
	rows  cluster.Edit[T]
}

func (e *tableEdit[T]) put(id string, kv KeyValue) error {
	v, err := e.table.decode(id, kv.Value)
	if err != nil {
		e.rows.Delete(id)
		return err
	}
	e.rows.Put(cluster.Entry[T]{ID: id, Rev: kv.ModRev, Lease: kv.Lease, Value: v})
	return nil
}

func (e *tableEdit[T]) remove(id string)      { e.rows.Delete(id) }
func (e *tableEdit[T]) done(s *cluster.State) { *e.table.set(s) = e.rows.Done() }
