package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// writer writes the differences between a report and the state into one transaction, until it is full.
type writer struct {
	tx    *store.Tx
	lease int64
	left  int // writes that still fit
}

func (w *writer) report(node string, o api.NodeObserved) error {
	s := w.tx.State()
	if err := put(w, &store.Nodes, s.Nodes, node, o.Node, w.lease); err != nil {
		return err
	}
	endpoints := map[string]api.EndpointInfo{}
	for _, e := range o.Endpoints {
		if other, ok := s.Endpoints.Value(e.Key()); ok && other.NodeID != node && other.PlanVersion > e.PlanVersion {
			continue // replaced elsewhere under a newer plan; ours is on its way out
		}
		endpoints[e.Key()] = e
	}
	if err := reconcile(w, &store.Endpoints, s.Endpoints, endpoints, w.lease, func(e api.EndpointInfo) bool { return e.NodeID == node }); err != nil {
		return err
	}
	downloads := map[string]api.DownloadProgress{}
	for _, d := range o.Downloads {
		downloads[d.Key()] = d
	}
	if err := reconcile(w, &store.Downloads, s.Downloads, downloads, w.lease, func(d api.DownloadProgress) bool { return d.NodeID == node }); err != nil {
		return err
	}
	return w.storage(node, s, o)
}

func (w *writer) storage(node string, s *cluster.State, o api.NodeObserved) error {
	if o.Disk == nil {
		return nil // not looked at: what was known stays
	}
	if err := put(w, &store.Disks, s.Disks, node, *o.Disk, 0); err != nil {
		return err
	}
	cache := map[string]api.ModelCacheEntry{}
	for _, c := range o.Cache {
		cache[node+"/"+cacheSuffix(c.ModelName)] = c
	}
	if err := reconcile(w, &store.Cache, s.Cache, cache, 0, func(c api.ModelCacheEntry) bool { return c.NodeID == node }); err != nil {
		return err
	}
	alerts := map[string]api.DiskAlert{}
	for _, a := range o.Alerts {
		alerts[node+"/"+a.AlertType] = a
	}
	return reconcile(w, &store.Alerts, s.Alerts, alerts, 0, func(a api.DiskAlert) bool { return a.NodeID == node })
}

// cacheSuffix is the first 16 hex digits of SHA-256(model_name), the contract's key of a cache entry.
func cacheSuffix(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}

// reconcile makes the objects that belong to the node equal to want.
func reconcile[T any](w *writer, table *store.Table[T], have cluster.Set[T], want map[string]T, lease int64, ours func(T) bool) error {
	for id, v := range want {
		if err := put(w, table, have, id, v, lease); err != nil {
			return err
		}
	}
	for e := range have.All() {
		if _, ok := want[e.ID]; ok || !ours(e.Value) || w.left == 0 {
			continue
		}
		w.left--
		if err := table.Delete(w.tx, e.ID); err != nil {
			return err
		}
	}
	return nil
}

// put writes an object when its value or its lease differs. An object that cannot be read in the store is left to people.
func put[T any](w *writer, table *store.Table[T], have cluster.Set[T], id string, v T, lease int64) error {
	if e, ok := have.Get(id); ok && e.Lease == lease && reflect.DeepEqual(e.Value, v) || w.left == 0 {
		return nil
	}
	if key, ok := table.Key(id); ok && w.tx.State().Bad.Has(key) {
		return nil
	}
	w.left--
	return table.PutLeased(w.tx, id, v, lease)
}
