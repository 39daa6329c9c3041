package cluster_test

import (
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

func set[T any](items map[string]T) cluster.Set[T] {
	edit := cluster.Set[T]{}.Edit()
	for id, v := range items {
		edit.Put(cluster.Entry[T]{ID: id, Rev: 1, Value: v})
	}
	return edit.Done()
}

func wishes(list ...api.CacheWish) cluster.Set[api.CacheWish] {
	byKey := map[string]api.CacheWish{}
	for _, w := range list {
		byKey[w.Key()] = w
	}
	return set(byKey)
}

// TestDesired_aRestoredClusterPurgesNothing: a backup may be of a time when the files were not wanted, and they are now.
func TestDesired_aRestoredClusterPurgesNothing(t *testing.T) {
	spec := api.ModelSpec{ModelName: "acme/m", ModelSource: api.SourceHuggingFace}
	for _, accepted := range []bool{true, false} {
		s := &cluster.State{
			Revision: 1,
			Wishes:   wishes(api.CacheWish{NodeID: "a", Kind: api.WishPurge, Spec: spec}, api.CacheWish{NodeID: "a", Kind: api.WishPin, Spec: spec}, api.CacheWish{NodeID: "ab", Kind: api.WishPin, Spec: spec}),
			Info:     set(map[string]api.ClusterInfo{api.ClusterInfoID: {ID: "c", History: "h", HistoryAccepted: accepted}}),
		}
		var kinds []api.WishKind
		for _, w := range cluster.Desired(s, "a").CacheWishes {
			kinds = append(kinds, w.Kind)
		}
		if want := map[bool]int{true: 2, false: 1}[accepted]; len(kinds) != want || kinds[0] != api.WishPin {
			t.Errorf("history accepted %v: the node is told %v", accepted, kinds)
		}
	}
}

func TestTokenSecret_whilePulled(t *testing.T) {
	spec := api.ModelSpec{ModelUID: "m", ModelName: "acme/m", ModelSource: api.SourceHuggingFace, TokenSecret: "mine"}
	stranger := spec
	stranger.ModelUID = ""
	s := &cluster.State{
		Models: set(map[string]api.ModelSpec{"m": spec}),
		Wishes: wishes(
			api.CacheWish{NodeID: "a", Kind: api.WishPull, Spec: spec}, api.CacheWish{NodeID: "b", Kind: api.WishPin, Spec: spec},
			api.CacheWish{NodeID: "c", Kind: api.WishPull, Spec: stranger},
		),
	}
	for node, want := range map[string]bool{"a": true, "b": false, "c": false, "d": false} {
		name, may := cluster.TokenSecret(s, node, "m")
		if may != want || may && name != "mine" {
			t.Errorf("node %s: %q, %v; want %v", node, name, may, want)
		}
	}
}

func TestPulls_sayHowTheyStand(t *testing.T) {
	spec := api.ModelSpec{ModelName: "acme/m", ModelSource: api.SourceHuggingFace}
	id := spec.FilesID()
	wish := api.CacheWish{NodeID: "a", Kind: api.WishPull, Spec: spec, CreatedAtMS: 5}
	pull := func(at int64, phase api.DownloadPhase, f *api.ReplicaFailure) *api.CachePull {
		return &api.CachePull{PullID: id, WishedAtMS: at, Failure: f, DownloadProgress: api.DownloadProgress{NodeID: "a", Phase: phase}}
	}
	for name, c := range map[string]struct {
		alive bool
		pull  *api.CachePull
		want  api.PullState
	}{
		"not taken on":     {true, nil, api.PullWaiting},
		"away":             {false, nil, api.PullAway},
		"away in between":  {false, pull(5, api.PhaseDownloading, nil), api.PullAway},
		"of an older wish": {true, pull(4, api.PhaseComplete, nil), api.PullWaiting},
		"moving":           {true, pull(5, api.PhaseDownloading, nil), api.PullDownloading},
		"tried again":      {true, pull(5, api.PhaseDownloading, &api.ReplicaFailure{RetryAtMS: 9}), api.PullDownloading},
		"verifying":        {true, pull(5, api.PhaseVerifying, nil), api.PullVerifying},
		"there":            {false, pull(5, api.PhaseComplete, nil), api.PullComplete},
		"failed":           {false, pull(5, api.PhaseFailed, &api.ReplicaFailure{Final: true}), api.PullFailed},
	} {
		s := &cluster.State{Wishes: wishes(wish)}
		if c.alive {
			s.Nodes = set(map[string]api.NodeStatus{"a": {NodeID: "a"}})
		}
		if c.pull != nil {
			s.Pulls = set(map[string]api.CachePull{c.pull.Key(): *c.pull})
		}
		if got := cluster.Pulls(s, ""); len(got) != 1 || got[0].State != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}

// TestCached_matchesNamesExactly: A2 of the contract's defects began with names that were alike.
func TestCached_matchesNamesExactly(t *testing.T) {
	s := &cluster.State{
		Models: set(map[string]api.ModelSpec{"m": {ModelUID: "m", ModelName: "acme/m"}, "far": {ModelUID: "far", ModelName: "acme/m", ModelPath: "/elsewhere"}, "short": {ModelUID: "short", ModelName: "m"}}),
		Cache:  set(map[string]api.ModelCacheEntry{"a/1": {NodeID: "a", ModelName: "acme/m", CachePath: "/m/x", SizeBytes: 7}, "b/1": {NodeID: "b", ModelName: "m", SizeBytes: 5}}),
		Disks:  set(map[string]api.NodeDiskStatus{"a": {NodeID: "a"}}),
		Wishes: wishes(api.CacheWish{NodeID: "a", Kind: api.WishPin, Spec: api.ModelSpec{ModelName: "acme/m"}}),
	}
	got := cluster.Cached(s)
	if got.TotalCachedModels != 2 || got.TotalCacheSizeBytes != 12 || len(got.Nodes) != 1 {
		t.Errorf("summary %+v", got)
	}
	a, b := got.Caches[0], got.Caches[1]
	if len(a.MatchedModelUIDs) != 1 || a.MatchedModelUIDs[0] != "m" || !a.Pinned || len(b.MatchedModelUIDs) != 1 || b.MatchedModelUIDs[0] != "short" || b.Pinned {
		t.Errorf("entries %+v, %+v", a, b)
	}
	if one := cluster.NodeCache(s, "a"); len(one) != 1 || one[0].MatchedModelUIDs[0] != "m" || len(cluster.NodeCache(s, "zz")) != 0 {
		t.Errorf("one node: %+v", one)
	}
}

// TestPurgePlan_saysWhatItWaitsFor: another choice of the same repository runs on the node.
func TestPurgePlan_saysWhatItWaitsFor(t *testing.T) {
	spec := api.ModelSpec{ModelUID: "q4", ModelName: "acme/m", ModelSource: api.SourceHuggingFace, Files: []string{"*Q4*"}}
	other := spec
	other.ModelUID, other.Files = "q8", []string{"*Q8*"}
	s := &cluster.State{
		Models: set(map[string]api.ModelSpec{"q8": other}), Nodes: set(map[string]api.NodeStatus{"a": {NodeID: "a"}}),
		Cache:      set(map[string]api.ModelCacheEntry{"a/1": {NodeID: "a", ModelName: "acme/m"}, "gone/1": {NodeID: "gone", ModelName: "acme/m"}}),
		Placements: set(map[string]api.PlacementPlan{"q8": {ModelUID: "q8", Assignments: []api.PlacementAssignment{{NodeID: "a"}}}}),
	}
	got := cluster.PurgePlan(s, &spec)
	if len(got.Nodes) != 1 || got.Nodes[0].State != api.PurgeAsked || !strings.Contains(got.Nodes[0].Why, "q8") {
		t.Errorf("%+v; want a alone, waiting for q8", got)
	}
	other.Files = spec.Files
	s.Models = set(map[string]api.ModelSpec{"q8": other})
	if got := cluster.PurgePlan(s, &spec); got.Kept == "" || len(got.Nodes) != 0 {
		t.Errorf("%+v; want all kept for the other model", got)
	}
}

// TestDesired_tellsAFullNodeWhatIsOnlyStopped: those of its cache, and nothing while its disk has room.
func TestDesired_tellsAFullNodeWhatIsOnlyStopped(t *testing.T) {
	s := &cluster.State{
		Revision: 1,
		Models: set(map[string]api.ModelSpec{
			"m1": {ModelUID: "m1", ModelName: "acme/stopped"}, "m2": {ModelUID: "m2", ModelName: "acme/running"}, "m3": {ModelUID: "m3", ModelName: "acme/elsewhere"},
		}),
		Deployments: set(map[string]api.ModelDeployment{
			"m1": {ModelUID: "m1", DesiredState: api.DesiredStopped}, "m2": {ModelUID: "m2", DesiredState: api.DesiredRunning, Replicas: 1},
			"m3": {ModelUID: "m3", DesiredState: api.DesiredStopped},
		}),
		Cache: set(map[string]api.ModelCacheEntry{
			"a/1": {NodeID: "a", ModelName: "acme/stopped"}, "a/2": {NodeID: "a", ModelName: "acme/running"}, "b/1": {NodeID: "b", ModelName: "acme/elsewhere"},
		}),
		Disks: set(map[string]api.NodeDiskStatus{"a": {NodeID: "a", UsagePct: 81}, "b": {NodeID: "b", UsagePct: 20}}),
	}
	if got := cluster.Desired(s, "a").Stopped; len(got) != 1 || got[0].ModelName != "acme/stopped" {
		t.Errorf("a is told %+v", got)
	}
	if got := cluster.Desired(s, "b").Stopped; got != nil {
		t.Errorf("b has room, and is told %+v", got)
	}
}

// TestFilesNeeded names who keeps a model's files on a node, and nobody where nobody does.
func TestFilesNeeded(t *testing.T) {
	spec := func(uid, path string) api.ModelSpec {
		return api.ModelSpec{ModelUID: uid, ModelName: "acme/m", ModelSource: api.SourceHuggingFace, ModelPath: path}
	}
	s := &cluster.State{
		Models: set(map[string]api.ModelSpec{"runs": spec("runs", "/d1"), "leaves": spec("leaves", ""), "stopped": spec("stopped", "")}),
		Placements: set(map[string]api.PlacementPlan{
			"runs": {ModelUID: "runs", Assignments: []api.PlacementAssignment{{ReplicaID: 3, NodeID: "a"}}}, "stopped": {ModelUID: "stopped"},
		}),
		Endpoints: set(map[string]api.EndpointInfo{"leaves/1": {ModelUID: "leaves", ReplicaID: 1, NodeID: "b"}}),
		Wishes: wishes(
			api.CacheWish{NodeID: "c", Kind: api.WishPin, Spec: spec("", "")}, api.CacheWish{NodeID: "d", Kind: api.WishPull, Spec: spec("", "")},
			api.CacheWish{NodeID: "e", Kind: api.WishPurge, Spec: spec("", "")},
		),
	}
	for _, c := range []struct{ node, model, path, want string }{
		{"a", "acme/m", "", "replica 3 of the model runs"},
		{"a", "acme/m", "/d1/hub/models--acme--m", "nebula model stop runs"},
		{"a", "acme/m", "/d2/hub/models--acme--m", ""},
		{"b", "acme/m", "/d2/hub/models--acme--m", "replica 1 of the model leaves"},
		{"c", "acme/m", "", "nebula cache unpin acme/m --node c"},
		{"d", "acme/m", "", "nebula cache cancel acme/m --node d"},
		{"e", "acme/m", "", ""},
		{"a", "acme/other", "", ""},
		{"none", "acme/m", "", ""},
	} {
		got := cluster.FilesNeeded(s, c.node, c.model, c.path)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
