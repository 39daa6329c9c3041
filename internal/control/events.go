package control

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// ModelEvents returns the history of a model, oldest first.
func (c *Control) ModelEvents(ctx context.Context, uid string) ([]api.ModelEvent, error) {
	kvs, err := c.store.Records(ctx, store.EventsPrefix+uid+"/")
	if err != nil {
		return nil, err
	}
	events := make([]api.ModelEvent, 0, len(kvs))
	for _, kv := range kvs {
		if e, ok := eventOf(kv); ok {
			events = append(events, e)
		}
	}
	return events, nil
}

// eventOf decodes an event, without where somebody did it from; false: it is of another version, and the rest is worth showing.
func eventOf(kv store.KeyValue) (e api.ModelEvent, ok bool) {
	if json.Unmarshal(kv.Value, &e) != nil {
		return e, false
	}
	if e.Actor != nil {
		e.Actor = &api.Actor{ID: e.Actor.ID, Kind: e.Actor.Kind}
	}
	return e, true
}

// History follows the history of one model, for one goroutine. Close it.
type History struct {
	store  *store.Store
	prefix string
	tail   *store.Tail
	upto   int64 // what was written at this revision or before has been told
	begun  bool
}

// Told is what is new in a history.
type Told struct {
	Reset  bool       // the store's history went back, to a backup: what was told before is void, and Events is all there is
	Events []Happened // in the order in which they were written
	Upto   int64      // the revision up to which everything has been told with these
}

// Happened is an event with the revision at which it was written. Several may have been written at one.
type Happened struct {
	Revision int64
	Event    api.ModelEvent
}

// FollowHistory follows the history of a model from after a revision on; 0: from its beginning.
func (c *Control) FollowHistory(uid string, since int64) *History {
	prefix := store.EventsPrefix + uid + "/"
	return &History{store: c.store, prefix: prefix, tail: c.store.Tail(prefix), upto: since}
}

// Close ends it.
func (h *History) Close() { h.tail.Close() }

// Grown returns the channel that has a value when Next has something to tell.
func (h *History) Grown() <-chan struct{} { return h.tail.Wake() }

// ReadAgain makes the next Next ask the store, whatever has been heard.
func (h *History) ReadAgain() { h.begun = false }

// Next returns what was written since the last call. The store is asked at the first one, and when the watch that tells has had a gap.
func (h *History) Next(ctx context.Context) (Told, error) {
	kvs, lost := h.tail.Take()
	var told Told
	if lost || !h.begun {
		h.begun = false // until it has been read
		var revision int64
		var err error
		if kvs, revision, err = h.store.RecordsAt(ctx, h.prefix); err != nil {
			return Told{}, err
		}
		if revision < h.upto {
			h.upto, told.Reset = 0, true
		}
		h.begun, told.Upto = true, revision
		slices.SortStableFunc(kvs, func(a, b store.KeyValue) int { return cmp.Compare(a.ModRev, b.ModRev) })
	}
	for _, kv := range kvs {
		if kv.ModRev <= h.upto {
			continue
		}
		told.Upto = max(told.Upto, kv.ModRev)
		if e, ok := eventOf(kv); ok {
			told.Events = append(told.Events, Happened{kv.ModRev, e})
		}
	}
	told.Upto = max(told.Upto, h.upto)
	h.upto = told.Upto
	return told, nil
}

// Histories returns the uids of all models that have a history, deleted ones too, in order.
func (c *Control) Histories(ctx context.Context) (uids []string, err error) {
	for _, first := range uidBegins { // a part at a time: all histories together may be large
		kvs, err := c.store.Records(ctx, store.EventsPrefix+string(first))
		if err != nil {
			return nil, err
		}
		for _, kv := range kvs {
			uid, _, _ := strings.Cut(kv.Key[len(store.EventsPrefix):], "/")
			if len(uids) == 0 || uids[len(uids)-1] != uid {
				uids = append(uids, uid)
			}
		}
	}
	return uids, nil
}

// uidBegins are the characters with which the uid of a model may begin.
const uidBegins = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
