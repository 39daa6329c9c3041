package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// nodeRoutes are the rows about nodes as people see them.
func (s *server) nodeRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/nodes", Role: auth.Viewer, Summary: "List nodes", Response: []api.NodeView{}, Handle: s.listNodes},
		{Method: "GET", Path: "/api/v2/nodes/{id}", Role: auth.Viewer, Summary: "One node", Response: api.NodeView{}, Handle: s.getNode},
		{Method: "GET", Path: "/api/v2/alerts", Role: auth.Viewer, Summary: "What people should look at", Response: []api.DiskAlert{}, Handle: s.listAlerts},
	}
}

func (s *server) listNodes(w http.ResponseWriter, _ *http.Request) error {
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, cluster.NodeViews(st, s.absent(), s.LostAfter))
	return nil
}

func (s *server) getNode(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	id := r.PathValue("id")
	for _, n := range cluster.NodeViews(st, s.absent(), s.LostAfter) {
		if n.NodeID == id {
			writeJSON(w, http.StatusOK, n)
			return nil
		}
	}
	return api.Errorf(api.CodeNotFound, "there is no node %s; list them with: nebula node list", strconv.Quote(clip(id)))
}

func (s *server) listAlerts(w http.ResponseWriter, _ *http.Request) error {
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, cluster.Alerts(st, s.absent(), s.LostAfter))
	return nil
}

// absent is how long this server has missed each node.
func (s *server) absent() map[string]time.Duration {
	if s.Absent == nil {
		return nil
	}
	return s.Absent()
}
