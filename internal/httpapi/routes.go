package httpapi

import (
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
)

// Route is one row of the table: what may be called, by whom, with what, and what comes back.
type Route struct {
	Method, Path string
	Role         auth.Role
	Summary      string
	Request      any // zero value of the body's type; nil = none
	Response     any // zero value of the answer's type; nil = not JSON
	Status       int // of success
	// OwnBody: the handler limits the body itself.
	OwnBody bool
	Handle  func(http.ResponseWriter, *http.Request) error
}

// Routes returns the whole table of a server, for documents and tests.
func Routes(cfg Config) []Route { return (&server{Config: cfg}).routes() }

// routes is the one table of all routes. The middleware takes the role from here and nowhere else.
func (s *server) routes() []Route {
	table := s.processRoutes()
	if s.Control != nil {
		table = append(table, s.clusterRoutes()...)
		table = append(table, s.secretRoutes()...)
		table = append(table, s.cacheRoutes()...)
		table = append(table, s.fleetRoutes()...)
		table = append(table, s.adminRoutes()...)
	}
	if s.Feed != nil {
		table = append(table, Route{
			Method: "GET", Path: "/api/v2/feed", Role: auth.Gateway, Summary: "What gateways route by, as a list or from a revision on", Status: 200,
			Handle: func(w http.ResponseWriter, q *http.Request) error { s.Feed.ServeHTTP(w, q); return nil },
		})
	}
	for _, r := range s.Inference {
		table = append(table, Route{
			Method: r.Method, Path: r.Path, Role: auth.Inference, Summary: r.Summary, Status: 200, OwnBody: true,
			Handle: func(w http.ResponseWriter, q *http.Request) error { r.Handler.ServeHTTP(w, q); return nil },
		})
	}
	return table
}

// processRoutes are the rows about this process, which every role has.
func (s *server) processRoutes() []Route {
	return []Route{
		{"GET", "/healthz", auth.Public, "This process lives", nil, healthAnswer{}, 200, false, s.healthz},
		{"GET", "/readyz", auth.Public, "This process can serve", nil, healthAnswer{}, 200, false, s.readyz},
		{"GET", "/metrics", auth.Viewer, "Metrics in Prometheus' format", nil, nil, 200, false, s.metrics},
		{"GET", "/{$}", auth.Public, "What this is", nil, nil, 200, false, s.index},
		{"GET", "/api/v2/version", auth.Viewer, "Version of the server", nil, api.ServerVersion{}, 200, false, s.version},
	}
}

// clusterRoutes are the rows about what the cluster runs, which servers have and a gateway alone has not.
func (s *server) clusterRoutes() []Route {
	const models, model = "/api/v2/models", "/api/v2/models/{uid}"
	return []Route{
		{"GET", models, auth.Viewer, "List models, or watch them", nil, []api.ModelView{}, 200, false, s.listModels},
		{"POST", models, auth.Operator, "Declare a model", api.CreateModel{}, api.ModelCreated{}, 201, false, s.createModel},
		{"GET", model, auth.Viewer, "One model in detail, or watch it", nil, api.ModelDetail{}, 200, false, s.getModel},
		{"PUT", model, auth.Operator, "Change a model", api.UpdateModel{}, api.ModelSpec{}, 200, false, s.updateModel},
		{"DELETE", model, auth.Admin, "Remove a model; its files stay, unless ?purge=1", nil, api.ModelDeleted{}, 200, false, s.deleteModel},
		{"POST", model + "/start", auth.Operator, "Wish a model to run", api.StartModel{}, api.ModelDeployment{}, 200, false, s.startModel},
		{"POST", model + "/stop", auth.Operator, "Wish a model to stop", nil, api.ModelDeployment{}, 200, false, s.stopModel},
		{"PUT", model + "/scale", auth.Operator, "Change the number of replicas", api.ScaleModel{}, api.ModelDeployment{}, 200, false, s.scaleModel},
		{"GET", model + "/logs", auth.Operator, "Log of a replica's engine", nil, nil, 200, false, s.modelLogs},
		{"GET", "/api/v2/nodes", auth.Viewer, "List nodes", nil, []api.NodeView{}, 200, false, s.listNodes},
		{"GET", "/api/v2/nodes/{id}", auth.Viewer, "One node", nil, api.NodeView{}, 200, false, s.getNode},
		{"GET", "/api/v2/alerts", auth.Viewer, "What people should look at", nil, []api.DiskAlert{}, 200, false, s.listAlerts},
		{"GET", "/api/v2/nodes/{id}/desired", auth.Node, "What the calling node should run, or watch it", nil, api.NodeDesired{}, 200, false, s.nodeDesired},
		{"PUT", "/api/v2/nodes/{id}/observed", auth.Node, "What is true on the calling node", api.NodeObserved{}, nil, 204, true, s.nodeObserved},
		{"POST", "/api/v2/nodes/{id}/heartbeat", auth.Node, "Sign of life of the calling node", api.NodeHeartbeat{}, nil, 204, true, s.nodeHeartbeat},
		{"POST", "/api/v2/nodes/{id}/blobs", auth.Node, "Who has the large files that the calling node fetches", api.BlobsAsk{}, api.BlobsAnswer{}, 200, true, s.nodeBlobs},
	}
}

