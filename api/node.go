package api

// NodeStatus is a machine that runs engines. Only that node writes it, under the node's lease.
type NodeStatus struct {
	NodeID          string          `json:"node_id"`
	LastHeartbeatMS int64           `json:"last_heartbeat_ms"`
	GPUs            List[GPUStatus] `json:"gpus"`
	APIAddr         string          `json:"api_addr,omitempty"`

	Hostname      string       `json:"hostname,omitempty"`
	Version       string       `json:"version,omitempty"`
	CPUs          uint32       `json:"cpus,omitempty"`
	CPUModel      string       `json:"cpu_model,omitempty"`
	MemoryTotalMB uint64       `json:"memory_total_mb,omitempty"`
	MemoryFreeMB  uint64       `json:"memory_free_mb,omitempty"`
	OS            string       `json:"os,omitempty"`
	Arch          string       `json:"arch,omitempty"`
	Engines       []NodeEngine `json:"engines,omitempty"`

	// Epoch and Seq number the reports of a node: Epoch grows with each start of its agent, Seq with each report. An older report never
	// overwrites a newer one, whichever server it comes through.
	Epoch uint64 `json:"epoch,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`
	// LeaseSeconds is how long this document outlives the node's last sign of life. The server writes it.
	LeaseSeconds int64 `json:"lease_seconds,omitempty"`
}

// Engine returns the entry of the named engine, if the node reports one.
func (n *NodeStatus) Engine(name string) (NodeEngine, bool) {
	for _, e := range n.Engines {
		if e.Name == name {
			return e, true
		}
	}
	return NodeEngine{}, false
}

// NodeEngine is an engine that a node can start.
type NodeEngine struct {
	Name    string `json:"name"` // one of Engines()
	Path    string `json:"path,omitempty"`
	Version string `json:"version,omitempty"`
	// Missing is not empty when the engine cannot be started: why, and how to install it.
	Missing string `json:"missing,omitempty"`
}

// GPUStatus is one accelerator.
type GPUStatus struct {
	Index          uint32  `json:"index"`
	MemoryTotalMB  uint64  `json:"memory_total_mb"`
	MemoryUsedMB   uint64  `json:"memory_used_mb"`
	TemperatureC   *uint32 `json:"temperature_c,omitempty"`
	UtilizationGPU *uint32 `json:"utilization_gpu,omitempty"` // percent

	UUID   string `json:"uuid,omitempty"`
	Name   string `json:"name,omitempty"`
	Vendor string `json:"vendor,omitempty"`
}

// NodeDiskStatus is the file system that holds a node's models.
type NodeDiskStatus struct {
	NodeID          string  `json:"node_id"`
	ModelDir        string  `json:"model_dir"`
	TotalBytes      uint64  `json:"total_bytes"`
	UsedBytes       uint64  `json:"used_bytes"`
	AvailableBytes  uint64  `json:"available_bytes"`
	UsagePct        float64 `json:"usage_pct"` // used / (used + available), as df counts
	ModelCacheBytes uint64  `json:"model_cache_bytes"`
	ModelCount      uint32  `json:"model_count"`
	UpdatedAtMS     int64   `json:"updated_at_ms"`
}

// The alerts that are worked out from the cluster and never stored. Those of disks are named where they are raised.
const (
	AlertMassLoss     = "mass_loss"     // so many nodes do not report that nothing is moved; NodeID is empty
	AlertNodeLost     = "node_lost"     // a node has not reported for so long that its replicas get another place
	AlertDrainBlocked = "drain_blocked" // a replica is to leave a draining node and cannot
)

// DiskAlert is something that people should look at: a node's model disk is nearly full, a node is lost, a drain is stuck.
type DiskAlert struct {
	NodeID         string  `json:"node_id"`    // empty when it concerns no single node
	AlertType      string  `json:"alert_type"` // disk_warning | disk_critical | mass_loss | node_lost | drain_blocked
	Message        string  `json:"message"`
	ModelDir       string  `json:"model_dir"`
	UsagePct       float64 `json:"usage_pct"`
	AvailableBytes uint64  `json:"available_bytes"`
	CreatedAtMS    int64   `json:"created_at_ms"`
}

// ModelCacheEntry is one model in a node's cache.
type ModelCacheEntry struct {
	NodeID         string `json:"node_id"`
	ModelName      string `json:"model_name"`
	CachePath      string `json:"cache_path"`
	SizeBytes      uint64 `json:"size_bytes"`
	FileCount      uint32 `json:"file_count"`
	Complete       bool   `json:"complete"`
	LastAccessedMS int64  `json:"last_accessed_ms"`
	DiscoveredAtMS int64  `json:"discovered_at_ms"`
}

// DownloadPhase is how far a download is.
type DownloadPhase string

// The phases on the wire.
const (
	PhaseDownloading DownloadPhase = "downloading"
	PhaseVerifying   DownloadPhase = "verifying"
	PhaseComplete    DownloadPhase = "complete"
	PhaseFailed      DownloadPhase = "failed"
)

// DownloadProgress is one replica's download. done == total exactly at the end.
type DownloadProgress struct {
	ModelUID         string        `json:"model_uid"`
	ReplicaID        uint32        `json:"replica_id"`
	NodeID           string        `json:"node_id"`
	ModelName        string        `json:"model_name"`
	Phase            DownloadPhase `json:"phase"`
	TotalBytes       uint64        `json:"total_bytes"`
	DownloadedBytes  uint64        `json:"downloaded_bytes"`
	ProgressPct      float64       `json:"progress_pct"`
	SpeedBytesPerSec uint64        `json:"speed_bytes_per_sec"`
	ETASeconds       uint64        `json:"eta_seconds"`
	FilesTotal       uint32        `json:"files_total"`
	FilesDone        uint32        `json:"files_done"`
	UpdatedAtMS      int64         `json:"updated_at_ms"`

	NetworkBytes uint64 `json:"network_bytes,omitempty"` // that came from the hub
	PeerBytes    uint64 `json:"peer_bytes,omitempty"`    // that came from other nodes
	ReusedBytes  uint64 `json:"reused_bytes,omitempty"`  // that an earlier download had left
	Retries      uint64 `json:"retries,omitempty"`       // requests that failed and were repeated
	Source       string `json:"source,omitempty"`        // whom the last bytes came from
	LastError    string `json:"last_error,omitempty"`    // what keeps bytes from coming, for people; empty while they come
}

// Key returns "uid/replica", the progress document's name in the store.
func (d *DownloadProgress) Key() string { return EndpointKey(d.ModelUID, d.ReplicaID) }
