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
		{Method: "GET", Path: "/api/v2/nodes", Role: auth.Viewer, Summary: "List nodes, or watch them", Query: []Param{searchParam("the id or the host name")}, Sort: sortFields(nodeOrders()), Response: []api.NodeView{}, Has: Pages | Watches, Handle: s.listNodes},
		{Method: "GET", Path: "/api/v2/nodes/{id}", Role: auth.Viewer, Summary: "One node", Response: api.NodeView{}, Handle: s.getNode},
		{Method: "GET", Path: "/api/v2/alerts", Role: auth.Viewer, Summary: "What people should look at", Response: []api.DiskAlert{}, Has: Pages | Watches, Handle: s.listAlerts},
	}
}

func (s *server) listNodes(w http.ResponseWriter, r *http.Request) error {
	text, err := searchOf(r)
	if err != nil {
		return err
	}
	list := func(st *cluster.State) []api.NodeView {
		return filtered(cluster.NodeViews(st, s.absent(), s.LostAfter), func(n *api.NodeView) bool { return holds(text, n.NodeID, n.Hostname) })
	}
	return listOrWatch(s, w, r, "nodes", list, func(n *api.NodeView) string { return n.NodeID }, nodeOrders()...)
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

func (s *server) listAlerts(w http.ResponseWriter, r *http.Request) error {
	list := func(st *cluster.State) []api.DiskAlert { return cluster.Alerts(st, s.absent(), s.LostAfter) }
	return listOrWatch(s, w, r, "alerts", list, alertID)
}

// alertID sorts as the list of alerts is sorted: the gravest first.
func alertID(a *api.DiskAlert) string {
	rank := "3"
	switch a.AlertType {
	case api.AlertMassLoss:
		rank = "0"
	case api.AlertNodeLost:
		rank = "1"
	case api.AlertDrainBlocked:
		rank = "2"
	}
	return rank + a.NodeID + "/" + string(a.AlertType) + "/" + a.Message
}

// absent is how long this server has missed each node.
func (s *server) absent() map[string]time.Duration {
	if s.Absent == nil {
		return nil
	}
	return s.Absent()
}
