package registry

import (
	"reflect"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// writer writes the differences between a report and the state into one transaction, until it is full.
type writer struct {
	tx     *store.Tx
	node   string
	lease  int64 // of the node's status; 0: nothing can be written under a lease
	moving int64 // lease of what is under way: downloads, and pulls that have not ended
	left   int   // writes that still fit
	before stored
}

// report writes the node's status last: when the node appears, all that it has said is there already, and a heartbeat for
// this report counts only then.
func (w *writer) report(o api.NodeObserved) error {
	s := w.tx.State()
	endpoints := map[string]api.EndpointInfo{}
	for _, e := range o.Endpoints {
		if other, ok := s.Endpoints.Value(e.Key()); ok && other.NodeID != w.node || !ok && planned(s, e.ModelUID) {
			switch place(s, e.ModelUID, e.ReplicaID, w.node, e.PlanVersion) {
			case elsewhere:
				if ok || !restored(s) {
					continue // replaced there, and ours is on its way out; or ours is an invention, to draw the model's requests here
				}
			case untold:
				return api.Errorf(api.CodeConflict, "this server does not know the plan yet that node %s reports about: send it again", w.node)
			}
		}
		endpoints[e.Key()] = e
	}
	if err := reconcile(w, &store.Endpoints, s.Endpoints, endpoints, 0, w.before.endpoints, func(e *api.EndpointInfo) string { return e.NodeID }); err != nil {
		return err
	}
	if err := w.storage(s, o); err != nil || w.lease == 0 {
		return err
	}
	if err := w.pulls(s, o); err != nil {
		return err
	}
	downloads := map[string]api.DownloadProgress{}
	for _, d := range o.Downloads {
		if other, ok := s.Downloads.Value(d.Key()); ok && other.NodeID != w.node && place(s, d.ModelUID, d.ReplicaID, w.node, 0) != here {
			continue
		}
		downloads[d.Key()] = d
	}
	if err := reconcile(w, &store.Downloads, s.Downloads, downloads, w.moving, w.before.downloads, func(d *api.DownloadProgress) string { return d.NodeID }); err != nil {
		return err
	}
	return put(w, &store.Nodes, s.Nodes, w.node, o.Node, w.lease)
}

// pulls writes how the pulls of the node stand. One that has ended stays to be seen until its wish goes; one that moves is as short-lived as
// any progress.
func (w *writer) pulls(s *cluster.State, o api.NodeObserved) error {
	want := map[string]api.CachePull{}
	for _, p := range o.Pulls {
		want[p.Key()] = p
	}
	for id, p := range want {
		lease := w.moving
		if p.Ended() {
			lease = 0
		}
		if err := put(w, &store.CachePulls, s.Pulls, id, p, lease); err != nil {
			return err
		}
	}
	return reconcile(w, &store.CachePulls, s.Pulls, nil, 0, without(under(s.Pulls, w.node), want), func(p *api.CachePull) string { return p.NodeID })
}

// without drops the ids that are wanted.
func without[T any](ids []string, want map[string]T) []string {
	return slices.DeleteFunc(ids, func(id string) bool { _, wanted := want[id]; return wanted })
}

// where is a replica's place, seen from a node.
type where int

const (
	elsewhere where = iota
	here
	untold
)

// planned tells whether a model has a plan, which then says where it runs.
func planned(s *cluster.State, uid string) bool { return s.Placements.Has(uid) }

// restored tells whether the cluster is a backup that nobody has accepted yet. Nodes run on what it does not know, and say so.
func restored(s *cluster.State) bool {
	info, ok := s.Info.Value(api.ClusterInfoID)
	return ok && !info.HistoryAccepted
}

// place tells whether a plan gives a replica to a node. A node may have heard of a newer plan from another server; a model without a plan
// has no newer one to wait for, nor has a restored cluster, whose nodes have heard of plans that are lost.
func place(s *cluster.State, uid string, replica uint32, node string, version uint64) where {
	plan, ok := s.Placements.Value(uid)
	for i := range plan.Assignments {
		if a := &plan.Assignments[i]; a.ReplicaID == replica && a.NodeID == node {
			return here
		}
	}
	for i := range plan.Displaced {
		if a := &plan.Displaced[i]; a.ReplicaID == replica && a.NodeID == node && !s.Endpoints.Has(api.EndpointKey(uid, replica)) {
			return here // its place was taken while it was away, and nothing stands there
		}
	}
	if ok && version > plan.Version && !restored(s) {
		return untold
	}
	return elsewhere
}

func (w *writer) storage(s *cluster.State, o api.NodeObserved) error {
	if o.Disk == nil {
		return nil // not looked at: what was known stays
	}
	if err := put(w, &store.Disks, s.Disks, w.node, *o.Disk, 0); err != nil {
		return err
	}
	cache := map[string]api.ModelCacheEntry{}
	for _, c := range o.Cache {
		cache[w.node+"/"+cluster.CacheSuffix(c.ModelName)] = c
	}
	if err := reconcile(w, &store.Cache, s.Cache, cache, 0, under(s.Cache, w.node), func(c *api.ModelCacheEntry) string { return c.NodeID }); err != nil {
		return err
	}
	alerts := map[string]api.DiskAlert{}
	for _, a := range o.Alerts {
		alerts[w.node+"/"+a.AlertType] = a
	}
	return reconcile(w, &store.Alerts, s.Alerts, alerts, 0, under(s.Alerts, w.node), func(a *api.DiskAlert) string { return a.NodeID })
}

// under lists the objects that are keyed by node.
func under[T any](s cluster.Set[T], node string) []string {
	var ids []string
	for e := range s.Prefix(node + "/") {
		ids = append(ids, e.ID)
	}
	return ids
}

// reconcile makes the objects of the node equal to want. Before names those that may be there.
func reconcile[T any](
	w *writer, table *store.Table[T], have cluster.Set[T], want map[string]T, lease int64, before []string, node func(*T) string,
) error {
	for id, v := range want {
		if err := put(w, table, have, id, v, lease); err != nil {
			return err
		}
	}
	for _, id := range before {
		e, ok := have.Value(id)
		if _, wanted := want[id]; wanted || !ok || node(&e) != w.node || w.left == 0 {
			continue
		}
		w.left--
		if err := table.Delete(w.tx, id); err != nil {
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
