package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a template.
const (
	MaxDescriptionBytes = 4096
	MaxURLBytes         = 2048
	MaxLicenceBytes     = 128
)

// TemplateCategory tells what a template's model is for.
type TemplateCategory string

// The categories.
const (
	CategoryLLM       TemplateCategory = "llm"       // text in, text out
	CategoryEmbedding TemplateCategory = "embedding" // text in, a vector out
	CategoryRerank    TemplateCategory = "rerank"    // a query and texts in, a score for each out
	CategoryVLM       TemplateCategory = "vlm"       // text and pictures in, text out
	CategoryAudio     TemplateCategory = "audio"     // speech in, text out
)

// TemplateCategories lists the categories.
func TemplateCategories() []TemplateCategory {
	return []TemplateCategory{CategoryLLM, CategoryEmbedding, CategoryRerank, CategoryVLM, CategoryAudio}
}

// UnmarshalJSON reads a known category in any case. An unknown one, as a newer Nebula may have stored, stays as it is; Validate refuses it in what
// people write.
func (c *TemplateCategory) UnmarshalJSON(b []byte) error {
	return lowerEnum(c, b, TemplateCategories())
}

// TemplateSource tells where a template comes from.
type TemplateSource string

// The sources.
const (
	TemplateSystem TemplateSource = "system" // built into Nebula; nobody can change it
	TemplateUser   TemplateSource = "user"   // written by somebody
	TemplateSaved  TemplateSource = "saved"  // taken from a model
)

// TemplateSources lists the sources.
func TemplateSources() []TemplateSource {
	return []TemplateSource{TemplateSystem, TemplateUser, TemplateSaved}
}

// UnmarshalJSON reads a known source in any case, and keeps an unknown one as it is.
func (s *TemplateSource) UnmarshalJSON(b []byte) error { return lowerEnum(s, b, TemplateSources()) }

// lowerEnum reads a JSON string into dst: as the known value that it is in another case, or else as it stands. null is "".
func lowerEnum[E ~string](dst *E, b []byte, known []E) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*dst = E(s)
	if k := E(strings.ToLower(strings.TrimSpace(s))); slices.Contains(known, k) {
		*dst = k
	}
	return nil
}

// ModelTemplate is a model to be, with everything that is needed to run it but its uid: a sensible engine and configuration, and for the built-in ones
// what is known of the model. Deploying it declares and starts a model; the model keeps no tie to the template.
type ModelTemplate struct {
	TemplateID      string           `json:"template_id"`
	ID              string           `json:"id,omitempty"` // the same, in answers, for older readers
	Name            string           `json:"name"`         // for people
	Description     string           `json:"description,omitempty"`
	Category        TemplateCategory `json:"category,omitempty"`
	ModelName       string           `json:"model_name"`
	ModelSource     ModelSource      `json:"model_source,omitempty"` // empty = hugging_face
	ModelPath       string           `json:"model_path,omitempty"`
	EngineType      string           `json:"engine_type,omitempty"`
	DockerImage     string           `json:"docker_image,omitempty"`
	Config          *ModelConfig     `json:"config,omitempty"`
	DefaultReplicas uint32           `json:"default_replicas"`
	Labels          Labels           `json:"labels"` // go to the model
	Revision        string           `json:"revision,omitempty"`
	Files           []string         `json:"files,omitempty"`
	TokenSecret     string           `json:"token_secret,omitempty"`
	Source          TemplateSource   `json:"source"`
	Licence         string           `json:"licence,omitempty"`        // SPDX id, or the licence's own name
	Parameters      uint64           `json:"parameters,omitempty"`     // of the model, in all; 0 = not known
	ContextLength   uint32           `json:"context_length,omitempty"` // tokens that the model takes at most; 0 = not known
	MemoryBytes     uint64           `json:"memory_bytes,omitempty"`   // what one replica needs with this config, about; 0 = not known
	Homepage        string           `json:"homepage,omitempty"`       // where the model's card is
	CreatedAtMS     int64            `json:"created_at_ms"`
	UpdatedAtMS     int64            `json:"updated_at_ms"`
	CreatedBy       string           `json:"created_by,omitempty"`
}

