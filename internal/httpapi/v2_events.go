package httpapi

import (
	"net/http"

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
	var events []api.ModelEvent
	if api.KnownUID(uid) {
		var err error
		if events, err = s.Control.ModelEvents(r.Context(), uid); err != nil {
			return err
		}
	}
	if st, _ := s.View.Current(); len(events) == 0 && !st.Models.Has(uid) {
		return api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
	}
	return writePage(w, r, events, func(e *api.ModelEvent) string { return descending(e.ID) })
}

// descending makes ids sort the other way round; none may be the beginning of another.
func descending(id string) string {
	out := []byte(id)
	for i := range out {
		out[i] = 255 - out[i]
	}
	return string(out)
}
