package cluster

import (
	"fmt"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// Pulls returns every pull of a node, or of all nodes when that is empty, in order of node.
func Pulls(s *State, node string) []api.PullView {
	out := []api.PullView{}
	for w := range s.Wishes.All() {
		if w.Value.Kind != api.WishPull || node != "" && w.Value.NodeID != node {
			continue
		}
		out = append(out, pullView(s, &w.Value))
	}
	return out
}

func pullView(s *State, w *api.CacheWish) api.PullView {
	v := api.PullView{
		NodeID: w.NodeID, PullID: w.Spec.FilesID(), State: api.PullWaiting, Spec: w.Spec,
		CreatedAtMS: w.CreatedAtMS, CreatedBy: w.CreatedBy, ExpiresAtMS: w.ExpiresAtMS,
	}
	p, ok := s.Pulls.Value(v.NodeID + "/" + v.PullID)
	told := ok && p.WishedAtMS == w.CreatedAtMS // else it is about an earlier wish for the same files
	if told {
		v.Progress = &p
	}
	switch {
	case told && p.Phase == api.PhaseComplete:
		v.State = api.PullComplete
	case told && p.Phase == api.PhaseFailed && p.Failure != nil && p.Failure.Final:
		v.State = api.PullFailed
	case !s.Nodes.Has(w.NodeID):
		v.State = api.PullAway
	case told && p.Phase == api.PhaseVerifying:
		v.State = api.PullVerifying
	case told:
		v.State = api.PullDownloading
	}
	return v
}

// NodeCache returns what a node's cache holds; nothing of a node that is not known.
func NodeCache(s *State, node string) []api.CacheEntryView {
	out := []api.CacheEntryView{}
	for e := range s.Cache.Prefix(node + "/") {
		out = append(out, entryView(s, &e.Value))
	}
	return out
}

// Cached returns what all nodes' caches hold, and their disks.
func Cached(s *State) api.CacheSummary {
	out := api.CacheSummary{Nodes: []api.NodeDiskStatus{}, Caches: []api.CacheEntryView{}}
	for e := range s.Disks.All() {
		out.Nodes = append(out.Nodes, e.Value)
	}
	// Few of many models share the names that are in a cache: the others need no place in the map.
	uids := map[string][]string{}
	for e := range s.Cache.All() {
		uids[e.Value.ModelName] = nil
	}
	for _, m := range s.Models.Refs() {
		if of, cached := uids[m.Value.ModelName]; cached {
			uids[m.Value.ModelName] = append(of, m.ID)
		}
	}
	for e := range s.Cache.All() {
		v := api.CacheEntryView{ModelCacheEntry: e.Value, MatchedModelUIDs: usersOf(s, &e.Value, uids[e.Value.ModelName]), Pinned: pinned(s, &e.Value)}
		out.TotalCachedModels++
		out.TotalCacheSizeBytes += v.SizeBytes
		out.Caches = append(out.Caches, v)
	}
	return out
}

func entryView(s *State, c *api.ModelCacheEntry) api.CacheEntryView {
	var uids []string
	for _, m := range s.Models.Refs() {
		if m.Value.ModelName == c.ModelName {
			uids = append(uids, m.ID)
		}
	}
	return api.CacheEntryView{ModelCacheEntry: *c, MatchedModelUIDs: usersOf(s, c, uids), Pinned: pinned(s, c)}
}

// usersOf picks, of the models of an entry's name, those that look for their files where it is.
func usersOf(s *State, c *api.ModelCacheEntry, uids []string) []string {
	out := []string{}
	for _, uid := range uids {
		if m, _ := s.Models.Value(uid); under(c.CachePath, m.ModelPath) {
			out = append(out, uid)
		}
	}
	return out
}

func pinned(s *State, c *api.ModelCacheEntry) bool {
	for w := range s.Wishes.Prefix(c.NodeID + "/" + string(api.WishPin) + "-") {
		if w.Value.Spec.ModelName == c.ModelName && under(c.CachePath, w.Value.Spec.ModelPath) {
			return true
		}
	}
	return false
}

// FilesNeeded tells, for people, why the files that a model has in a node's cache must stay there, or nothing: what has pinned them, is to run with them
// there or fetches them. The path is that of the folder, or empty.
func FilesNeeded(s *State, node, model, path string) string {
	uses := func(spec *api.ModelSpec) bool {
		return spec.ModelName == model && (path == "" || under(path, spec.ModelPath))
	}
	for w := range s.Wishes.Prefix(node + "/") {
		if !uses(&w.Value.Spec) {
			continue
		}
		switch w.Value.Kind {
		case api.WishPin:
			return fmt.Sprintf("the files of %.200q are pinned on node %s: lift that first, with: nebula cache unpin %s --node %s", model, node, model, node)
		case api.WishPull:
			return fmt.Sprintf("a pull wants the files of %.200q on node %s: cancel it first, with: nebula cache cancel %s --node %s", model, node, model, node)
		}
	}
	for _, m := range s.Models.Refs() {
		if !uses(&m.Value) {
			continue
		}
		placement, _ := s.Placements.Value(m.ID)
		for _, a := range placement.Assignments {
			if a.NodeID == node {
				return filesInUse(model, node, m.ID, a.ReplicaID)
			}
		}
		for e := range s.Endpoints.Prefix(m.ID + "/") {
			if e.Value.NodeID == node {
				return filesInUse(model, node, m.ID, e.Value.ReplicaID)
			}
		}
	}
	return ""
}

func filesInUse(model, node, uid string, replica uint32) string {
	return fmt.Sprintf("the files of %.200q on node %s are in use by replica %d of the model %s: stop it first, with: nebula model stop %s", model, node, replica, uid, uid)
}

// WishesFor returns the ids of the wishes of a kind that concern files of a model's repository, on the named nodes or, without names, on all.
func WishesFor(s *State, kind api.WishKind, spec *api.ModelSpec, nodes []string) []string {
	var ids []string
	for _, w := range s.Wishes.Refs() {
		if w.Value.Kind == kind && w.Value.Spec.SameRepository(spec) && (nodes == nil || slices.Contains(nodes, w.Value.NodeID)) {
			ids = append(ids, w.ID)
		}
	}
	return ids
}
