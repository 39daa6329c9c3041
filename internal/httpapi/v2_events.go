package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// eventRoutes are the rows about the history of models.
func (s *server) eventRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/models/{uid}/events", Role: auth.Viewer, Summary: "What people did with a model, and what Nebula did and why, newest first, or watch it", Response: []api.ModelEvent{}, Errors: []api.Code{api.CodeNotFound, api.CodeTooManyRequests}, Has: Pages | Watches, Handle: s.modelEvents},
	}
}

// modelEvents answers with a model's history, also of one that was deleted, for as long as that is kept. Who did something is named, from where not.
func (s *server) modelEvents(w http.ResponseWriter, r *http.Request) error {
	uid := r.PathValue("uid")
	events, err := s.historyOf(r.Context(), uid)
	if err != nil {
		return err
	}
	if watching(r) {
		return s.watchEvents(w, r, uid)
	}
	return writePage(w, r, events, func(e *api.ModelEvent) string { return descending(e.ID) })
}

// historyOf reads a history, oldest first; there is none where there is neither a model nor anything kept of one.
func (s *server) historyOf(ctx context.Context, uid string) ([]api.ModelEvent, error) {
	var events []api.ModelEvent
	if api.KnownUID(uid) {
		var err error
		if events, err = s.Control.ModelEvents(ctx, uid); err != nil {
			return nil, err
		}
	}
	if st, _ := s.View.Current(); len(events) == 0 && !st.Models.Has(uid) {
		return nil, api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
	}
	return events, nil
}

// watchEvents sends each event of a history, oldest first, then "synced", then what comes; who resumes gets only what was written since. After the last
// event of a model that was deleted it sends "deleted", and ends.
func (s *server) watchEvents(w http.ResponseWriter, r *http.Request, uid string) error {
	since, err := sinceOf(r)
	if err != nil {
		return err
	}
	if s.historians.Add(1) > s.Historians {
		s.historians.Add(-1)
		return api.Errorf(api.CodeTooManyRequests, "%d watches of histories are open on this server already, and more it does not take: end some, or read the history without watch", s.Historians)
	}
	defer s.historians.Add(-1)
	h := s.Control.FollowHistory(uid, since)
	defer h.Close()
	told, err := h.Next(r.Context())
	if err != nil {
		return err
	}
	e := s.startEvents(w)
	defer e.end()
	for synced, gone := false, false; ; {
		if told.Reset {
			e.add("reset", noID, []byte(`{"reason":"the store went back to a backup"}`))
		}
		if err := e.happened(told.Events); err != nil {
			return err
		}
		if !synced || told.Reset {
			synced = true
			e.add("synced", upto(told.Upto), []byte("{}"))
		}
		e.flush()
		was := gone
		if gone, err = s.goneBy(r.Context(), uid, told.Upto); err != nil || e.err != nil {
			return nil // the answer has begun; the caller sees its end
		}
		switch {
		case gone && was:
			_ = e.send("deleted", upto(told.Upto), map[string]string{"model_uid": uid}) // it ends either way
			return nil
		case gone:
			h.ReadAgain() // the State may show the end before what was written with it has been heard
		case !s.sleep(r, watchPace) || !s.untilGrown(r, e, h, upto(told.Upto)):
			return nil
		}
		if told, err = h.Next(r.Context()); err != nil {
			return nil
		}
	}
}

// goneBy tells whether there is no model of a uid any more in a State that is as new as a revision.
func (s *server) goneBy(ctx context.Context, uid string, revision int64) (bool, error) {
	t, err := reach(ctx, s.models, revision)
	return err == nil && t.Revision() >= revision && !t.State().Models.Has(uid), err
}

// happened adds events. The last one of each revision has its id: who resumes after the others is told them again, and misses none.
func (e *eventWriter) happened(events []control.Happened) error {
	for i, h := range events {
		b, err := json.Marshal(h.Event)
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		id := upto(h.Revision)
		if i+1 < len(events) && events[i+1].Revision == h.Revision {
			id = sameID
		}
		e.add("event", id, b)
	}
	return nil
}

// untilGrown waits until there may be more to tell, or the caller is due a sign of life, which is when the model is looked for again, too: one that was
// removed from the store by other hands leaves no event. False: the watch is over.
func (s *server) untilGrown(r *http.Request, e *eventWriter, h *control.History, id string) bool {
	quiet := time.NewTimer(keepAliveEvery)
	defer quiet.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-s.Closing:
		return false
	case <-h.Grown():
	case <-quiet.C:
		e.alive(id)
	}
	return e.err == nil
}

// descending makes ids sort the other way round; none may be the beginning of another.
func descending(id string) string {
	out := []byte(id)
	for i := range out {
		out[i] = 255 - out[i]
	}
	return string(out)
}
