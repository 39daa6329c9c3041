package cluster

import (
	"iter"
	"strings"

	"github.com/google/btree"
)

// Entry is one object of a Set with the revision of its last change.
type Entry[T any] struct {
	ID    string
	Rev   int64 // modification revision in the store: the object's version
	Lease int64 // 0 = none
	Value T
}

// Set is an ordered, immutable table. The zero Set is empty. Copies share their content; An Edit makes
// another Set at O(log n) a change.
type Set[T any] struct {
	tree *btree.BTreeG[row[T]]
}

// row keeps the tree's nodes small: a lookup compares and copies two words and a pointer, never whole documents.
type row[T any] struct {
	id    string
	entry *Entry[T] // never changed once it is in a tree
}

const degree = 32

func less[T any](a, b row[T]) bool { return a.id < b.id }

// Get returns the object with that id.
func (s Set[T]) Get(id string) (Entry[T], bool) {
	if s.tree == nil {
		return Entry[T]{}, false
	}
	r, ok := s.tree.Get(row[T]{id: id})
	if !ok {
		return Entry[T]{}, false
	}
	return *r.entry, true
}

// Value returns the object with that id, or the zero value.
func (s Set[T]) Value(id string) (T, bool) {
	if s.tree != nil {
		if r, ok := s.tree.Get(row[T]{id: id}); ok {
			return r.entry.Value, true
		}
	}
	var none T
	return none, false
}

// ref returns the object with that id without copying it, or nil. It is shared by everyone: it must not be changed.
func (s Set[T]) ref(id string) *Entry[T] {
	if s.tree != nil {
		if r, ok := s.tree.Get(row[T]{id: id}); ok {
			return r.entry
		}
	}
	return nil
}

// Has tells whether there is an object with that id.
func (s Set[T]) Has(id string) bool {
	return s.tree != nil && s.tree.Has(row[T]{id: id})
}

// Len returns the number of objects.
func (s Set[T]) Len() int {
	if s.tree == nil {
		return 0
	}
	return s.tree.Len()
}

// All yields every object in order of id.
func (s Set[T]) All() iter.Seq[Entry[T]] { return s.From("") }

// Refs returns every object in order of id without copying it, for those who look at all of a large table and at little
// of each document. What it points to is shared by everyone: it must not be changed.
func (s Set[T]) Refs() []*Entry[T] {
	if s.tree == nil {
		return nil
	}
	out := make([]*Entry[T], 0, s.tree.Len())
	s.tree.Ascend(func(r row[T]) bool {
		out = append(out, r.entry)
		return true
	})
	return out
}

// Changed calls fn with the id of every object that is new, gone or another one since before, in order. It compares pointers, so it costs little
// when little has changed; an object that was written again just as it was counts as changed.
func (s Set[T]) Changed(before Set[T], fn func(id string)) {
	if s == before {
		return
	}
	was, is := before.Refs(), s.Refs()
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(was) > 0 && len(is) > 0 && was[0] == is[0]:
			was, is = was[1:], is[1:]
		case len(is) == 0 || len(was) > 0 && was[0].ID < is[0].ID:
			fn(was[0].ID)
			was = was[1:]
		case len(was) == 0 || is[0].ID < was[0].ID:
			fn(is[0].ID)
			is = is[1:]
		default:
			fn(is[0].ID)
			was, is = was[1:], is[1:]
		}
	}
}

// From yields every object whose id is at or after id, in order.
func (s Set[T]) From(id string) iter.Seq[Entry[T]] {
	return func(yield func(Entry[T]) bool) {
		if s.tree != nil {
			s.tree.AscendGreaterOrEqual(row[T]{id: id}, func(r row[T]) bool { return yield(*r.entry) })
		}
	}
}

// Prefix yields every object whose id starts with prefix, in order.
func (s Set[T]) Prefix(prefix string) iter.Seq[Entry[T]] {
	return func(yield func(Entry[T]) bool) {
		for e := range s.From(prefix) {
			if !strings.HasPrefix(e.ID, prefix) || !yield(e) {
				return
			}
		}
	}
}

// Copy returns a Set with the same content that shares nothing but the documents, so that it can be edited while another goroutine edits s. It
// costs O(n).
func (s Set[T]) Copy() Set[T] {
	out := Set[T]{btree.NewG(degree, less[T])}
	if s.tree != nil {
		s.tree.Ascend(func(r row[T]) bool {
			out.tree.ReplaceOrInsert(r)
			return true
		})
	}
	return out
}

// Edit is a Set being changed. It belongs to one goroutine; the Set it came from stays as it was.
type Edit[T any] struct {
	tree *btree.BTreeG[row[T]]
}

// Edit starts a change of s. Two edits of one Set must not start at the same time.
func (s Set[T]) Edit() Edit[T] {
	if s.tree == nil {
		return Edit[T]{btree.NewG(degree, less[T])}
	}
	return Edit[T]{s.tree.Clone()}
}

// Put adds or replaces an object.
func (e Edit[T]) Put(entry Entry[T]) { e.tree.ReplaceOrInsert(row[T]{entry.ID, &entry}) }

// share adds or replaces an object without copying it, so that it is the same one in every Set that has it.
func (e Edit[T]) share(entry *Entry[T]) { e.tree.ReplaceOrInsert(row[T]{entry.ID, entry}) }

// Delete removes an object, if it is there.
func (e Edit[T]) Delete(id string) { e.tree.Delete(row[T]{id: id}) }

// Done returns the changed Set. The Edit must not be used again.
func (e Edit[T]) Done() Set[T] { return Set[T](e) }
