package control

import (
	"context"

	"github.com/google/uuid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/catalog"
	"github.com/nebula-serve/nebula/internal/store"
)

// CreateTemplate stores a template. An id that is taken is refused unless replace is set, and one of a built-in template always.
func (c *Control) CreateTemplate(ctx context.Context, req api.CreateTemplate, replace bool) (api.ModelTemplate, error) {
	t := newTemplate(req)
	t.Source = api.TemplateUser
	if err := fillID(&t); err != nil {
		return api.ModelTemplate{}, err
	}
	if err := t.Validate(); err != nil {
		return api.ModelTemplate{}, err
	}
	return create(ctx, c, "template.create", "template/"+t.TemplateID, func(tx *store.Tx) (api.ModelTemplate, error) {
		if err := nameSecret(tx, t.TokenSecret); err != nil {
			return api.ModelTemplate{}, err
		}
		return c.addTemplate(ctx, tx, t.Clone(), replace)
	})
}

// SaveTemplate makes a template of a model: of what it is, of the configuration that it runs with, its deployment's overrides included, and of its
// number of replicas.
func (c *Control) SaveTemplate(ctx context.Context, uid string, req api.SaveTemplate, replace bool) (api.ModelTemplate, error) {
	if !api.KnownUID(uid) {
		return api.ModelTemplate{}, notFound(uid)
	}
	base := api.ModelTemplate{
		TemplateID: req.TemplateID, Name: req.Name, Description: req.Description, Category: req.Category, Source: api.TemplateSaved,
	}
	if err := fillID(&base); err != nil {
		return api.ModelTemplate{}, err
	}
	return create(ctx, c, "template.save", "template/"+base.TemplateID, func(tx *store.Tx) (api.ModelTemplate, error) {
		w, err := declared(tx, uid)
		if err == nil && !w.known {
			err = notFound(uid)
		}
		if err != nil {
			return api.ModelTemplate{}, err
		}
		t := ofModel(base, &w.spec, &w.deployment, w.deployed)
		if err := t.Validate(); err != nil {
			return api.ModelTemplate{}, err
		}
		return c.addTemplate(ctx, tx, t, replace)
	})
}

// ofModel fills a template with what a model is and how it runs.
func ofModel(t api.ModelTemplate, spec *api.ModelSpec, dep *api.ModelDeployment, deployed bool) api.ModelTemplate {
	own := spec.Clone()
	t.ModelName, t.ModelSource, t.ModelPath, t.EngineType, t.DockerImage = own.ModelName, own.ModelSource, own.ModelPath, own.EngineType, own.DockerImage
	t.Labels, t.Revision, t.Files, t.TokenSecret = own.Labels, own.Revision, own.Files, own.TokenSecret
	t.Config, t.DefaultReplicas = own.Config, 1
	if deployed {
		t.Config = api.EffectiveConfig(spec, dep)
		t.DefaultReplicas = max(dep.Replicas, 1) // a stop by the existing Nebula may have stored 0
	}
	return t
}

// addTemplate stores a valid template as a new one, or in place of another.
func (c *Control) addTemplate(ctx context.Context, tx *store.Tx, t api.ModelTemplate, replace bool) (api.ModelTemplate, error) {
	id := t.TemplateID
	old, exists, err := store.Templates.Get(tx, id)
	switch {
	case err != nil:
		return api.ModelTemplate{}, err
	case !exists && catalog.IsBuiltin(id):
		return api.ModelTemplate{}, taken(id, "is built into Nebula and cannot be replaced: choose another template_id")
	case exists && !replace:
		return api.ModelTemplate{}, taken(id, "exists already: choose another template_id, or replace it with ?replace=1 (at the command line: --replace)")
	}
	now := c.now().UnixMilli()
	t.CreatedAtMS, t.UpdatedAtMS, t.CreatedBy = now, now, by(ctx)
	if exists {
		t.CreatedAtMS, t.CreatedBy = old.CreatedAtMS, old.CreatedBy
	}
	return t, store.Templates.Put(tx, id, t)
}

func taken(id, why string) error {
	return api.Errorf(api.CodeTemplateExists, "the template %q %s", id, why)
}

// fillID checks a template's id, or makes one.
func fillID(t *api.ModelTemplate) error {
	if t.TemplateID == "" {
		t.TemplateID = "tpl-" + uuid.NewString()
	}
	if api.ValidUID(t.TemplateID) {
		return nil
	}
	return &api.Error{
		Code:    api.CodeInvalidRequest,
		Message: "the template_id is not legal: use a-z, 0-9 and \"-\", start with a letter or digit, at most 63 characters",
		Details: []api.Field{{Field: "template_id", Reason: "does not match [a-z0-9][a-z0-9-]{0,62}"}},
	}
}

func newTemplate(r api.CreateTemplate) api.ModelTemplate {
	source := r.ModelSource
	if source == "" {
		source = api.SourceHuggingFace
	}
	name, files := api.SplitTag(source, r.ModelName, r.Files)
	t := api.ModelTemplate{
		TemplateID: r.TemplateID, Name: r.Name, Description: r.Description, Category: r.Category,
		ModelName: name, ModelSource: source, ModelPath: r.ModelPath, DockerImage: r.DockerImage, Config: r.Config, DefaultReplicas: 1,
		Labels: r.Labels, Revision: r.Revision, Files: files, TokenSecret: r.TokenSecret,
		Licence: r.Licence, Parameters: r.Parameters, ContextLength: r.ContextLength, MemoryBytes: r.MemoryBytes, Homepage: r.Homepage,
	}
	if r.EngineType != "" {
		t.EngineType = api.CanonicalEngine(r.EngineType)
	}
	assignTo(&t.DefaultReplicas, r.DefaultReplicas)
	return t
}

