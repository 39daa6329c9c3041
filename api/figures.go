package api

// EngineFigures are what the engines of the replicas that are ready say of themselves. They are asked when somebody asks for this, and stored nowhere.
type EngineFigures struct {
	AtMS     int64            `json:"at_ms"`
	Replicas []ReplicaFigures `json:"replicas"` // in order of model and replica
}

// ReplicaFigures are what one engine says of itself. A figure that the engine does not export is absent, never 0.
type ReplicaFigures struct {
	ModelUID   string `json:"model_uid"`
	ReplicaID  uint32 `json:"replica_id"`
	NodeID     string `json:"node_id"`
	EngineType string `json:"engine_type"`
	AtMS       int64  `json:"at_ms"` // when it was asked; rates are the difference of two answers over that of their times
	// RequestsRunning are those that it computes now, RequestsWaiting those that wait for it.
	RequestsRunning *float64 `json:"requests_running,omitempty"`
	RequestsWaiting *float64 `json:"requests_waiting,omitempty"`
	// KVUsedRatio is how much of its KV cache is in use, 0 to 1; of several caches their mean.
	KVUsedRatio *float64 `json:"kv_used_ratio,omitempty"`
	// The totals count tokens since the engine was started: those of prompts, those of prompts that were in its cache, and those that it made.
	// llama.cpp leaves cached tokens out of the first.
	PromptTokensTotal       *float64 `json:"prompt_tokens_total,omitempty"`
	PromptTokensCachedTotal *float64 `json:"prompt_tokens_cached_total,omitempty"`
	OutputTokensTotal       *float64 `json:"generation_tokens_total,omitempty"`
	// Failure says why there are no figures; empty: there are.
	Failure string `json:"failure,omitempty"`
}
