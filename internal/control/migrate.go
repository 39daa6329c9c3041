package control

import (
	"context"
	"errors"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// migrateAtOnce is how many models one transaction stores: two documents and an event of each, and the request that each depends on.
const migrateAtOnce = 20

// Migrate stores, as models and deployments, what requests of version 1 declare: each model whole or not at all, only what is not stored yet, and
// nothing that runs notices. The requests stay. It can be repeated, broken off and carried out twice at once. What cannot be migrated is in the report,
// and the rest is migrated; an error means that the store gave way, with what was done till then done for good.
func (c *Control) Migrate(ctx context.Context) (api.Migration, error) {
	s, _ := c.store.Current()
	steps := cluster.MigrationPlan(s)
	who := CallerOf(ctx)
	if who != nil && who.DryRun {
		return report(steps), nil
	}
	var pending []*cluster.MigrationStep
	for i := range steps {
		if steps[i].Pending() {
			pending = append(pending, &steps[i])
		}
	}
	for part := range slices.Chunk(pending, migrateAtOnce) {
		err := c.migrate(ctx, part)
		if _, refused := errors.AsType[*api.Error](err); refused && len(part) > 1 { // by one of them: which?
			err = nil
			for i := range part {
				err = errors.Join(err, c.migrateOne(ctx, part[i]))
			}
		}
		if err != nil {
			return report(steps), err
		}
	}
	return report(steps), nil
}

func (c *Control) migrateOne(ctx context.Context, step *cluster.MigrationStep) error {
	err := c.migrate(ctx, []*cluster.MigrationStep{step})
	refused, ok := errors.AsType[*api.Error](err)
	if ok && slices.Contains([]api.Code{api.CodeConflict, api.CodeInvalidRequest, api.CodeTooLarge}, refused.Code) { // of this model, not of the store
		step.Action, step.Reason, step.DesiredState = api.MigrationFailed, refused.Message, ""
		return nil
	}
	return err
}

// migrate carries out some steps, as they are when it comes to that, and notes in them what they were.
func (c *Control) migrate(ctx context.Context, part []*cluster.MigrationStep) error {
	was := make([]cluster.MigrationStep, len(part))
	err := c.update(ctx, "migrate", "migration", func(tx *store.Tx) error {
		for i, step := range part {
			now, ok := cluster.MigrationOf(tx.State(), step.RequestID)
			if was[i] = now; !ok { // it went meanwhile
				was[i].MigrationDetail = api.MigrationDetail{
					ModelUID: step.ModelUID, RequestID: step.RequestID, Action: api.MigrationSkipped, Reason: "the request is gone",
				}
				continue
			}
			if err := carry(tx, &now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range part {
		*part[i] = was[i]
	}
	return nil
}

// carry stores what is missing of one model, in a transaction that depends on all that the step was made of.
func carry(tx *store.Tx, step *cluster.MigrationStep) error {
	if !step.Pending() {
		return nil
	}
	if _, _, err := store.Requests.Get(tx, step.RequestID); err != nil {
		return err
	}
	if step.Spec != nil {
		if err := store.Models.Put(tx, step.ModelUID, *step.Spec); err != nil {
			return err
		}
	} else if _, _, err := store.Models.Get(tx, step.ModelUID); err != nil {
		return err
	}
	if step.Deployment == nil {
		_, _, err := store.Deployments.Get(tx, step.ModelUID)
		return err
	}
	return store.Deployments.Put(tx, step.ModelUID, *step.Deployment)
}

func report(steps []cluster.MigrationStep) api.Migration {
	m := api.Migration{Details: api.List[api.MigrationDetail]{}}
	for i := range steps {
		m.Count(steps[i].MigrationDetail)
	}
	return m
}
