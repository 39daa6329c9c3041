package store

import (
	"strings"

	"github.com/nebula-serve/nebula/internal/cluster"
)

// root is the prefix of every key of Nebula.
const root = "/"

// builder makes the next State out of the current one, which stays as it is. It neither logs nor publishes, and
// each table is copied (at O(log n) a change) only when an event touches it.
type builder struct {
	kinds   map[string]kind
	next    cluster.State
	edits   map[string]editor
	bad     *cluster.Edit[cluster.BadValue]
	touched bool // a table changed, not the revision alone
	apart   bool // tables are copied whole before they are edited: the State belongs to another goroutine's builder
}

func newBuilder(kinds map[string]kind, from cluster.State) *builder {
	return &builder{kinds: kinds, next: from, edits: map[string]editor{}}
}

// fromList builds a State from nothing but what was listed.
func fromList(kinds map[string]kind, list []KeyValue, revision int64) *cluster.State {
	b := newBuilder(kinds, cluster.State{})
	for _, kv := range list {
		b.event(Event{KeyValue: kv})
	}
	b.next.Revision = revision
	return b.done()
}

// apply adds a batch. Events that the State has already are dropped, so a batch that comes twice does no harm.
func (b *builder) apply(batch Batch) {
	for _, ev := range batch.Events {
		if ev.ModRev > b.next.Revision {
			b.event(ev)
		}
	}
	b.next.Revision = max(b.next.Revision, batch.Revision)
}

func (b *builder) event(ev Event) {
	name, k, ok := kindOf(b.kinds, ev.Key)
	if !ok {
		return
	}
	id, ok := k.parse(ev.Key)
	if !ok {
		return
	}
	b.touched = true
	rows, ok := b.edits[name]
	if !ok {
		rows = k.edit(&b.next, b.apart)
		b.edits[name] = rows
	}
	if ev.Deleted {
		rows.remove(id)
		b.readable(ev.Key)
		return
	}
	if err := rows.put(id, ev.KeyValue); err != nil {
		b.unreadable(ev.KeyValue, err)
		return
	}
	b.readable(ev.Key)
}

// kindOf finds the table of a key, by the first segment of the key or by the first two.
func kindOf(kinds map[string]kind, key string) (name string, k kind, ok bool) {
	rest := strings.TrimPrefix(key, root)
	first, more, _ := strings.Cut(rest, "/")
	if k, ok = kinds[first]; ok {
		return first, k, true
	}
	second, _, _ := strings.Cut(more, "/")
	name = rest[:min(len(rest), len(first)+1+len(second))]
	k, ok = kinds[name]
	return name, k, ok
}

func (b *builder) editBad() *cluster.Edit[cluster.BadValue] {
	from := b.next.Bad
	if b.apart {
		from = from.Copy()
	}
	edit := from.Edit()
	return &edit
}

func (b *builder) unreadable(kv KeyValue, err error) {
	if b.bad == nil {
		b.bad = b.editBad()
	}
	b.bad.Put(cluster.Entry[cluster.BadValue]{
		ID: kv.Key, Rev: kv.ModRev, Lease: kv.Lease, Value: cluster.BadValue{Key: kv.Key, Err: err.Error()},
	})
}

func (b *builder) readable(key string) {
	if b.bad == nil && !b.next.Bad.Has(key) {
		return
	}
	if b.bad == nil {
		b.bad = b.editBad()
	}
	b.bad.Delete(key)
}

// preview is the State as it would be after writes, one revision on.
func preview(kinds map[string]kind, from *cluster.State, ops []Op) *cluster.State {
	b := newBuilder(kinds, *from)
	b.apart = true
	for _, op := range ops {
		b.event(Event{KeyValue{op.Key, op.Value, from.Revision + 1, op.Lease}, op.Delete})
	}
	b.next.Revision++
	return b.done()
}

func (b *builder) done() *cluster.State {
	for _, rows := range b.edits {
		rows.done(&b.next)
	}
	if b.bad != nil {
		b.next.Bad = b.bad.Done()
	}
	return b.next.WithRequests(b.apart).Indexed()
}
