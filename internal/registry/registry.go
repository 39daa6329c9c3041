// Package registry is the server's side of the nodes: it works out what each should run, stores what each reports, and knows which of them
// it has not seen for how long. It decides nothing, and a report writes documents of its own node only.
//
// A server keeps no session of a node. What it needs to answer is in the store: the node's lease is that of its status document, and
// (Epoch, Seq) in there tells an older report from a newer one. So a node may speak to any server, and to another one at any time.
//
// Only a node's status is under its lease. When it ends, the cluster does not see the node; what runs there is not gone. What is under way
// there has a shorter one of its own: see movingLease.
package registry

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// Signs of life. A node sends one every beat, and its status outlives the last one by beats of leaseBeats.
const (
	// minBeat is the beat of a small fleet. In a large one all nodes together send nodesPerSecond.
	minBeat        = 3 * time.Second
	nodesPerSecond = 100
	leaseBeats     = 5
)

// Config is what a Registry is made of.
type Config struct {
	Store  *store.Store
	Leases store.Leases
	TTL    time.Duration // the least that a node's status outlives its last sign of life; 0 = 15 s
	Log    *slog.Logger
	// Open opens a stored secret; nil: this server can open none. Its errors are for people.
	Open func(api.Secret) (api.Token, error)
}

// Registry serves all nodes of one server. All methods are for any goroutine; [Registry.Run] must run for the desired sets and the absences
// to move.
type Registry struct {
	cfg   Config
	seed  hashSeed
	mu    sync.Mutex
	cells map[string]*cell // by node: the desired sets that somebody has asked for

	passed *cluster.State // the newest State that all cells have been compared with; nil before the first
	absent map[string]time.Time
	stored map[string]stored   // by node: what its last report through this server has left in the store
	moving map[int64]time.Time // by lease of a node's progress: when this server last renewed it
}

// cell is one node's desired set.
type cell struct {
	value   api.NodeDesired
	digest  uint64 // of what value was made of; 0 = made since the last pass
	changed chan struct{}
}

// New returns a registry that has looked at nothing yet.
func New(cfg Config) *Registry {
	if cfg.TTL == 0 {
		cfg.TTL = leaseBeats * minBeat
	}
	return &Registry{cfg: cfg, seed: newSeed(), cells: map[string]*cell{}, absent: map[string]time.Time{}, stored: map[string]stored{}, moving: map[int64]time.Time{}}
}

// beat is how often a node should give a sign of life, in a fleet of so many. It is a whole number of seconds, so that it
// seldom changes while nodes come and go.
func beat(nodes int) time.Duration {
	return max(minBeat, time.Duration(math.Ceil(float64(nodes)/nodesPerSecond))*time.Second)
}

// ttl is how long a node's status outlives its last sign of life.
func (r *Registry) ttl(s *cluster.State) time.Duration {
	return max(r.cfg.TTL, leaseBeats*beat(fleet(s)))
}

// fleet is how many machines give signs of life, or could.
func fleet(s *cluster.State) int { return max(s.Members.Len(), s.Nodes.Len()) }

const nodePrefix = string(api.MachineNode) + "/"

// Node returns the registry as the one node in this process sees it: an agent's link without a network.
func (r *Registry) Node(id string) *Node { return &Node{r, id} }

// Node is one node's link in the server's own process.
type Node struct {
	registry *Registry
	id       string
}

// Desired returns what the node should run and a channel that closes when that changes.
func (n *Node) Desired() (api.NodeDesired, <-chan struct{}) { return n.registry.Desired(n.id) }

// Secret returns the token with which the node may fetch a model's files.
func (n *Node) Secret(_ context.Context, uid string) (api.Token, error) {
	return n.registry.Secret(n.id, uid)
}

// Report stores what is true on the node, and is its sign of life. It returns when the cluster's state shows all of it.
func (n *Node) Report(ctx context.Context, o api.NodeObserved) error {
	return n.registry.report(ctx, n.id, o, false)
}
