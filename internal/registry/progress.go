package registry

import (
	"context"
	"errors"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// What is under way on a node (downloads, and pulls that have not ended) is under a lease of its own, short because it is worth nothing when
// it stands still: a node that is cut off shows no progress long before it counts as lost.
const (
	movingTTL   = 30 * time.Second // the contract's
	movingEvery = 10 * time.Second // how often it is renewed
)

// movingSeconds is longer in a fleet so large that its signs of life come seldom.
func movingSeconds(s *cluster.State) int64 {
	return seconds(max(movingTTL, 3*beat(fleet(s))))
}

// movingLease returns the lease for a report's progress: the one that its node's progress is under, renewed when that is due, or a new one. 0 when
// nothing is under way.
func (r *Registry) movingLease(ctx context.Context, s *cluster.State, id string, o api.NodeObserved) (int64, error) {
	moves := len(o.Downloads) > 0
	for i := range o.Pulls {
		moves = moves || !o.Pulls[i].Ended()
	}
	if !moves {
		return 0, nil
	}
	if lease := r.movingOf(s, id); lease != 0 {
		if gone, err := r.renewMoving(ctx, lease); err != nil || !gone {
			return lease, err
		}
	}
	lease, err := r.cfg.Leases.Grant(ctx, movingSeconds(s))
	if err != nil {
		return 0, unanswered(err)
	}
	r.renewed(lease, time.Now())
	return lease, nil
}

// movingOf returns the lease that a node's progress is under, or 0. An earlier version kept it under that of the node's status.
func (r *Registry) movingOf(s *cluster.State, id string) int64 {
	status, _ := s.Nodes.Get(id)
	for _, d := range s.Downloads.Refs() { // as many as there are replicas that download now
		if d.Value.NodeID == id && d.Lease != 0 && d.Lease != status.Lease {
			return d.Lease
		}
	}
	for p := range s.Pulls.Prefix(id + "/") {
		if p.Lease != 0 && p.Lease != status.Lease {
			return p.Lease
		}
	}
	return 0
}

// renewMoving renews a lease of progress unless this server has done so lately, and tells whether it is gone.
func (r *Registry) renewMoving(ctx context.Context, lease int64) (gone bool, err error) {
	now := time.Now()
	r.mu.Lock()
	last, known := r.moving[lease]
	r.mu.Unlock()
	if known && now.Sub(last) < movingEvery {
		return false, nil
	}
	switch err := r.cfg.Leases.KeepAlive(ctx, lease); {
	case errors.Is(err, store.ErrLeaseGone):
		return true, nil
	case err != nil:
		return false, unanswered(err)
	}
	r.renewed(lease, now)
	return false, nil
}

// renewed remembers when a lease of progress was last renewed, and forgets those that have long ended.
func (r *Registry) renewed(lease int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moving[lease] = now
	if len(r.moving) > 2*len(r.stored)+8 {
		for l, at := range r.moving {
			if now.Sub(at) > 10*movingTTL {
				delete(r.moving, l)
			}
		}
	}
}

// forgetMoving lets the next report ask about a lease that may be gone.
func (r *Registry) forgetMoving(lease int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.moving, lease)
}
