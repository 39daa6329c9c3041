// Package live keeps what people watch: every object of a kind as the JSON that a list shows, with the revision at which it became so, and what
// changed lately. Any number of watchers share it, so that a change is worked out and encoded once and not once for each of them.
//
// It never reads the store, starts no goroutine and never waits for a watcher: a [Table] is immutable, and a watcher holds no more of it than the
// place up to which it has told everything.
package live

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// View is the State that a list follows.
type View interface {
	Current() (*cluster.State, <-chan struct{})
}

// Kind says what a list is about. Its functions are pure.
type Kind struct {
	// Touched calls fn with the id of every object that may look otherwise in the later State, perhaps more than once. False: nothing was written
	// that has a part in any of them, so that they never looked otherwise between the two either.
	Touched func(before, after *cluster.State, fn func(id string)) bool
	// Show returns an object as people see it; false when there is none of that id.
	Show func(s *cluster.State, id string, now time.Time) (Shown, bool)
}

// Shown is an object as people see it.
type Shown struct {
	Value any   // encodes as JSON
	Facts Facts // what watchers choose by
	Sort  Sort  // what lists are ordered by, beside the facts
	// ByClock says that the time had a part in it, and Due when it may look otherwise by the clock alone; zero = never.
	ByClock bool
	Due     time.Time
}

// Facts are what watchers choose by.
type Facts struct {
	State  api.ModelState
	Engine string
	Labels []unique.Handle[Label] // by their keys, each once
	Text   string                 // what is searched, in lower case; what people do not see as one text is apart by a line feed
}

func (f *Facts) same(g *Facts) bool {
	return f.State == g.State && f.Engine == g.Engine && f.Text == g.Text && slices.Equal(f.Labels, g.Labels)
}

// Label is one label of an object. What people put on many objects is kept, hashed and compared as one word: a handle.
type Label struct{ Key, Value string }

// LabelsOf returns the labels of an object for its facts.
func LabelsOf(labels map[string]string) []unique.Handle[Label] {
	out := make([]unique.Handle[Label], 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, unique.Make(Label{key, labels[key]}))
	}
	return out
}

// Sort is what lists are ordered by.
type Sort struct {
	Name             string // in lower case: people do not look for capitals first
	Replicas         uint32 // wished
	Created, Updated int64  // ms since the epoch
}

// Item is one object at one revision. It is shared by all watchers and never changes.
type Item struct {
	ID    string
	JSON  []byte
	Rev   int64 // of the State in which it first looked like this
	Sort  Sort
	facts *Facts
}

// Facts are what the object is chosen by.
func (i *Item) Facts() *Facts { return i.facts }

// Is tells whether the object passes a filter; nil lets everything through.
func (i *Item) Is(match func(*Facts) bool) bool { return match == nil || match(i.facts) }

// List follows a View for one kind of objects. Whoever asks first after a change works the change out, for all who ask later; while nobody asks,
// nothing is done. All methods are for any goroutine.
type List struct {
	view View
	now  func() time.Time
	kind Kind
	keep int // how many changes the log holds at least, before it forgets the oldest

	table atomic.Pointer[Table]
	mu    sync.Mutex           // held by the one who works a change out
	due   map[string]time.Time // by id: when the clock alone may change an object; guarded by mu
}

// keepChanges is how many changes can be resumed from: ten minutes at 100 changes a second, in a few megabytes.
const keepChanges = 1 << 16

// New returns a list of the objects of one kind.
func New(view View, now func() time.Time, kind Kind) *List {
	return &List{view: view, now: now, kind: kind, keep: keepChanges, due: map[string]time.Time{}}
}

// Current returns the objects of the newest State. The error is that of an object that cannot be encoded.
func (l *List) Current() (*Table, error) {
	if t := l.table.Load(); t != nil && l.upToDate(t) {
		return t, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.table.Load()
	if t != nil && l.upToDate(t) {
		return t, nil
	}
	next, err := l.next(t)
	if err != nil {
		return nil, err
	}
	l.table.Store(next)
	return next, nil
}

func (l *List) upToDate(t *Table) bool {
	st, _ := l.view.Current()
	return t.state == st && (t.due.IsZero() || l.now().Before(t.due))
}

// next works out the table that follows t; nil = the first one.
func (l *List) next(t *Table) (*Table, error) {
	now := l.now()
	st, changed := l.view.Current()
	first := t == nil
	if first {
		t = &Table{state: &cluster.State{}, from: st.Revision, orders: &orders{}}
	}
	next := *t
	next.made = &made{}
	next.state, next.changed = st, changed
	before := t.state.Revision
	if first {
		before = st.Revision
	}
	if st.Revision < t.state.Revision { // a backup was restored: what was logged is of a history that is no more
		next.forget(st.Revision)
	}
	touched := map[string]bool{}
	moved := l.kind.Touched(t.state, st, func(id string) { touched[id] = true })
	late := map[string]bool{}
	for id, at := range l.due {
		if !touched[id] && !at.After(now) {
			late[id] = true
		}
	}
	edit := next.items.Edit()
	for _, ids := range []map[string]bool{touched, late} {
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			c, byClock, err := l.look(&next, id, now)
			if err != nil {
				return nil, err
			}
			if !c.differs {
				continue
			}
			if c.item == nil {
				edit.Delete(id)
			} else {
				edit.Put(cluster.Entry[*Item]{ID: id, Value: c.item})
			}
			c.late = late[id]
			if first {
				if !byClock {
					continue
				}
				c.late, c.before = true, unknown // another server, which looked earlier, may have shown it otherwise at this very revision
			}
			c.after = before
			next.log = append(next.log, c.entry)
		}
	}
	if moved && len(next.log) == len(t.log) && st.Revision > before+1 {
		next.log = append(next.log, entry{rev: st.Revision, after: before}) // who looked in between may have seen what is no more
	}
	next.items = edit.Done()
	next.trim(l.keep)
	next.forgetOrders()
	next.due = time.Time{}
	for _, at := range l.due {
		if next.due.IsZero() || at.Before(next.due) {
			next.due = at
		}
	}
	return &next, nil
}

// change is what one look at an object has found.
type change struct {
	entry
	item    *Item // nil = gone
	differs bool
}

// look shows one object of the next table's State, and notes when to look again.
func (l *List) look(next *Table, id string, now time.Time) (c change, byClock bool, err error) {
	shown, ok := l.kind.Show(next.state, id, now)
	delete(l.due, id)
	if ok && !shown.Due.IsZero() {
		l.due[id] = shown.Due
	}
	old, _ := next.items.Value(id)
	c.entry = entry{id: id, rev: next.state.Revision}
	if old != nil {
		c.before = old.facts
	}
	if !ok {
		c.differs = old != nil
		return c, false, nil
	}
	b, err := json.Marshal(shown.Value)
	if err != nil {
		return c, false, fmt.Errorf("encode %s: %w", id, err)
	}
	if old != nil && string(old.JSON) == string(b) {
		c.item = old
		return c, shown.ByClock, nil
	}
	facts := shown.Facts // by itself: it may outlive the rest for long
	c.item, c.differs = &Item{ID: id, JSON: b, Rev: next.state.Revision, Sort: shown.Sort, facts: &facts}, true
	if old != nil && old.facts.same(c.item.facts) {
		c.item.facts = old.facts // the log holds on to them
	}
	return c, shown.ByClock, nil
}
