package store

import (
	"bytes"
	"sync"
)

// flights are the transactions that are being committed. The watch brings every commit in order, so it also tells
// about a transaction whose answer got lost: whether it is among them, even when others have written over it since.
type flights struct {
	mu sync.Mutex
	of map[string][]*flight // by the first key written
}

// flight is one of them. Its fields belong to flights.mu.
type flight struct {
	ops    []Op
	landed int64 // the revision at which the watch brought exactly these writes
	blind  bool  // part of the history was skipped by a list: not having landed proves nothing
}

func (f *flights) enter(ops []Op) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[string][]*flight{}
	}
	fl := &flight{ops: ops}
	f.of[ops[0].Key] = append(f.of[ops[0].Key], fl)
	return fl
}

func (f *flights) leave(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := fl.ops[0].Key
	rest := f.of[key][:0]
	for _, other := range f.of[key] {
		if other != fl {
			rest = append(rest, other)
		}
	}
	if f.of[key] = rest; len(rest) == 0 {
		delete(f.of, key)
	}
}

func (f *flights) outcome(fl *flight) (landed int64, blind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fl.landed, fl.blind
}

// see looks for the flights among new events, before the State shows them. The events of one transaction follow one
// another, in the order of its operations.
func (f *flights) see(events []Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.of) == 0 {
		return
	}
	for i, ev := range events {
		for _, fl := range f.of[ev.Key] {
			if fl.landed == 0 && fl.isAt(events[i:]) {
				fl.landed = ev.ModRev
			}
		}
	}
}

func (fl *flight) isAt(events []Event) bool {
	if len(events) < len(fl.ops) {
		return false
	}
	for i, op := range fl.ops {
		ev := events[i]
		if ev.ModRev != events[0].ModRev || ev.Key != op.Key || ev.Deleted != op.Delete ||
			!op.Delete && (ev.Lease != op.Lease || !bytes.Equal(ev.Value, op.Value)) {
			return false
		}
	}
	return true
}

// skip notes that a list has replaced the events.
func (f *flights) skip() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fls := range f.of {
		for _, fl := range fls {
			fl.blind = true
		}
	}
}
