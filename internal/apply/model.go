package apply

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/nebula-serve/nebula/api"
)

// Model is the document of a model: its spec and, beside it, the wish to run it.
type Model struct {
	APIVersion string `json:"api_version,omitempty"`
	Kind       Kind   `json:"kind,omitempty"`

	ModelUID    string            `json:"model_uid"`
	ModelName   string            `json:"model_name,omitempty"`
	ModelSource api.ModelSource   `json:"model_source,omitempty"`
	ModelPath   string            `json:"model_path,omitempty"`
	EngineType  string            `json:"engine_type,omitempty"`
	DockerImage string            `json:"docker_image,omitempty"`
	Revision    string            `json:"revision,omitempty"`
	Files       []string          `json:"files,omitempty"`
	TokenSecret string            `json:"token_secret,omitempty"`
	Config      *api.ModelConfig  `json:"config,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`

	DesiredState    api.DesiredState `json:"desired_state,omitempty"`
	Replicas        *uint32          `json:"replicas,omitempty"`
	MinReplicas     *uint32          `json:"min_replicas,omitempty"`
	MaxReplicas     *uint32          `json:"max_replicas,omitempty"`
	NodeID          string           `json:"node_id,omitempty"`
	GPUIndices      []uint32         `json:"gpu_indices,omitempty"`
	ConfigOverrides *api.ModelConfig `json:"config_overrides,omitempty"`
}

func modelRules() kindRules {
	return kindRules{
		noun: "model", id: "model_uid", fields: func() any { return new(Model) },
		derive: func(doc map[string]any) string {
			name, _ := doc["model_name"].(string)
			return api.DeriveUID(name)
		},
		fresh: func(id string) any {
			return Model{
				APIVersion: APIVersion, Kind: KindModel, ModelUID: id, ModelSource: api.SourceHuggingFace,
				DesiredState: api.DesiredStopped, Replicas: new(uint32(1)),
			}
		},
		expand: expandTag, settle: settleModel, verbs: modelVerbs, lasting: []string{"model_uid", "model_name", "model_source", "desired_state", "replicas"},
	}
}

// FromModel is the document of a model that the cluster has. One that was never started is stopped, and would start with one replica,
// and so would one of which the existing Nebula has stored 0 replicas.
func FromModel(spec api.ModelSpec, dep *api.ModelDeployment, revision int64) (Object, error) {
	doc := Model{
		ModelUID: spec.ModelUID, ModelName: spec.ModelName, ModelSource: spec.ModelSource, ModelPath: spec.ModelPath, EngineType: spec.EngineType,
		DockerImage: spec.DockerImage, Revision: spec.Revision, Files: spec.Files, TokenSecret: spec.TokenSecret, Config: spec.Config, Labels: spec.Labels,
		DesiredState: api.DesiredStopped, Replicas: new(uint32(1)),
	}
	if dep != nil {
		doc.DesiredState, doc.Replicas, doc.MinReplicas, doc.MaxReplicas = dep.DesiredState, new(max(dep.Replicas, 1)), dep.MinReplicas, dep.MaxReplicas
		doc.NodeID, doc.GPUIndices, doc.ConfigOverrides = dep.NodeAffinity, dep.GPUAffinity, dep.ConfigOverrides
	}
	doc.tidy()
	b, err := canonical(doc)
	return Object{Ref: Ref{KindModel, spec.ModelUID}, Revision: revision, Doc: b}, err
}

// tidy brings the document into the spelling that the server stores, and drops what says nothing.
func (m *Model) tidy() {
	m.APIVersion, m.Kind = APIVersion, KindModel
	if m.EngineType != "" {
		m.EngineType = api.CanonicalEngine(m.EngineType)
	}
	m.Config = tidyConfig(m.Config, false)
	m.ConfigOverrides = tidyConfig(m.ConfigOverrides, true) // no LoRA modules, over those of the config, are something else than nothing said
}

// tidyConfig drops empty lists and a config that says nothing.
func tidyConfig(c *api.ModelConfig, over bool) *api.ModelConfig {
	if c == nil {
		return nil
	}
	out := *c.Merge(nil)
	if len(out.LoRAModules) == 0 && !over {
		out.LoRAModules = nil
	}
	if len(out.Unset) == 0 {
		out.Unset = nil
	}
	if reflect.ValueOf(out).IsZero() {
		return nil
	}
	return &out
}

