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

// strays returns the nodes that documents name and that are neither members nor alive, sorted. Documents that were there before the cluster was are not
// looked at: an existing Nebula's nodes have not joined yet, and were not removed.
func strays(s *cluster.State) []string {
	named := map[string]bool{}
	own(s, s.Endpoints, func(_ string, e *api.EndpointInfo) { named[e.NodeID] = true })
	own(s, s.Cache, func(_ string, c *api.ModelCacheEntry) { named[c.NodeID] = true })
	own(s, s.Disks, func(_ string, d *api.NodeDiskStatus) { named[d.NodeID] = true })
	own(s, s.Alerts, func(_ string, a *api.DiskAlert) { named[a.NodeID] = true })
	own(s, s.Pulls, func(_ string, p *api.CachePull) { named[p.NodeID] = true })
	maps.DeleteFunc(named, func(id string, _ bool) bool { return !unknown(s, id) })
	return slices.Sorted(maps.Keys(named))
}

// own calls fn with what was written since the cluster was made.
func own[T any](s *cluster.State, docs cluster.Set[T], fn func(id string, doc *T)) {
	info, _ := s.Info.Value(api.ClusterInfoID)
	for _, e := range docs.Refs() {
		if e.Rev > info.InheritedRevision {
			fn(e.ID, &e.Value)
		}
	}
}

// ownOf lists the ids of those of a node.
func ownOf[T any](w *writer, docs cluster.Set[T], node func(*T) string) (ids []string) {
	own(w.tx.State(), docs, func(id string, doc *T) {
		if node(doc) == w.node {
			ids = append(ids, id)
		}
	})
	return ids
}

// forget removes every document of a node but its status, which is not there, and what is not the cluster's own.
func (w *writer) forget() error {
	s := w.tx.State()
	endpointOf := func(e *api.EndpointInfo) string { return e.NodeID }
	if err := reconcile(w, &store.Endpoints, s.Endpoints, nil, 0, ownOf(w, s.Endpoints, endpointOf), endpointOf); err != nil {
		return err
	}
	cacheOf := func(c *api.ModelCacheEntry) string { return c.NodeID }
	if err := reconcile(w, &store.Cache, s.Cache, nil, 0, ownOf(w, s.Cache, cacheOf), cacheOf); err != nil {
		return err
	}
	alertOf := func(a *api.DiskAlert) string { return a.NodeID }
	if err := reconcile(w, &store.Alerts, s.Alerts, nil, 0, ownOf(w, s.Alerts, alertOf), alertOf); err != nil {
		return err
	}
	pullOf := func(p *api.CachePull) string { return p.NodeID }
	if err := reconcile(w, &store.CachePulls, s.Pulls, nil, 0, ownOf(w, s.Pulls, pullOf), pullOf); err != nil {
		return err
	}
	if len(ownOf(w, s.Disks, func(d *api.NodeDiskStatus) string { return d.NodeID })) == 0 || w.left == 0 {
		return nil
	}
	w.left--
	return store.Disks.Delete(w.tx, w.node)
}