// UnmarshalJSON gives default_replicas its default of 1.
func (t *ModelTemplate) UnmarshalJSON(b []byte) error {
	type plain ModelTemplate
	v := plain{DefaultReplicas: 1}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*t = ModelTemplate(v)
	return nil
}

// Spec returns what the template says of a model, without uid and times. It shares nothing with the template.
func (t *ModelTemplate) Spec() ModelSpec {
	spec := ModelSpec{
		ModelName: t.ModelName, ModelSource: t.ModelSource, ModelPath: t.ModelPath, EngineType: t.EngineType, DockerImage: t.DockerImage,
		Config: t.Config, Labels: t.Labels, Revision: t.Revision, Files: t.Files, TokenSecret: t.TokenSecret,
	}
	if spec.ModelSource == "" {
		spec.ModelSource = SourceHuggingFace
	}
	return spec.Clone()
}

// Clone returns a deep copy.
func (t ModelTemplate) Clone() ModelTemplate {
	t.Config = t.Config.Merge(nil)
	spec := t.Spec()
	t.Labels, t.Files = spec.Labels, spec.Files
	return t
}

// Validate tells what is wrong with a template that a person wrote, or nil. A model that is made of a valid template is valid, too.
func (t *ModelTemplate) Validate() error {
	var p problems
	if !KnownUID(t.TemplateID) {
		p.add("template_id", "%q is not a legal id: use a-z, 0-9 and \"-\", start with a letter or digit, at most %d characters",
			clip(t.TemplateID), MaxUID)
	}
	switch fault := textFault(t.Name, MaxNameBytes); {
	case strings.TrimSpace(t.Name) == "":
		p.add("name", "must not be empty: it is what people see in the list")
	case fault != "":
		p.add("name", "%s", fault)
	}
	if fault := proseFault(t.Description); fault != "" {
		p.add("description", "%s", fault)
	}
	if t.Category != "" && !slices.Contains(TemplateCategories(), t.Category) {
		p.add("category", "%q is unknown: use one of %s", clip(string(t.Category)), Spellings(TemplateCategories()))
	}
	if t.DefaultReplicas < 1 || t.DefaultReplicas > MaxReplicas {
		p.add("default_replicas", "must be between 1 and %d, not %d", MaxReplicas, t.DefaultReplicas)
	}
	if fault := textFault(t.Licence, MaxLicenceBytes); fault != "" {
		p.add("licence", "%s", fault)
	}
	if fault := textFault(t.Homepage, MaxURLBytes); fault != "" {
		p.add("homepage", "%s", fault)
	} else if t.Homepage != "" && !strings.HasPrefix(t.Homepage, "https://") && !strings.HasPrefix(t.Homepage, "http://") {
		p.add("homepage", "%q is not an address: it should start with https://", clip(t.Homepage))
	}
	spec := t.Spec()
	spec.check(&p)
	return p.err("the template is not valid")
}

// proseFault is textFault for a text of several lines.
func proseFault(s string) string {
	switch {
	case len(s) > MaxDescriptionBytes:
		return fmt.Sprintf("is %d bytes long; at most %d", len(s), MaxDescriptionBytes)
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
	}):
		return "must not contain control characters but tabs and line breaks"
	}
	return ""
}

// Spellings lists values for a message.
func Spellings[E ~string](values []E) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(v))
	}
	return b.String()
}

