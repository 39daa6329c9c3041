package control

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// LoadModel declares a model as version 1 does: by a request, which the scheduler honours as it honours every other wish. Where a model of that uid and
// name is stored it is started with what the request says of replicas, places and configuration, in the same transaction; one of another name is not
// touched, and the request refused. Uids that only version 1 knows, such as qwen2_5_0_5b, are taken.
func (c *Control) LoadModel(ctx context.Context, q api.ModelLoadRequest) (api.ModelRequest, error) {
	r := api.ModelRequest{
		ID: uuid.NewString(), Request: q, Status: api.RequestStatus{Phase: api.RequestPending}, CreatedAtMS: c.now().UnixMilli(),
	}
	spec, dep := cluster.Declared(&r)
	if err := spec.Validate(); err != nil {
		return api.ModelRequest{}, err
	}
	if err := dep.Validate(); err != nil {
		return api.ModelRequest{}, err
	}
	return create(ctx, c, "request.load", "model/"+spec.ModelUID, func(tx *store.Tx) (api.ModelRequest, error) {
		old, stored, err := store.Models.Get(tx, spec.ModelUID)
		switch {
		case err != nil:
			return r, err
		case stored && old.ModelName != spec.ModelName:
			return r, api.Errorf(api.CodeModelExists,
				"a model with the uid %q exists already, and it is %q: choose another uid, or delete that one first", spec.ModelUID, old.ModelName)
		case stored:
			if _, err := c.wishIn(tx, spec.ModelUID, 0, func(d *api.ModelDeployment) error { return loadOver(d, &dep, q.Config) }); err != nil {
				return r, err
			}
		}
		return r, store.Requests.Put(tx, r.ID, r)
	})
}

// loadOver lays what a request says over the deployment of a stored model.
func loadOver(d, asked *api.ModelDeployment, config *api.ModelConfig) error {
	d.DesiredState, d.Replicas = api.DesiredRunning, asked.Replicas
	if asked.NodeAffinity != "" {
		d.NodeAffinity = asked.NodeAffinity
	}
	if len(asked.GPUAffinity) > 0 {
		d.GPUAffinity = asked.GPUAffinity
	}
	if config != nil {
		d.ConfigOverrides = config
	}
	return nil
}

// UnloadRequest wishes that nothing of the model of a request runs, and that the request goes when nothing does any more, with all others of its uid:
// an older one would start the model again. A stored model of that uid is stopped, and stays.
func (c *Control) UnloadRequest(ctx context.Context, id string) error {
	return c.onRequest(ctx, "request.unload", id, func(tx *store.Tx, r api.ModelRequest, stored bool) error {
		uid := r.Request.ModelUID
		for _, other := range cluster.RequestsOf(tx.State(), uid) {
			if other.Status = (api.RequestStatus{Phase: api.RequestUnloading}); other.ID == id {
				continue
			}
			if err := store.Requests.Put(tx, other.ID, other); err != nil {
				return err
			}
		}
		r.Status = api.RequestStatus{Phase: api.RequestUnloading}
		if err := store.Requests.Put(tx, id, r); err != nil || !stored {
			return err
		}
		_, err := c.wishIn(tx, uid, 0, stopWish)
		return err
	})
}

// ScaleRequest changes how many replicas a request asks for, and those of a stored model of its uid, and returns how many it asked for before.
func (c *Control) ScaleRequest(ctx context.Context, id string, replicas uint32) (before uint32, err error) {
	err = c.onRequest(ctx, "request.scale", id, func(tx *store.Tx, r api.ModelRequest, stored bool) error {
		before, r.Request.Replicas = r.Request.Replicas, replicas
		_, dep := cluster.Declared(&r)
		if err := dep.Validate(); err != nil {
			return err
		}
		if err := store.Requests.Put(tx, id, r); err != nil || !stored {
			return err
		}
		_, err := c.wishIn(tx, r.Request.ModelUID, 0, scaleWish(r.Request.ModelUID, &replicas))
		return err
	})
	return before, err
}

