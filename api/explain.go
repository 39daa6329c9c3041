package api

// Explanation says why a model stands as it does: what is wanted, where its replicas are or would go, what each node lacks for one more,
// and what would help.
type Explanation struct {
	ModelUID string `json:"model_uid"`
	ModelStatus
	// Need is what one replica asks of a node, whether or not the model is to run; null when the model cannot be read.
	Need *ReplicaNeed `json:"need"`
	// Places are the replicas that have a place, or, where the scheduler has not planned yet, those that it would give one.
	Places []ReplicaPlace `json:"places"`
	// Unplaced says why fewer replicas have a place than are wanted; null: they have one, or nothing is wanted.
	Unplaced *Reason `json:"unplaced"`
	// Nodes are all nodes that Nebula knows, those that come nearest first.
	Nodes []NodeFit `json:"nodes"`
	// Help is what would help, the likeliest first; empty when nothing is wrong.
	Help []string `json:"help"`
}

// ReplicaNeed is what one replica asks of a node.
type ReplicaNeed struct {
	Engine string `json:"engine"`
	// GPUs are how many whole GPUs it takes. llama.cpp is content with the CPU unless Insists.
	GPUs    int  `json:"gpus"`
	Insists bool `json:"insists_on_gpus"`
	// VRAMMB is how much memory must be free on each GPU, in MiB; 0 = any.
	VRAMMB uint64 `json:"vram_mb,omitempty"`
	// MemoryShare is the fraction of each GPU's memory that must be free; 0 = any.
	MemoryShare float32  `json:"memory_share,omitempty"`
	NodeID      string   `json:"node_id,omitempty"`     // the only node it may go to
	GPUIndices  []uint32 `json:"gpu_indices,omitempty"` // the only GPUs it may have
	Message     string   `json:"message"`               // the same in words
}

// ReplicaPlace is where a replica is, or would go.
type ReplicaPlace struct {
	ReplicaID  uint32   `json:"replica_id"`
	NodeID     string   `json:"node_id"`
	GPUIndices []uint32 `json:"gpu_indices"` // empty: the CPU
	// Planned is false for what the scheduler would decide now, and has not written.
	Planned bool `json:"planned"`
	// Status is what its node says of it; empty: nothing yet.
	Status EndpointStatus `json:"status,omitempty"`
	// StartedAtMS is when its engine was last started; 0: never.
	StartedAtMS int64           `json:"started_at_ms,omitempty"`
	Failure     *ReplicaFailure `json:"failure,omitempty"`
}

// NodeFit says whether a node could take one more replica of a model, and if not, why and by how much.
type NodeFit struct {
	NodeID string  `json:"node_id"`
	Fits   bool    `json:"fits"`
	Code   FitCode `json:"code"`
	// Message is the code in words, with the numbers.
	Message string `json:"message"`
	// Replicas are those of this model that are planned here.
	Replicas []uint32 `json:"replicas"`
	// GPUsShort is how many GPUs that would do are too few.
	GPUsShort int `json:"gpus_short,omitempty"`
	// VRAMShortMB is what the roomiest GPUs that nobody holds lack in memory, in MiB: of as many as a replica takes, the one that lacks most.
	VRAMShortMB uint64   `json:"vram_short_mb,omitempty"`
	GPUs        []GPUFit `json:"gpus"`
}

// GPUFit says whether a GPU could be one of a replica's.
type GPUFit struct {
	Index         uint32 `json:"index"`
	Fits          bool   `json:"fits"`
	MemoryTotalMB uint64 `json:"memory_total_mb"`
	MemoryFreeMB  uint64 `json:"memory_free_mb"`
	Holder        string `json:"holder,omitempty"`   // uid/replica that has it
	ShortMB       uint64 `json:"short_mb,omitempty"` // what it lacks in free memory, in MiB
}

// FitCode names why a node can or cannot take a replica, for machines.
type FitCode string

// Fit codes.
const (
	FitOK            FitCode = "fits"
	FitOnCPU         FitCode = "fits_on_cpu"          // it would run without a GPU
	FitNoGPUs        FitCode = "no_gpus"              // GPUs are asked for, and the node has none
	FitNoRoom        FitCode = "no_room"              // too few of its GPUs are free and large enough
	FitWrongGPUs     FitCode = "wrong_gpus"           // the GPUs that are asked for are not there
	FitEngineMissing FitCode = "engine_not_installed" // the engine is not installed
	FitRefused       FitCode = "refused"              // the node found less room than the plan assumed, a moment ago
	FitCordoned      FitCode = "cordoned"             // people want nothing new on it
	FitElsewhere     FitCode = "pinned_elsewhere"     // the model is to run on another node
	FitNotConnected  FitCode = "not_connected"        // the node does not report
)
