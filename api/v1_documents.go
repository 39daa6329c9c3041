package api

// The documents of version 1's API that are not stored as they are. They have the fields that the existing Nebula gave them, and no others: old clients
// were written against those.

// V1Denied is what version 1 answers who may not ask: 401, and 403.
type V1Denied struct {
	Error V1Message `json:"error"`
}

// V1Message says why.
type V1Message struct {
	Message string `json:"message"`
}

// V1AuthError is how the routes under /api/auth fail in version 1.
type V1AuthError struct {
	Error string `json:"error"`
}

// V1Whoami tells who asks, in version 1. The principal is a name, never the credential that the existing Nebula told here.
type V1Whoami struct {
	Principal string `json:"principal"`
	Role      Role   `json:"role"`
}

// V1Overview is the whole cluster as version 1 shows it.
type V1Overview struct {
	Nodes         List[V1NodeStatus]    `json:"nodes"`
	Endpoints     List[V1EndpointInfo]  `json:"endpoints"`
	Placements    List[V1PlacementPlan] `json:"placements"`
	ModelRequests List[ModelRequest]    `json:"model_requests"`
}

// V1NodeStatus is a node as version 1 shows it.
type V1NodeStatus struct {
	NodeID          string            `json:"node_id"`
	LastHeartbeatMS int64             `json:"last_heartbeat_ms"` // when it was heard last
	GPUs            List[V1GPUStatus] `json:"gpus"`
	APIAddr         string            `json:"api_addr,omitempty"`
}

// V1GPUStatus is an accelerator as version 1 shows it.
type V1GPUStatus struct {
	Index          uint32  `json:"index"`
	MemoryTotalMB  uint64  `json:"memory_total_mb"`
	MemoryUsedMB   uint64  `json:"memory_used_mb"`
	TemperatureC   *uint32 `json:"temperature_c,omitempty"`
	UtilizationGPU *uint32 `json:"utilization_gpu,omitempty"` // percent
}

// V1EndpointInfo is a replica as version 1 shows it.
type V1EndpointInfo struct {
	ModelUID        string         `json:"model_uid"`
	ReplicaID       uint32         `json:"replica_id"`
	PlanVersion     uint64         `json:"plan_version"`
	NodeID          string         `json:"node_id"`
	EndpointKind    string         `json:"endpoint_kind"` // native_http
	APIFlavor       string         `json:"api_flavor"`    // openai
	Status          EndpointStatus `json:"status"`
	LastHeartbeatMS int64          `json:"last_heartbeat_ms"`
	GRPCTarget      *string        `json:"grpc_target"`
	BaseURL         *string        `json:"base_url"` // as its own machine reaches it
}

// V1PlacementPlan is where a model's replicas run, as version 1 shows it.
type V1PlacementPlan struct {
	RequestID   *string            `json:"request_id"` // the request that declares the model; null: it is stored as a model
	ModelUID    string             `json:"model_uid"`
	ModelName   string             `json:"model_name"`
	Version     uint64             `json:"version"`
	Assignments List[V1Assignment] `json:"assignments"`
}

// V1Assignment is one replica of a plan, as version 1 shows it.
type V1Assignment struct {
	ReplicaID        uint32   `json:"replica_id"`
	NodeID           string   `json:"node_id"`
	EngineConfigPath string   `json:"engine_config_path"` // always empty: there is no such file
	Port             uint16   `json:"port"`               // 0: the engine takes a free one
	GPUIndex         *uint32  `json:"gpu_index"`          // the first of gpu_indices
	GPUIndices       []uint32 `json:"gpu_indices"`
	ExtraArgs        []string `json:"extra_args"`
	EngineType       *string  `json:"engine_type"`
	DockerImage      string   `json:"docker_image,omitempty"`
}

// V1Loaded answers version 1's load.
type V1Loaded struct {
	RequestID string `json:"request_id"`
	Status    string `json:"status"` // "pending"
}

// V1Status answers what has no more to say, in version 1.
type V1Status struct {
	Status string `json:"status"`
}

// V1Scale asks for a number of replicas of what a request declares.
type V1Scale struct {
	Replicas uint32 `json:"replicas"`
}

// V1Scaled tells how many replicas a request asks for, and asked for before.
type V1Scaled struct {
	RequestID   string `json:"request_id"`
	OldReplicas uint32 `json:"old_replicas"`
	NewReplicas uint32 `json:"new_replicas"`
}

// V1Drained answers version 1's drain: of a replica that was draining already, only that.
type V1Drained struct {
	ModelUID  string  `json:"model_uid,omitempty"`
	ReplicaID *uint32 `json:"replica_id,omitempty"`
	Status    string  `json:"status"`
}

// V1Drain names a replica to take requests from.
type V1Drain struct {
	ModelUID  string `json:"model_uid"`
	ReplicaID uint32 `json:"replica_id"`
}

