package link

import (
	"reflect"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// behindFor is how long servers may tell an older set of the same history before it counts as another history: a store that
// was put back by hand.
const behindFor = 30 * time.Second

// held is a replica that another history does not name, and that is kept until people have said that the history is right.
type held struct {
	Key string `json:"key"`
	UID string `json:"uid"`
}

// wish is what a link knows of what its node should run. It is a value: take returns the next one.
type wish struct {
	snapshot
	behind  time.Time // since when servers tell an older set than this; zero: they do not
	running []held    // what an earlier life of the agent has left running, as the first report says
}

// verdict is what became of a set that a server told.
type verdict int

const (
	taken  verdict = iota // it is the newest now
	same                  // it says what is known
	behind                // it is older: the server lags, and another one may know more
)

// take looks at a set that a server told. It is pure.
//
//  1. Nothing known before: it counts. When its history is a restored one, whatever runs here and is not named is held.
//  2. Of the known history, older, and different: it is left, until that has been so for behindFor.
//  3. Of another history, or older for too long: it counts, but whatever it does not name any more is held.
//  4. A history that people have accepted holds nothing back, and frees what an earlier one has held.
//  5. What is held and named again is held no more: it is an ordinary wish from then on.
func (w wish) take(d api.NodeDesired, now time.Time) (wish, verdict) {
	old := w.Desired
	if old.NodeID == "" { // 1
		next := wish{snapshot: snapshot{Desired: d}}
		if restored(d) {
			next.Held = slices.DeleteFunc(slices.Clone(w.running), func(h held) bool { return names(d, h.Key) })
		}
		return next, taken
	}
	next := wish{snapshot: snapshot{Desired: d, Held: w.Held, HeldUnder: w.HeldUnder}}
	other := d.History != old.History
	if !other && d.Revision < old.Revision {
		switch { // 2
		case sameSet(d, old):
			next.Desired.Revision = old.Revision
		case w.behind.IsZero():
			w.behind = now
			return w, behind
		case now.Sub(w.behind) < behindFor:
			return w, behind
		default: // 3
			next.hold(old)
		}
	}
	switch {
	case other && !d.HistoryAccepted: // 3
		next.hold(old)
	case d.HistoryAccepted && d.History != next.HeldUnder: // 4
		next.Held, next.HeldUnder = nil, ""
	}
	next.Held = slices.DeleteFunc(slices.Clone(next.Held), func(h held) bool { return names(d, h.Key) }) // 5
	if sameSet(d, old) && slices.Equal(next.Held, w.Held) {
		return next, same
	}
	return next, taken
}

// restored tells whether a set is of a history that nobody has accepted yet.
func restored(d api.NodeDesired) bool { return d.History != "" && !d.HistoryAccepted }

// hold keeps what an earlier set names.
func (w *wish) hold(old api.NodeDesired) {
	w.HeldUnder = old.History
	for i := range old.Replicas {
		h := held{old.Replicas[i].Key(), old.Replicas[i].Spec.ModelUID}
		if !slices.Contains(w.Held, h) {
			w.Held = append(slices.Clip(w.Held), h)
		}
	}
}

// effective is the set as the node should act on it: models of which something is held are left alone.
func (w wish) effective() api.NodeDesired {
	d := w.Desired
	if len(w.Held) == 0 {
		return d
	}
	d.Frozen = slices.Clone(d.Frozen)
	for _, h := range w.Held {
		d.Frozen = append(d.Frozen, h.UID)
	}
	slices.Sort(d.Frozen)
	d.Frozen = slices.Compact(d.Frozen)
	return d
}

func names(d api.NodeDesired, key string) bool {
	return slices.ContainsFunc(d.Replicas, func(r api.DesiredReplica) bool { return r.Key() == key })
}

// sameSet tells whether two sets differ in their revisions at most.
func sameSet(a, b api.NodeDesired) bool {
	a.Revision = b.Revision
	return reflect.DeepEqual(a, b)
}