// UpdateTemplate changes a stored template.
func (c *Control) UpdateTemplate(ctx context.Context, id string, req api.UpdateTemplate, ifMatch int64) (api.ModelTemplate, error) {
	var out api.ModelTemplate
	err := c.editTemplate(ctx, "template.update", id, ifMatch, func(tx *store.Tx) error {
		old, exists, err := store.Templates.Get(tx, id)
		if err == nil && !exists {
			err = catalog.NotFound(id)
		}
		if err != nil {
			return err
		}
		t := changeTemplate(old.Clone(), req)
		if err := t.Validate(); err != nil {
			return err
		}
		if req.TokenSecret != nil {
			if err := nameSecret(tx, t.TokenSecret); err != nil {
				return err
			}
		}
		t.UpdatedAtMS = c.now().UnixMilli()
		out = t
		return store.Templates.Put(tx, id, t)
	})
	return out, err
}

func changeTemplate(t api.ModelTemplate, u api.UpdateTemplate) api.ModelTemplate {
	spec := applyUpdate(t.Spec(), api.UpdateModel{
		ModelName: u.ModelName, ModelSource: u.ModelSource, ModelPath: u.ModelPath, EngineType: u.EngineType, DockerImage: u.DockerImage,
		Config: u.Config, Labels: u.Labels, Revision: u.Revision, Files: u.Files, TokenSecret: u.TokenSecret,
	})
	t.ModelName, t.ModelSource, t.ModelPath, t.EngineType, t.DockerImage = spec.ModelName, spec.ModelSource, spec.ModelPath, spec.EngineType, spec.DockerImage
	t.Config, t.Labels, t.Revision, t.Files, t.TokenSecret = spec.Config, spec.Labels, spec.Revision, spec.Files, spec.TokenSecret
	assignTo(&t.Name, u.Name)
	assignTo(&t.Description, u.Description)
	assignTo(&t.Category, u.Category)
	assignTo(&t.DefaultReplicas, u.DefaultReplicas)
	assignTo(&t.Licence, u.Licence)
	assignTo(&t.Parameters, u.Parameters)
	assignTo(&t.ContextLength, u.ContextLength)
	assignTo(&t.MemoryBytes, u.MemoryBytes)
	assignTo(&t.Homepage, u.Homepage)
	return t
}

func assignTo[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// DeleteTemplate forgets a stored template. Models that were made of it stay as they are.
func (c *Control) DeleteTemplate(ctx context.Context, id string, ifMatch int64) error {
	return c.editTemplate(ctx, "template.delete", id, ifMatch, func(tx *store.Tx) error {
		if _, exists, err := store.Templates.Get(tx, id); err == nil && !exists {
			return catalog.NotFound(id)
		}
		return store.Templates.Delete(tx, id) // one that cannot be read goes, too
	})
}

// editTemplate runs change on what is stored under a template's id, after the precondition. What is built in is not stored, and refused.
func (c *Control) editTemplate(ctx context.Context, verb, id string, ifMatch int64, change func(*store.Tx) error) error {
	if !api.KnownUID(id) {
		return catalog.NotFound(id)
	}
	return c.update(ctx, verb, "template/"+id, func(tx *store.Tx) error {
		e, exists, err := store.Templates.Entry(tx, id)
		if err == nil && !exists && catalog.IsBuiltin(id) {
			return api.Errorf(api.CodeConflict,
				"the template %q is built into Nebula and cannot be changed or deleted: make a copy under another id, with POST /api/v2/templates, and change that", id)
		}
		if ifMatch != 0 && err == nil && exists && e.Rev != ifMatch {
			return api.Errorf(api.CodeRevisionMismatch,
				"the template %q has changed since you read it (it is at revision %d, you named %d): read it again and repeat your change", id, e.Rev, ifMatch)
		}
		return change(tx)
	})
}

// DeployTemplate declares a model as a template says and wishes it to run, in one transaction. What the request overrides of the configuration stays an
// override of the deployment: the model's own configuration is the template's.
func (c *Control) DeployTemplate(ctx context.Context, id string, req api.DeployTemplate) (api.ModelCreated, error) {
	s, _ := c.store.Current()
	t, _, err := catalog.Find(s, id)
	if err != nil {
		return api.ModelCreated{}, err
	}
	spec := t.Spec()
	replicas := t.DefaultReplicas
	if req.Replicas != nil {
		replicas = *req.Replicas
	}
	return c.declare(ctx, "template.deploy", api.CreateModel{
		ModelName: spec.ModelName, ModelUID: req.ModelUID, ModelSource: spec.ModelSource, ModelPath: spec.ModelPath, EngineType: spec.EngineType,
		DockerImage: spec.DockerImage, Config: spec.Config, Labels: spec.Labels, Revision: spec.Revision, Files: spec.Files, TokenSecret: spec.TokenSecret,
		AutoStart: true, Replicas: &replicas, NodeID: req.NodeID, GPUIndices: req.GPUIndices,
	}, req.ConfigOverrides)
}
