package live

import (
	"maps"
	"slices"
	"sync"

	"github.com/nebula-serve/nebula/internal/cluster"
)

// Order is an order of items, in which no two are equal. Its functions are pure, and agree.
type Order struct {
	Sort    func([]*Item)
	Compare func(a, b *Item) int
}

// orders are the lists in the orders that were last asked for, by their names. They live from one table to the next, for most of a list stays where
// it is when something changes.
type orders struct {
	mu  sync.Mutex
	all map[string]ordered // guarded by mu; what is in it never changes
}

// ordered is a table in an order.
type ordered struct {
	at    Cursor
	was   cluster.Set[*Item]
	items []*Item
}

// Sorted returns all objects in an order, of which the name says all there is to know: work that all who ask share. They must not change it.
func (t *Table) Sorted(name string, by Order) []*Item {
	return Of(t, "order "+name, func(t *Table) []*Item {
		t.orders.mu.Lock()
		last := t.orders.all[name]
		t.orders.mu.Unlock()
		items, ok := t.moved(last, by)
		if !ok {
			items = slices.AppendSeq(make([]*Item, 0, t.Len()), t.After(""))
			by.Sort(items)
		}
		t.orders.mu.Lock()
		defer t.orders.mu.Unlock()
		if t.orders.all == nil {
			t.orders.all = map[string]ordered{}
		}
		if _, known := t.orders.all[name]; known || len(t.orders.all) < maxMade {
			t.orders.all[name] = ordered{t.End(), t.items, items}
		}
		return items
	})
}

// few is how many changes are moved in a list of any length.
const few = 64

// missed returns what has changed since a list was put into an order. False: sorting all of it is the shorter way, or the log does not tell.
func (t *Table) missed(old ordered) ([]entry, bool) {
	if old.items == nil || old.at.epoch != t.epoch || old.at.pos < t.first || old.at.pos > t.first+len(t.log) {
		return nil, false
	}
	todo := t.log[old.at.pos-t.first:]
	return todo, len(todo) <= few+len(old.items)/8
}

// forgetOrders lets go of lists in orders that nobody has asked for since so much has changed that they are of no use any more.
func (t *Table) forgetOrders() {
	t.orders.mu.Lock()
	defer t.orders.mu.Unlock()
	maps.DeleteFunc(t.orders.all, func(_ string, old ordered) bool {
		_, ok := t.missed(old)
		return !ok
	})
}

// moved makes a list in order out of an older one, with what has changed since taken out and put where it belongs now; false where that is not the
// way.
func (t *Table) moved(old ordered, by Order) ([]*Item, bool) {
	todo, ok := t.missed(old)
	if !ok {
		return nil, false
	}
	seen := make(map[string]bool, len(todo))
	var gone, come []*Item
	for i := range todo {
		id := todo[i].id
		if seen[id] {
			continue
		}
		seen[id] = true
		if item, ok := old.was.Value(id); ok {
			gone = append(gone, item)
		}
		if item, ok := t.items.Value(id); ok {
			come = append(come, item)
		}
	}
	stayed := without(old.items, gone, by)
	by.Sort(come)
	out := make([]*Item, 0, t.Len())
	for _, item := range come {
		n, _ := slices.BinarySearchFunc(stayed, item, by.Compare)
		out = append(append(out, stayed[:n]...), item)
		stayed = stayed[n:]
	}
	return append(out, stayed...), true
}

// without returns a list in order without some of what is in it.
func without(list, gone []*Item, by Order) []*Item {
	by.Sort(gone)
	out := make([]*Item, 0, len(list)-len(gone))
	for _, item := range gone {
		n, _ := slices.BinarySearchFunc(list, item, by.Compare)
		out = append(out, list[:n]...)
		list = list[n+1:]
	}
	return append(out, list...)
}
