package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// claimTTL is how long a node's claims outlive its last word about them, in seconds.
const claimTTL = 30

// Blobs answers a node that is a member and fetches large files: which of them it is to fetch from their source, and which nodes have the
// others. Claims are given, taken over and dropped on the way.
//
// A claim is a document that is created only if it is absent, or written over only if it is still the one that the node complains of, in one
// transaction; so a blob has one holder at a time, whichever servers the nodes ask.
func (r *Registry) Blobs(ctx context.Context, id string, ask api.BlobsAsk) (api.BlobsAnswer, error) {
	return r.blobs(ctx, id, ask, true)
}

// Blobs is [Registry.Blobs] for the node in the server's own process.
func (n *Node) Blobs(ctx context.Context, ask api.BlobsAsk) (api.BlobsAnswer, error) {
	return n.registry.blobs(ctx, n.id, ask, false)
}

func (r *Registry) blobs(ctx context.Context, id string, ask api.BlobsAsk, member bool) (api.BlobsAnswer, error) {
	if err := ask.Validate(); err != nil {
		return api.BlobsAnswer{}, err
	}
	s, _ := r.cfg.Store.Current()
	if ask.Renew {
		if err := r.renewClaims(ctx, s, id); err != nil {
			return api.BlobsAnswer{}, err
		}
	}
	grants := cluster.BlobGrants(s, id, ask.Want, cluster.BlobStandings(s, id, ask.Want))
	drops := slices.DeleteFunc(slices.Clone(ask.Drop), func(hash string) bool {
		c, ok := s.BlobClaims.Value(hash)
		return !ok || c.NodeID != id
	})
	if len(grants)+len(drops) > 0 {
		if err := r.changeClaims(ctx, s, id, ask.Want, grants, drops, member); err != nil {
			return api.BlobsAnswer{}, err
		}
		s, _ = r.cfg.Store.Current()
	}
	return api.BlobsAnswer{Blobs: cluster.BlobStandings(s, id, ask.Want), Strangers: cluster.Strangers(s, ask.Callers)}, nil
}

// changeClaims writes what the node takes and gives back. What it may take is worked out again on the state that is written over. A lease that
// came to hold nothing is ended.
func (r *Registry) changeClaims(ctx context.Context, s *cluster.State, id string, want, grants []api.BlobWant, drops []string, member bool) error {
	var lease int64
	if len(grants) > 0 {
		var fresh bool
		var err error
		if lease, fresh, err = r.claimLease(ctx, s, id); err != nil {
			return err
		}
		if fresh {
			defer func() {
				if s, _ := r.cfg.Store.Current(); !slices.Contains(claimLeases(s, id), lease) {
					_ = r.cfg.Leases.Revoke(ctx, lease) // else it ends by itself
				}
			}()
		}
	}
	_, err := r.cfg.Store.Update(ctx, store.OwnerNode, func(tx *store.Tx) error {
		if err := memberStill(tx, id, member); err != nil {
			return err
		}
		if err := take(tx, id, lease, want, len(grants) > 0); err != nil {
			return err
		}
		for _, hash := range drops {
			if c, ok, err := store.BlobClaims.Get(tx, hash); err != nil || !ok || c.NodeID != id {
				continue // somebody else's, or nobody's, or one for people to look at
			}
			if err := store.BlobClaims.Delete(tx, hash); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, store.ErrLeaseGone) {
		return api.Errorf(api.CodeConflict, "the lease of the claims of node %s has ended: ask again", id)
	}
	if err != nil {
		return fmt.Errorf("store the claims of node %s: %w", id, err)
	}
	return nil
}

// take writes the claims that the node may take on the transaction's state.
func take(tx *store.Tx, id string, lease int64, want []api.BlobWant, any bool) error {
	if !any {
		return nil
	}
	s := tx.State()
	for _, w := range cluster.BlobGrants(s, id, want, cluster.BlobStandings(s, id, want)) {
		if _, _, err := store.BlobClaims.Get(tx, w.Hash); err != nil {
			return err
		}
		claim := api.BlobClaim{Hash: w.Hash, NodeID: id, Size: w.Size, Model: w.Model}
		if err := store.BlobClaims.PutLeased(tx, w.Hash, claim, lease); err != nil {
			return err
		}
	}
	return nil
}

// memberStill refuses a node that is no member any more, in the transaction that would write for it.
func memberStill(tx *store.Tx, id string, member bool) error {
	if !member {
		return nil
	}
	_, ok, err := store.Members.Get(tx, api.MemberKey(api.MachineNode, id))
	if err == nil && !ok {
		err = api.Errorf(api.CodeForbidden, "node %s is not a member of this cluster", id)
	}
	return err
}

// claimLease is the lease for the node's next claim: the one of those that it has, or a new one.
func (r *Registry) claimLease(ctx context.Context, s *cluster.State, id string) (lease int64, fresh bool, err error) {
	for _, lease := range claimLeases(s, id) {
		err := r.cfg.Leases.KeepAlive(ctx, lease)
		if err == nil {
			return lease, false, nil
		}
		if !errors.Is(err, store.ErrLeaseGone) {
			return 0, false, unanswered(err)
		}
	}
	if lease, err = r.cfg.Leases.Grant(ctx, claimTTL); err != nil {
		return 0, false, unanswered(err)
	}
	return lease, true, nil
}

// renewClaims keeps what the node has claimed. A lease that has ended has taken its claims with it, which the answer shows.
func (r *Registry) renewClaims(ctx context.Context, s *cluster.State, id string) error {
	for _, lease := range claimLeases(s, id) {
		if err := r.cfg.Leases.KeepAlive(ctx, lease); err != nil && !errors.Is(err, store.ErrLeaseGone) {
			return unanswered(err)
		}
	}
	return nil
}

// claimLeases returns the leases that hold claims of a node: one, as a rule.
func claimLeases(s *cluster.State, id string) []int64 {
	var out []int64
	for _, c := range s.BlobClaims.Refs() {
		if c.Value.NodeID == id && c.Lease != 0 && !slices.Contains(out, c.Lease) {
			out = append(out, c.Lease)
		}
	}
	return out
}
