package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/live"
)

const (
	// settleEvery bounds how often a state that depends on the clock alone is looked at again.
	settleEvery = 5 * time.Second
	// watchPace is the least time between two batches to one watcher: what changes meanwhile is told once.
	watchPace = 100 * time.Millisecond
	// catchUp is how long a server may take to see what another has told already.
	catchUp = 2 * time.Second
)

// watching tells whether a request wants to stay: a HEAD would never end.
func watching(r *http.Request) bool { return r.Method == http.MethodGet && queryBool(r, "watch") }

// sinceOf reads the revision from which a watch is resumed, out of ?since or what event sources send by themselves; 0 = from the start.
func sinceOf(r *http.Request) (int64, error) {
	name, given := "since", r.URL.Query().Get("since")
	if last := r.Header.Get("Last-Event-ID"); last != "" { // newer: the address still has the ?since of the first try
		name, given = "Last-Event-ID", last
	}
	if given == "" {
		return 0, nil
	}
	rev, err := strconv.ParseInt(given, 10, 64)
	if err != nil || rev < 0 {
		return 0, api.Errorf(api.CodeInvalidRequest, "%s must be the id of an event of this watch, a whole number; not %.40q", name, given)
	}
	return rev, nil
}

// watcher is one caller who follows a list: it gets every object that matches, then "synced", then each change: the whole object, or "deleted" when it is
// gone or does not match any more. Who resumes gets only what changed since, then "synced". When that cannot be told, "reset" comes first: what was
// known before is void.
type watcher struct {
	*eventWriter
	list    *live.List
	kind    string // of an event with an object
	match   func(*live.Facts) bool
	deleted func(id string) any
	table   *live.Table
	at      live.Cursor
}

// follow serves a watch until the caller leaves.
func (s *server) follow(w http.ResponseWriter, r *http.Request, f *watcher) error {
	since, err := sinceOf(r)
	if err != nil {
		return err
	}
	if f.table, err = reach(r.Context(), f.list, since); err != nil {
		return err
	}
	f.eventWriter = s.startEvents(w)
	defer f.end()
	known := false
	if since > 0 {
		if f.at, known = f.table.Since(since); !known {
			f.reset()
		}
	}
	for synced := false; ; {
		doubt := false
		if !known {
			doubt = f.all()
		}
		if known = f.changes(doubt); !known {
			f.reset()
			synced = false
			continue
		}
		if !synced {
			synced = true
			f.add("synced", upto(f.table.Revision()), []byte("{}"))
		}
		f.flush()
		if f.err != nil || !s.pause(r, f) {
			return nil // the answer has begun; the caller sees its end
		}
	}
}

// reach returns a list that is no older than a revision which some server has told, if that comes soon.
func reach(ctx context.Context, l *live.List, since int64) (*live.Table, error) {
	for end := time.Now().Add(catchUp); ; {
		t, err := l.Current()
		if err != nil || t.Revision() >= since || time.Now().After(end) {
			return t, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.Changed():
		case <-time.After(watchPace): // the revision moves without a change, too
		}
	}
}

func (f *watcher) reset() {
	f.add("reset", noID, []byte(`{"reason":"what changed since is not known here any more"}`))
}

// all sends every object that matches, and tells whether there was something newer before the end. The list is sent in parts, each of them as of its
// own time, so that a slow caller does not keep an old one alive.
func (f *watcher) all() (moved bool) {
	f.at = f.table.End()
	const part = 256
	for after, more := "", true; more && f.err == nil; {
		n := 0
		more = false
		for i := range f.table.After(after) {
			if n == part {
				more = true
				break
			}
			n, after = n+1, i.ID
			if i.Is(f.match) {
				f.add(f.kind, sameID, i.JSON)
			}
		}
		moved = f.renew() || moved
	}
	return moved
}

// renew takes the newest list.
func (f *watcher) renew() bool {
	t, err := f.list.Current()
	if err != nil {
		f.err = err
		return false
	}
	moved := t != f.table
	f.table = t
	return moved
}

// changes sends what has changed; false: that cannot be told.
func (f *watcher) changes(doubt bool) bool {
	changes, ok := f.table.Changes(f.at, f.match, doubt)
	if !ok {
		return false
	}
	for _, c := range changes {
		id := noID
		if c.Upto > 0 {
			id = upto(c.Upto)
		}
		if c.Item != nil {
			f.add(f.kind, id, c.Item.JSON)
			continue
		}
		b, err := json.Marshal(f.deleted(c.ID))
		if err != nil {
			f.err = fmt.Errorf("encode event: %w", err)
			return true
		}
		f.add("deleted", id, b)
	}
	f.at = f.table.End()
	return true
}

