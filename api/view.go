package api

// ModelState is the state of a model as a whole, worked out from its documents and never stored.
type ModelState string

// The seven states.
const (
	StateStopped     ModelState = "stopped"
	StateDownloading ModelState = "downloading"
	StateStarting    ModelState = "starting"
	StateRunning     ModelState = "running"
	StateDegraded    ModelState = "degraded"
	StateFailed      ModelState = "failed"
	StateStopping    ModelState = "stopping"
)

// ModelStates lists the seven states in the order of a model's life.
func ModelStates() []ModelState {
	return []ModelState{
		StateStopped, StateDownloading, StateStarting, StateRunning, StateDegraded, StateFailed, StateStopping,
	}
}

// ReplicaCounts counts a model's replicas; ready + starting + unhealthy never exceeds the replicas that exist.
type ReplicaCounts struct {
	Desired   uint32 `json:"desired"`
	Ready     uint32 `json:"ready"`
	Starting  uint32 `json:"starting"`
	Unhealthy uint32 `json:"unhealthy"`
}

// ModelStatus is the answer of cluster.Status.
type ModelStatus struct {
	State    ModelState    `json:"state"`
	Replicas ReplicaCounts `json:"replicas"`
	// Reason explains every state but running and stopped.
	Reason *Reason `json:"reason,omitempty"`
}

// ModelView is a model in a list.
type ModelView struct {
	ModelUID    string             `json:"model_uid"`
	ModelName   string             `json:"model_name"`
	EngineType  *string            `json:"engine_type"`
	State       ModelState         `json:"state"`
	Replicas    ReplicaCounts      `json:"replicas"`
	Reason      *Reason            `json:"reason,omitempty"`
	Endpoints   []EndpointInfo     `json:"endpoints"`
	Downloads   []DownloadProgress `json:"downloads,omitempty"`
	Labels      map[string]string  `json:"labels"`
	CreatedAtMS int64              `json:"created_at_ms"`
	UpdatedAtMS int64              `json:"updated_at_ms"`
	Revision    int64              `json:"revision"` // of the wish (spec and deployment): the ETag
}

// ModelDetail is everything known about one model.
type ModelDetail struct {
	ModelUID         string            `json:"model_uid"`
	ModelName        string            `json:"model_name"`
	EngineType       *string           `json:"engine_type"`
	State            ModelState        `json:"state"`
	Replicas         ReplicaCounts     `json:"replicas"`
	Reason           *Reason           `json:"reason,omitempty"`
	Labels           map[string]string `json:"labels"`
	CreatedAtMS      int64             `json:"created_at_ms"`
	UpdatedAtMS      int64             `json:"updated_at_ms"`
	Revision         int64             `json:"revision"`
	Spec             *ModelSpec        `json:"spec"`
	Deployment       *ModelDeployment  `json:"deployment"`
	Placement        *PlacementPlan    `json:"placement"`
	Endpoints        []EndpointInfo    `json:"endpoints"`
	Stats            []struct{}        `json:"stats"` // kept for old readers; live figures come from /metrics
	DownloadProgress *ModelDownloads   `json:"download_progress"`
	CacheStatus      *ModelCacheStatus `json:"cache_status"`
}

// ModelDownloads holds the downloads of a model's replicas.
type ModelDownloads struct {
	Replicas []DownloadProgress `json:"replicas"`
}

// ModelCacheStatus says where a model's files are.
type ModelCacheStatus struct {
	CachedOnNodes  []string `json:"cached_on_nodes"`
	TotalSizeBytes uint64   `json:"total_size_bytes"`
}

// ModelDeleted answers a DELETE of a model. Files are deleted with it only when that was asked for.
type ModelDeleted struct {
	ModelUID string  `json:"model_uid"`
	Status   string  `json:"status"` // "deleted"
	Purge    *Purged `json:"purge,omitempty"`
}

// NodeView is a node in a list.
type NodeView struct {
	NodeStatus
	State NodeState `json:"state"`
	// AbsentSeconds is how long the observing server has missed the node, by its own monotonic clock; 0 when it is ready.
	AbsentSeconds int64           `json:"absent_seconds,omitempty"`
	Cordoned      bool            `json:"cordoned,omitempty"`
	Draining      bool            `json:"draining,omitempty"`
	Drained       bool            `json:"drained,omitempty"` // draining, and nothing is left on it
	Disk          *NodeDiskStatus `json:"disk,omitempty"`
	Replicas      []NodeReplica   `json:"replicas"`
	Alerts        []DiskAlert     `json:"alerts,omitempty"`
}

// NodeReplica is a replica on a node, in short.
type NodeReplica struct {
	ModelUID   string         `json:"model_uid"`
	ReplicaID  uint32         `json:"replica_id"`
	Status     EndpointStatus `json:"status"`
	GPUIndices []uint32       `json:"gpu_indices,omitempty"`
}

// ServerVersion answers GET /api/v2/version.
type ServerVersion struct {
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
	Platform  string `json:"platform"`
}

// Health answers GET /healthz and /readyz.
type Health struct {
	Status string `json:"status"` // ok, ready
}
