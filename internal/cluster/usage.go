package cluster

import "github.com/nebula-serve/nebula/api"

// GPU names one accelerator of the cluster.
type GPU struct {
	NodeID string
	Index  uint32
}

// Usage tells which GPUs are taken and by which replica ("uid/replica"). A GPU is taken as long as a placement or an
// endpoint says so: an engine that is still leaving holds its memory although no plan names it any more. Where the
// two differ, the endpoint names the holder, because it is what really runs.
func Usage(s *State) map[GPU]string {
	taken := map[GPU]string{}
	take := func(uid string, list []api.PlacementAssignment) {
		for i := range list {
			for _, g := range list[i].GPUs() {
				taken[GPU{list[i].NodeID, g}] = api.EndpointKey(uid, list[i].ReplicaID)
			}
		}
	}
	for e := range s.Placements.All() {
		take(e.ID, e.Value.Displaced)
		take(e.ID, e.Value.Assignments)
	}
	for e := range s.Endpoints.All() {
		for _, g := range e.Value.GPUIndices {
			taken[GPU{e.Value.NodeID, g}] = e.ID
		}
	}
	return taken
}
