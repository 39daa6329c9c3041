package httpapi

import (
	"net/http"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// v1Routes are the rows of the API of the existing Nebula. They say the same as those of version 2, by the same verbs, in the words of the old one.
func (s *server) v1Routes() []Route {
	rows := slices.Concat(s.v1ClusterRoutes(), s.v1AuthRoutes(), s.v1ObserveRoutes(), s.v1ImageRoutes(), s.v1ProcessRoutes())
	return slices.Concat(rows, atGateway(rows), s.usageRoutes())
}

// deprecatedSince is when version 2 took the place of version 1: 28 November 2026, as RFC 9745 writes a date.
const deprecatedSince = "@1795824000"

// deprecate says in an answer that the route is for old clients, and which one has taken its place.
func deprecate(h http.Header, route Route) {
	h.Set("Deprecation", deprecatedSince)
	if route.Successor != "" {
		h.Add("Link", "<"+route.Successor+`>; rel="successor-version"`)
	}
}

// v1ClusterRoutes are the rows about the cluster and the models in it.
func (s *server) v1ClusterRoutes() []Route {
	const requests = "/api/models/requests/{id}"
	return []Route{
		{Method: "GET", Path: "/api/healthz", Role: auth.Public, Summary: "This process lives", Response: api.Health{}, Successor: "/healthz", Handle: s.healthz},
		{Method: "GET", Path: "/api/whoami", Role: auth.Inference, Summary: "Who you are", Response: api.V1Whoami{}, Successor: "/api/v2/whoami", Handle: s.v1Whoami},
		{Method: "GET", Path: "/api/overview", Role: auth.Viewer, Summary: "Nodes, replicas, placements and requests, all at once", Response: api.V1Overview{}, Successor: "/api/v2/models", Handle: s.v1Overview},
		{Method: "GET", Path: "/api/requests", Role: auth.Viewer, Summary: "List requests for models", Response: []api.ModelRequest{}, Has: Pages, Successor: "/api/v2/models", Handle: s.v1Requests},
		{Method: "POST", Path: "/api/models/load", Role: auth.Operator, Summary: "Declare a model and have it run", Request: api.ModelLoadRequest{}, Response: api.V1Loaded{}, Has: Creates, Successor: "/api/v2/models", Handle: s.v1Load},
		{Method: "DELETE", Path: requests, Role: auth.Operator, Summary: "Have the model of a request not run any more, and forget the request", Response: api.V1Status{}, Successor: "/api/v2/models/{uid}/stop", Handle: s.v1Unload},
		{Method: "PUT", Path: requests + "/scale", Role: auth.Operator, Summary: "Change the number of replicas of a request", Request: api.V1Scale{}, Response: api.V1Scaled{}, Successor: "/api/v2/models/{uid}/scale", Handle: s.v1Scale},
		{Method: "POST", Path: "/api/endpoints/drain", Role: auth.Operator, Summary: "Let one replica finish its requests and go, when another has taken its place", Request: api.V1Drain{}, Response: api.V1Drained{}, Errors: []api.Code{api.CodeNotFound}, Successor: "/api/v2/models/{uid}/replicas/{id}/drain", Handle: s.v1Drain},
	}
}

func (s *server) v1Whoami(w http.ResponseWriter, r *http.Request) error {
	who := principal(r)
	writeJSON(w, http.StatusOK, api.V1Whoami{Principal: who.ID, Role: api.Role(who.Role.String())})
	return nil
}

func (s *server) v1Overview(w http.ResponseWriter, _ *http.Request) error {
	st, _ := s.View.Current()
	writeJSON(w, http.StatusOK, v1Overview(st, s.absent(), s.Now()))
	return nil
}

func (s *server) v1Requests(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	return writePage(w, r, v1Requests(st, s.Now()), func(q *api.ModelRequest) string { return q.ID })
}

func (s *server) v1Load(w http.ResponseWriter, r *http.Request) error {
	var req api.ModelLoadRequest
	if err := decode(r, &req, false); err != nil {
		return err
	}
	made, err := s.Control.LoadModel(r.Context(), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.V1Loaded{RequestID: made.ID, Status: "pending"})
	return nil
}

func (s *server) v1Unload(w http.ResponseWriter, r *http.Request) error {
	if err := s.Control.UnloadRequest(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.V1Status{Status: "unloading_triggered"})
	return nil
}

func (s *server) v1Scale(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Replicas *uint32 `json:"replicas"`
	}
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if req.Replicas == nil {
		return api.Errorf(api.CodeInvalidRequest, `the body is not valid: replicas is missing; send {"replicas": 2}`)
	}
	id := r.PathValue("id")
	before, err := s.Control.ScaleRequest(r.Context(), id, *req.Replicas)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.V1Scaled{RequestID: id, OldReplicas: before, NewReplicas: *req.Replicas})
	return nil
}

func (s *server) v1Drain(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		ModelUID  *string `json:"model_uid"`
		ReplicaID *uint32 `json:"replica_id"`
	}
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if req.ModelUID == nil || req.ReplicaID == nil {
		return api.Errorf(api.CodeInvalidRequest, `the body is not valid: model_uid or replica_id is missing; send {"model_uid": "my-model", "replica_id": 0}`)
	}
	drain, err := s.Control.DrainReplica(r.Context(), *req.ModelUID, *req.ReplicaID, 0)
	if err != nil {
		return err
	}
	out := api.V1Drained{Status: string(drain.Status)}
	if drain.Status == api.NowDraining {
		out.ModelUID, out.ReplicaID = drain.ModelUID, &drain.ReplicaID
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}
