package apply

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/nebula-serve/nebula/api"
)

// Template is the document of a template.
type Template struct {
	APIVersion string `json:"api_version,omitempty"`
	Kind       Kind   `json:"kind,omitempty"`

	TemplateID      string               `json:"template_id"`
	Name            string               `json:"name,omitempty"`
	Description     string               `json:"description,omitempty"`
	Category        api.TemplateCategory `json:"category,omitempty"`
	ModelName       string               `json:"model_name,omitempty"`
	ModelSource     api.ModelSource      `json:"model_source,omitempty"`
	ModelPath       string               `json:"model_path,omitempty"`
	EngineType      string               `json:"engine_type,omitempty"`
	DockerImage     string               `json:"docker_image,omitempty"`
	Revision        string               `json:"revision,omitempty"`
	Files           []string             `json:"files,omitempty"`
	TokenSecret     string               `json:"token_secret,omitempty"`
	Config          *api.ModelConfig     `json:"config,omitempty"`
	Labels          map[string]string    `json:"labels,omitempty"`
	DefaultReplicas *uint32              `json:"default_replicas,omitempty"`
	Licence         string               `json:"licence,omitempty"`
	Parameters      uint64               `json:"parameters,omitempty"`
	ContextLength   uint32               `json:"context_length,omitempty"`
	MemoryBytes     uint64               `json:"memory_bytes,omitempty"`
	Homepage        string               `json:"homepage,omitempty"`
}

func templateRules() kindRules {
	return kindRules{
		noun: "template", id: "template_id", fields: func() any { return new(Template) },
		derive: func(map[string]any) string { return "" },
		fresh: func(id string) any {
			return Template{
				APIVersion: APIVersion, Kind: KindTemplate, TemplateID: id, ModelSource: api.SourceHuggingFace, DefaultReplicas: new(uint32(1)),
			}
		},
		expand: expandTag, settle: settleTemplate, lasting: []string{"template_id", "name", "model_name", "model_source", "default_replicas"},
		verbs: func(live, _ []byte) []Verb {
			if live == nil {
				return []Verb{VerbCreate}
			}
			return []Verb{VerbUpdate}
		},
	}
}

// FromTemplate is the document of a template that people have stored.
func FromTemplate(t api.ModelTemplate, revision int64) (Object, error) {
	doc := Template{
		TemplateID: t.TemplateID, Name: t.Name, Description: t.Description, Category: t.Category, ModelName: t.ModelName, ModelSource: t.ModelSource,
		ModelPath: t.ModelPath, EngineType: t.EngineType, DockerImage: t.DockerImage, Revision: t.Revision, Files: t.Files, TokenSecret: t.TokenSecret,
		Config: t.Config, Labels: t.Labels, DefaultReplicas: new(max(t.DefaultReplicas, 1)), Licence: t.Licence, Parameters: t.Parameters,
		ContextLength: t.ContextLength, MemoryBytes: t.MemoryBytes, Homepage: t.Homepage,
	}
	doc.tidy()
	b, err := canonical(doc)
	return Object{Ref: Ref{KindTemplate, t.TemplateID}, Revision: revision, Doc: b}, err
}

func (t *Template) tidy() {
	t.APIVersion, t.Kind = APIVersion, KindTemplate
	if t.ModelSource == "" {
		t.ModelSource = api.SourceHuggingFace
	}
	if t.EngineType != "" {
		t.EngineType = api.CanonicalEngine(t.EngineType)
	}
	t.Config = tidyConfig(t.Config, false)
}

func settleTemplate(b []byte, isNew bool) (any, error) {
	var t Template
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("decode a template's document: %w", err)
	}
	t.tidy()
	full := api.ModelTemplate{
		TemplateID: t.TemplateID, Name: t.Name, Description: t.Description, Category: t.Category, ModelName: t.ModelName, ModelSource: t.ModelSource,
		ModelPath: t.ModelPath, EngineType: t.EngineType, DockerImage: t.DockerImage, Revision: t.Revision, Files: t.Files, TokenSecret: t.TokenSecret,
		Config: t.Config, Labels: t.Labels, DefaultReplicas: *t.DefaultReplicas, Licence: t.Licence, Homepage: t.Homepage,
	}
	if err := full.Validate(); err != nil {
		return nil, err
	}
	if isNew && !api.ValidUID(t.TemplateID) {
		return nil, invalid([]api.Field{{Field: "template_id", Reason: fmt.Sprintf("%q is not legal for a new template: use a-z, 0-9 and \"-\"", t.TemplateID)}})
	}
	return t, nil
}

