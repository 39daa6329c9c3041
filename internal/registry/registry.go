// Package registry is the server's side of a node: it works out what the node should run and stores what the node reports, under
// the node's own lease. It decides nothing, and it writes only documents of its own node.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// Config is what a Node is made of.
type Config struct {
	NodeID string
	Store  *store.Store
	Leases store.Leases
	TTL    time.Duration // how long the node's documents outlive its last sign of life
	Log    *slog.Logger
}

// Node is one node's session. Run and Report may be called from different goroutines, each from one at a time.
type Node struct {
	cfg     Config
	lease   atomic.Int64 // 0 = none
	desired atomic.Pointer[desired]
}

type desired struct {
	value   api.NodeDesired
	changed chan struct{}
}

// New returns a session that knows nothing yet.
func New(cfg Config) *Node {
	n := &Node{cfg: cfg}
	n.desired.Store(&desired{changed: make(chan struct{})})
	return n
}

// Desired returns what the node should run and a channel that closes when that changes. Changes of other nodes wake nobody.
func (n *Node) Desired() (api.NodeDesired, <-chan struct{}) {
	d := n.desired.Load()
	return d.value, d.changed
}

// Run keeps the desired set new and the lease alive until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	beat := time.NewTicker(n.cfg.TTL / 3)
	defer beat.Stop()
	for {
		s, changed := n.cfg.Store.Current()
		n.publish(cluster.Desired(s, n.cfg.NodeID))
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-beat.C:
			n.keepAlive(ctx)
		}
	}
}

// publish replaces the desired set when more than its revision has changed.
func (n *Node) publish(d api.NodeDesired) {
	old := n.desired.Load()
	same := d
	same.Revision = old.value.Revision
	if old.value.Revision != 0 && reflect.DeepEqual(same, old.value) {
		return
	}
	n.desired.Store(&desired{d, make(chan struct{})})
	close(old.changed)
}

func (n *Node) keepAlive(ctx context.Context) {
	lease := n.lease.Load()
	if lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.TTL/3)
	defer cancel()
	switch err := n.cfg.Leases.KeepAlive(ctx, lease); {
	case errors.Is(err, store.ErrLeaseGone):
		n.cfg.Log.Warn("the node's lease ended; its documents are written anew with the next report")
		n.lease.CompareAndSwap(lease, 0)
	case err != nil && ctx.Err() == nil:
		n.cfg.Log.Warn("the node's lease was not renewed", "error", err)
	}
}

// maxWrites bounds one transaction; a report with more changes takes several.
const maxWrites = 64

// Report stores what is true on the node: changed documents are written, vanished ones removed, the rest left alone. It returns when the
// cluster's state shows all of it.
func (n *Node) Report(ctx context.Context, o api.NodeObserved) error {
	if err := n.owns(o); err != nil {
		return err
	}
	lease, err := n.ensureLease(ctx)
	if err != nil {
		return err
	}
	for {
		left := 0
		_, err := n.cfg.Store.Update(ctx, store.OwnerNode, func(tx *store.Tx) error {
			w := &writer{tx: tx, lease: lease, left: maxWrites}
			if err := w.report(n.cfg.NodeID, o); err != nil {
				return err
			}
			left = w.left
			return nil
		})
		if err != nil {
			return fmt.Errorf("store the report of node %s: %w", n.cfg.NodeID, err)
		}
		if left > 0 {
			return nil
		}
	}
}

// owns refuses a report that speaks for another node.
func (n *Node) owns(o api.NodeObserved) error {
	foreign := o.Node.NodeID != n.cfg.NodeID || o.Disk != nil && o.Disk.NodeID != n.cfg.NodeID
	for _, e := range o.Endpoints {
		foreign = foreign || e.NodeID != n.cfg.NodeID
	}
	for _, d := range o.Downloads {
		foreign = foreign || d.NodeID != n.cfg.NodeID
	}
	for _, c := range o.Cache {
		foreign = foreign || c.NodeID != n.cfg.NodeID
	}
	for _, a := range o.Alerts {
		foreign = foreign || a.NodeID != n.cfg.NodeID
	}
	if foreign {
		return api.Errorf(api.CodeForbidden, "node %s reported for another node", n.cfg.NodeID)
	}
	return nil
}

func (n *Node) ensureLease(ctx context.Context) (int64, error) {
	if lease := n.lease.Load(); lease != 0 {
		return lease, nil
	}
	lease, err := n.cfg.Leases.Grant(ctx, int64(n.cfg.TTL/time.Second))
	if err != nil {
		return 0, fmt.Errorf("lease for node %s: %w", n.cfg.NodeID, err)
	}
	n.lease.Store(lease)
	return lease, nil
}
