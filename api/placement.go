package api

import (
	"encoding/json"
	"errors"
)

// PlacementPlan says where each replica of a model runs. Only the scheduler's leader writes it.
type PlacementPlan struct {
	RequestID   *string                   `json:"request_id"` // set only for a v1 request
	ModelUID    string                    `json:"model_uid"`
	ModelName   string                    `json:"model_name"`
	Version     uint64                    `json:"version"` // grows with every change of the plan
	Assignments List[PlacementAssignment] `json:"assignments"`
	// Displaced are assignments to lost nodes that have been given another place. They stay here until the node returns or is removed,
	// so that on its return one of the two is chosen and never both or neither.
	Displaced []PlacementAssignment `json:"displaced,omitempty"`
	// Unplaced says why fewer replicas than desired are assigned; nil when all are.
	Unplaced *Reason `json:"unplaced,omitempty"`
	// PlannedAtMS is the planner's clock, for people; nothing decides by it.
	PlannedAtMS int64 `json:"planned_at_ms,omitempty"`
}

// UnmarshalJSON refuses a plan without assignments, which would read as "nowhere" and stop what runs.
func (p *PlacementPlan) UnmarshalJSON(b []byte) error {
	type plain PlacementPlan
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Assignments == nil {
		return errors.New("assignments is missing")
	}
	*p = PlacementPlan(v)
	return nil
}

// PlacementAssignment binds one replica to a node and its GPUs. A replica is replaced, never moved.
type PlacementAssignment struct {
	ReplicaID        uint32   `json:"replica_id"`
	NodeID           string   `json:"node_id"`
	EngineConfigPath string   `json:"engine_config_path"` // kept for old readers; always empty
	Port             uint16   `json:"port"`               // kept for old readers; 0: the engine takes a free one
	GPUIndex         *uint32  `json:"gpu_index"`
	GPUIndices       []uint32 `json:"gpu_indices"`
	ExtraArgs        []string `json:"extra_args"`
	EngineType       *string  `json:"engine_type"`
	DockerImage      string   `json:"docker_image,omitempty"`
	// Replaces is the replica of the same plan whose place this one takes: one that is displaced, or one that is to leave its draining
	// node, or to leave by itself, and goes when this one is ready. nil: none.
	Replaces *uint32 `json:"replaces,omitempty"`
}

// UnmarshalJSON refuses an assignment that does not say which replica runs on which node.
func (a *PlacementAssignment) UnmarshalJSON(b []byte) error {
	type plain PlacementAssignment
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	var must struct {
		ReplicaID *uint32 `json:"replica_id"`
	}
	if err := json.Unmarshal(b, &must); err != nil {
		return err
	}
	if must.ReplicaID == nil || v.NodeID == "" {
		return errors.New("an assignment lacks its replica_id or its node_id")
	}
	*a = PlacementAssignment(v)
	return nil
}

// GPUs returns the effective GPU indices: gpu_indices when not empty, else gpu_index, else none.
func (a *PlacementAssignment) GPUs() []uint32 {
	if len(a.GPUIndices) > 0 {
		return a.GPUIndices
	}
	if a.GPUIndex != nil {
		return []uint32{*a.GPUIndex}
	}
	return nil
}

// Reason explains a state: a code for machines and one sentence for people that says what to do.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Codes of Reason that Nebula itself gives; engine failures add theirs (FailureCode).
const (
	ReasonNoNodes          = "no_nodes"             // no live node at all
	ReasonUnschedulable    = "unschedulable"        // nodes are there, but none has room
	ReasonEngineMissing    = "engine_not_installed" // no live node can run the model's engine
	ReasonNodeGone         = "node_gone"            // the pinned node is not alive
	ReasonNodeCutOff       = "node_cut_off"         // a replica serves on a node that does not report
	ReasonReplicaDraining  = "replica_draining"     // a replica is to be drained and has nowhere to go
	ReasonNodeDraining     = "node_draining"        // a replica is to leave a draining node and has nowhere to go
	ReasonPendingPlacement = "pending_placement"    // the scheduler has not answered yet
	ReasonNodeStarting     = "waiting_for_node"     // placed; the node has not reported yet
	ReasonDownloading      = "downloading"
	ReasonLoading          = "loading"
	ReasonDraining         = "draining"
	ReasonUnreadable       = "unreadable_document" // a stored document of this model cannot be decoded
)
