package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

func endpointAt(uid string, replica uint32, base string) api.EndpointInfo {
	return api.EndpointInfo{ModelUID: uid, ReplicaID: replica, NodeID: "n1", Status: api.EndpointReady, BaseURL: &base, EngineType: "llama.cpp", PID: 7, StartedAtMS: 8}
}

func TestBuildTable(t *testing.T) {
	s := &cluster.State{}
	addModel(s, "a", "org/a")
	addModel(s, "b", "org/a")
	draining := endpointAt("a", 1, "http://10.0.0.2/engine/")
	draining.Status, draining.Capabilities, draining.ServedName = api.EndpointDraining, []string{"embeddings", "of-a-later-version"}, "x"
	starting := endpointAt("a", 2, "")
	starting.BaseURL = nil
	for _, e := range []api.EndpointInfo{endpointAt("a", 0, "http://127.0.0.1:8000"), draining, starting, endpointAt("nobody", 0, "http://127.0.0.1:1")} {
		addEndpoint(s, e)
	}
	for i, base := range []string{"https://127.0.0.1:1", "http://", "http://:80", "127.0.0.1:80", "http://user:pass@h:1", "unix:///x", "http://[::1", "http://a b"} {
		addEndpoint(s, endpointAt("b", uint32(i), base))
	}
	got := buildTable(s, "n1")
	want := []standing{
		{target{uid: "a", addr: "127.0.0.1:8000", engine: "llamacpp", served: "a", caps: canAll, pid: 7, startedMS: 8}, api.EndpointReady},
		{target{uid: "a", replica: 1, addr: "10.0.0.2:80", prefix: "/engine", engine: "llamacpp", served: "x", caps: canEmbed, pid: 7, startedMS: 8}, api.EndpointDraining},
	}
	if diff := cmp.Diff(want, got.models["a"].targets, cmp.AllowUnexported(standing{}, target{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := len(got.models["b"].targets); n != 0 {
		t.Errorf("%d addresses that cannot be used are used: %+v", n, got.models["b"].targets)
	}
	if len(got.models) != 2 || len(got.names["org/a"]) != 2 {
		t.Errorf("models %v, names %v", got.models, got.names)
	}
}

// A document that cannot be read does not end serving.
func TestBuildTable_keepsModelsWithUnreadableSpecs(t *testing.T) {
	s := &cluster.State{}
	put(&s.Bad, "/models/m/spec", cluster.BadValue{Key: "/models/m/spec", Err: "x"})
	put(&s.Bad, "/deployments/other", cluster.BadValue{Key: "/deployments/other", Err: "x"})
	addEndpoint(s, endpointAt("m", 0, "http://127.0.0.1:8000"))
	got := buildTable(s, "n1")
	if m, f := got.find("m", nil); f != nil || len(m.targets) != 1 {
		t.Errorf("got %+v, %+v", m, f)
	}
	if len(got.models) != 1 {
		t.Errorf("models %v", got.models)
	}
}

func TestFind_namesModelsThatExist(t *testing.T) {
	s := &cluster.State{}
	for i := range 30 {
		addModel(s, fmt.Sprintf("model-%02d", i), "n")
	}
	_, f := buildTable(s, "n1").find(strings.Repeat("x", 10_000), nil)
	if f == nil || f.status != 404 || !strings.Contains(f.err.Message, "model-00, model-01") || !strings.HasSuffix(f.err.Message, "model-19, …") {
		t.Fatalf("got %+v", f)
	}
	if len(f.err.Message) > 700 {
		t.Errorf("the name is echoed whole: %d bytes", len(f.err.Message))
	}
}

func BenchmarkBuildTable(b *testing.B) {
	s := &cluster.State{}
	models, endpoints := s.Models.Edit(), s.Endpoints.Edit()
	for i := range 10_000 {
		uid := fmt.Sprintf("model-%05d", i)
		models.Put(cluster.Entry[api.ModelSpec]{ID: uid, Value: api.ModelSpec{ModelUID: uid, ModelName: "org/" + uid}})
		for r := range 2 {
			e := endpointAt(uid, uint32(r), fmt.Sprintf("http://10.0.%d.%d:8000", i/250, i%250))
			e.EngineType = api.EngineLlamaCPP
			endpoints.Put(cluster.Entry[api.EndpointInfo]{ID: e.Key(), Value: e})
		}
	}
	s.Models, s.Endpoints = models.Done(), endpoints.Done()
	l := newLive()
	b.ReportAllocs()
	for b.Loop() {
		l.bind(buildTable(s, "n1"))
	}
}
