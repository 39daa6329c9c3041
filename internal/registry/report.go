package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// maxWrites bounds one transaction; a report with more changes takes several.
const maxWrites = 64

// stored remembers what a node's last report through this server has left in the store, so that the next one finds what has vanished without
// a walk over the whole cluster. It counts only as long as nobody has written the node's status since: another server may have.
type stored struct {
	rev                  int64 // of the node's status
	endpoints, downloads []string
}

// Report stores what is true on a node that is a member: changed documents are written, vanished ones removed, the rest left alone; the
// node's lease is renewed. It returns when the cluster's state shows all of it.
//
// A report that is older than the stored one, by (Epoch, Seq), is refused with CodeConflict and writes nothing. That is checked in
// each transaction, so a report that was held up on its way, or in a server that was paused, never overwrites a newer one.
func (r *Registry) Report(ctx context.Context, id string, o api.NodeObserved) error {
	return r.report(ctx, id, o, true)
}

func (r *Registry) report(ctx context.Context, id string, o api.NodeObserved, member bool) error {
	if err := owns(id, o); err != nil {
		return err
	}
	s, _ := r.cfg.Store.Current()
	if err := fence(s, id, o.Node); err != nil {
		return err
	}
	lease, err := r.lease(ctx, s, id)
	if err != nil {
		return err
	}
	moving, err := r.movingLease(ctx, s, id, o)
	if err != nil {
		return err
	}
	o.Node.LeaseSeconds = seconds(r.ttl(s))
	for {
		left := 0
		_, err := r.cfg.Store.Update(ctx, store.OwnerNode, func(tx *store.Tx) error {
			if err := admit(tx, id, o.Node, member); err != nil {
				return err
			}
			w := &writer{tx: tx, node: id, lease: lease, moving: moving, left: maxWrites, before: r.before(tx.State(), id)}
			if err := w.report(o); err != nil {
				return err
			}
			left = w.left
			return nil
		})
		if errors.Is(err, store.ErrLeaseGone) {
			r.forgetMoving(moving)
			return api.Errorf(api.CodeConflict, "the lease of node %s ended while its report was stored: send it again", id)
		}
		if err != nil {
			return fmt.Errorf("store the report of node %s: %w", id, err)
		}
		if left > 0 {
			r.remember(id, o)
			return nil
		}
	}
}

// fence refuses a report that is known to be older before it renews the lease: what is stored must be able to end when all that comes is
// refused, as from a machine that lost its disk and has a clock that is behind.
func fence(s *cluster.State, id string, n api.NodeStatus) error {
	if was, ok := s.Nodes.Value(id); ok && older(n.Epoch, n.Seq, was) {
		return stale(id, n, was)
	}
	return nil
}

func stale(id string, n, was api.NodeStatus) error {
	return api.Errorf(api.CodeConflict, "node %s: report %d.%d is older than the stored %d.%d and was not stored", id, n.Epoch, n.Seq, was.Epoch, was.Seq)
}

// admit refuses a report that must not be written any more.
func admit(tx *store.Tx, id string, n api.NodeStatus, member bool) error {
	if err := memberStill(tx, id, member); err != nil {
		return err
	}
	if key, _ := store.Nodes.Key(id); tx.State().Bad.Has(key) {
		return nil // left to people; the rest of the report counts
	}
	was, ok, err := store.Nodes.Get(tx, id)
	if err == nil && ok && older(n.Epoch, n.Seq, was) {
		return stale(id, n, was)
	}
	return err
}

func older(epoch, seq uint64, than api.NodeStatus) bool {
	return epoch < than.Epoch || epoch == than.Epoch && seq < than.Seq
}

