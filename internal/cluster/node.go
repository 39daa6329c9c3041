package cluster

import (
	"cmp"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// Nodes returns every live node with its disk, its alerts and its replicas, in order of node id. A replica that is
// placed on a node and that the node has not taken on yet is there as starting.
func Nodes(s *State) []api.NodeView {
	replicas := replicasByNode(s)
	views := make([]api.NodeView, 0, s.Nodes.Len())
	for e := range s.Nodes.All() {
		v := api.NodeView{NodeStatus: e.Value, Replicas: replicas[e.ID]}
		if v.Replicas == nil {
			v.Replicas = []api.NodeReplica{}
		}
		if disk, ok := s.Disks.Value(e.ID); ok {
			v.Disk = &disk
		}
		for alert := range s.Alerts.Prefix(e.ID + "/") {
			v.Alerts = append(v.Alerts, alert.Value)
		}
		views = append(views, v)
	}
	return views
}

func replicasByNode(s *State) map[string][]api.NodeReplica {
	out := map[string][]api.NodeReplica{}
	for e := range s.Endpoints.All() {
		i := &e.Value
		out[i.NodeID] = append(out[i.NodeID], api.NodeReplica{
			ModelUID: i.ModelUID, ReplicaID: i.ReplicaID, Status: i.Status, GPUIndices: i.GPUIndices,
		})
	}
	for e := range s.Placements.All() {
		for i := range e.Value.Assignments {
			a := &e.Value.Assignments[i]
			if there, ok := s.Endpoints.Value(api.EndpointKey(e.ID, a.ReplicaID)); !ok || there.NodeID != a.NodeID {
				out[a.NodeID] = append(out[a.NodeID], api.NodeReplica{
					ModelUID: e.ID, ReplicaID: a.ReplicaID, Status: api.EndpointStarting, GPUIndices: a.GPUs(),
				})
			}
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b api.NodeReplica) int {
			return cmp.Or(cmp.Compare(a.ModelUID, b.ModelUID), cmp.Compare(a.ReplicaID, b.ReplicaID))
		})
	}
	return out
}
