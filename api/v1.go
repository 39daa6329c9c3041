package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ModelRequest is version 1's way to declare a model: one document that says what the model is, that it is to run, and how that went. Old clients write
// it, through the API of version 1 or into the store directly. Nebula reads what it says as a spec and a deployment; cluster.State.WithRequests has the
// rule for a uid that has a spec of its own too.
type ModelRequest struct {
	ID          string           `json:"id"` // a UUID
	Request     ModelLoadRequest `json:"request"`
	Status      RequestStatus    `json:"status"`
	CreatedAtMS int64            `json:"created_at_ms"`
}

// ModelLoadRequest is the body of version 1's load, and the wish inside a [ModelRequest].
type ModelLoadRequest struct {
	ModelName   string       `json:"model_name"`
	ModelUID    string       `json:"model_uid"`
	Replicas    uint32       `json:"replicas"` // absent means 1
	Config      *ModelConfig `json:"config"`
	NodeID      *string      `json:"node_id"`
	GPUIndex    *uint32      `json:"gpu_index"` // counts only where gpu_indices is empty
	GPUIndices  []uint32     `json:"gpu_indices"`
	MinReplicas *uint32      `json:"min_replicas,omitempty"`
	MaxReplicas *uint32      `json:"max_replicas,omitempty"`
	EngineType  string       `json:"engine_type,omitempty"`
	DockerImage string       `json:"docker_image,omitempty"`
}

// UnmarshalJSON gives replicas its default and refuses a document that lacks what version 1 requires.
func (r *ModelRequest) UnmarshalJSON(b []byte) error {
	type plain ModelRequest
	v := struct {
		plain
		Request     *ModelLoadRequest `json:"request"`
		Status      *RequestStatus    `json:"status"`
		CreatedAtMS *uint64           `json:"created_at_ms"`
	}{}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.ID == "" || v.Request == nil || v.Status == nil || v.CreatedAtMS == nil || *v.CreatedAtMS > 1<<62 {
		return errors.New("one of id, request, status and created_at_ms is missing or beyond its range")
	}
	*r = ModelRequest{ID: v.ID, Request: *v.Request, Status: *v.Status, CreatedAtMS: int64(*v.CreatedAtMS)}
	return nil
}

// UnmarshalJSON gives replicas its default and refuses a wish without a model.
func (r *ModelLoadRequest) UnmarshalJSON(b []byte) error {
	type plain ModelLoadRequest
	v := struct {
		plain
		Name         *string  `json:"model_name"`
		UID          *string  `json:"model_uid"`
		NodeAffinity *string  `json:"node_affinity"` // as deployments call node_id
		GPUAffinity  []uint32 `json:"gpu_affinity"`  // as they call gpu_indices
	}{plain: plain{Replicas: 1}}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Name == nil || v.UID == nil {
		return errors.New("model_name or model_uid is missing")
	}
	v.ModelName, v.ModelUID = *v.Name, *v.UID
	*r = ModelLoadRequest(v.plain)
	if r.NodeID == nil {
		r.NodeID = v.NodeAffinity
	}
	if len(r.GPUIndices) == 0 && r.GPUIndex == nil {
		r.GPUIndices = v.GPUAffinity
	}
	return nil
}

// GPUs returns the effective GPU indices: gpu_indices when not empty, else gpu_index, else none.
func (r *ModelLoadRequest) GPUs() []uint32 {
	switch {
	case len(r.GPUIndices) > 0:
		return slices.Clone(r.GPUIndices)
	case r.GPUIndex != nil:
		return []uint32{*r.GPUIndex}
	}
	return nil
}

// RequestPhase is where a [ModelRequest] stands.
type RequestPhase string

// The phases, as they are stored. RequestFailed carries a reason.
const (
	RequestPending   RequestPhase = "Pending"
	RequestScheduled RequestPhase = "Scheduled"
	RequestRunning   RequestPhase = "Running"
	RequestUnloading RequestPhase = "Unloading"
	RequestFailed    RequestPhase = "Failed"
)

// RequestStatus is a phase, with a reason when it is RequestFailed. On the wire it is a string, or {"Failed": "the reason"}.
type RequestStatus struct {
	Phase  RequestPhase
	Reason string
}

// MarshalJSON writes the one form that old clients read.
func (s RequestStatus) MarshalJSON() ([]byte, error) {
	if s.Phase == RequestFailed {
		return json.Marshal(map[string]string{string(RequestFailed): s.Reason})
	}
	return json.Marshal(string(s.Phase))
}

// UnmarshalJSON reads a phase in any case, with or without a reason.
func (s *RequestStatus) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		phase, ok := requestPhase(word)
		*s = RequestStatus{Phase: phase}
		return wrongPhase(word, ok)
	}
	var with map[string]string
	if err := json.Unmarshal(b, &with); err != nil {
		return fmt.Errorf("status is neither a word nor an object with a reason: %w", err)
	}
	for word, reason := range with {
		phase, ok := requestPhase(word)
		*s = RequestStatus{Phase: phase, Reason: reason}
		return wrongPhase(word, ok && phase == RequestFailed && len(with) == 1)
	}
	return wrongPhase("", false)
}

// requestPhase takes any case, and Unloaded, which old consoles know: it is one whose unloading is over.
func requestPhase(word string) (RequestPhase, bool) {
	if strings.EqualFold(word, "Unloaded") {
		return RequestUnloading, true
	}
	for _, p := range []RequestPhase{RequestPending, RequestScheduled, RequestRunning, RequestUnloading, RequestFailed} {
		if strings.EqualFold(word, string(p)) {
			return p, true
		}
	}
	return "", false
}

func wrongPhase(word string, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("status %q is none of Pending, Scheduled, Running, Unloading, Failed", clip(word))
}

// What a migration did with a request.
const (
	MigrationMigrated = "migrated"
	MigrationSkipped  = "skipped"
	MigrationFailed   = "failed"
)

// Migration is what a migration from version 1 did, or would do. Each request of version 1 counts once.
type Migration struct {
	Total    int                   `json:"total"`
	Migrated int                   `json:"migrated"`
	Skipped  int                   `json:"skipped"`
	Failed   int                   `json:"failed"`
	Details  List[MigrationDetail] `json:"details"`
}

// MigrationDetail is what became of one request.
type MigrationDetail struct {
	ModelUID     string       `json:"model_uid"` // empty where the request cannot be read
	RequestID    string       `json:"request_id"`
	Action       string       `json:"action"` // migrated, skipped, failed
	DesiredState DesiredState `json:"desired_state,omitempty"`
	Reason       string       `json:"reason,omitempty"`
}

// Count adds a detail.
func (m *Migration) Count(d MigrationDetail) {
	m.Total++
	switch d.Action {
	case MigrationMigrated:
		m.Migrated++
	case MigrationSkipped:
		m.Skipped++
	case MigrationFailed:
		m.Failed++
	}
	m.Details = append(m.Details, d)
}