// Heartbeat says that nothing has changed on the node since the report of that number, and renews its lease. It writes nothing. CodeConflict
// means that the cluster does not show that report, or that a new lease is due: the node sends it whole.
func (r *Registry) Heartbeat(ctx context.Context, id string, hb api.NodeHeartbeat) error {
	s, _ := r.cfg.Store.Current()
	n, ok := s.Nodes.Get(id)
	if !ok || n.Lease == 0 || n.Value.Epoch != hb.Epoch || n.Value.Seq != hb.Seq || n.Value.LeaseSeconds < seconds(r.ttl(s)) {
		return api.Errorf(api.CodeConflict, "the cluster does not show report %d.%d of node %s: send it whole", hb.Epoch, hb.Seq, id)
	}
	if lease := r.movingOf(s, id); lease != 0 {
		if gone, err := r.renewMoving(ctx, lease); err != nil {
			return err
		} else if gone {
			return api.Errorf(api.CodeConflict, "the progress of node %s is not shown any more: send the report whole", id)
		}
	}
	switch err := r.cfg.Leases.KeepAlive(ctx, n.Lease); {
	case errors.Is(err, store.ErrLeaseGone):
		return api.Errorf(api.CodeConflict, "the cluster has lost sight of node %s: send the report whole", id)
	case err != nil:
		return unanswered(err)
	}
	return nil
}

// lease renews the lease under which the node's status is, or grants a new one when there is none, or when the fleet has
// grown so that it is too short.
func (r *Registry) lease(ctx context.Context, s *cluster.State, id string) (int64, error) {
	ttl := seconds(r.ttl(s))
	if key, _ := store.Nodes.Key(id); s.Bad.Has(key) {
		return 0, nil // nothing could be stored under it
	}
	if n, ok := s.Nodes.Get(id); ok && n.Lease != 0 && n.Value.LeaseSeconds >= ttl {
		err := r.cfg.Leases.KeepAlive(ctx, n.Lease)
		if err == nil {
			return n.Lease, nil
		}
		if !errors.Is(err, store.ErrLeaseGone) {
			return 0, unanswered(err)
		}
	}
	lease, err := r.cfg.Leases.Grant(ctx, ttl)
	if err != nil {
		return 0, unanswered(err)
	}
	return lease, nil
}

// unanswered is the error for a store that does not take a lease: another server may reach it.
func unanswered(err error) error {
	return fmt.Errorf("%w: %w", api.Errorf(api.CodeUnavailable, "the store does not answer; engines go on running"), err)
}

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// before returns what the store may hold of the node beyond its own prefixes: what the last report has left, if that is known, else
// all that bears its name.
func (r *Registry) before(s *cluster.State, id string) stored {
	n, ok := s.Nodes.Get(id)
	r.mu.Lock()
	was, known := r.stored[id]
	r.mu.Unlock()
	if ok && known && was.rev == n.Rev {
		return was
	}
	var all stored
	for _, e := range s.Endpoints.Refs() {
		if e.Value.NodeID == id {
			all.endpoints = append(all.endpoints, e.ID)
		}
	}
	for _, d := range s.Downloads.Refs() {
		if d.Value.NodeID == id {
			all.downloads = append(all.downloads, d.ID)
		}
	}
	return all
}

func (r *Registry) remember(id string, o api.NodeObserved) {
	s, _ := r.cfg.Store.Current()
	n, ok := s.Nodes.Get(id)
	if !ok || n.Value.Epoch != o.Node.Epoch || n.Value.Seq != o.Node.Seq {
		return // written by somebody else since: the next report looks at everything
	}
	m := stored{rev: n.Rev}
	for i := range o.Endpoints {
		m.endpoints = append(m.endpoints, o.Endpoints[i].Key())
	}
	for i := range o.Downloads {
		m.downloads = append(m.downloads, o.Downloads[i].Key())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored[id] = m
}

// owns refuses a report that speaks for another node.
func owns(id string, o api.NodeObserved) error {
	foreign := o.Node.NodeID != id || o.Disk != nil && o.Disk.NodeID != id
	for _, e := range o.Endpoints {
		foreign = foreign || e.NodeID != id
	}
	for _, d := range o.Downloads {
		foreign = foreign || d.NodeID != id
	}
	for _, c := range o.Cache {
		foreign = foreign || c.NodeID != id
	}
	for _, a := range o.Alerts {
		foreign = foreign || a.NodeID != id
	}
	for _, p := range o.Pulls {
		foreign = foreign || p.NodeID != id
	}
	if foreign {
		return api.Errorf(api.CodeForbidden, "node %s reported for another node", id)
	}
	return nil
}
