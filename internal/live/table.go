package live

import (
	"iter"
	"sort"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/internal/cluster"
)

// Table is every object of a kind in one State, with the changes that led there. It never changes.
type Table struct {
	state   *cluster.State
	changed <-chan struct{} // closes when the State is outdated
	due     time.Time       // when the clock alone may make another table; zero = never
	items   cluster.Set[*Item]
	made    *made   // of this table alone
	orders  *orders // of all tables of the list

	// The log: the changes from position first on, in order; their revisions never fall. Later tables append to the same array, behind the end
	// of this one.
	log   []entry
	first int
	from  int64 // the oldest revision from which the log tells everything
	epoch int   // of the store's history: a restored backup begins another
}

// entry is one change of one object. Without an id it stands for writes that have left everything as it was in the State before.
type entry struct {
	id     string
	rev    int64
	after  int64  // the revision of the State before; this server has seen none in between
	late   bool   // by the clock alone, at a revision that may have been told before
	before *Facts // as they were; nil = the object was not there
}

// unknown are facts that any filter may have let through.
var unknown = &Facts{}

// State is what the table was made of.
func (t *Table) State() *cluster.State { return t.state }

// Revision is that of the State.
func (t *Table) Revision() int64 { return t.state.Revision }

// Changed closes when there is something newer; beside that, the clock makes another table at Due, if that is not zero.
func (t *Table) Changed() <-chan struct{} { return t.changed }

// Due is when the clock alone may make another table; the zero time is never.
func (t *Table) Due() time.Time { return t.due }

// Len is how many objects there are.
func (t *Table) Len() int { return t.items.Len() }

// Get returns one object, or nil.
func (t *Table) Get(id string) *Item {
	i, _ := t.items.Value(id)
	return i
}

// After yields the objects whose ids come after one, in order; all of them after "".
func (t *Table) After(id string) iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		for e := range t.items.From(id) {
			if e.ID != id && !yield(e.Value) {
				return
			}
		}
	}
}

// maxMade is how much is kept of what is made of one table.
const maxMade = 64

// made is what callers have made of a table.
type made struct {
	mu  sync.Mutex
	all map[string]func() any
}

// Of returns what a function makes of a table, which depends on the table and the name alone: made once, and shared by all who ask, while anybody
// has the table. More names than a table has room for are made each time.
func Of[T any](t *Table, name string, of func(*Table) T) T {
	t.made.mu.Lock()
	get, known := t.made.all[name]
	if !known {
		get = sync.OnceValue(func() any { return of(t) })
		if t.made.all == nil {
			t.made.all = map[string]func() any{}
		}
		if len(t.made.all) < maxMade {
			t.made.all[name] = get
		}
	}
	t.made.mu.Unlock()
	return get().(T)
}

// Cursor is a place in the log: everything before it has been told.
type Cursor struct{ epoch, pos int }

// End is the place after all that has happened.
func (t *Table) End() Cursor { return Cursor{t.epoch, t.first + len(t.log)} }

// Since returns the place after everything up to a revision, which this or another server may have told. False: the log does not reach back so far,
// the table is older than that, or it is the revision of a State that this server has not seen between two that it has: what came and went in it
// nobody here can tell.
func (t *Table) Since(rev int64) (Cursor, bool) {
	if rev < t.from || rev > t.state.Revision {
		return Cursor{}, false
	}
	i := sort.Search(len(t.log), func(i int) bool { e := &t.log[i]; return e.rev > rev || e.rev == rev && e.late })
	if i < len(t.log) && t.log[i].after < rev && rev < t.log[i].rev {
		return Cursor{}, false
	}
	return Cursor{t.epoch, t.first + i}, true
}

// Change is one object as it is now, of those that have changed.
type Change struct {
	ID   string
	Item *Item // nil: it is gone, or does not pass the filter any more
	// Upto is the revision up to which everything has been told with this change, which is the last; 0 when more follow. Who leaves then knows a mixture
	// of States that the next server may never have seen, and has to begin anew.
	Upto int64
}

// Changes returns what a watcher with that filter has to be told, which stands at c: of each object that has changed only how it is now, in the order
// of the last changes. False: the log does not reach back so far, and all must be listed again.
//
// An object that neither passes the filter now nor did at c is not told. With doubt set, what it was at c counts as unknown.
func (t *Table) Changes(c Cursor, match func(*Facts) bool, doubt bool) ([]Change, bool) {
	if c.epoch != t.epoch || c.pos < t.first {
		return nil, false
	}
	todo := t.log[c.pos-t.first:]
	if len(todo) == 0 {
		return nil, true
	}
	type span struct{ first, last int }
	spans := make(map[string]span, len(todo))
	for i := range todo {
		s, seen := spans[todo[i].id]
		if !seen {
			s.first = i
		}
		s.last = i
		spans[todo[i].id] = s
	}
	out := make([]Change, 0, len(spans))
	for i := range todo {
		s := spans[todo[i].id]
		if s.last != i || todo[i].id == "" {
			continue
		}
		ch := Change{ID: todo[i].id}
		if item := t.Get(ch.ID); item != nil && item.Is(match) {
			ch.Item = item
		} else if before := todo[s.first].before; !doubt && (before == nil || before != unknown && match != nil && !match(before)) {
			continue
		}
		out = append(out, ch)
	}
	if len(out) > 0 {
		out[len(out)-1].Upto = todo[len(todo)-1].rev
	}
	return out, true
}

// forget makes the log begin anew at a revision.
func (t *Table) forget(rev int64) {
	t.first += len(t.log)
	t.log, t.from, t.epoch = nil, rev, t.epoch+1
}

// trim bounds the log: at twice keep it forgets the older half.
func (t *Table) trim(keep int) {
	drop := len(t.log) - keep
	if len(t.log) < 2*keep {
		return
	}
	t.from = t.log[drop-1].rev + 1
	t.first += drop
	t.log = append(make([]entry, 0, 2*keep), t.log[drop:]...)
}
