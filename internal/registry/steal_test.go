package registry_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestReport_cannotTakeAnothersReplica: whatever plan version a node claims, the endpoint of another node stays, unless the plan itself
// gives the replica to the node that reports.
func TestReport_cannotTakeAnothersReplica(t *testing.T) {
	st, _, n := open(t)
	update := func(owner store.Owner, fn func(*store.Tx) error) {
		t.Helper()
		if _, err := st.Update(t.Context(), owner, fn); err != nil {
			t.Fatal(err)
		}
	}
	plan := func(node string, version uint64) {
		t.Helper()
		update(store.OwnerScheduler, func(tx *store.Tx) error {
			return store.Placements.Put(tx, "m", api.PlacementPlan{
				ModelUID: "m", Version: version, Assignments: []api.PlacementAssignment{{ReplicaID: 1, NodeID: node}},
			})
		})
	}
	holder := func() string {
		s, _ := st.Current()
		e, _ := s.Endpoints.Value("m/1")
		d, _ := s.Downloads.Value("m/1")
		if d.NodeID != e.NodeID {
			t.Errorf("the download is of %q, the endpoint of %q", d.NodeID, e.NodeID)
		}
		return e.NodeID
	}
	claim := func(version uint64) api.NodeObserved {
		o := report(endpoint("m", 1, "n1", version))
		o.Downloads = []api.DownloadProgress{{ModelUID: "m", ReplicaID: 1, NodeID: "n1"}}
		return o
	}
	update(store.OwnerNode, func(tx *store.Tx) error {
		if err := store.Downloads.Put(tx, "m/1", api.DownloadProgress{ModelUID: "m", ReplicaID: 1, NodeID: "n2"}); err != nil {
			return err
		}
		return store.Endpoints.Put(tx, "m/1", endpoint("m", 1, "n2", 3))
	})

	mustReport(t, n, claim(9)) // without any plan
	if got := holder(); got != "n2" {
		t.Errorf("without a plan it is %s's", got)
	}
	plan("n2", 3)
	for _, version := range []uint64{0, 1, 3} {
		mustReport(t, n, claim(version))
		if got := holder(); got != "n2" {
			t.Errorf("with a claim of version %d it is %s's", version, got)
		}
	}
	if err := n.Report(t.Context(), claim(4)); !api.HasCode(err, api.CodeConflict) || holder() != "n2" {
		t.Errorf("with a claim of a plan that is not known: %v", err)
	}
	plan("n1", 4)
	mustReport(t, n, claim(4))
	if got := holder(); got != "n1" {
		t.Errorf("when the plan says so it is %s's", got)
	}
}

// TestReport_cannotInventAReplica: a replica that the model's plan gives to nobody is not taken from a node: the gateways would send it the
// model's requests. What a node had in the cluster before stays until the node says otherwise.
func TestReport_cannotInventAReplica(t *testing.T) {
	one := serve(t, storetest.NewMem())
	one.join("n1", "n2")
	plan := func(version uint64, displaced []api.PlacementAssignment, at ...api.PlacementAssignment) {
		t.Helper()
		one.update(store.OwnerScheduler, func(tx *store.Tx) error {
			return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: version, Assignments: at, Displaced: displaced})
		})
	}
	claim := func(seq, version uint64) error {
		o := numbered("n1", 1, seq)
		o.Endpoints = []api.EndpointInfo{endpoint("m", 7, "n1", version)}
		return one.report(o)
	}
	there := func() bool { s, _ := one.st.Current(); return s.Endpoints.Has("m/7") }
	first := api.PlacementAssignment{ReplicaID: 0, NodeID: "n2"}
	plan(3, nil, first)
	for seq, version := range []uint64{0, 1, 3} {
		ok(t, claim(uint64(seq)+1, version))
		if there() {
			t.Errorf("version %d: the invention is in the store", version)
		}
	}
	conflict(t, "a replica of a plan that is not known", claim(4, 4))
	plan(4, []api.PlacementAssignment{{ReplicaID: 7, NodeID: "n1"}}, first)
	ok(t, claim(5, 3))
	if !there() {
		t.Error("a displaced replica is not shown")
	}
	plan(5, nil, first)
	ok(t, claim(6, 3))
	if !there() {
		t.Error("a replica on its way out is not shown any more")
	}
}

// TestReport_ofALostHistory: in a restored cluster that nobody has accepted, a node shows what it runs by plans that are lost; it neither
// takes another's place nor stays unseen for it.
func TestReport_ofALostHistory(t *testing.T) {
	one := serve(t, storetest.NewMem())
	one.join("n1", "n2")
	one.update(store.OwnerControl, func(tx *store.Tx) error {
		return store.Info.Put(tx, api.ClusterInfoID, api.ClusterInfo{ID: "c", History: "h2"})
	})
	one.update(store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: 5, Assignments: []api.PlacementAssignment{{NodeID: "n2"}}})
	})
	one.update(store.OwnerNode, func(tx *store.Tx) error { return store.Endpoints.Put(tx, "m/0", endpoint("m", 0, "n2", 5)) })
	o := numbered("n1", 1, 1)
	o.Endpoints = []api.EndpointInfo{endpoint("m", 0, "n1", 10), endpoint("m", 1, "n1", 10)}
	ok(t, one.report(o))
	s, _ := one.st.Current()
	if e, _ := s.Endpoints.Value("m/0"); e.NodeID != "n2" || !s.Endpoints.Has("m/1") || !s.Nodes.Has("n1") {
		t.Errorf("m/0 is %s's; m/1: %v; the node: %v", e.NodeID, s.Endpoints.Has("m/1"), s.Nodes.Has("n1"))
	}
}

// TestReport_refusedOnesKeepNothingAlive: a machine that numbers its reports below the stored one is let in when that has ended, and its
// refused reports do not put that off.
func TestReport_refusedOnesKeepNothingAlive(t *testing.T) {
	kv := &countingKV{MemKV: storetest.NewMem()}
	one := serve(t, kv)
	one.join("n1")
	ok(t, one.report(numbered("n1", 100, 1)))
	before := kv.kept.Load()
	conflict(t, "a report of an earlier start", one.report(numbered("n1", 5, 1)))
	if kv.kept.Load() != before {
		t.Error("the refused report renewed the lease")
	}
}

type countingKV struct {
	*storetest.MemKV
	kept atomic.Int64
}

func (k *countingKV) KeepAlive(ctx context.Context, lease int64) error {
	k.kept.Add(1)
	return k.MemKV.KeepAlive(ctx, lease)
}
