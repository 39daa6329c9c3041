package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// NodeViews returns every node that is a member or live with its state, its disk, its alerts and its replicas, in order of node id. A
// replica that is placed on a node and that the node has not taken on yet is there as starting. absent is how long the observer has
// missed each node; from lostAfter on a node is lost.
//
// Of a node that does not report, the replicas and the disk are those of its last report; the rest is not known any more.
func NodeViews(s *State, absent map[string]time.Duration, lostAfter time.Duration) []api.NodeView {
	replicas := replicasByNode(s)
	views := make([]api.NodeView, 0, s.Nodes.Len())
	members := slices.Collect(s.Members.Prefix(memberNodes))
	for _, n := range s.Nodes.Refs() {
		for len(members) > 0 && members[0].Value.ID < n.ID {
			views = append(views, s.absentView(&members[0].Value, absent[members[0].Value.ID], lostAfter))
			members = members[1:]
		}
		v := api.NodeView{NodeStatus: n.Value, State: api.NodeReady}
		if len(members) > 0 && members[0].Value.ID == n.ID {
			v.Cordoned, v.Draining = members[0].Value.Cordoned, members[0].Value.Draining
			members = members[1:]
		}
		views = append(views, v)
	}
	for i := range members {
		views = append(views, s.absentView(&members[i].Value, absent[members[i].Value.ID], lostAfter))
	}
	for i := range views {
		s.furnish(&views[i], replicas[views[i].NodeID])
	}
	return views
}

func (s *State) absentView(m *api.Member, away, lostAfter time.Duration) api.NodeView {
	v := api.NodeView{
		NodeStatus: api.NodeStatus{NodeID: m.ID}, State: api.NodeCutOff, AbsentSeconds: int64(away.Seconds()),
		Cordoned: m.Cordoned, Draining: m.Draining,
	}
	if away >= lostAfter {
		v.State = api.NodeLost
	}
	return v
}

// furnish adds what is on a node.
func (s *State) furnish(v *api.NodeView, replicas []api.NodeReplica) {
	v.Replicas = replicas
	if v.Replicas == nil {
		v.Replicas = []api.NodeReplica{}
	}
	v.Cordoned = v.Cordoned || v.Draining
	v.Drained = v.Draining && len(replicas) == 0
	if disk, ok := s.Disks.Value(v.NodeID); ok {
		v.Disk = &disk
	}
	if v.State == api.NodeLost {
		v.Alerts = append(v.Alerts, lostAlert(v.NodeID, time.Duration(v.AbsentSeconds)*time.Second))
	}
	if v.Draining {
		v.Alerts = append(v.Alerts, drainAlerts(s, v.NodeID)...)
	}
	for alert := range s.Alerts.Prefix(v.NodeID + "/") {
		v.Alerts = append(v.Alerts, alert.Value)
	}
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
