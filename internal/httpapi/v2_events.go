package httpapi

import (
	"net/http"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// eventRoutes are the rows about the history of models.
func (s *server) eventRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/models/{uid}/events", Role: auth.Viewer, Summary: "What people did with a model, and what Nebula did and why, newest first", Response: []api.ModelEvent{}, Errors: []api.Code{api.CodeNotFound}, Has: Pages, Handle: s.modelEvents},
	}
}

// modelEvents answers with a model's history, also of one that was deleted, for as long as that is kept. Who did something is named, from where not.
func (s *server) modelEvents(w http.ResponseWriter, r *http.Request) error {
	uid := r.PathValue("uid")
	p, err := pageOf(r)
	if err != nil {
		return err
	}
	var events []api.ModelEvent
	if api.KnownUID(uid) {
		if events, err = s.Control.ModelEvents(r.Context(), uid); err != nil {
			return err
		}
	}
	if st, _ := s.View.Current(); len(events) == 0 && !st.Models.Has(uid) {
		return api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
	}
	slices.Reverse(events)
	if p.after != "" {
		events = slices.DeleteFunc(events, func(e api.ModelEvent) bool { return e.ID >= p.after })
	}
	if p.limit > 0 && len(events) > p.limit {
		events = events[:p.limit]
		linkNext(w, r, events[p.limit-1].ID)
	}
	if events == nil {
		events = []api.ModelEvent{}
	}
	writeJSON(w, http.StatusOK, events)
	return nil
}
