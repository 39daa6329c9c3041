package store

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// BenchmarkState_apply measures how long a change takes to be in a State of 1,000 nodes, 10,000 models and 20,000
// endpoints: one event, and a batch of 100.
func BenchmarkState_apply(b *testing.B) {
	const nodes, models, replicas = 1_000, 10_000, 2
	var list []KeyValue
	add := func(key string, v any) {
		value, err := json.Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, KeyValue{Key: key, Value: value, ModRev: 1})
	}
	for i := range nodes {
		id := fmt.Sprintf("node-%04d", i)
		add("/nodes/"+id+"/status", api.NodeStatus{NodeID: id, GPUs: make([]api.GPUStatus, 8)})
	}
	for i := range models {
		uid := fmt.Sprintf("model-%05d", i)
		add("/models/"+uid+"/spec", api.ModelSpec{ModelUID: uid, ModelName: "org/" + uid, ModelSource: api.SourceHuggingFace})
		add("/deployments/"+uid, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: replicas})
		add("/placements/"+uid, api.PlacementPlan{ModelUID: uid, Assignments: make([]api.PlacementAssignment, replicas)})
		for r := range uint32(replicas) {
			add("/endpoints/"+api.EndpointKey(uid, r), endpoint(uid, r, api.EndpointReady))
		}
	}
	k := kinds()
	start := fromList(k, list, 1)
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			batch := Batch{Revision: 2}
			for i := range size {
				uid := fmt.Sprintf("model-%05d", i*97)
				value, err := json.Marshal(endpoint(uid, 1, api.EndpointUnhealthy))
				if err != nil {
					b.Fatal(err)
				}
				batch.Events = append(batch.Events, Event{KeyValue: KeyValue{Key: "/endpoints/" + uid + "/1", Value: value, ModRev: 2}})
			}
			b.ReportAllocs()
			for b.Loop() {
				next := newBuilder(k, *start)
				next.apply(batch)
				if next.done().Revision != 2 {
					b.Fatal("not applied")
				}
			}
		})
	}
	b.Run("relist", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fromList(k, list, 1)
		}
	})
}

func endpoint(uid string, replica uint32, status api.EndpointStatus) api.EndpointInfo {
	url := "http://127.0.0.1:41234"
	return api.EndpointInfo{
		ModelUID: uid, ReplicaID: replica, PlanVersion: 3, NodeID: "node-0001", EndpointKind: "native_http",
		APIFlavor: "openai", Status: status, BaseURL: &url, EngineType: api.EngineVLLM, GPUIndices: []uint32{0, 1},
	}
}
