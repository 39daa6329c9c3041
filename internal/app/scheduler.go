package app

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/history"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/scheduler"
	"github.com/nebula-serve/nebula/internal/store"
)

// schedulerOffice is what the servers compete for.
const schedulerOffice = "scheduler"

// schedulerLoop runs the scheduler whenever this process leads. Each term has its own fence, which the store checks in every
// transaction: a leader that was paused for too long writes nothing any more.
func schedulerLoop(st *store.Store, kv *etcd.Client, people *control.Control, nodes *registry.Registry, o Options) func(context.Context) error {
	log := o.Log.With("component", "scheduler")
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			leader, err := store.Campaign(ctx, kv, store.Candidate{Name: schedulerOffice, ID: o.NodeID, TTLSeconds: leaderTTL, Log: log})
			if err != nil {
				return err
			}
			err = term(ctx, st, leader, people, nodes, scheduler.Config{LostAfter: o.Serving.LostAfter, Log: log})
			if ctx.Err() != nil {
				return leader.Resign(context.WithoutCancel(ctx))
			}
			log.Warn("not leading any more", "error", err)
		}
		return nil
	}
}

// term schedules, and clears away what removed nodes have left, until the leadership or ctx ends.
func term(ctx context.Context, st *store.Store, leader *store.Leader, people *control.Control, nodes *registry.Registry, cfg scheduler.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-leader.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	watch.Go(func() { _ = nodes.Sweeper(ctx, store.Fence(leader.Fence())) }) // it ends with the term, whose end is told anyway
	keep := control.AuditKeep{Age: control.AuditKeepAge, Records: control.AuditKeepRecords}
	watch.Go(func() { _ = people.TrimAudit(ctx, keep, store.Fence(leader.Fence())) })
	watch.Go(func() { people.KeepRequests(ctx) })
	told := history.Config{Cluster: histories{st, people, leader.Fence()}, Now: time.Now, Log: cfg.Log}
	watch.Go(func() { _ = history.Run(ctx, told) })
	cfg.Cluster = placements{st, leader.Fence()}
	err := scheduler.Run(ctx, cfg)
	cancel()
	watch.Wait()
	return err
}

// placements is the store as the scheduler sees it.
type placements struct {
	store *store.Store
	fence store.Cond
}

func (p placements) Current() (*cluster.State, <-chan struct{}) { return p.store.Current() }

// Place writes the changes of a plan in one transaction. A placement that has changed since the plan was made, which only another
// leader could have done, refuses all.
func (p placements) Place(ctx context.Context, changes []scheduler.Change) error {
	_, err := p.store.Update(ctx, store.OwnerScheduler, func(tx *store.Tx) error {
		for _, c := range changes {
			e, _, err := store.Placements.Entry(tx, c.UID)
			if err != nil {
				return err
			}
			if e.Rev != c.Rev {
				return api.Errorf(api.CodeConflict, "the placement of %s has changed since it was planned", c.UID)
			}
			if c.Plan == nil {
				err = store.Placements.Delete(tx, c.UID)
			} else {
				err = store.Placements.Put(tx, c.UID, *c.Plan)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, store.Fence(p.fence))
	return err
}

// histories is the store as the recorder of the models' histories sees it.
type histories struct {
	store  *store.Store
	people *control.Control
	fence  store.Cond
}

func (h histories) Current() (*cluster.State, <-chan struct{}) { return h.store.Current() }

func (h histories) Histories(ctx context.Context) ([]string, error) { return h.people.Histories(ctx) }

func (h histories) Events(ctx context.Context, uid string) ([]api.ModelEvent, error) {
	return h.people.ModelEvents(ctx, uid)
}

func (h histories) Write(ctx context.Context, events []api.ModelEvent) error {
	_, err := h.store.Update(ctx, store.OwnerScheduler, func(tx *store.Tx) error {
		for i := range events {
			value, err := json.Marshal(events[i])
			if err != nil {
				return fmt.Errorf("encode an event: %w", err)
			}
			if err := tx.Append(eventKey(events[i].ModelUID, events[i].ID), value, 0); err != nil {
				return err
			}
		}
		return nil
	}, store.Fence(h.fence))
	return err
}

func (h histories) Forget(ctx context.Context, uid string, ids []string) error {
	_, err := h.store.Update(ctx, store.OwnerScheduler, func(tx *store.Tx) error {
		for _, id := range ids {
			if err := tx.Forget(eventKey(uid, id)); err != nil {
				return err
			}
		}
		return nil
	}, store.Fence(h.fence))
	return err
}

func eventKey(uid, id string) string { return store.EventsPrefix + uid + "/" + id }
