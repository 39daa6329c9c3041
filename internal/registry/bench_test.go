package registry

import (
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// large is the published envelope: 1,000 nodes, 10,000 models, 20,000 replicas.
func large() *cluster.State {
	const nodes, models = 1000, 10_000
	var s cluster.State
	members, specs, deployments, plans := s.Members.Edit(), s.Models.Edit(), s.Deployments.Edit(), s.Placements.Edit()
	for i := range nodes {
		id := fmt.Sprintf("node-%04d", i)
		members.Put(cluster.Entry[api.Member]{ID: nodePrefix + id, Rev: 1, Value: api.Member{Role: api.MachineNode, ID: id}})
	}
	for i := range models {
		uid := fmt.Sprintf("model-%05d", i)
		specs.Put(cluster.Entry[api.ModelSpec]{ID: uid, Rev: 1, Value: api.ModelSpec{ModelUID: uid, ModelName: uid}})
		deployments.Put(cluster.Entry[api.ModelDeployment]{ID: uid, Rev: 1, Value: api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: 2}})
		plans.Put(cluster.Entry[api.PlacementPlan]{ID: uid, Rev: 1, Value: api.PlacementPlan{ModelUID: uid, Version: 1, Assignments: []api.PlacementAssignment{
			{NodeID: fmt.Sprintf("node-%04d", i%nodes)}, {ReplicaID: 1, NodeID: fmt.Sprintf("node-%04d", (i+7)%nodes)},
		}}})
	}
	s.Revision, s.Members, s.Models, s.Deployments, s.Placements = 2, members.Done(), specs.Done(), deployments.Done(), plans.Done()
	return s.Indexed()
}

// move gives one model's second replica another node.
func move(s *cluster.State, uid string, node string, rev int64) *cluster.State {
	next := *s
	edit := s.Placements.Edit()
	plan, _ := s.Placements.Value(uid)
	plan.Assignments = append([]api.PlacementAssignment{}, plan.Assignments...)
	plan.Assignments[1].NodeID = node
	plan.Version++
	edit.Put(cluster.Entry[api.PlacementPlan]{ID: uid, Rev: rev, Value: plan})
	next.Placements, next.Revision = edit.Done(), rev
	return next.Indexed()
}

func benchRegistry(tb testing.TB, s *cluster.State) *Registry {
	tb.Helper()
	kv := storetest.NewMem()
	tb.Cleanup(func() { _ = kv.Close() })
	st, err := store.Open(tb.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	r := New(Config{Store: st, Leases: kv, Log: slog.New(slog.DiscardHandler)})
	for m := range s.Members.All() {
		r.Desired(m.Value.ID) // as if each had a stream open
	}
	r.look(s, time.Now())
	return r
}

// TestLook_wakesWhoIsConcerned: of a thousand nodes that listen, a moved replica wakes the two that it concerns and the one that keeps the other replica.
func TestLook_wakesWhoIsConcerned(t *testing.T) {
	s := large()
	r := benchRegistry(t, s)
	before := map[string]*cell{}
	for id, c := range r.cells {
		if len(c.value.Replicas) != 20 {
			t.Fatalf("%s has %d replicas, want 20", id, len(c.value.Replicas))
		}
		before[id] = c
	}
	r.look(move(s, "model-00000", "node-0500", 3), time.Now())
	woken := 0
	for id, c := range r.cells {
		if before[id] != c {
			woken++
		}
	}
	if woken != 3 || len(r.cells["node-0500"].value.Replicas) != 21 || len(r.cells["node-0007"].value.Replicas) != 19 {
		t.Errorf("%d nodes woken, node-0500 has %d replicas and node-0007 %d; want 3, 21 and 19",
			woken, len(r.cells["node-0500"].value.Replicas), len(r.cells["node-0007"].value.Replicas))
	}
}

// wish adds a wish for the files on a node.
func wish(s *cluster.State, node string, rev int64) *cluster.State {
	next := *s
	edit := s.Wishes.Edit()
	w := api.CacheWish{NodeID: node, Kind: api.WishPin, Spec: api.ModelSpec{ModelName: "acme/m"}}
	edit.Put(cluster.Entry[api.CacheWish]{ID: w.Key(), Rev: rev, Value: w})
	next.Wishes, next.Revision = edit.Done(), rev
	return next.Indexed()
}

// TestLook_aWishWakesItsNode, and no other.
func TestLook_aWishWakesItsNode(t *testing.T) {
	s := large()
	r := benchRegistry(t, s)
	before := maps.Clone(r.cells)
	for _, rev := range []int64{3, 4} { // made, then renewed
		s = wish(s, "node-0500", rev)
		r.look(s, time.Now())
	}
	for id, c := range r.cells {
		if woken := before[id] != c; woken != (id == "node-0500") {
			t.Errorf("%s woken: %v", id, woken)
		}
	}
	if w := r.cells["node-0500"].value.CacheWishes; len(w) != 1 || w[0].Kind != api.WishPin {
		t.Errorf("wishes of the node: %+v", w)
	}
}

// BenchmarkLook is what one change of a plan costs a server of the largest fleet.
func BenchmarkLook(b *testing.B) {
	s := large()
	r := benchRegistry(b, s)
	rev := s.Revision
	for b.Loop() {
		rev++
		b.StopTimer()
		s = move(s, "model-00000", fmt.Sprintf("node-%04d", rev%1000), rev)
		b.StartTimer()
		r.look(s, time.Now())
	}
}

// BenchmarkLook_facts is what a change costs that concerns no wish: nearly all of them.
func BenchmarkLook_facts(b *testing.B) {
	s := large()
	r := benchRegistry(b, s)
	for b.Loop() {
		next := *s
		next.Revision++
		s = &next
		r.look(s, time.Now())
	}
}
