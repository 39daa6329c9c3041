package cluster_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

func parse(t *testing.T, text string) *clustertest.Cluster {
	t.Helper()
	c, err := clustertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDesired_mergesOverridesAndSkipsWhatIsNotWanted(t *testing.T) {
	c := parse(t, `
		model chat engine=vllm tp=1 vram=20000
		deploy chat running version=7 tp=2
		plan chat version=3 1@n1:0,1 0@n2
		model stopped
		deploy stopped stopped
		plan stopped 0@n1
		deploy deleted running
		plan deleted 0@n1
		model broken
		deploy broken running
		bad /placements/broken message=x
		bad /nodes/n9/status message=x
		bad /endpoints/chat/0 message=x`)
	got := cluster.Desired(c.State, "n1")
	if len(got.Replicas) != 1 {
		t.Fatalf("got %d replicas, want the one of chat: %+v", len(got.Replicas), got.Replicas)
	}
	r := got.Replicas[0]
	if r.Key() != "chat/1" || r.PlanVersion != 3 || r.Generation != 7 || *r.Config.TensorParallelSize != 2 || *r.Config.RequiredVRAMMB != 20000 {
		t.Errorf("got %+v", r)
	}
	if *r.Spec.Config.TensorParallelSize != 1 {
		t.Error("the override changed the spec")
	}
	if diff := cmp.Diff([]string{"broken"}, got.Frozen); diff != "" {
		t.Errorf("frozen: -want +got:\n%s", diff)
	}
	if got.Revision != c.State.Revision || got.NodeID != "n1" {
		t.Errorf("got revision %d of %s", got.Revision, got.NodeID)
	}
}

func TestViews_filtersAndShowsUnreadableSpecs(t *testing.T) {
	c := parse(t, `
		bad /models/a/spec message=x
		model b labels=team:red
		model c labels=team:blue,tier:1
		deploy c running
		bad /models/d/spec message=x`)
	for _, tc := range []struct {
		name   string
		filter cluster.Filter
		want   []string
	}{
		{"all", cluster.Filter{}, []string{"a", "b", "c", "d"}},
		{"label", cluster.Filter{LabelKey: "team", LabelValue: "red"}, []string{"b"}},
		{"label without that value", cluster.Filter{LabelKey: "team", LabelValue: "green"}, []string{}},
		{"label that is absent", cluster.Filter{LabelKey: "tier"}, []string{}},
		{"state", cluster.Filter{State: api.StateFailed}, []string{"a", "d"}},
		{"after", cluster.Filter{After: "b"}, []string{"c", "d"}},
		{"after an unreadable one", cluster.Filter{After: "a"}, []string{"b", "c", "d"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			views, _ := cluster.Views(c.State, c.Now, tc.filter)
			got := []string{}
			for _, v := range views {
				got = append(got, v.ModelUID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDetail_hasEverything(t *testing.T) {
	c := parse(t, `
		node n1
		model chat name=org/chat engine=llama.cpp rev=40
		deploy chat running rev=42
		plan chat version=3 0@n1 10@n1 2@n1
		endpoint chat/0@n1 ready
		endpoint chat/10@n1 starting
		endpoint chat/2@n1 ready
		endpoint chat-2/0@n1 ready
		download chat/10@n1 downloading done=1 total=2
		cache n1/1 name=org/chat path=/models/x size=10 complete
		cache n1/2 name=org/chat path=/models/y size=5 complete
		cache n2/1 name=other/chat path=/models/z size=7 complete
		cache n3/1 name=org/chat path=/models/x size=9`)
	d, ok := cluster.Detail(c.State, "chat", c.Now)
	if !ok {
		t.Fatal("not found")
	}
	if d.Revision != 42 || *d.EngineType != api.EngineLlamaCPP || d.Spec == nil || d.Deployment == nil || d.Placement.Version != 3 {
		t.Errorf("got %+v", d)
	}
	var order []uint32
	for _, e := range d.Endpoints {
		order = append(order, e.ReplicaID)
	}
	if diff := cmp.Diff([]uint32{0, 2, 10}, order); diff != "" {
		t.Errorf("endpoints: -want +got:\n%s", diff)
	}
	if n := len(d.DownloadProgress.Replicas); n != 1 {
		t.Errorf("got %d downloads, want 1", n)
	}
	want := &api.ModelCacheStatus{CachedOnNodes: []string{"n1"}, TotalSizeBytes: 15}
	if diff := cmp.Diff(want, d.CacheStatus); diff != "" {
		t.Errorf("cache: -want +got:\n%s", diff)
	}
	if _, ok := cluster.Detail(c.State, "cha", c.Now); ok {
		t.Error("found a model that does not exist")
	}
}

func TestDetail_cacheOfAModelWithAPathCountsOnlyThatPath(t *testing.T) {
	for _, tc := range []struct {
		path, cached string
		want         bool
	}{
		{"/data/m.gguf", "/data/m.gguf", true},
		{"/data", "/data/hub/m", true},
		{"/data/", "/data/hub/m", true},
		{"/data", "/database/m", false},
		{"/data", "/other", false},
		{"", "/anywhere", true},
	} {
		c := parse(t, "model chat path="+tc.path+"\ncache n1/1 name=chat complete path="+tc.cached)
		d, _ := cluster.Detail(c.State, "chat", c.Now)
		if got := d.CacheStatus != nil; got != tc.want {
			t.Errorf("model at %q, cache at %q: cached %v, want %v", tc.path, tc.cached, got, tc.want)
		}
	}
}

func TestNodes_showsWhatRunsAndWhatIsPlaced(t *testing.T) {
	c := parse(t, `
		node n1 gpus=80000
		node n2
		alert n1/disk_warning message=full
		model chat
		plan chat 0@n1:0 1@n1 2@gone
		endpoint chat/0@n1 ready gpus=0
		endpoint chat/1@n2 draining
		endpoint leaving/4@n1 draining`)
	got := cluster.NodeViews(c.State, nil, time.Minute)
	if len(got) != 2 || got[0].NodeID != "n1" || got[1].NodeID != "n2" {
		t.Fatalf("got %+v", got)
	}
	want := []api.NodeReplica{
		{ModelUID: "chat", ReplicaID: 0, Status: api.EndpointReady, GPUIndices: []uint32{0}},
		{ModelUID: "chat", ReplicaID: 1, Status: api.EndpointStarting},
		{ModelUID: "leaving", ReplicaID: 4, Status: api.EndpointDraining},
	}
	if diff := cmp.Diff(want, got[0].Replicas); diff != "" {
		t.Errorf("n1: -want +got:\n%s", diff)
	}
	if len(got[0].Alerts) != 1 || len(got[1].Replicas) != 1 {
		t.Errorf("got %+v", got)
	}
}
