package api

// NodeDesired is everything a node should run, complete: what is not listed is to be stopped. It is a value
// to compare with, not a message to obey once, so a lost or doubled copy does no harm.
type NodeDesired struct {
	NodeID   string           `json:"node_id"`
	Revision int64            `json:"revision"` // of the store; grows
	Replicas []DesiredReplica `json:"replicas"`
	// Frozen lists models of which a stored document cannot be read: whatever runs of them is left alone.
	Frozen []string `json:"frozen,omitempty"`
}

// DesiredReplica is one replica that a node should run.
type DesiredReplica struct {
	Spec        ModelSpec           `json:"spec"`
	Config      ModelConfig         `json:"config"` // the spec's configuration with the deployment's overrides
	Assignment  PlacementAssignment `json:"assignment"`
	PlanVersion uint64              `json:"plan_version"`
	// Generation is the deployment's version: a replica that failed for good is tried again when it grows.
	Generation uint64 `json:"generation"`
}

// Key returns "uid/replica".
func (d *DesiredReplica) Key() string { return EndpointKey(d.Spec.ModelUID, d.Assignment.ReplicaID) }

// NodeObserved is everything that is true on a node, complete: what is not listed is gone.
type NodeObserved struct {
	Node      NodeStatus         `json:"node"`
	Endpoints []EndpointInfo     `json:"endpoints"`
	Downloads []DownloadProgress `json:"downloads"`
	Cache     []ModelCacheEntry  `json:"cache"`
	Disk      *NodeDiskStatus    `json:"disk,omitempty"`
	Alerts    []DiskAlert        `json:"alerts,omitempty"`
}
