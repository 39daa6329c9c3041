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
	name, _, _ := strings.Cut(strings.TrimPrefix(ev.Key, root), "/")
	k, ok := b.kinds[name]
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
		rows = k.edit(&b.next)
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

func (b *builder) unreadable(kv KeyValue, err error) {
	if b.bad == nil {
		edit := b.next.Bad.Edit()
		b.bad = &edit
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
		edit := b.next.Bad.Edit()
		b.bad = &edit
	}
	b.bad.Delete(key)
}

func (b *builder) done() *cluster.State {
	for _, rows := range b.edits {
		rows.done(&b.next)
	}
	if b.bad != nil {
		b.next.Bad = b.bad.Done()
	}
	return b.next.Indexed()
}
