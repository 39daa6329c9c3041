package control

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
)

// InitCluster gives a new cluster its name and its first history, and returns those of any cluster. Every server calls it when it starts.
func (c *Control) InitCluster(ctx context.Context) (api.ClusterInfo, error) {
	ctx = System(ctx, "server")
	var info api.ClusterInfo
	err := c.update(ctx, "cluster.init", "cluster", func(tx *store.Tx) error {
		old, exists, err := store.Info.Get(tx, api.ClusterInfoID)
		if info = old; err != nil || exists {
			return err
		}
		info = api.ClusterInfo{
			ID: randomName(), CreatedAtMS: c.now().UnixMilli(), History: randomName(), HistoryAccepted: true, InheritedRevision: tx.State().Revision,
		}
		return store.Info.Put(tx, api.ClusterInfoID, info)
	})
	return info, err
}

// randomName is 128 random bits, good as the host of a URI.
func randomName() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return hex.EncodeToString(b)
}

// Publish notes the cluster's authority, by its fingerprint, and the digest of the admin credential, by which gateways on other machines know it.
func (c *Control) Publish(ctx context.Context, authority, hash string) error {
	ctx = System(ctx, "server")
	err := c.update(ctx, "cluster.publish", "cluster", func(tx *store.Tx) error {
		info, exists, err := store.Info.Get(tx, api.ClusterInfoID)
		if err != nil || !exists || info.KeyHash == hash && info.Authority == authority {
			return err
		}
		info.KeyHash, info.Authority = hash, authority
		return store.Info.Put(tx, api.ClusterInfoID, info)
	})
	return err
}

// AcceptHistory says that the cluster as it was restored is right: from now on nodes stop what it does not name. Said of a history that is accepted
// already it begins another, accepted one: nodes that hold something back because revisions went down, by a store that was put back by
// hand, let go of it.
func (c *Control) AcceptHistory(ctx context.Context) (api.ClusterInfo, error) {
	var info api.ClusterInfo
	err := c.update(ctx, "cluster.accept-history", "cluster", func(tx *store.Tx) error {
		old, exists, err := store.Info.Get(tx, api.ClusterInfoID)
		if err != nil {
			return err
		}
		if !exists {
			return api.Errorf(api.CodeUnavailable, "the cluster is not set up yet: its first server is still starting; try again in a moment")
		}
		info = old
		if info.HistoryAccepted {
			info.History = randomName()
		}
		info.HistoryAccepted = true
		return store.Info.Put(tx, api.ClusterInfoID, info)
	})
	return info, err
}

// ClusterView returns what people may know of the cluster as a whole.
func ClusterView(s *cluster.State) api.ClusterView {
	info, _ := s.Info.Value(api.ClusterInfoID)
	info.KeyHash = ""
	v := api.ClusterView{ClusterInfo: info, Servers: []api.ServerView{}}
	for m := range s.Members.Prefix(string(api.MachineServer) + "/") {
		v.Servers = append(v.Servers, api.ServerView{ID: m.Value.ID, Addr: m.Value.Addr})
	}
	return v
}

// Members lists the machines of the cluster.
func Members(s *cluster.State) []api.Member {
	out := []api.Member{}
	for m := range s.Members.All() {
		out = append(out, m.Value)
	}
	return out
}

// RegisterLocal makes a machine a member that did not join with a token: the node inside nebula up, and a server that has made the cluster
// or holds its authority. What people have said about it stays.
func (c *Control) RegisterLocal(ctx context.Context, m api.Member) error {
	ctx = System(ctx, string(m.Role)+" "+m.ID)
	err := c.update(ctx, "machine.register", m.Key(), func(tx *store.Tx) error {
		old, exists, err := store.Members.Get(tx, m.Key())
		if err != nil {
			return err
		}
		next := m
		next.JoinedAtMS = c.now().UnixMilli()
		if exists {
			next.JoinedAtMS, next.Cordoned, next.Draining = old.JoinedAtMS, old.Cordoned, old.Draining
		}
		return store.Members.Put(tx, m.Key(), next)
	})
	return err
}

// CordonNode lets a node take no new replica; those that it has stay.
func (c *Control) CordonNode(ctx context.Context, id string) (api.Member, error) {
	return c.editNode(ctx, "node.cordon", id, func(m *api.Member) { m.Cordoned = true })
}

