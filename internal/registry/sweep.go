package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// sweepEvery bounds how often the sweep looks: what is left of a removed node is in nobody's way.
const sweepEvery = 10 * time.Second

// Sweeper removes what is left of removed nodes, until ctx ends or the fence falls. It is for the leader, whose fence the options hold.
func (r *Registry) Sweeper(ctx context.Context, opts ...store.Option) error {
	var last *cluster.State
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery): // first of all, so that a server that starts has made its own node a member
		}
		s, changed := r.cfg.Store.Current()
		if last == nil || !sameNodes(last, s) || last.Endpoints != s.Endpoints {
			last = s
			switch err := r.Sweep(ctx, opts...); {
			case errors.Is(err, store.ErrFenced):
				return err
			case err != nil && ctx.Err() == nil:
				r.cfg.Log.Warn("documents of removed nodes are not cleared away yet", "error", err)
				last = nil
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Sweep removes once what is left of nodes that are neither members nor alive. Each transaction depends on that being so still: a node
// that joins again at that moment keeps its documents.
func (r *Registry) Sweep(ctx context.Context, opts ...store.Option) error {
	s, _ := r.cfg.Store.Current()
	for _, id := range strays(s) {
		for left := 0; left == 0; {
			_, err := r.cfg.Store.Update(ctx, store.OwnerNode, func(tx *store.Tx) error {
				_, member, err := store.Members.Get(tx, api.MemberKey(api.MachineNode, id))
				if err != nil {
					return err
				}
				_, alive, err := store.Nodes.Get(tx, id)
				if err != nil {
					return err
				}
				left = maxWrites
				if member || alive {
					return nil
				}
				w := &writer{tx: tx, node: id, left: maxWrites}
				if err := w.forget(); err != nil {
					return err
				}
				left = w.left
				return nil
			}, opts...)
			if err != nil {
				return fmt.Errorf("clear away what is left of node %s: %w", id, err)
			}
		}
		r.cfg.Log.Info("cleared away what was left of a removed node", "node", id)
	}
	return nil
}

// strays returns the nodes that documents name and that are neither members nor alive, sorted.
func strays(s *cluster.State) []string {
	named := map[string]bool{}
	for _, e := range s.Endpoints.Refs() {
		named[e.Value.NodeID] = true
	}
	for _, e := range s.Cache.Refs() {
		named[e.Value.NodeID] = true
	}
	for _, e := range s.Disks.Refs() {
		named[e.Value.NodeID] = true
	}
	for _, e := range s.Alerts.Refs() {
		named[e.Value.NodeID] = true
	}
	for _, e := range s.Pulls.Refs() {
		named[e.Value.NodeID] = true
	}
	maps.DeleteFunc(named, func(id string, _ bool) bool { return !unknown(s, id) })
	return slices.Sorted(maps.Keys(named))
}

// forget removes every document of a node but its status, which is not there.
func (w *writer) forget() error {
	s := w.tx.State()
	var endpoints []string
	for _, e := range s.Endpoints.Refs() {
		if e.Value.NodeID == w.node {
			endpoints = append(endpoints, e.ID)
		}
	}
	if err := reconcile(w, &store.Endpoints, s.Endpoints, nil, 0, endpoints, func(e *api.EndpointInfo) string { return e.NodeID }); err != nil {
		return err
	}
	if err := reconcile(w, &store.Cache, s.Cache, nil, 0, under(s.Cache, w.node), func(c *api.ModelCacheEntry) string { return c.NodeID }); err != nil {
		return err
	}
	if err := reconcile(w, &store.Alerts, s.Alerts, nil, 0, under(s.Alerts, w.node), func(a *api.DiskAlert) string { return a.NodeID }); err != nil {
		return err
	}
	if err := reconcile(w, &store.CachePulls, s.Pulls, nil, 0, under(s.Pulls, w.node), func(p *api.CachePull) string { return p.NodeID }); err != nil {
		return err
	}
	if !s.Disks.Has(w.node) || w.left == 0 {
		return nil
	}
	w.left--
	return store.Disks.Delete(w.tx, w.node)
}
