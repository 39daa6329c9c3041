package cluster

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Desired is everything that a node should run: each replica that the scheduler has placed there and whose model people
// want to run, in order of uid and replica. A model that is stopped leaves the node at once, without waiting for the
// scheduler.
//
// A model with a document that cannot be read is in Frozen instead: nobody knows what is wanted of it, so whatever
// runs of it is left alone. A replica whose place was taken while the node was away is marked as displaced.
func Desired(s *State, nodeID string) api.NodeDesired {
	d := api.NodeDesired{
		NodeID: nodeID, Revision: s.Revision, Replicas: []api.DesiredReplica{}, Frozen: s.unreadable(), Servers: ServerAddrs(s),
	}
	info, told := s.Info.Value(api.ClusterInfoID)
	d.History, d.HistoryAccepted = info.History, info.HistoryAccepted
	d.CacheWishes, d.FrozenWishes = wishesOf(s, nodeID, told && !info.HistoryAccepted)
	for _, uid := range s.placedOn(nodeID) {
		if _, frozen := slices.BinarySearch(d.Frozen, uid); frozen {
			continue
		}
		spec, ok := s.Models.Value(uid)
		deployment, wanted := s.Deployments.Value(uid)
		if !ok || !wanted || !wantsRunning(&deployment) {
			continue
		}
		plan, _ := s.Placements.Value(uid)
		var config api.ModelConfig
		if c := api.EffectiveConfig(&spec, &deployment); c != nil {
			config = *c
		}
		secret, _ := s.Secrets.Value(spec.TokenSecret)
		add := func(list []api.PlacementAssignment, displaced bool) {
			for _, a := range list {
				if a.NodeID == nodeID {
					d.Replicas = append(d.Replicas, api.DesiredReplica{
						Spec: spec, Config: config, Assignment: a, PlanVersion: plan.Version, Generation: deployment.Version,
						TokenVersion: secret.Version, Displaced: displaced,
					})
				}
			}
		}
		add(plan.Assignments, false)
		add(plan.Displaced, true)
	}
	slices.SortStableFunc(d.Replicas, func(a, b api.DesiredReplica) int {
		return cmp.Or(cmp.Compare(a.Spec.ModelUID, b.Spec.ModelUID), cmp.Compare(a.Assignment.ReplicaID, b.Assignment.ReplicaID))
	})
	d.Stopped = stoppedOn(s, nodeID)
	return d
}

// fillingPct is how full a node's disk is when it is told which models are only stopped.
const fillingPct = 60

// stoppedOn returns the files of declared models that are stopped and of whose name a node has some, while its disk is filling.
func stoppedOn(s *State, nodeID string) []api.ModelSpec {
	if disk, ok := s.Disks.Value(nodeID); !ok || disk.UsagePct < fillingPct {
		return nil
	}
	cached := map[string]bool{}
	for e := range s.Cache.Prefix(nodeID + "/") {
		cached[e.Value.ModelName] = true
	}
	var out []api.ModelSpec
	for _, m := range s.Models.Refs() {
		deployment, declared := s.Deployments.Value(m.ID)
		if cached[m.Value.ModelName] && declared && !wantsRunning(&deployment) {
			out = append(out, m.Value.FilesOnly())
		}
	}
	return out
}

// wishesOf returns what people wish of the files on a node, and the wishes that cannot be read. A restored cluster, which may have been put
// back to a time before the files were wanted again, lets nothing be purged.
func wishesOf(s *State, nodeID string, restored bool) (wishes []api.CacheWish, frozen []string) {
	for w := range s.Wishes.Prefix(nodeID + "/") {
		if w.Value.Kind != api.WishPurge || !restored {
			wishes = append(wishes, w.Value)
		}
	}
	prefix := "/cache_wishes/" + nodeID + "/"
	for bad := range s.Bad.Prefix(prefix) {
		frozen = append(frozen, strings.TrimPrefix(bad.ID, prefix))
	}
	return wishes, frozen
}

// ServerAddrs returns the addresses at which machines reach the servers, in order of the servers' ids.
func ServerAddrs(s *State) []string {
	var addrs []string
	for m := range s.Members.Prefix(string(api.MachineServer) + "/") {
		if m.Value.Addr != "" {
			addrs = append(addrs, m.Value.Addr)
		}
	}
	return addrs
}

// wantsRunning tells whether people want the model to run. A stored wish for zero replicas is a wish to stop.
func wantsRunning(d *api.ModelDeployment) bool {
	return d.DesiredState == api.DesiredRunning && d.Replicas > 0
}
