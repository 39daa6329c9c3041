package api

import "strconv"

// EndpointStatus is how a replica stands, as its node sees it.
type EndpointStatus string

// The four statuses on the wire.
const (
	EndpointStarting  EndpointStatus = "starting"
	EndpointReady     EndpointStatus = "ready"
	EndpointUnhealthy EndpointStatus = "unhealthy"
	EndpointDraining  EndpointStatus = "draining" // takes no new request; streams in flight go on
)

// EndpointInfo is one replica on its node: where it answers, how it stands, and what it holds. Only that node
// writes it. It exists from the moment the node takes the replica on until nothing of it is left, so that its
// GPUs count as taken while an engine is still leaving.
type EndpointInfo struct {
	ModelUID        string         `json:"model_uid"`
	ReplicaID       uint32         `json:"replica_id"`
	PlanVersion     uint64         `json:"plan_version"`
	NodeID          string         `json:"node_id"`
	EndpointKind    string         `json:"endpoint_kind"` // always native_http
	APIFlavor       string         `json:"api_flavor"`    // always openai
	Status          EndpointStatus `json:"status"`
	LastHeartbeatMS int64          `json:"last_heartbeat_ms"` // when the node last changed this document
	GRPCTarget      *string        `json:"grpc_target"`
	BaseURL         *string        `json:"base_url"` // set once the engine listens
	// NodeAddr is host:port of its node, through which other machines reach the engine. It is here too, so that they still do
	// when the node's own document has ended with its lease.
	NodeAddr string `json:"node_addr,omitempty"`

	EngineType    string          `json:"engine_type,omitempty"`
	ServedName    string          `json:"served_name,omitempty"` // the model name that the engine knows
	GPUIndices    []uint32        `json:"gpu_indices,omitempty"`
	PID           int             `json:"pid,omitempty"`
	StartedAtMS   int64           `json:"started_at_ms,omitempty"`
	ReadyAtMS     int64           `json:"ready_at_ms,omitempty"`
	Restarts      uint32          `json:"restarts,omitempty"`
	LoadedPercent *float64        `json:"loaded_percent,omitempty"` // while starting, where the engine tells
	Generation    uint64          `json:"generation,omitempty"`     // of the wish that the node acts on
	TokenVersion  uint64          `json:"token_version,omitempty"`  // of the secret that its download was begun for; see DesiredReplica
	Failure       *ReplicaFailure `json:"failure,omitempty"`        // the last failure; gone once ready again
	// Capabilities are what the engine may be asked: chat, completions, embeddings; empty = all.
	Capabilities []string `json:"capabilities,omitempty"`
}

// Key returns "uid/replica", the endpoint's name in the store.
func (e *EndpointInfo) Key() string { return EndpointKey(e.ModelUID, e.ReplicaID) }

// EndpointKey returns "uid/replica".
func EndpointKey(uid string, replica uint32) string {
	return uid + "/" + strconv.FormatUint(uint64(replica), 10)
}

// ReplicaFailure says why a replica does not serve.
type ReplicaFailure struct {
	Code    FailureCode `json:"code"`
	Message string      `json:"message"` // what happened, the numbers, what to change
	// Final means that nothing is tried again until the model or its files change.
	Final     bool  `json:"final"`
	AtMS      int64 `json:"at_ms"`
	RetryAtMS int64 `json:"retry_at_ms,omitempty"` // when the next try is due; 0 when Final
}

// FailureCode names what went wrong with a replica, for machines.
type FailureCode string

// Failure codes; the text beside each says when it is given.
const (
	FailPortInUse        FailureCode = "port_in_use"
	FailModelMissing     FailureCode = "model_missing"    // the path does not exist on the node
	FailNotGGUF          FailureCode = "not_gguf"         // the file is not GGUF
	FailModelTruncated   FailureCode = "model_truncated"  // the file is shorter than its header says
	FailUnsupportedArch  FailureCode = "unsupported_arch" // the engine is too old for the model
	FailOutOfMemory      FailureCode = "out_of_memory"
	FailBadFlag          FailureCode = "bad_flag"
	FailBadInstall       FailureCode = "bad_install" // the engine's own files are broken or missing
	FailEngineMissing    FailureCode = "engine_not_installed"
	FailNoGPU            FailureCode = "no_gpu"
	FailHub              FailureCode = "hub_error"
	FailHubAuth          FailureCode = "hub_auth"
	FailDiskFull         FailureCode = "disk_full"
	FailDownload         FailureCode = "download_failed"
	FailInvalidModel     FailureCode = "invalid_model"
	FailStalled          FailureCode = "start_stalled" // no sign of life for the stall time-out
	FailProbe            FailureCode = "probe_failed"  // answers no health probe any more
	FailEngineCrash      FailureCode = "engine_crash"
	FailCrashLoop        FailureCode = "crash_loop" // failed too often in a short time
	FailLoRA             FailureCode = "lora_error"
	FailAdmission        FailureCode = "admission_rejected" // the node found less room than the plan assumed
	FailUnsupportedModel FailureCode = "unsupported_source" // this node cannot fetch from that source
)
