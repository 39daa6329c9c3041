package history

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Cluster is what the loop needs of the store.
type Cluster interface {
	// Current returns the newest State, and a channel that closes when there is a newer one.
	Current() (*cluster.State, <-chan struct{})
	// Histories returns the uids of all models that have a history, deleted ones too.
	Histories(ctx context.Context) ([]string, error)
	// Events returns the history of a model, oldest first.
	Events(ctx context.Context, uid string) ([]api.ModelEvent, error)
	// Write adds events, at most 50, all or none.
	Write(ctx context.Context, events []api.ModelEvent) error
	// Forget removes events of one model.
	Forget(ctx context.Context, uid string, ids []string) error
}

// Limits of histories.
const (
	Kept    = 200                 // events of one model
	KeptFor = 30 * 24 * time.Hour // and of a model that was deleted a day
	goneFor = 24 * time.Hour      // from the last event on

	lookEvery = time.Second
	trimEvery = time.Hour
	batch     = 50 // events of one transaction
	// aMinute bounds what one model may say within a minute: one that flaps says where it stands when the minute is over.
	aMinute = 20
)

// Config is what the loop needs.
type Config struct {
	Cluster Cluster
	Now     func() time.Time
	Log     *slog.Logger
}

// told is what the history of a model has told.
type told struct {
	view  View
	since time.Time // begin of the minute that spent counts
	spent int
	gone  bool // the model is deleted
}

type recorder struct {
	Config
	models  map[string]*told
	failing bool
}

// Run writes the history of all models until ctx ends. What happened while nobody led is told at the beginning: a model whose state is not the one that its history
// ends with.
func Run(ctx context.Context, cfg Config) error {
	r := recorder{Config: cfg, models: map[string]*told{}}
	s, _ := cfg.Cluster.Current()
	for e := range s.Models.All() {
		if ctx.Err() != nil {
			return nil
		}
		r.models[e.ID] = &told{view: r.resume(ctx, s, e.ID)}
	}
	r.inherit(ctx, s)
	trimmed := cfg.Now()
	for ctx.Err() == nil {
		s, changed := cfg.Cluster.Current()
		r.look(ctx, s)
		if now := cfg.Now(); now.Sub(trimmed) >= trimEvery {
			trimmed = now
			r.trim(ctx)
		}
		wait(ctx, nil, lookEvery)
		wait(ctx, changed, 10*lookEvery) // some states come with time alone
	}
	return nil
}

// inherit takes over the histories of models that were deleted before this leader came, so that they are forgotten too.
func (r *recorder) inherit(ctx context.Context, s *cluster.State) {
	uids, err := r.Cluster.Histories(ctx)
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("the histories of deleted models are not known; the next leader looks again", "error", err)
	}
	for _, uid := range uids {
		if r.models[uid] == nil && !s.Models.Has(uid) {
			r.models[uid] = &told{gone: true}
		}
	}
}

// resume returns the view from which a model's history goes on.
func (r *recorder) resume(ctx context.Context, s *cluster.State, uid string) View {
	v := Look(s, uid, r.Now())
	events, err := r.Cluster.Events(ctx, uid)
	if err != nil {
		return v
	}
	for _, e := range slices.Backward(events) {
		if slices.Contains(api.ModelStates(), api.ModelState(e.Verb)) {
			if api.ModelState(e.Verb) != v.State {
				v.State = api.ModelState(e.Verb)
			}
			return v
		}
	}
	v.State = api.StateStopped // what it is before anything is told
	return v
}

// look writes what is new of every model. What cannot be written now is told the next time, with what happened meanwhile left out.
func (r *recorder) look(ctx context.Context, s *cluster.State) {
	now := r.Now()
	var events []api.ModelEvent
	next := map[string]View{}
	flush := func() bool {
		if len(events) == 0 {
			return true
		}
		for part := range slices.Chunk(events, batch) {
			if err := r.Cluster.Write(ctx, part); err != nil {
				if !r.failing && ctx.Err() == nil {
					r.Log.Warn("the history of models is not written; trying again", "error", err)
				}
				r.failing = true
				return false
			}
		}
		r.failing = false
		for uid, v := range next {
			r.models[uid].view = v
		}
		events, next = nil, map[string]View{}
		return true
	}
	for e := range s.Models.All() {
		t := r.models[e.ID]
		if t == nil || t.gone {
			t = &told{view: View{State: api.StateStopped}}
			r.models[e.ID] = t
		}
		v := Look(s, e.ID, now)
		fresh := Events(e.ID, t.view, v, now)
		if len(fresh) == 0 || !t.may(len(fresh), now) {
			continue
		}
		for i := range fresh {
			fresh[i].ID = fmt.Sprintf("%013d-r%012d-%03d", now.UnixMilli(), s.Revision, i)
		}
		events, next[e.ID] = append(events, fresh...), v
		if len(events) >= batch && !flush() {
			return
		}
	}
	flush()
	for uid, t := range r.models {
		t.gone = t.gone || !s.Models.Has(uid)
	}
}

// may tells whether a model may say n things more in this minute. A single burst, as of a model of many replicas, is always let through once.
func (t *told) may(n int, now time.Time) bool {
	if now.Sub(t.since) >= time.Minute || now.Before(t.since) {
		t.since, t.spent = now, 0
	}
	if t.spent > 0 && t.spent+n > aMinute {
		return false
	}
	t.spent += n
	return true
}

// trim forgets what is too old or too much.
func (r *recorder) trim(ctx context.Context) {
	now := r.Now()
	for uid, t := range r.models {
		if ctx.Err() != nil {
			return
		}
		events, err := r.Cluster.Events(ctx, uid)
		if err != nil {
			return
		}
		var ids []string
		over := t.gone && (len(events) == 0 || now.Sub(time.UnixMilli(events[len(events)-1].TimeMS)) > goneFor)
		for i, e := range events {
			if over || len(events)-i > Kept || now.Sub(time.UnixMilli(e.TimeMS)) > KeptFor {
				ids = append(ids, e.ID)
			}
		}
		for part := range slices.Chunk(ids, batch) {
			if err := r.Cluster.Forget(ctx, uid, part); err != nil {
				return
			}
		}
		if over {
			delete(r.models, uid)
		}
	}
}

// wait returns after d, or when changed closes or ctx ends.
func wait(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}
