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
	TokenSecret string            `json:"token_secret,omitempty"`
	AutoStart   bool              `json:"auto_start,omitempty"`
	Replicas    *uint32           `json:"replicas,omitempty"` // with auto_start; 1 when absent
	NodeID      string            `json:"node_id,omitempty"`
	GPUIndices  []uint32          `json:"gpu_indices,omitempty"`
}

// UnmarshalJSON also accepts the older names source (for model_source) and start (for auto_start), and those of node_id and gpu_indices. Where both
// are given, the newer one holds.
func (c *CreateModel) UnmarshalJSON(b []byte) error {
	type plain CreateModel // decoded by itself: embedded, its name would be part of the fields that errors name
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	var older struct {
		Source    ModelSource `json:"source"`
		Start     bool        `json:"start"`
		AutoStart *bool       `json:"auto_start"`
	}
	if err := json.Unmarshal(b, &older); err != nil {
		return err
	}
	*c = CreateModel(v)
	if c.ModelSource == "" {
		c.ModelSource = older.Source
	}
	if older.AutoStart == nil {
		c.AutoStart = older.Start
	}
	return fillPlace(b, &c.NodeID, &c.GPUIndices)
}

// ModelCreated answers POST /api/v2/models: the spec, and the deployment and status beside it.
type ModelCreated struct {
	Spec       ModelSpec
	Deployment *ModelDeployment
	Status     ModelStatus
	// Explanation is in the answer of a dry run: where the model would go, or why it would not.
	Explanation *Explanation
}

// created is what stands beside the spec's own fields.
type created struct {
	Deployment *ModelDeployment `json:"deployment"`
	ModelStatus
	Explanation *Explanation `json:"explanation,omitempty"`
}

// MarshalJSON writes the spec's own fields on the top level, as the existing API does, and ours beside them.
func (m ModelCreated) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ModelSpec
		created
	}{m.Spec, created{m.Deployment, m.Status, m.Explanation}})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *ModelCreated) UnmarshalJSON(b []byte) error {
	var v struct {
		ModelSpec
		created
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*m = ModelCreated{v.ModelSpec, v.Deployment, v.ModelStatus, v.Explanation}
	return nil
}

// ModelWritten answers what changes a model's spec: the spec as it is now, or, in a dry run, as it would be.
type ModelWritten struct {
	ModelSpec
	// Explanation is in the answer of a dry run: where the model would run then, or why it would not.
	Explanation *Explanation `json:"explanation,omitempty"`
}

// ReplicaDrain answers what makes one replica leave.
type ReplicaDrain struct {
	ModelUID  string      `json:"model_uid"`
	ReplicaID uint32      `json:"replica_id"`
	NodeID    string      `json:"node_id"` // where it is
	Status    DrainStatus `json:"status"`
	// Explanation is in the answer of a dry run: where the replica that takes its place would run, or why there is none.
	Explanation *Explanation `json:"explanation,omitempty"`
}

// DrainStatus tells whether a replica was told to leave just now.
type DrainStatus string

// Both are fine.
const (
	NowDraining     DrainStatus = "draining"         // it leaves when another has taken its place
	AlreadyDraining DrainStatus = "already_draining" // it was leaving before
)

// DeploymentWritten answers what changes the wish to run a model: the wish as it is now, or, in a dry run, as it would be.
type DeploymentWritten struct {
	ModelDeployment
	// Explanation is in the answer of a dry run: where the model would run then, or why it would not.
	Explanation *Explanation `json:"explanation,omitempty"`
}

// UnmarshalJSON reads both parts: the wish has a method of its own, which would be the only one to be asked.
func (d *DeploymentWritten) UnmarshalJSON(b []byte) error {
	var v struct {
		Explanation *Explanation `json:"explanation"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	d.Explanation = v.Explanation
	return json.Unmarshal(b, &d.ModelDeployment)
}

// UpdateModel is the body of PUT /api/v2/models/{uid}; an absent field is kept, config, labels and files are replaced
// whole, and an empty value clears.
type UpdateModel struct {
	ModelName   *string           `json:"model_name,omitempty"`
	ModelSource *ModelSource      `json:"model_source,omitempty"`
	ModelPath   *string           `json:"model_path,omitempty"`
	EngineType  *string           `json:"engine_type,omitempty"`
	DockerImage *string           `json:"docker_image,omitempty"`
	Config      *ModelConfig      `json:"config,omitempty"`
	Labels      map[string]string `json:"labels,omitzero"`
	Revision    *string           `json:"revision,omitempty"`
	Files       []string          `json:"files,omitzero"`
	TokenSecret *string           `json:"token_secret,omitempty"`
}

// StartModel is the body of POST /api/v2/models/{uid}/start; all fields may be absent, and so may the body.
type StartModel struct {
	Replicas        *uint32      `json:"replicas,omitempty"`
	ConfigOverrides *ModelConfig `json:"config_overrides,omitempty"`
	NodeID          *string      `json:"node_id,omitempty"`
	GPUIndices      []uint32     `json:"gpu_indices,omitzero"`
}

// ScaleModel is the body of PUT /api/v2/models/{uid}/scale.
type ScaleModel struct {
	Replicas *uint32 `json:"replicas"`
}

// PutDeployment is the body of PUT /api/v2/models/{uid}/deployment: the whole wish to run a model. What it leaves out is unset.
type PutDeployment struct {
	DesiredState    DesiredState `json:"desired_state"`
	Replicas        *uint32      `json:"replicas,omitempty"` // 1 when absent
	MinReplicas     *uint32      `json:"min_replicas,omitempty"`
	MaxReplicas     *uint32      `json:"max_replicas,omitempty"`
	NodeID          string       `json:"node_id,omitempty"`
	GPUIndices      []uint32     `json:"gpu_indices,omitempty"`
	ConfigOverrides *ModelConfig `json:"config_overrides,omitempty"`
}
