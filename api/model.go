package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ModelSource tells where a model's files come from.
type ModelSource string

// The sources that Nebula can fetch from, in the spelling of the wire, which is that of the existing Nebula (row M1 of the contract's mismatches).
const (
	SourceHuggingFace ModelSource = "hugging_face"
	SourceModelScope  ModelSource = "model_scope"
	SourceLocal       ModelSource = "local"
)

// ParseModelSource accepts every spelling that clients of Nebula use (any case, with or without "_" and "-",
// and the short forms hf and ms) and returns the one spelling that Nebula writes.
func ParseModelSource(s string) (ModelSource, error) {
	switch strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(strings.TrimSpace(s))) {
	case "huggingface", "hf":
		return SourceHuggingFace, nil
	case "modelscope", "ms":
		return SourceModelScope, nil
	case "local":
		return SourceLocal, nil
	}
	return "", fmt.Errorf("unknown model source %q: use hugging_face, model_scope or local", clip(s))
}

// UnmarshalJSON accepts every spelling of [ParseModelSource]; null and "" mean "not given".
func (m *ModelSource) UnmarshalJSON(b []byte) error {
	var s string
	err := json.Unmarshal(b, &s)
	*m = ""
	if err == nil && s != "" {
		*m, err = ParseModelSource(s)
	}
	return err
}

// ModelSpec is what a model is: name, source, engine and configuration. Only people write it.
type ModelSpec struct {
	ModelUID    string       `json:"model_uid"`
	ModelName   string       `json:"model_name"`
	ModelSource ModelSource  `json:"model_source"`
	ModelPath   string       `json:"model_path,omitempty"` // local: a GGUF file or a folder; remote: a root for the cache
	EngineType  string       `json:"engine_type,omitempty"`
	DockerImage string       `json:"docker_image,omitempty"`
	Config      *ModelConfig `json:"config,omitempty"`
	Labels      Labels       `json:"labels"`
	Revision    string       `json:"revision,omitempty"` // branch, tag or commit at the source; empty = its default branch
	Files       []string     `json:"files,omitempty"`    // patterns that override Nebula's choice of files
	// TokenSecret names the stored secret with which the source is asked; empty = the node's own credential for it, if it has one.
	TokenSecret string `json:"token_secret,omitempty"`
	CreatedAtMS int64  `json:"created_at_ms"`
	UpdatedAtMS int64  `json:"updated_at_ms"`
	CreatedBy   string `json:"created_by,omitempty"`
}

// SplitTag takes the quantisation out of a hub's name as llama.cpp writes it, OWNER/NAME:Q4_K_M, and returns it as the choice of files. Other names,
// and those with a choice of files of their own, stay as they are.
func SplitTag(source ModelSource, name string, files []string) (string, []string) {
	repo, tag, found := strings.Cut(name, ":")
	if !found || source == SourceLocal || len(files) > 0 || !validSegment(tag, 64) || !validRepoID(repo) {
		return name, files
	}
	return repo, []string{tag}
}

// Engine returns the engine that runs this model: the one it names, else llama.cpp for a GGUF file, else vLLM.
func (s *ModelSpec) Engine() string {
	switch {
	case s.EngineType != "":
		return CanonicalEngine(s.EngineType)
	case strings.HasSuffix(strings.ToLower(s.ModelPath), ".gguf"),
		strings.Contains(strings.ToLower(s.ModelName), "gguf"),
		slices.ContainsFunc(s.Files, func(f string) bool { return strings.HasSuffix(strings.ToLower(f), ".gguf") }):
		return EngineLlamaCPP
	}
	return EngineVLLM
}

// The engines that Nebula runs.
const (
	EngineLlamaCPP = "llamacpp"
	EngineVLLM     = "vllm"
	EngineSGLang   = "sglang"
)

// Engines lists the engines that a model may name.
func Engines() []string { return []string{EngineLlamaCPP, EngineVLLM, EngineSGLang} }

// CanonicalEngine maps the spellings people use (llama.cpp, llama-cpp, vLLM) to the one Nebula writes; an
// unknown name comes back lower-cased, for Validate to refuse.
func CanonicalEngine(s string) string {
	switch s {
	case EngineLlamaCPP, EngineVLLM, EngineSGLang:
		return s
	}
	k := strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(strings.TrimSpace(s)))
	switch k {
	case "llamacpp", "llamaserver", "llama":
		return EngineLlamaCPP
	case EngineVLLM, EngineSGLang:
		return k
	}
	return strings.ToLower(strings.TrimSpace(s))
}

// DesiredState is what people want of a model.
type DesiredState string

// The two wishes.
const (
	DesiredRunning DesiredState = "running"
	DesiredStopped DesiredState = "stopped"
)

// ModelDeployment is the wish to run a model: how many replicas, and where. Only people write it.
type ModelDeployment struct {
	ModelUID        string       `json:"model_uid"`
	DesiredState    DesiredState `json:"desired_state"`
	Replicas        uint32       `json:"replicas"`
	MinReplicas     *uint32      `json:"min_replicas,omitempty"`
	MaxReplicas     *uint32      `json:"max_replicas,omitempty"`
	NodeAffinity    string       `json:"node_affinity,omitempty"`
	GPUAffinity     []uint32     `json:"gpu_affinity,omitempty"`
	ConfigOverrides *ModelConfig `json:"config_overrides,omitempty"`
	// Draining are the replicas that people want to leave. Each goes when another has taken its place; a mark that is over goes with the next change.
	Draining    []DrainMark `json:"draining,omitempty"`
	Version     uint64      `json:"version"` // the generation: 1, 2, 3 …, one more with every change of the wish
	UpdatedAtMS int64       `json:"updated_at_ms"`
}

// DrainMark names a replica that is to leave, on the node where it is meant. As long as the mark is there no new replica gets its id, so it never means
// another one.
type DrainMark struct {
	ReplicaID uint32 `json:"replica_id"`
	NodeID    string `json:"node_id"`
}

// Drains tells whether people want the replica of an assignment to leave.
func (d *ModelDeployment) Drains(a *PlacementAssignment) bool {
	return slices.Contains(d.Draining, DrainMark{a.ReplicaID, a.NodeID})
}

// UnmarshalJSON gives replicas its default of 1. A wish that is neither known one is an error: guessing would start or
// stop engines.
func (d *ModelDeployment) UnmarshalJSON(b []byte) error {
	type plain ModelDeployment
	v := plain{Replicas: 1}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v.DesiredState {
	case DesiredRunning, DesiredStopped:
	default:
		return fmt.Errorf("desired_state %q is neither running nor stopped", clip(string(v.DesiredState)))
	}
	*d = ModelDeployment(v)
	return nil
}

// Clone returns a deep copy.
func (s ModelSpec) Clone() ModelSpec {
	s.Config = s.Config.Merge(nil)
	s.Labels = maps.Clone(s.Labels)
	s.Files = slices.Clone(s.Files)
	return s
}

// Clone returns a deep copy.
func (d ModelDeployment) Clone() ModelDeployment {
	d.ConfigOverrides = d.ConfigOverrides.Merge(nil)
	d.GPUAffinity = slices.Clone(d.GPUAffinity)
	d.Draining = slices.Clone(d.Draining)
	set(&d.MinReplicas, d.MinReplicas)
	set(&d.MaxReplicas, d.MaxReplicas)
	return d
}
