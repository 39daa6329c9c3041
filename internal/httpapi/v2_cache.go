package httpapi

import (
	"context"
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

func (s *server) nodeCache(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, cluster.NodeCache(st, r.PathValue("id")))
	return nil
}

func (s *server) nodeDisk(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	id := r.PathValue("id")
	disk, ok := st.Disks.Value(id)
	if !ok {
		return api.Errorf(api.CodeNotFound, "node %.80q has not told about its disk, or there is no such node; list them with: nebula node list", id)
	}
	writeJSON(w, http.StatusOK, disk)
	return nil
}

func (s *server) cacheSummary(w http.ResponseWriter, _ *http.Request) error {
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, cluster.Cached(st))
	return nil
}

// listPulls lists pulls, with ?node= those of one node; with ?watch=1 the whole list as an event "pulls", now and at every change.
func (s *server) listPulls(w http.ResponseWriter, r *http.Request) error {
	node := r.URL.Query().Get("node")
	if r.Method == http.MethodGet && queryBool(r, "watch") { // a HEAD would never end
		return s.watchPulls(w, r, node)
	}
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, cluster.Pulls(st, node))
	return nil
}

func (s *server) pullFiles(w http.ResponseWriter, r *http.Request) error {
	return s.wishFiles(w, r, func(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
		return s.Control.PullModel(ctx, req, caller(r))
	})
}

func (s *server) pinFiles(w http.ResponseWriter, r *http.Request) error {
	return s.wishFiles(w, r, func(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
		return s.Control.PinModel(ctx, req, caller(r))
	})
}

func (s *server) unpinFiles(w http.ResponseWriter, r *http.Request) error {
	return s.wishFiles(w, r, s.Control.UnpinModel)
}

func (s *server) wishFiles(w http.ResponseWriter, r *http.Request, verb func(context.Context, api.FilesRequest) (api.FilesWished, error)) error {
	var req api.FilesRequest
	if err := decode(r, &req, false); err != nil {
		return err
	}
	got, err := verb(r.Context(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, got)
	return nil
}

func (s *server) cancelPull(w http.ResponseWriter, r *http.Request) error {
	node, pull := r.PathValue("node"), r.PathValue("pull")
	if err := s.Control.CancelPull(r.Context(), node, pull); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.PullCancelled{NodeID: node, PullID: pull, Status: "cancelled"})
	return nil
}
