package httpapi

import (
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
)

// explainRoutes are the rows about why things are as they are.
func (s *server) explainRoutes() []Route {
	filters := []Param{
		{Name: "model", Type: "string", Summary: "Replicas of the model with this uid only"},
		{Name: "node", Type: "string", Summary: "Replicas on this node only"},
		{Name: "status", Type: "string", Summary: "Replicas in this status only", Enum: texts(endpointStatuses())},
	}
	return []Route{
		{Method: "GET", Path: "/api/v2/models/{uid}/explain", Role: auth.Viewer, Summary: "Why a model stands as it does, what each node lacks for it, and what would help", Response: api.Explanation{}, Handle: s.explainModel},
		{Method: "GET", Path: "/api/v2/endpoints", Role: auth.Viewer, Summary: "List the replicas that run, of all models, or watch them", Query: filters, Sort: sortFields(endpointOrders()), Response: []api.EndpointInfo{}, Has: Pages | Watches, Handle: s.listEndpoints},
		{Method: "GET", Path: "/api/v2/endpoints/figures", Role: auth.Viewer, Summary: "What the engines that run say of themselves now: requests, tokens, KV cache", Response: api.EngineFigures{}, Handle: s.engineFigures},
	}
}

func (s *server) engineFigures(w http.ResponseWriter, r *http.Request) error {
	out := api.EngineFigures{AtMS: s.Now().UnixMilli(), Replicas: []api.ReplicaFigures{}}
	if s.Figures != nil {
		out = s.Figures(r.Context())
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func endpointStatuses() []api.EndpointStatus {
	return []api.EndpointStatus{api.EndpointStarting, api.EndpointReady, api.EndpointUnhealthy, api.EndpointDraining}
}

func (s *server) explainModel(w http.ResponseWriter, r *http.Request) error {
	uid := r.PathValue("uid")
	st, _ := s.View.Current()
	if !api.KnownUID(uid) || !st.Models.Has(uid) {
		return api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
	}
	writeJSON(w, http.StatusOK, s.Explain(st, uid, s.Now()))
	return nil
}

// foretell says for the answer of a dry run where the model would go, and why it would not; nil when it is none.
func (s *server) foretell(r *http.Request, uid string) *api.Explanation {
	c := control.CallerOf(r.Context())
	if c == nil || !c.DryRun || s.Explain == nil {
		return nil
	}
	x := s.Explain(s.Control.After(r.Context()), uid, s.Now())
	return &x
}

func modelWritten(m api.ModelSpec, x *api.Explanation) api.ModelWritten {
	return api.ModelWritten{ModelSpec: m, Explanation: x}
}

func deploymentWritten(d api.ModelDeployment, x *api.Explanation) api.DeploymentWritten {
	return api.DeploymentWritten{ModelDeployment: d, Explanation: x}
}

func (s *server) listEndpoints(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	model, node := q.Get("model"), q.Get("node")
	status, err := queryEnum(r, "status", endpointStatuses())
	if err != nil {
		return err
	}
	list := func(st *cluster.State) []api.EndpointInfo {
		prefix := ""
		if model != "" {
			prefix = model + "/"
		}
		out := []api.EndpointInfo{}
		for e := range st.Endpoints.Prefix(prefix) {
			if v := &e.Value; (node == "" || v.NodeID == node) && (status == "" || v.Status == status) {
				out = append(out, *v)
			}
		}
		return out
	}
	return listOrWatch(s, w, r, "endpoints", list, func(e *api.EndpointInfo) string { return e.Key() }, endpointOrders()...)
}
