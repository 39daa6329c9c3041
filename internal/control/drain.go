package control

import (
	"context"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// DrainReplica wishes one replica to leave: another takes its place where there is room, and then it takes no new requests, finishes those that it has and
// goes. Nothing is written when that is under way already.
func (c *Control) DrainReplica(ctx context.Context, uid string, replica uint32, ifMatch int64) (api.ReplicaDrain, error) {
	out := api.ReplicaDrain{ModelUID: uid, ReplicaID: replica}
	if !api.KnownUID(uid) {
		return out, notFound(uid)
	}
	err := c.update(ctx, "model.drain", "model/"+uid, func(tx *store.Tx) error {
		return c.editIn(tx, uid, ifMatch, func(tx *store.Tx, _ api.ModelSpec, dep *api.ModelDeployment) error {
			at, assigned, err := whereReplica(tx, uid, replica)
			if err != nil {
				return err
			}
			out.NodeID, out.Status = at.NodeID, api.AlreadyDraining
			if !assigned || dep == nil || dep.DesiredState != api.DesiredRunning || dep.Drains(&at) {
				return nil
			}
			out.Status = api.NowDraining
			_, err = c.putWish(tx, dep.Clone(), func(d *api.ModelDeployment) error {
				d.Draining = append(d.Draining, api.DrainMark{ReplicaID: replica, NodeID: at.NodeID})
				return nil
			})
			return err
		})
	})
	return out, err
}

// whereReplica finds a replica: by its plan, or else, when that has given it up, by its endpoint. The error is that it is nowhere.
func whereReplica(tx *store.Tx, uid string, replica uint32) (at api.PlacementAssignment, assigned bool, err error) {
	plan, _, err := store.Placements.Get(tx, uid)
	if err != nil {
		return at, false, err
	}
	for _, a := range plan.Assignments {
		if a.ReplicaID == replica {
			return a, true, nil
		}
	}
	e, there, err := store.Endpoints.Get(tx, api.EndpointKey(uid, replica))
	if err == nil && !there {
		err = api.Errorf(api.CodeNotFound, "the model %q has no replica %d: look for those that it has with: nebula endpoint list --model %s", uid, replica, uid)
	}
	return api.PlacementAssignment{ReplicaID: replica, NodeID: e.NodeID}, false, err
}

// forgetDrained drops the marks of replicas that are not where they were meant, and all of a model that is not to run: what has gone does not need them.
func forgetDrained(tx *store.Tx, d *api.ModelDeployment) error {
	if len(d.Draining) == 0 {
		return nil
	}
	plan, _, err := store.Placements.Get(tx, d.ModelUID)
	if err != nil {
		return err
	}
	d.Draining = slices.DeleteFunc(d.Draining, func(m api.DrainMark) bool {
		return d.DesiredState != api.DesiredRunning || !slices.ContainsFunc(plan.Assignments, func(a api.PlacementAssignment) bool {
			return a.ReplicaID == m.ReplicaID && a.NodeID == m.NodeID
		})
	})
	if len(d.Draining) == 0 {
		d.Draining = nil
	}
	return nil
}