// UncordonNode ends cordon and drain.
func (c *Control) UncordonNode(ctx context.Context, id string) (api.Member, error) {
	return c.editNode(ctx, "node.uncordon", id, func(m *api.Member) { m.Cordoned, m.Draining = false, false })
}

// DrainNode lets a node take no new replica, and moves those that it has elsewhere.
func (c *Control) DrainNode(ctx context.Context, id string) (api.Member, error) {
	return c.editNode(ctx, "node.drain", id, func(m *api.Member) { m.Cordoned, m.Draining = true, true })
}

func (c *Control) editNode(ctx context.Context, verb, id string, change func(*api.Member)) (api.Member, error) {
	var out api.Member
	err := c.update(ctx, verb, api.MemberKey(api.MachineNode, id), func(tx *store.Tx) error {
		key := api.MemberKey(api.MachineNode, id)
		m, ok, err := store.Members.Get(tx, key)
		if err != nil {
			return err
		}
		if !ok {
			return noMember(api.MachineNode, id)
		}
		change(&m)
		out = m
		return store.Members.Put(tx, key, m)
	})
	return out, err
}

// RemoveMember ends a machine's membership, and with it its credential, at once. What a node has stored goes afterwards, by the registry's
// sweep. A node that serves is refused unless forced: its engines would run on, out of the cluster's sight.
func (c *Control) RemoveMember(ctx context.Context, role api.MachineRole, id string, force bool) error {
	var wishes []string // for its files; what comes later under that name is another node
	err := c.update(ctx, "machine.remove", api.MemberKey(role, id), func(tx *store.Tx) error {
		key := api.MemberKey(role, id)
		m, ok, err := store.Members.Get(tx, key)
		if err == nil && !ok {
			return noMember(role, id)
		}
		if err == nil && role == api.MachineNode {
			if err := removable(tx.State(), m, force); err != nil {
				return err
			}
		}
		wishes = nil
		for w := range tx.State().Wishes.Prefix(id + "/") {
			if role == api.MachineNode {
				wishes = append(wishes, w.ID)
			}
		}
		return store.Members.Delete(tx, key) // a document that cannot be read goes too
	})
	if err != nil {
		return err
	}
	return c.dropWishes(ctx, wishes)
}

// removable refuses to remove a node that serves. The store may change before the commit; that is no worse than being asked a moment earlier.
func removable(s *cluster.State, node api.Member, force bool) error {
	if !s.Nodes.Has(node.ID) {
		return nil
	}
	if node.KeyHash == "" {
		return api.Errorf(api.CodeConflict, "node %s runs inside a server and is there: stop that server, or keep models off it with: nebula node drain %s", node.ID, node.ID)
	}
	if n := replicasOn(s, node.ID); n > 0 && !force {
		return api.Errorf(api.CodeConflict, "node %s is there and has %d of the cluster's replicas: move them away first with: nebula node drain %s --wait, or remove it as it is with --force",
			node.ID, n, node.ID)
	}
	return nil
}

// replicasOn counts the replicas that are placed on a node or still exist there.
func replicasOn(s *cluster.State, id string) int {
	on := map[string]bool{}
	for _, e := range s.Placements.Refs() {
		for i := range e.Value.Assignments {
			if a := &e.Value.Assignments[i]; a.NodeID == id {
				on[api.EndpointKey(e.ID, a.ReplicaID)] = true
			}
		}
	}
	for _, e := range s.Endpoints.Refs() {
		if e.Value.NodeID == id {
			on[e.ID] = true
		}
	}
	return len(on)
}

func noMember(role api.MachineRole, id string) error {
	if role == api.MachineNode {
		return api.Errorf(api.CodeNotFound, "there is no node %.80q; list them with: nebula node list", id)
	}
	return api.Errorf(api.CodeNotFound, "there is no %.80q %.80q; list the machines with: nebula member list", role, id)
}

// removal is the command that removes a machine.
func removal(role api.MachineRole, id string) string {
	if role == api.MachineNode {
		return "node delete " + id
	}
	return "member delete " + api.MemberKey(role, id)
}
