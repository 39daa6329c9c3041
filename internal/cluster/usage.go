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
	for e := range s.Placements.All() {
		for i := range e.Value.Assignments {
			a := &e.Value.Assignments[i]
			for _, g := range a.GPUs() {
				taken[GPU{a.NodeID, g}] = api.EndpointKey(e.ID, a.ReplicaID)
			}
		}
	}
	for e := range s.Endpoints.All() {
		for _, g := range e.Value.GPUIndices {
			taken[GPU{e.Value.NodeID, g}] = e.ID
		}
	}
	return taken
}