// pause waits until there is something newer, and at least for the pace; false: the watch is over.
func (s *server) pause(r *http.Request, f *watcher) bool {
	if !s.sleep(r, watchPace) {
		return false
	}
	for said := time.Now(); ; {
		if f.renew() || f.err != nil {
			return f.err == nil
		}
		quiet := keepAliveEvery - time.Since(said)
		if due := f.table.Due(); !due.IsZero() {
			quiet = min(quiet, max(due.Sub(s.Now()), watchPace))
		}
		timer := time.NewTimer(quiet)
		select {
		case <-r.Context().Done():
		case <-s.Closing:
		case <-f.table.Changed():
			timer.Stop()
			continue
		case <-timer.C:
			if time.Since(said) >= keepAliveEvery {
				f.alive(upto(f.table.Revision()))
				said = time.Now()
			}
			if f.err == nil {
				continue
			}
		}
		timer.Stop()
		return false
	}
}

// sleep waits; false: the watch is over.
func (s *server) sleep(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-s.Closing:
		return false
	case <-t.C:
		return true
	}
}

// watchModel sends the detail of one model whenever it changes, and ends after "deleted".
func (s *server) watchModel(w http.ResponseWriter, r *http.Request, uid string) error {
	if _, err := sinceOf(r); err != nil { // one object is told whole, wherever the caller left off
		return err
	}
	t, err := s.models.Current()
	if err != nil {
		return err
	}
	f := &watcher{eventWriter: s.startEvents(w), list: s.models, table: t}
	defer f.end()
	var last []byte
	var seen parts
	for {
		st := f.table.State()
		if now := partsOf(st, f.table.Get(uid), uid); now != seen {
			seen = now
			detail, ok := cluster.Detail(st, uid, s.Now())
			if !ok {
				_ = f.send("deleted", upto(st.Revision), map[string]string{"model_uid": uid}) // it ends either way
				return nil
			}
			b, err := json.Marshal(detail)
			if err != nil {
				return fmt.Errorf("encode model: %w", err)
			}
			if string(b) != string(last) {
				last = b
				f.add("model", upto(st.Revision), b)
				f.flush()
			}
		}
		if f.err != nil || !s.pause(r, f) {
			return nil
		}
	}
}

// parts is what the detail of a model is made of: while they are the same, so is the detail.
type parts struct {
	spec, deployment, placement int64
	view                        *live.Item
	cache                       cluster.Set[api.ModelCacheEntry]
	known                       bool
}

func partsOf(st *cluster.State, view *live.Item, uid string) parts {
	spec, _ := st.Models.Get(uid)
	deployment, _ := st.Deployments.Get(uid)
	placement, _ := st.Placements.Get(uid)
	return parts{spec.Rev, deployment.Rev, placement.Rev, view, st.Cache, true}
}

// listOrWatch serves a list of the State. Watched, it is sent whole, as one event, now and whenever it changes: such lists are short, and nothing is lost
// with a lost event.
func listOrWatch[T any](s *server, w http.ResponseWriter, r *http.Request, event string, list func(*cluster.State) []T, idOf func(*T) string, all ...sorting[T]) error {
	if !watching(r) {
		st, _ := s.View.Current()
		return writePage(w, r, list(st), idOf, all...)
	}
	o, err := orderOf(r, idOf, all)
	if err != nil {
		return err
	}
	if _, err := sinceOf(r); err != nil {
		return err
	}
	e := s.startEvents(w)
	defer e.end()
	var last []byte
	said := time.Now()
	for {
		st, changed := s.View.Current()
		items := list(st)
		if o.name != "" {
			o.sort(items)
		}
		b, err := json.Marshal(items)
		if err != nil {
			return fmt.Errorf("encode the list: %w", err)
		}
		switch {
		case string(b) != string(last):
			last, said = b, time.Now()
			e.add(event, upto(st.Revision), b)
			e.flush()
		case time.Since(said) >= keepAliveEvery:
			said = time.Now()
			e.alive(sameID)
		}
		if e.err != nil || !s.sleep(r, watchPace) {
			return nil
		}
		settle := time.NewTimer(settleEvery)
		select {
		case <-r.Context().Done():
		case <-s.Closing:
		case <-changed:
		case <-settle.C:
		}
		settle.Stop()
		if r.Context().Err() != nil {
			return nil // perhaps because the caller may not see more
		}
	}
}
