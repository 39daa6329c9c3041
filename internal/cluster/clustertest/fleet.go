package clustertest

import (
	"fmt"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Fleet returns a large cluster at rest, for benchmarks: four of five nodes have 8 GPUs of 80 GB, three of ten models
// hold one GPU a replica, the others are CPU-only llama.cpp on the rest of the nodes, and every replica is ready.
func Fleet(nodes, models, replicas int) *cluster.State {
	s := &cluster.State{Revision: 1}
	members, n, m, d, p, e := s.Members.Edit(), s.Nodes.Edit(), s.Models.Edit(), s.Deployments.Edit(), s.Placements.Edit(), s.Endpoints.Edit()
	var withGPU, cpuOnly []string
	for i := range nodes {
		node := api.NodeStatus{NodeID: fmt.Sprintf("node-%05d", i), MemoryFreeMB: 500_000, CPUs: 64}
		if i%5 != 0 {
			withGPU = append(withGPU, node.NodeID)
			for g := range 8 {
				node.GPUs = append(node.GPUs, api.GPUStatus{Index: uint32(g), MemoryTotalMB: 81_920, MemoryUsedMB: 500})
			}
		} else {
			cpuOnly = append(cpuOnly, node.NodeID)
		}
		for _, name := range api.Engines() {
			node.Engines = append(node.Engines, api.NodeEngine{Name: name, Path: "/usr/bin/" + name})
		}
		member := api.Member{Role: api.MachineNode, ID: node.NodeID}
		members.Put(cluster.Entry[api.Member]{ID: member.Key(), Rev: 1, Value: member})
		n.Put(cluster.Entry[api.NodeStatus]{ID: node.NodeID, Rev: 1, Value: node})
	}
	gpu, cpu := 0, 0
	for i := range models {
		uid := fmt.Sprintf("model-%06d", i)
		spec := api.ModelSpec{ModelUID: uid, ModelName: "org/" + uid, ModelSource: api.SourceHuggingFace, EngineType: api.EngineLlamaCPP}
		if i%10 < 3 {
			spec.EngineType = api.EngineVLLM
		}
		plan := api.PlacementPlan{ModelUID: uid, ModelName: spec.ModelName, Version: 1, Assignments: []api.PlacementAssignment{}}
		for r := range replicas {
			a := api.PlacementAssignment{ReplicaID: uint32(r), EngineType: &spec.EngineType}
			if spec.EngineType == api.EngineVLLM {
				index := uint32(gpu / len(withGPU) % 8)
				a.NodeID, a.GPUIndex, a.GPUIndices = withGPU[gpu%len(withGPU)], &index, []uint32{index}
				gpu++
			} else {
				a.NodeID = cpuOnly[cpu%len(cpuOnly)]
				cpu++
			}
			plan.Assignments = append(plan.Assignments, a)
			url := "http://127.0.0.1:40000"
			info := api.EndpointInfo{
				ModelUID: uid, ReplicaID: a.ReplicaID, PlanVersion: 1, NodeID: a.NodeID, Status: api.EndpointReady, BaseURL: &url,
				GPUIndices: a.GPUIndices, EngineType: spec.EngineType,
			}
			e.Put(cluster.Entry[api.EndpointInfo]{ID: info.Key(), Rev: 1, Value: info})
		}
		m.Put(cluster.Entry[api.ModelSpec]{ID: uid, Rev: 1, Value: spec})
		d.Put(cluster.Entry[api.ModelDeployment]{ID: uid, Rev: 1, Value: api.ModelDeployment{
			ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: uint32(replicas), Version: 1,
		}})
		p.Put(cluster.Entry[api.PlacementPlan]{ID: uid, Rev: 1, Value: plan})
	}
	s.Members = members.Done()
	s.Nodes, s.Models, s.Deployments, s.Placements, s.Endpoints = n.Done(), m.Done(), d.Done(), p.Done(), e.Done()
	return s
}