// cacheRoutes are the rows about the models' files on the nodes.
func (s *server) cacheRoutes() []Route {
	const cache, node = "/api/v2/cache", "/api/v2/nodes/{id}"
	return []Route{
		{"GET", node + "/cache", auth.Viewer, "What a node's cache holds", nil, []api.CacheEntryView{}, 200, false, s.nodeCache},
		{"GET", node + "/disk", auth.Viewer, "A node's model disk", nil, api.NodeDiskStatus{}, 200, false, s.nodeDisk},
		{"POST", node + "/cache/prune", auth.Admin, "Remove what a node does not need", api.CachePrune{}, api.CachePruned{}, 200, false, s.pruneCache},
		{"POST", node + "/cache/prune/dry-run", auth.Operator, "Tell what that would remove", api.CachePrune{}, api.CachePruned{}, 200, false, s.dryPruneCache},
		{"POST", node + "/cache/verify", auth.Operator, "Read a node's files and compare them with their hashes; events, a JSON object on each line", api.CacheVerify{}, nil, 200, false, s.verifyCache},
		{"GET", cache + "/summary", auth.Viewer, "What all caches hold, and their disks", nil, api.CacheSummary{}, 200, false, s.cacheSummary},
		{"GET", cache + "/pulls", auth.Viewer, "List pulls, or watch them", nil, []api.PullView{}, 200, false, s.listPulls},
		{"POST", cache + "/pull", auth.Operator, "Bring a model's files to nodes", api.FilesRequest{}, api.FilesWished{}, 200, false, s.pullFiles},
		{"DELETE", cache + "/pulls/{node}/{pull}", auth.Operator, "Cancel a pull", nil, api.PullCancelled{}, 200, false, s.cancelPull},
		{"POST", cache + "/pin", auth.Operator, "Never delete a model's files to make room", api.FilesRequest{}, api.FilesWished{}, 200, false, s.pinFiles},
		{"POST", cache + "/unpin", auth.Operator, "Lift pins", api.FilesRequest{}, api.FilesWished{}, 200, false, s.unpinFiles},
	}
}

// fleetRoutes are the rows about the cluster's machines, and those for the machines themselves.
func (s *server) fleetRoutes() []Route {
	const tokens, node = "/api/v2/tokens", "/api/v2/nodes/{id}"
	return []Route{
		{"POST", tokens, auth.Admin, "Make a join token", api.CreateJoinToken{}, api.JoinTokenCreated{}, 201, false, s.createToken},
		{"GET", tokens, auth.Admin, "List join tokens that are not used yet", nil, []api.JoinTokenView{}, 200, false, s.listTokens},
		{"DELETE", tokens + "/{token}", auth.Admin, "Take a join token back", nil, api.JoinTokenRevoked{}, 200, false, s.revokeToken},
		{"GET", "/api/v2/members", auth.Admin, "List the machines of the cluster", nil, []api.Member{}, 200, false, s.listMembers},
		{"GET", "/api/v2/cluster", auth.Viewer, "The cluster as a whole", nil, api.ClusterView{}, 200, false, s.getCluster},
		{"POST", "/api/v2/cluster/accept-history", auth.Admin, "Say that a restored cluster is right", nil, api.ClusterInfo{}, 200, false, s.acceptHistory},
		{"POST", node + "/cordon", auth.Operator, "Place nothing new on a node", nil, api.Member{}, 200, false, s.nodeVerb((*control.Control).CordonNode)},
		{"POST", node + "/uncordon", auth.Operator, "End cordon and drain", nil, api.Member{}, 200, false, s.nodeVerb((*control.Control).UncordonNode)},
		{"POST", node + "/drain", auth.Operator, "Move a node's replicas elsewhere", nil, api.Member{}, 200, false, s.nodeVerb((*control.Control).DrainNode)},
		{"DELETE", node, auth.Admin, "Remove a node, and revoke its credential", nil, api.MemberRemoved{}, 200, false, s.removeNode},
		{"DELETE", "/api/v2/members/{role}/{id}", auth.Admin, "Remove a machine, and revoke its credential", nil, api.MemberRemoved{}, 200, false, s.removeMember},

		{"POST", "/api/v2/join", auth.Public, "Get a machine's first credential for a join token", api.JoinRequest{}, api.JoinResponse{}, 200, false, s.join},
		{"POST", "/api/v2/renew", auth.Machine, "Get the next certificate of the calling machine", api.RenewRequest{}, api.RenewResponse{}, 200, false, s.renew},
	}
}
