package registry_test

import (
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
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