// V1User is a person as version 1 shows one.
type V1User struct {
	ID          string  `json:"id"` // a UUID that belongs to the user's name
	Username    string  `json:"username"`
	Role        Role    `json:"role"`
	DisplayName *string `json:"display_name"`
	Email       *string `json:"email"`
}

// V1UserListed is a person in version 1's list.
type V1UserListed struct {
	V1User
	IsActive bool `json:"is_active"`
}

// V1Session answers version 1's login. Only this answer has the token, which is sent as Authorization: Bearer.
type V1Session struct {
	Token     Token  `json:"token"`
	ExpiresAt string `json:"expires_at"` // RFC 3339
	User      V1User `json:"user"`
}

// V1OK answers what has no more to say, under /api/auth.
type V1OK struct {
	OK bool `json:"ok"`
}

// V1UserCreated answers the making of a user in version 1.
type V1UserCreated struct {
	OK bool   `json:"ok"`
	ID string `json:"id"`
}

// V1CreateUser asks version 1 to make a user.
type V1CreateUser struct {
	Username    string  `json:"username"`
	Password    Token   `json:"password"`
	Role        Role    `json:"role"`
	DisplayName *string `json:"display_name,omitempty"`
	Email       *string `json:"email,omitempty"`
}

// V1UpdateUser asks version 1 to change a user: what is absent stays.
type V1UpdateUser struct {
	Role        *Role   `json:"role,omitempty"`
	DisplayName *string `json:"display_name,omitempty"`
	Email       *string `json:"email,omitempty"`
	IsActive    *bool   `json:"is_active,omitempty"`
	Password    *Token  `json:"password,omitempty"`
}

// V1Settings are what a person has chosen in version 1.
type V1Settings struct {
	InAppAlerts bool `json:"in_app_alerts"`
	EmailAlerts bool `json:"email_alerts"`
}

// V1UpdateSettings changes them: what is absent stays.
type V1UpdateSettings struct {
	InAppAlerts *bool `json:"in_app_alerts,omitempty"`
	EmailAlerts *bool `json:"email_alerts,omitempty"`
}

// V1FoundModel is a model that a search in a hub has found.
type V1FoundModel struct {
	ID          string   `json:"id"` // OWNER/NAME
	Name        string   `json:"name"`
	Author      string   `json:"author"`
	Downloads   uint64   `json:"downloads"`
	Likes       uint64   `json:"likes"`
	Tags        []string `json:"tags"`
	PipelineTag *string  `json:"pipeline_tag"`
	Source      string   `json:"source"` // huggingface
}

// V1EndpointStats are what an engine says of itself, as version 1 shows it.
type V1EndpointStats struct {
	ModelUID           string   `json:"model_uid"`
	ReplicaID          uint32   `json:"replica_id"`
	LastUpdatedMS      int64    `json:"last_updated_ms"`
	PendingRequests    uint64   `json:"pending_requests"` // computed now, or waiting
	PrefixCacheHitRate *float64 `json:"prefix_cache_hit_rate"`
	PromptCacheHitRate *float64 `json:"prompt_cache_hit_rate"`
	KVCacheUsedBytes   *uint64  `json:"kv_cache_used_bytes"` // not bytes: of a million
	KVCacheFreeBytes   *uint64  `json:"kv_cache_free_bytes"` // the rest of the million
}

// V1AuditLog is a page of the audit log as version 1 shows it, newest first.
type V1AuditLog struct {
	Data List[V1AuditEntry] `json:"data"`
	Meta V1AuditMeta        `json:"meta"`
}

// V1AuditEntry is a record of the audit log in the shape of a trace, which it was in version 1.
type V1AuditEntry struct {
	ID        string            `json:"id"`
	Timestamp string            `json:"timestamp"` // RFC 3339
	Name      string            `json:"name"`      // what was done: model.create
	UserID    string            `json:"userId"`    // a name
	Tags      []string          `json:"tags"`
	Metadata  map[string]string `json:"metadata"`
	Output    string            `json:"output"`  // ok, denied or failed
	Latency   *float64          `json:"latency"` // not kept
}

// V1AuditMeta says which page it is. With a filter the totals count what was looked through: 10,000 entries at most.
type V1AuditMeta struct {
	Page       int `json:"page"`
	Limit      int `json:"limit"`
	TotalItems int `json:"totalItems"`
	TotalPages int `json:"totalPages"`
}

// V1Use is a client of version 1 and a route that it calls, as one server has seen them since it was started.
type V1Use struct {
	ID        string `json:"id"`        // of the three that follow
	Principal string `json:"principal"` // who: a user, a key's owner, a static token's name; anonymous before a login
	Agent     string `json:"agent"`     // as the client calls itself: User-Agent
	Route     string `json:"route"`     // method and path of the table
	Source    string `json:"source"`    // the address it was called from last
	Calls     uint64 `json:"calls"`
	FirstMS   int64  `json:"first_ms"`
	LastMS    int64  `json:"last_ms"`
	Successor string `json:"successor,omitempty"` // the route to call instead
}