// expandTag makes the choice of files that stands behind a model's name, OWNER/NAME:Q4_K_M, a field of its own, as the server does.
func expandTag(patch, object map[string]any) {
	name, _ := patch["model_name"].(string)
	if _, own := patch["files"]; own {
		return
	}
	source := api.SourceHuggingFace
	for _, from := range []map[string]any{object, patch} {
		if s, ok := from["model_source"].(string); ok {
			source, _ = api.ParseModelSource(s) // an unknown one is refused later
		}
	}
	if repo, files := api.SplitTag(source, name, nil); len(files) > 0 {
		patch["model_name"], patch["files"] = repo, []any{files[0]}
	}
}

func settleModel(b []byte, isNew bool) (any, error) {
	var m Model
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode a model's document: %w", err)
	}
	m.tidy()
	spec, dep := m.parts()
	var wrong []api.Field
	for _, err := range []error{spec.Validate(), dep.Validate()} {
		if e, ok := api.AsError(err); ok {
			wrong = append(wrong, e.Details...)
		} else if err != nil {
			return nil, err
		}
	}
	if m.Replicas != nil && *m.Replicas == 0 && m.DesiredState == api.DesiredStopped { // of a stored wish it would be no fault
		wrong = append(wrong, api.Field{Field: "replicas", Reason: fmt.Sprintf("must be between 1 and %d, not 0; to run none, stop the model", api.MaxReplicas)})
	}
	if isNew && api.KnownUID(m.ModelUID) && !api.ValidUID(m.ModelUID) {
		wrong = append(wrong, api.Field{Field: "model_uid", Reason: fmt.Sprintf("%q is not legal for a new model: use a-z, 0-9 and \"-\"", m.ModelUID)})
	}
	return m, invalid(wrong)
}

// parts are the two documents that a model is made of.
func (m *Model) parts() (api.ModelSpec, api.ModelDeployment) {
	dep := api.ModelDeployment{
		ModelUID: m.ModelUID, DesiredState: m.DesiredState, Replicas: 1, MinReplicas: m.MinReplicas, MaxReplicas: m.MaxReplicas,
		NodeAffinity: m.NodeID, GPUAffinity: m.GPUIndices, ConfigOverrides: m.ConfigOverrides,
	}
	if m.Replicas != nil {
		dep.Replicas = *m.Replicas
	}
	return api.ModelSpec{
		ModelUID: m.ModelUID, ModelName: m.ModelName, ModelSource: m.ModelSource, ModelPath: m.ModelPath, EngineType: m.EngineType,
		DockerImage: m.DockerImage, Revision: m.Revision, Files: m.Files, TokenSecret: m.TokenSecret, Config: m.Config, Labels: m.Labels,
	}, dep
}

// ModelWrites are the requests that carry out a change of a model, in this order. nil: not needed.
type ModelWrites struct {
	Create     *api.CreateModel
	Update     *api.UpdateModel
	Deployment *api.PutDeployment
	Delete     bool
}

// ModelWrites returns the requests of a change of a model.
func (c *Change) ModelWrites() (ModelWrites, error) {
	if c.Wished == nil {
		return ModelWrites{Delete: true}, nil
	}
	live, wished, err := decodeModels(c.Live, c.Wished)
	if err != nil {
		return ModelWrites{}, err
	}
	var w ModelWrites
	before, depBefore := live.parts()
	spec, dep := wished.parts()
	switch {
	case c.Live == nil:
		fresh, _ := modelRules().fresh(wished.ModelUID).(Model)
		_, depBefore = fresh.parts()
		w.Create = &api.CreateModel{
			ModelUID: spec.ModelUID, ModelName: spec.ModelName, ModelSource: spec.ModelSource, ModelPath: spec.ModelPath, EngineType: spec.EngineType,
			DockerImage: spec.DockerImage, Revision: spec.Revision, Files: spec.Files, TokenSecret: spec.TokenSecret, Config: spec.Config, Labels: spec.Labels,
		}
	case !reflect.DeepEqual(before, spec):
		w.Update = updateOf(before, spec)
	}
	if !reflect.DeepEqual(depBefore, dep) {
		w.Deployment = &api.PutDeployment{
			DesiredState: dep.DesiredState, Replicas: &dep.Replicas, MinReplicas: dep.MinReplicas, MaxReplicas: dep.MaxReplicas,
			NodeID: dep.NodeAffinity, GPUIndices: dep.GPUAffinity, ConfigOverrides: dep.ConfigOverrides,
		}
	}
	return w, nil
}

