package cluster

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Filter narrows a list of models. The zero Filter lets every model through.
type Filter struct {
	State      api.ModelState // empty = any
	LabelKey   string         // empty = any
	LabelValue string         // with LabelKey: the value that the label must have
	After      string         // models whose uid comes after this one only: the cursor of the page before
	Limit      int            // at most so many; 0 = all
}

// View returns a model as it appears in a list. A model whose spec cannot be read is there too, with what is known.
func View(s *State, uid string, now time.Time) (api.ModelView, bool) {
	spec, ok := s.Models.Value(uid)
	if !ok && !s.Bad.Has(specKey(uid)) {
		return api.ModelView{}, false
	}
	return view(s, uid, &spec, Status(s, uid, now)), true
}

// Views returns the models that pass the filter in order of uid, and the cursor of the next page, which is empty when
// this page is the last.
func Views(s *State, now time.Time, f Filter) (page []api.ModelView, next string) {
	page = []api.ModelView{}
	for uid, spec := range models(s, f.After) {
		if f.LabelKey != "" {
			if v, ok := spec.Labels[f.LabelKey]; !ok || v != f.LabelValue {
				continue
			}
		}
		status := Status(s, uid, now)
		if f.State != "" && f.State != status.State {
			continue
		}
		if f.Limit > 0 && len(page) == f.Limit {
			return page, page[len(page)-1].ModelUID
		}
		page = append(page, view(s, uid, spec, status))
	}
	return page, ""
}

// models yields every model after a uid in order, those with an unreadable spec (as an empty one) included.
func models(s *State, after string) iter.Seq2[string, *api.ModelSpec] {
	return func(yield func(string, *api.ModelSpec) bool) {
		bad := s.badSpecs(after)
		for e := range s.Models.From(after) {
			for len(bad) > 0 && bad[0] < e.ID {
				if !yield(bad[0], &api.ModelSpec{}) {
					return
				}
				bad = bad[1:]
			}
			if len(bad) > 0 && bad[0] == e.ID {
				bad = bad[1:]
			}
			if e.ID != after && !yield(e.ID, &e.Value) {
				return
			}
		}
		for _, uid := range bad {
			if !yield(uid, &api.ModelSpec{}) {
				return
			}
		}
	}
}

// badSpecs returns the models after a uid whose spec cannot be read, sorted.
func (s *State) badSpecs(after string) []string {
	var uids []string
	for _, uid := range s.unreadable() {
		if uid > after && s.Bad.Has(specKey(uid)) {
			uids = append(uids, uid)
		}
	}
	return uids
}

func specKey(uid string) string { return "/models/" + uid + "/spec" }

func deploymentKey(uid string) string { return "/deployments/" + uid }

// Detail returns everything that is known about a model.
func Detail(s *State, uid string, now time.Time) (api.ModelDetail, bool) {
	v, ok := View(s, uid, now)
	if !ok {
		return api.ModelDetail{}, false
	}
	d := api.ModelDetail{
		ModelUID: v.ModelUID, ModelName: v.ModelName, EngineType: v.EngineType, State: v.State, Replicas: v.Replicas,
		Reason: v.Reason, Labels: v.Labels, CreatedAtMS: v.CreatedAtMS, UpdatedAtMS: v.UpdatedAtMS, Revision: v.Revision,
		Endpoints: v.Endpoints, Stats: []struct{}{},
	}
	if spec, ok := s.Models.Value(uid); ok {
		d.Spec, d.CacheStatus = &spec, cacheStatus(s, &spec)
	}
	if deployment, ok := s.Deployments.Value(uid); ok {
		d.Deployment = &deployment
	}
	if plan, ok := s.Placements.Value(uid); ok {
		d.Placement = &plan
	}
	if len(v.Downloads) > 0 {
		d.DownloadProgress = &api.ModelDownloads{Replicas: v.Downloads}
	}
	return d, true
}

// Revision returns the revision of the wish: the newer of a model's spec and deployment, which is its ETag. It is 0 for
// a model that does not exist.
func Revision(s *State, uid string) int64 {
	spec, _ := s.Models.Get(uid)
	deployment, _ := s.Deployments.Get(uid)
	return max(spec.Rev, deployment.Rev)
}

func view(s *State, uid string, spec *api.ModelSpec, status api.ModelStatus) api.ModelView {
	v := api.ModelView{
		ModelUID: uid, ModelName: spec.ModelName, State: status.State, Replicas: status.Replicas, Reason: status.Reason,
		Labels: maps.Clone(spec.Labels), CreatedAtMS: spec.CreatedAtMS, UpdatedAtMS: spec.UpdatedAtMS, Revision: Revision(s, uid),
		Endpoints: []api.EndpointInfo{},
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if spec.ModelUID != "" {
		engine := spec.Engine()
		v.EngineType = &engine
	}
	if d, ok := s.Deployments.Value(uid); ok {
		v.UpdatedAtMS = max(v.UpdatedAtMS, d.UpdatedAtMS)
	}
	for e := range s.Endpoints.Prefix(uid + "/") {
		v.Endpoints = append(v.Endpoints, e.Value)
	}
	for e := range s.Downloads.Prefix(uid + "/") {
		v.Downloads = append(v.Downloads, e.Value)
	}
	slices.SortFunc(v.Endpoints, func(a, b api.EndpointInfo) int { return cmp.Compare(a.ReplicaID, b.ReplicaID) })
	slices.SortFunc(v.Downloads, func(a, b api.DownloadProgress) int { return cmp.Compare(a.ReplicaID, b.ReplicaID) })
	return v
}

// cacheStatus tells which nodes have a model's files complete, or nil when none has. Names match exactly or not at
// all: "a/llama" and "b/llama" are different models. A model with a path of its own counts only what lies there.
func cacheStatus(s *State, spec *api.ModelSpec) *api.ModelCacheStatus {
	var c api.ModelCacheStatus
	for _, e := range s.Cache.Refs() {
		if !e.Value.Complete || e.Value.ModelName != spec.ModelName || !under(e.Value.CachePath, spec.ModelPath) {
			continue
		}
		if !slices.Contains(c.CachedOnNodes, e.Value.NodeID) {
			c.CachedOnNodes = append(c.CachedOnNodes, e.Value.NodeID)
		}
		c.TotalSizeBytes += e.Value.SizeBytes
	}
	if len(c.CachedOnNodes) == 0 {
		return nil
	}
	return &c
}

// under tells whether path is root or lies below it; everything lies under the empty root.
func under(path, root string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimRight(root, "/"))
	return ok && (root == "" || rest == "" || rest[0] == '/')
}
