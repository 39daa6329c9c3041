package store

import (
	"strings"
	"sync"
)

// tailQueued is how many records may wait in a Tail before they are dropped, and have to be read instead.
const tailQueued = 256

// Tail hears what [Tx.Append] adds under one prefix, out of the watch that the Store has anyway. It says nothing of what was there before, nor of what
// is forgotten.
type Tail struct {
	prefix string
	wake   chan struct{}
	of     *tails

	mu   sync.Mutex
	got  []KeyValue
	lost bool
}

// tails are the Tails that are open, by prefix.
type tails struct {
	mu sync.Mutex
	of map[string]map[*Tail]struct{}
}

// Tail opens a Tail of a prefix of a history, which ends with a slash. Close it.
func (s *Store) Tail(prefix string) *Tail {
	t := &Tail{prefix: prefix, wake: make(chan struct{}, 1), of: &s.tails}
	s.tails.mu.Lock()
	defer s.tails.mu.Unlock()
	if s.tails.of == nil {
		s.tails.of = map[string]map[*Tail]struct{}{}
	}
	if s.tails.of[prefix] == nil {
		s.tails.of[prefix] = map[*Tail]struct{}{}
	}
	s.tails.of[prefix][t] = struct{}{}
	return t
}

// Close ends it: nothing more is kept for it.
func (t *Tail) Close() {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	delete(t.of.of[t.prefix], t)
	if len(t.of.of[t.prefix]) == 0 {
		delete(t.of.of, t.prefix)
	}
}

// Wake returns the channel that has a value when there is something to take.
func (t *Tail) Wake() <-chan struct{} { return t.wake }

// Take returns what was added since the last call, in the order of the commits; lost: something may be missing, and what is there must be read with
// [Store.Records]. The values are shared: nothing in them may be changed.
func (t *Tail) Take() (added []KeyValue, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	added, lost = t.got, t.lost
	t.got, t.lost = nil, false
	return added, lost
}

// hear keeps records for Take, those of one transaction always together; none: something may have been missed.
func (t *Tail) hear(added []KeyValue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(added) == 0 || len(t.got)+len(added) > tailQueued:
		t.got, t.lost = nil, true
	case !t.lost:
		t.got = append(t.got, added...)
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// tell hands new records to those who wait for them, after the State shows what was committed with them.
func (ts *tails) tell(batches []Batch) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.of) == 0 {
		return
	}
	added := map[string][]KeyValue{}
	for _, b := range batches {
		for _, ev := range b.Events {
			if prefix := ev.Key[:strings.LastIndexByte(ev.Key, '/')+1]; !ev.Deleted && ts.of[prefix] != nil {
				added[prefix] = append(added[prefix], ev.KeyValue)
			}
		}
	}
	for prefix, kvs := range added {
		for t := range ts.of[prefix] {
			t.hear(kvs)
		}
	}
}

// skip says that a list has replaced the events.
func (ts *tails) skip() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, open := range ts.of {
		for t := range open {
			t.hear(nil)
		}
	}
}