// CreateTemplate is the body of POST /api/v2/templates.
type CreateTemplate struct {
	TemplateID      string            `json:"template_id,omitempty"` // empty: tpl- and a random part
	Name            string            `json:"name"`
	Description     string            `json:"description,omitempty"`
	Category        TemplateCategory  `json:"category,omitempty"`
	ModelName       string            `json:"model_name"`
	ModelSource     ModelSource       `json:"model_source,omitempty"`
	ModelPath       string            `json:"model_path,omitempty"`
	EngineType      string            `json:"engine_type,omitempty"`
	DockerImage     string            `json:"docker_image,omitempty"`
	Config          *ModelConfig      `json:"config,omitempty"`
	DefaultReplicas *uint32           `json:"default_replicas,omitempty"` // 1 when absent
	Labels          map[string]string `json:"labels,omitempty"`
	Revision        string            `json:"revision,omitempty"`
	Files           []string          `json:"files,omitempty"`
	TokenSecret     string            `json:"token_secret,omitempty"`
	Licence         string            `json:"licence,omitempty"`
	Parameters      uint64            `json:"parameters,omitempty"`
	ContextLength   uint32            `json:"context_length,omitempty"`
	MemoryBytes     uint64            `json:"memory_bytes,omitempty"`
	Homepage        string            `json:"homepage,omitempty"`
}

// UnmarshalJSON also takes the older name source for model_source. A source that says where the template comes from, as a template that was read has
// it, says nothing here: what people write is theirs.
func (c *CreateTemplate) UnmarshalJSON(b []byte) error {
	type plain CreateTemplate
	var v plain
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*c = CreateTemplate(v)
	var older struct {
		Source TemplateSource `json:"source"`
	}
	if err := json.Unmarshal(b, &older); err != nil {
		return err
	}
	if c.ModelSource != "" || older.Source == "" || slices.Contains(TemplateSources(), older.Source) {
		return nil
	}
	var err error
	c.ModelSource, err = ParseModelSource(string(older.Source))
	return err
}

// UpdateTemplate is the body of PUT /api/v2/templates/{id}; an absent field is kept, config, labels and files are replaced whole, and an empty value
// clears.
type UpdateTemplate struct {
	Name            *string           `json:"name,omitempty"`
	Description     *string           `json:"description,omitempty"`
	Category        *TemplateCategory `json:"category,omitempty"`
	ModelName       *string           `json:"model_name,omitempty"`
	ModelSource     *ModelSource      `json:"model_source,omitempty"`
	ModelPath       *string           `json:"model_path,omitempty"`
	EngineType      *string           `json:"engine_type,omitempty"`
	DockerImage     *string           `json:"docker_image,omitempty"`
	Config          *ModelConfig      `json:"config,omitempty"`
	DefaultReplicas *uint32           `json:"default_replicas,omitempty"`
	Labels          map[string]string `json:"labels,omitzero"`
	Revision        *string           `json:"revision,omitempty"`
	Files           []string          `json:"files,omitzero"`
	TokenSecret     *string           `json:"token_secret,omitempty"`
	Licence         *string           `json:"licence,omitempty"`
	Parameters      *uint64           `json:"parameters,omitempty"`
	ContextLength   *uint32           `json:"context_length,omitempty"`
	MemoryBytes     *uint64           `json:"memory_bytes,omitempty"`
	Homepage        *string           `json:"homepage,omitempty"`
}

// DeployTemplate is the body of POST /api/v2/templates/{id}/deploy; all fields may be absent, and so may the body.
type DeployTemplate struct {
	ModelUID        string       `json:"model_uid,omitempty"` // empty: derived from the model's name, with a suffix when taken
	Replicas        *uint32      `json:"replicas,omitempty"`  // the template's when absent
	ConfigOverrides *ModelConfig `json:"config_overrides,omitempty"`
	NodeID          string       `json:"node_id,omitempty"`
	GPUIndices      []uint32     `json:"gpu_indices,omitempty"`
}

// SaveTemplate is the body of POST /api/v2/models/{uid}/save-as-template.
type SaveTemplate struct {
	Name        string           `json:"name"`
	TemplateID  string           `json:"template_id,omitempty"` // empty: tpl- and a random part
	Description string           `json:"description,omitempty"`
	Category    TemplateCategory `json:"category,omitempty"`
}

// TemplateDeleted answers a DELETE of a template.
type TemplateDeleted struct {
	TemplateID string `json:"template_id"`
	Status     string `json:"status"` // "deleted"
}
