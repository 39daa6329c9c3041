// Package control holds the verbs of people: create, update, start, stop, scale and delete a model, pull, pin and purge its files, let machines into the cluster, drain
// and remove them. Each is one transaction on the store; it returns when the wish is committed and never waits for its effect.
package control

import (
	"context"
	"reflect"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// Control carries out what people ask.
type Control struct {
	store  *store.Store
	now    func() time.Time
	fleet  Fleet
	sealer Sealer // nil: this process takes no secrets
}

// New returns a Control on st that lets no machine in.
func New(st *store.Store, now func() time.Time) *Control { return &Control{store: st, now: now} }

// maxSuffix bounds the search for a free uid.
const maxSuffix = 1000

// CreateModel declares a model and, with auto_start, the wish to run it, in one transaction. A uid that is not given is derived
// from the name, with a suffix when it is taken; a given uid that is taken is an error.
func (c *Control) CreateModel(ctx context.Context, req api.CreateModel) (api.ModelCreated, error) {
	return c.declare(ctx, "model.create", req, nil)
}

// declare is CreateModel under a verb, with what the deployment overrides of the config.
func (c *Control) declare(ctx context.Context, verb string, req api.CreateModel, overrides *api.ModelConfig) (api.ModelCreated, error) {
	spec := newSpec(req, by(ctx), c.now())
	derived := req.ModelUID == ""
	switch {
	case derived:
		spec.ModelUID = api.DeriveUID(req.ModelName)
		if spec.ModelUID == "" && req.ModelName != "" {
			return api.ModelCreated{}, api.Errorf(api.CodeInvalidUID,
				"no uid can be made of the name %.80q: give one as model_uid, for example \"my-model\"", req.ModelName)
		}
	case !api.ValidUID(req.ModelUID):
		return api.ModelCreated{}, &api.Error{
			Code:    api.CodeInvalidUID,
			Message: "the model_uid is not legal: use a-z, 0-9 and \"-\", start with a letter or digit, at most 63 characters",
			Details: []api.Field{{Field: "model_uid", Reason: "does not match [a-z0-9][a-z0-9-]{0,62}"}},
		}
	}
	var dep *api.ModelDeployment
	if req.AutoStart || req.Replicas != nil {
		dep = newDeployment(req, c.now())
		dep.ConfigOverrides = overrides
		if err := dep.Validate(); err != nil {
			return api.ModelCreated{}, err
		}
	}
	if !req.AutoStart {
		dep = nil // replicas are checked all the same, so that a wrong number is never silently dropped
	}
	if err := validateCreate(&spec); err != nil {
		return api.ModelCreated{}, err
	}
	base := spec.ModelUID
	made, err := create(ctx, c, verb, "", func(tx *store.Tx) (api.ModelCreated, error) {
		spec, dep := spec.Clone(), dep
		uid, err := freeUID(tx, base, derived)
		if err != nil {
			return api.ModelCreated{}, err
		}
		spec.ModelUID = uid
		if err := nameSecret(tx, spec.TokenSecret); err != nil {
			return api.ModelCreated{}, err
		}
		if err := dropPurges(tx, &spec, nil); err != nil {
			return api.ModelCreated{}, err
		}
		if err := store.Models.Put(tx, uid, spec); err != nil || dep == nil {
			return api.ModelCreated{Spec: spec}, err
		}
		wish := dep.Clone()
		wish.ModelUID = uid
		return api.ModelCreated{Spec: spec, Deployment: &wish}, store.Deployments.Put(tx, uid, wish)
	})
	if err != nil {
		return api.ModelCreated{}, err
	}
	if err := c.settlePurges(ctx, &made.Spec, nil); err != nil {
		return api.ModelCreated{}, err
	}
	made.Status = cluster.Status(c.After(ctx), made.Spec.ModelUID, c.now())
	return made, nil
}

// validateCreate checks a new spec. An empty derived uid comes from an empty name, which has its own message.
func validateCreate(spec *api.ModelSpec) error {
	checked := *spec
	if checked.ModelUID == "" {
		checked.ModelUID = "model"
	}
	return checked.Validate()
}

func newSpec(req api.CreateModel, by string, now time.Time) api.ModelSpec {
	source := req.ModelSource
	if source == "" {
		source = api.SourceHuggingFace
	}
	engine := req.EngineType
	if engine != "" {
		engine = api.CanonicalEngine(engine)
	}
	name, files := api.SplitTag(source, req.ModelName, req.Files)
	return api.ModelSpec{
		ModelUID: req.ModelUID, ModelName: name, ModelSource: source, ModelPath: req.ModelPath, EngineType: engine,
		DockerImage: req.DockerImage, Config: req.Config, Labels: req.Labels, Revision: req.Revision, Files: files,
		TokenSecret: req.TokenSecret,
		CreatedAtMS: now.UnixMilli(), UpdatedAtMS: now.UnixMilli(), CreatedBy: by,
	}
}

func newDeployment(req api.CreateModel, now time.Time) *api.ModelDeployment {
	replicas := uint32(1)
	if req.Replicas != nil {
		replicas = *req.Replicas
	}
	return &api.ModelDeployment{
		DesiredState: api.DesiredRunning, Replicas: replicas, NodeAffinity: req.NodeID, GPUAffinity: req.GPUIndices,
		Version: 1, UpdatedAtMS: now.UnixMilli(),
	}
}

// freeUID returns base when no document of that name is left, else, for a derived uid, base with the lowest free suffix.
func freeUID(tx *store.Tx, base string, derived bool) (string, error) {
	taken := func(uid string) (bool, error) {
		if tx.State().Models.Has(uid) { // also one that only a request declares
			return true, nil
		}
		_, ok, err := store.Models.Get(tx, uid)
		if err != nil || ok {
			return true, err
		}
		_, ok, err = store.Deployments.Get(tx, uid)
		return ok, err
	}
	switch used, err := taken(base); {
	case err != nil && !derived:
		return "", err
	case err == nil && !used:
		return base, nil
	case !derived:
		return "", api.Errorf(api.CodeModelExists,
			"a model with the uid %q exists already: choose another uid, or change that one with PUT /api/v2/models/%s", base, base)
	}
	for n := 2; n <= maxSuffix; n++ {
		uid := api.SuffixUID(base, n)
		if known(tx.State(), uid) {
			continue // not read through the transaction, which holds only so many documents
		}
		if used, err := taken(uid); err == nil && !used {
			return uid, nil
		}
	}
	return "", api.Errorf(api.CodeModelExists, "the uid %q and its first %d suffixes are taken: give one as model_uid", base, maxSuffix)
}

// known tells whether anything, readable or not, is stored under a model's uid.
func known(s *cluster.State, uid string) bool {
	model, _ := store.Models.Key(uid)
	deployment, _ := store.Deployments.Key(uid)
	return s.Models.Has(uid) || s.Deployments.Has(uid) || s.Bad.Has(model) || s.Bad.Has(deployment)
}

// UpdateModel changes what a model is. Replicas that run are replaced one at a time when the engine would see the change.
func (c *Control) UpdateModel(ctx context.Context, uid string, req api.UpdateModel, ifMatch int64) (api.ModelSpec, error) {
	return c.changeSpec(ctx, "model.update", uid, ifMatch, func(s api.ModelSpec) (api.ModelSpec, bool, error) {
		s.UpdatedAtMS = c.now().UnixMilli() // also when nothing else changes
		return applyUpdate(s, req), req.TokenSecret != nil, nil
	})
}

// PatchModel is UpdateModel by a JSON merge patch, which can clear single fields. A patch that changes nothing writes nothing.
func (c *Control) PatchModel(ctx context.Context, uid string, patch api.PatchModel, ifMatch int64) (api.ModelSpec, error) {
	return c.changeSpec(ctx, "model.patch", uid, ifMatch, func(s api.ModelSpec) (api.ModelSpec, bool, error) {
		out, err := patch.Apply(s)
		return out, len(patch["token_secret"]) > 0, err
	})
}

// changeSpec stores what change makes of a model's spec, a copy of which it gets, and checks the secret that it names when change says so.
func (c *Control) changeSpec(ctx context.Context, verb, uid string, ifMatch int64, change func(api.ModelSpec) (api.ModelSpec, bool, error)) (api.ModelSpec, error) {
	var out api.ModelSpec
	err := c.edit(ctx, verb, uid, ifMatch, func(tx *store.Tx, old api.ModelSpec, _ *api.ModelDeployment) error {
		spec, secret, err := change(old.Clone())
		if err == nil {
			err = spec.Validate()
		}
		if err != nil {
			return err
		}
		if secret {
			if err := nameSecret(tx, spec.TokenSecret); err != nil {
				return err
			}
		}
		if !reflect.DeepEqual(spec, old.Clone()) {
			spec.UpdatedAtMS = c.now().UnixMilli()
		}
		out = spec
		if err := dropPurges(tx, &spec, nil); err != nil {
			return err
		}
		return store.Models.Put(tx, uid, spec)
	})
	if err != nil {
		return api.ModelSpec{}, err
	}
	return out, c.settlePurges(ctx, &out, nil)
}

func applyUpdate(s api.ModelSpec, u api.UpdateModel) api.ModelSpec {
	assign(&s.ModelName, u.ModelName)
	assign(&s.ModelPath, u.ModelPath)
	assign(&s.DockerImage, u.DockerImage)
	assign(&s.Revision, u.Revision)
	assign(&s.TokenSecret, u.TokenSecret)
	if u.ModelSource != nil && *u.ModelSource != "" {
		s.ModelSource = *u.ModelSource
	}
	if u.EngineType != nil {
		s.EngineType = ""
		if *u.EngineType != "" {
			s.EngineType = api.CanonicalEngine(*u.EngineType)
		}
	}
	if u.Config != nil {
		s.Config = u.Config
	}
	if u.Labels != nil {
		s.Labels = u.Labels
	}
	if u.Files != nil {
		s.Files = u.Files
	}
	return s
}

func assign(dst *string, src *string) {
	if src != nil {
		*dst = *src
	}
}

// StartModel wishes the model to run, with what the request overrides.
func (c *Control) StartModel(ctx context.Context, uid string, req api.StartModel, ifMatch int64) (api.ModelDeployment, error) {
	return c.wish(ctx, "model.start", uid, ifMatch, func(d *api.ModelDeployment) error {
		d.DesiredState = api.DesiredRunning
		d.Replicas = max(d.Replicas, 1) // a stop by the existing Nebula may have stored 0
		if req.Replicas != nil {
			d.Replicas = *req.Replicas
		}
		if req.ConfigOverrides != nil {
			d.ConfigOverrides = req.ConfigOverrides
		}
		if req.NodeID != nil {
			d.NodeAffinity = *req.NodeID
		}
		if req.GPUIndices != nil {
			d.GPUAffinity = req.GPUIndices
		}
		return nil
	})
}

// StopModel wishes that nothing of the model runs; its spec and deployment stay.
func (c *Control) StopModel(ctx context.Context, uid string, ifMatch int64) (api.ModelDeployment, error) {
	return c.wish(ctx, "model.stop", uid, ifMatch, stopWish)
}

func stopWish(d *api.ModelDeployment) error {
	d.DesiredState = api.DesiredStopped
	return nil
}

// ScaleModel changes the number of replicas of a model that is wished to run.
func (c *Control) ScaleModel(ctx context.Context, uid string, req api.ScaleModel, ifMatch int64) (api.ModelDeployment, error) {
	return c.wish(ctx, "model.scale", uid, ifMatch, scaleWish(uid, req.Replicas))
}

func scaleWish(uid string, replicas *uint32) func(*api.ModelDeployment) error {
	return func(d *api.ModelDeployment) error {
		switch {
		case replicas == nil:
			return &api.Error{
				Code: api.CodeInvalidRequest, Message: "replicas is missing: say how many you want",
				Details: []api.Field{{Field: "replicas", Reason: "is missing"}},
			}
		case d.Version == 0:
			return api.Errorf(api.CodeNotFound, "the model %q was never started: start it with POST /api/v2/models/%s/start", uid, uid)
		case d.DesiredState == api.DesiredStopped:
			return api.Errorf(api.CodeModelStopped, "the model %q is stopped: start it first, with the number of replicas you want", uid)
		}
		d.Replicas = *replicas
		return nil
	}
}

// wish edits a model's deployment, which is new (version 0) when the model was never started, and counts its version.
func (c *Control) wish(ctx context.Context, verb, uid string, ifMatch int64, change func(*api.ModelDeployment) error) (api.ModelDeployment, error) {
	var out api.ModelDeployment
	if !api.KnownUID(uid) {
		return out, notFound(uid)
	}
	err := c.update(ctx, verb, "model/"+uid, func(tx *store.Tx) (err error) {
		out, err = c.wishIn(tx, uid, ifMatch, change)
		return err
	})
	return out, err
}

// wishIn is wish in a transaction.
func (c *Control) wishIn(tx *store.Tx, uid string, ifMatch int64, change func(*api.ModelDeployment) error) (out api.ModelDeployment, err error) {
	return out, c.editIn(tx, uid, ifMatch, func(tx *store.Tx, _ api.ModelSpec, dep *api.ModelDeployment) error {
		d := api.ModelDeployment{ModelUID: uid, Replicas: 1}
		if dep != nil {
			d = dep.Clone()
		}
		out, err = c.putWish(tx, d, change)
		return err
	})
}

// putWish stores a wish as change makes it.
func (c *Control) putWish(tx *store.Tx, d api.ModelDeployment, change func(*api.ModelDeployment) error) (api.ModelDeployment, error) {
	if err := change(&d); err != nil {
		return d, err
	}
	if err := d.Validate(); err != nil {
		return d, err
	}
	if err := forgetDrained(tx, &d); err != nil {
		return d, err
	}
	d.Version++
	d.UpdatedAtMS = c.now().UnixMilli()
	return d, store.Deployments.Put(tx, d.ModelUID, d)
}

// DeleteModel removes a model and its deployment. Its files stay: they may be somebody's own, or wanted again.
func (c *Control) DeleteModel(ctx context.Context, uid string, ifMatch int64) error {
	return c.deleteModel(ctx, uid, ifMatch, func(*store.Tx, *api.ModelSpec) error { return nil })
}

// deleteModel removes a model and does one thing more in the same transaction, with its spec, or with nil when that cannot be read.
func (c *Control) deleteModel(ctx context.Context, uid string, ifMatch int64, also func(*store.Tx, *api.ModelSpec) error) error {
	if !api.KnownUID(uid) {
		return notFound(uid)
	}
	return c.update(ctx, "model.delete", "model/"+uid, func(tx *store.Tx) error {
		spec, readable, err := store.Models.Get(tx, uid)
		_, deployed, derr := store.Deployments.Get(tx, uid)
		requests := cluster.RequestsOf(tx.State(), uid)
		if err == nil && derr == nil && !readable && !deployed && len(requests) == 0 {
			return notFound(uid)
		}
		if err == nil && !readable {
			spec, readable = tx.State().Models.Value(uid)
		}
		for _, r := range requests { // they would declare the model again
			if err := store.Requests.Delete(tx, r.ID); err != nil {
				return err
			}
		}
		if err := matches(tx, uid, ifMatch); err != nil {
			return err
		}
		known := &spec
		if !readable {
			known = nil
		}
		if err := also(tx, known); err != nil {
			return err
		}
		if err := store.Models.Delete(tx, uid); err != nil { // a document that cannot be read goes too
			return err
		}
		if key, _ := store.Placements.Key(uid); tx.State().Bad.Has(key) { // nobody else may remove it
			if err := store.Placements.Delete(tx, uid); err != nil {
				return err
			}
		}
		return store.Deployments.Delete(tx, uid)
	})
}

// edit runs change on an existing model, after the precondition.
func (c *Control) edit(ctx context.Context, verb, uid string, ifMatch int64, change func(*store.Tx, api.ModelSpec, *api.ModelDeployment) error) error {
	if !api.KnownUID(uid) {
		return notFound(uid)
	}
	return c.update(ctx, verb, "model/"+uid, func(tx *store.Tx) error { return c.editIn(tx, uid, ifMatch, change) })
}

// editIn is edit in a transaction. A wish that only a request of version 1 declares is stored on the way.
func (c *Control) editIn(tx *store.Tx, uid string, ifMatch int64, change func(*store.Tx, api.ModelSpec, *api.ModelDeployment) error) error {
	w, err := declared(tx, uid)
	if err == nil && !w.known {
		err = notFound(uid)
	}
	if err == nil {
		err = matches(tx, uid, ifMatch)
	}
	if err == nil && w.adopted {
		err = w.store(tx, uid)
	}
	if err != nil {
		return err
	}
	if !w.deployed {
		return change(tx, w.spec, nil)
	}
	return change(tx, w.spec, &w.deployment)
}

// matches checks If-Match: 0 means that the caller named no revision.
func matches(tx *store.Tx, uid string, ifMatch int64) error {
	if ifMatch == 0 {
		return nil
	}
	if rev := cluster.Revision(tx.State(), uid); rev != ifMatch {
		return api.Errorf(api.CodeRevisionMismatch,
			"the model %q has changed since you read it (it is at revision %d, you named %d): read it again and repeat your change", uid, rev, ifMatch)
	}
	return nil
}

func notFound(uid string) error {
	return api.Errorf(api.CodeNotFound, "there is no model with the uid %.80q; list them with: nebula model list", uid)
}
