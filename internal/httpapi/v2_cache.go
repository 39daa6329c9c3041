package httpapi

import (
	"context"
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// cacheRoutes are the rows about the models' files on the nodes.
func (s *server) cacheRoutes() []Route {
	const cache, node = "/api/v2/cache", "/api/v2/nodes/{id}"
	evictQuery := []Param{
		{Name: "model", Type: "string", Summary: "Name of the model, as the cache has it; needed"},
		{Name: "path", Type: "string", Summary: "Only the files in this folder, as the cache names it"},
	}
	return []Route{
		{Method: "GET", Path: node + "/cache", Role: auth.Viewer, Summary: "What a node's cache holds", Sort: sortFields(cacheOrders()), Response: []api.CacheEntryView{}, Has: Pages | Watches, Handle: s.nodeCache},
		{Method: "DELETE", Path: node + "/cache", Role: auth.Admin, Summary: "Remove one model's files from a node", Query: evictQuery, Response: api.CachePruned{}, Errors: []api.Code{api.CodeConflict}, Has: DryRuns, Handle: s.evictFiles},
		{Method: "GET", Path: node + "/disk", Role: auth.Viewer, Summary: "A node's model disk", Response: api.NodeDiskStatus{}, Handle: s.nodeDisk},
		{Method: "POST", Path: node + "/cache/prune", Role: auth.Admin, Summary: "Remove what a node does not need", Request: api.CachePrune{}, Response: api.CachePruned{}, Has: OptionalBody | DryRuns, Handle: s.pruneCache},
		{Method: "POST", Path: node + "/cache/prune/dry-run", Role: auth.Operator, Summary: "Tell what that would remove", Request: api.CachePrune{}, Response: api.CachePruned{}, Has: OptionalBody, Handle: s.dryPruneCache},
		{Method: "POST", Path: node + "/cache/verify", Role: auth.Operator, Summary: "Read a node's files and compare them with their hashes; events, a JSON object on each line", Request: api.CacheVerify{}, Media: "application/x-ndjson", Has: OptionalBody, Handle: s.verifyCache},
		{Method: "GET", Path: cache + "/summary", Role: auth.Viewer, Summary: "What all caches hold, and their disks", Response: api.CacheSummary{}, Handle: s.cacheSummary},
		{Method: "GET", Path: cache + "/pulls", Role: auth.Viewer, Summary: "List pulls, or watch them", Query: []Param{{Name: "node", Type: "string", Summary: "Only those of this node"}}, Response: []api.PullView{}, Has: Pages | Watches, Handle: s.listPulls},
		{Method: "POST", Path: cache + "/pull", Role: auth.Operator, Summary: "Bring a model's files to nodes", Request: api.FilesRequest{}, Response: api.FilesWished{}, Errors: []api.Code{api.CodeNotFound}, Has: DryRuns, Handle: s.pullFiles},
		{Method: "DELETE", Path: cache + "/pulls/{node}/{pull}", Role: auth.Operator, Summary: "Cancel a pull", Response: api.PullCancelled{}, Has: DryRuns, Handle: s.cancelPull},
		{Method: "POST", Path: cache + "/pin", Role: auth.Operator, Summary: "Never delete a model's files to make room", Request: api.FilesRequest{}, Response: api.FilesWished{}, Errors: []api.Code{api.CodeNotFound}, Has: DryRuns, Handle: s.pinFiles},
		{Method: "POST", Path: cache + "/unpin", Role: auth.Operator, Summary: "Lift pins", Request: api.FilesRequest{}, Response: api.FilesWished{}, Errors: []api.Code{api.CodeNotFound}, Has: DryRuns, Handle: s.unpinFiles},
	}
}

func (s *server) nodeCache(w http.ResponseWriter, r *http.Request) error {
	list := func(st *cluster.State) []api.CacheEntryView { return cluster.NodeCache(st, r.PathValue("id")) }
	return listOrWatch(s, w, r, "cache", list, func(e *api.CacheEntryView) string { return e.ModelName + "\x00" + e.CachePath }, cacheOrders()...)
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
	list := func(st *cluster.State) []api.PullView { return cluster.Pulls(st, node) }
	return listOrWatch(s, w, r, "pulls", list, func(p *api.PullView) string { return p.NodeID + "/" + p.PullID })
}

func (s *server) pullFiles(w http.ResponseWriter, r *http.Request) error {
	return s.wishFiles(w, r, s.Control.PullModel)
}

func (s *server) pinFiles(w http.ResponseWriter, r *http.Request) error {
	return s.wishFiles(w, r, s.Control.PinModel)
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