// TemplateWrites is the request that carries out a change of a template: one of them.
type TemplateWrites struct {
	Create *api.CreateTemplate
	Update *api.UpdateTemplate
	Delete bool
}

// TemplateWrites returns the request of a change of a template.
func (c *Change) TemplateWrites() (TemplateWrites, error) {
	if c.Wished == nil {
		return TemplateWrites{Delete: true}, nil
	}
	var was, now Template
	if err := json.Unmarshal(c.Wished, &now); err != nil {
		return TemplateWrites{}, fmt.Errorf("decode a template's document: %w", err)
	}
	if c.Live == nil {
		return TemplateWrites{Create: &api.CreateTemplate{
			TemplateID: now.TemplateID, Name: now.Name, Description: now.Description, Category: now.Category, ModelName: now.ModelName,
			ModelSource: now.ModelSource, ModelPath: now.ModelPath, EngineType: now.EngineType, DockerImage: now.DockerImage, Config: now.Config,
			DefaultReplicas: now.DefaultReplicas, Labels: now.Labels, Revision: now.Revision, Files: now.Files, TokenSecret: now.TokenSecret,
			Licence: now.Licence, Parameters: now.Parameters, ContextLength: now.ContextLength, MemoryBytes: now.MemoryBytes, Homepage: now.Homepage,
		}}, nil
	}
	if err := json.Unmarshal(c.Live, &was); err != nil {
		return TemplateWrites{}, fmt.Errorf("decode a template's document: %w", err)
	}
	u := &api.UpdateTemplate{
		Name: differs(was.Name, now.Name), Description: differs(was.Description, now.Description), Category: differs(was.Category, now.Category),
		ModelName: differs(was.ModelName, now.ModelName), ModelSource: differs(was.ModelSource, now.ModelSource), ModelPath: differs(was.ModelPath, now.ModelPath),
		EngineType: differs(was.EngineType, now.EngineType), DockerImage: differs(was.DockerImage, now.DockerImage),
		DefaultReplicas: differs(*was.DefaultReplicas, *now.DefaultReplicas), Revision: differs(was.Revision, now.Revision),
		TokenSecret: differs(was.TokenSecret, now.TokenSecret), Licence: differs(was.Licence, now.Licence), Parameters: differs(was.Parameters, now.Parameters),
		ContextLength: differs(was.ContextLength, now.ContextLength), MemoryBytes: differs(was.MemoryBytes, now.MemoryBytes), Homepage: differs(was.Homepage, now.Homepage),
	}
	u.Config, u.Labels, u.Files = whole(was.Config, now.Config, was.Labels, now.Labels, was.Files, now.Files)
	return TemplateWrites{Update: u}, nil
}

// differs is the new value where it is another one: an empty one clears.
func differs[T comparable](was, now T) *T {
	if was == now {
		return nil
	}
	return &now
}

// whole are the fields that a request replaces whole: nil where they are the same, and empty where they are cleared.
func whole(wasConfig, config *api.ModelConfig, wasLabels, labels map[string]string, wasFiles, files []string) (*api.ModelConfig, map[string]string, []string) {
	switch {
	case reflect.DeepEqual(wasConfig, config):
		config = nil
	case config == nil:
		config = &api.ModelConfig{}
	}
	switch {
	case reflect.DeepEqual(wasLabels, labels):
		labels = nil
	case labels == nil:
		labels = map[string]string{}
	}
	switch {
	case reflect.DeepEqual(wasFiles, files):
		files = nil
	case files == nil:
		files = []string{}
	}
	return config, labels, files
}