// Trial is the request that has a server try the whole of a model that is not there yet, its deployment included.
func (w *ModelWrites) Trial() api.CreateModel {
	req, dep := *w.Create, w.Deployment
	if dep == nil {
		return req
	}
	req.AutoStart = dep.DesiredState == api.DesiredRunning
	req.Replicas, req.NodeID, req.GPUIndices = dep.Replicas, dep.NodeID, dep.GPUIndices
	req.Config = api.EffectiveConfig(&api.ModelSpec{Config: req.Config}, &api.ModelDeployment{ConfigOverrides: dep.ConfigOverrides})
	return req
}

// TrialDeployment is the request that has a server try the deployment of a model that is updated, too: with the config that the update will have
// made. What else decides where replicas go is the engine, and where the update may change that, no trial tells: exact is false.
func (w *ModelWrites) TrialDeployment() (req api.PutDeployment, exact bool) {
	req, u := *w.Deployment, w.Update
	if u == nil {
		return req, true
	}
	if u.Config != nil {
		clean := &api.ModelConfig{Unset: api.ConfigFields()}
		req.ConfigOverrides = clean.Merge(u.Config).Merge(req.ConfigOverrides)
	}
	return req, u.EngineType == nil && u.ModelName == nil && u.ModelSource == nil && u.ModelPath == nil && u.Files == nil
}

// updateOf names the fields that differ; an empty value clears.
func updateOf(was, now api.ModelSpec) *api.UpdateModel {
	u := &api.UpdateModel{
		ModelName: differs(was.ModelName, now.ModelName), ModelSource: differs(was.ModelSource, now.ModelSource), ModelPath: differs(was.ModelPath, now.ModelPath),
		EngineType: differs(was.EngineType, now.EngineType), DockerImage: differs(was.DockerImage, now.DockerImage),
		Revision: differs(was.Revision, now.Revision), TokenSecret: differs(was.TokenSecret, now.TokenSecret),
	}
	u.Config, u.Labels, u.Files = whole(was.Config, now.Config, was.Labels, now.Labels, was.Files, now.Files)
	return u
}

// decodeModels decodes two documents; nil is an empty one.
func decodeModels(live, wished []byte) (a, b Model, err error) {
	for _, d := range []struct {
		doc []byte
		out *Model
	}{{live, &a}, {wished, &b}} {
		if d.doc == nil {
			continue
		}
		if err := json.Unmarshal(d.doc, d.out); err != nil {
			return a, b, fmt.Errorf("decode a model's document: %w", err)
		}
	}
	return a, b, nil
}

func modelVerbs(live, wished []byte) []Verb {
	was, now, err := decodeModels(live, wished)
	if err != nil {
		return []Verb{VerbUpdate} // both were encoded by us
	}
	var out []Verb
	if live == nil {
		out = append(out, VerbCreate)
		was.DesiredState, was.Replicas = api.DesiredStopped, now.Replicas
	}
	runs := was.DesiredState == api.DesiredRunning
	switch wants := now.DesiredState == api.DesiredRunning; {
	case wants && !runs:
		out = append(out, VerbStart)
	case !wants && runs:
		out = append(out, VerbStop)
	}
	if *was.Replicas != *now.Replicas {
		out = append(out, VerbScale)
	}
	if live != nil {
		was.DesiredState, was.Replicas = now.DesiredState, now.Replicas
		a, _ := canonical(was)
		b, _ := canonical(now)
		if !bytes.Equal(a, b) {
			out = append([]Verb{VerbUpdate}, out...)
		}
	}
	return out
}
