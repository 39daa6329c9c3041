package api

import "encoding/json"

// CreateModel is the body of POST /api/v2/models.
type CreateModel struct {
	ModelName   string            `json:"model_name"`
	ModelUID    string            `json:"model_uid,omitempty"` // empty: derived from the name, with a suffix when taken
	ModelSource ModelSource       `json:"model_source,omitempty"`
	ModelPath   string            `json:"model_path,omitempty"`
	EngineType  string            `json:"engine_type,omitempty"`
	DockerImage string            `json:"docker_image,omitempty"`
	Config      *ModelConfig      `json:"config,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Revision    string            `json:"revision,omitempty"`
	Files       []string          `json:"files,omitempty"`
	AutoStart   bool              `json:"auto_start,omitempty"`
	Replicas    *uint32           `json:"replicas,omitempty"` // with auto_start; 1 when absent
	NodeID      string            `json:"node_id,omitempty"`
	GPUIndices  []uint32          `json:"gpu_indices,omitempty"`
}

// UnmarshalJSON also accepts the older names source (for model_source) and start (for auto_start).
func (c *CreateModel) UnmarshalJSON(b []byte) error {
	type plain CreateModel
	v := struct {
		plain
		Source ModelSource `json:"source"`
		Start  *bool       `json:"start"`
	}{}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*c = CreateModel(v.plain)
	if c.ModelSource == "" {
		c.ModelSource = v.Source
	}
	if v.Start != nil && !c.AutoStart {
		c.AutoStart = *v.Start
	}
	return nil
}

// ModelCreated answers POST /api/v2/models: the spec, and the deployment and status beside it.
type ModelCreated struct {
	Spec       ModelSpec
	Deployment *ModelDeployment
	Status     ModelStatus
}

// MarshalJSON writes the spec's own fields on the top level, as the existing API does, and ours beside them.
func (m ModelCreated) MarshalJSON() ([]byte, error) {
	spec, err := json.Marshal(m.Spec)
	if err != nil {
		return nil, err
	}
	rest, err := json.Marshal(createdRest{m.Deployment, m.Status.State, m.Status.Reason})
	if err != nil {
		return nil, err
	}
	return append(append(spec[:len(spec)-1], ','), rest[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *ModelCreated) UnmarshalJSON(b []byte) error {
	var rest createdRest
	if err := json.Unmarshal(b, &rest); err != nil {
		return err
	}
	m.Deployment, m.Status = rest.Deployment, ModelStatus{State: rest.State, Reason: rest.Reason}
	return json.Unmarshal(b, &m.Spec)
}

type createdRest struct {
	Deployment *ModelDeployment `json:"deployment"`
	State      ModelState       `json:"state"`
	Reason     *Reason          `json:"reason,omitempty"`
}

// UpdateModel is the body of PUT /api/v2/models/{uid}; an absent field is kept, config and labels are replaced whole.
type UpdateModel struct {
	ModelName   *string           `json:"model_name,omitempty"`
	ModelSource *ModelSource      `json:"model_source,omitempty"`
	ModelPath   *string           `json:"model_path,omitempty"`
	EngineType  *string           `json:"engine_type,omitempty"`
	DockerImage *string           `json:"docker_image,omitempty"`
	Config      *ModelConfig      `json:"config,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Revision    *string           `json:"revision,omitempty"`
	Files       []string          `json:"files,omitempty"`
}

// StartModel is the body of POST /api/v2/models/{uid}/start; all fields may be absent, and so may the body.
type StartModel struct {
	Replicas        *uint32      `json:"replicas,omitempty"`
	ConfigOverrides *ModelConfig `json:"config_overrides,omitempty"`
	NodeID          *string      `json:"node_id,omitempty"`
	GPUIndices      []uint32     `json:"gpu_indices,omitempty"`
}

// ScaleModel is the body of PUT /api/v2/models/{uid}/scale.
type ScaleModel struct {
	Replicas *uint32 `json:"replicas"`
}