// onRequest runs change on an existing request; stored tells whether a model of its uid is stored, so that the request does not count.
func (c *Control) onRequest(ctx context.Context, verb, id string, change func(tx *store.Tx, r api.ModelRequest, stored bool) error) error {
	if !api.ValidNodeID(id) {
		return noRequest(id)
	}
	return c.update(ctx, verb, "request/"+id, func(tx *store.Tx) error {
		r, ok, err := store.Requests.Get(tx, id)
		if err == nil && !ok {
			err = noRequest(id)
		}
		if err != nil {
			return err
		}
		stored := false
		if api.KnownUID(r.Request.ModelUID) {
			if _, stored, err = store.Models.Get(tx, r.Request.ModelUID); err != nil {
				return err
			}
		}
		return change(tx, r, stored)
	})
}

func noRequest(id string) error {
	return api.Errorf(api.CodeNotFound, "there is no request with the id %.80q; list them with GET /api/requests", id)
}

// KeepRequests removes requests that are unloaded, whenever there are some, until ctx ends. One that cannot be removed now is tried again a little later.
func (c *Control) KeepRequests(ctx context.Context) {
	for ctx.Err() == nil {
		_, changed := c.store.Current()
		var again <-chan time.Time
		if err := c.SweepRequests(ctx); err != nil {
			again, changed = time.After(sweepAgain), nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again:
		}
	}
}

// sweepAgain is how long a sweep waits after one that failed.
const sweepAgain = 5 * time.Second

// SweepRequests removes the requests that are unloaded: of which nothing runs any more.
func (c *Control) SweepRequests(ctx context.Context) error {
	if s, _ := c.store.Current(); len(cluster.Unloaded(s)) == 0 {
		return nil
	}
	return c.update(System(ctx, "scheduler"), "request.unloaded", "", func(tx *store.Tx) error {
		ids := cluster.Unloaded(tx.State())
		for _, id := range ids[:min(len(ids), sweepAtOnce)] {
			if _, _, err := store.Requests.Get(tx, id); err != nil {
				return err
			}
			if err := store.Requests.Delete(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepAtOnce is how many requests one transaction removes; each has an event of its model as well.
const sweepAtOnce = 30

// declared returns the wish for a model: what is stored, and for what is not, what a request of version 1 declares. The transaction depends on all of
// it, and adopted tells that a request spoke: who changes the wish then stores both documents, so that from then on they count and it does not.
func declared(tx *store.Tx, uid string) (w wanted, err error) {
	if w.spec, w.known, err = store.Models.Get(tx, uid); err != nil {
		return w, err
	}
	if w.deployment, w.deployed, err = store.Deployments.Get(tx, uid); err != nil {
		return w, err
	}
	if w.known && w.deployed {
		return w, nil
	}
	id, ok := cluster.Speaks(tx.State(), uid)
	if !ok {
		return w, nil
	}
	if _, _, err = store.Requests.Get(tx, id); err != nil {
		return w, err
	}
	if spec, ok := tx.State().Models.Value(uid); ok && !w.known {
		w.spec, w.known, w.adopted = spec.Clone(), true, true
	}
	if d, ok := tx.State().Deployments.Value(uid); ok && !w.deployed {
		w.deployment, w.deployed, w.adopted = d.Clone(), true, true
	}
	return w, nil
}

// wanted is the wish for a model.
type wanted struct {
	spec            api.ModelSpec
	deployment      api.ModelDeployment
	known, deployed bool
	adopted         bool
}

// store writes a wish that only a request declared.
func (w *wanted) store(tx *store.Tx, uid string) error {
	if err := store.Models.Put(tx, uid, w.spec); err != nil || !w.deployed {
		return err
	}
	return store.Deployments.Put(tx, uid, w.deployment)
}
