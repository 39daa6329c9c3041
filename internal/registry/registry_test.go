package registry_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// open returns a store on an in-memory KV and a running session of node n1.
func open(t *testing.T) (*store.Store, *storetest.MemKV, *registry.Node) {
	t.Helper()
	kv := storetest.NewMem()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, kv, log)
	if err != nil {
		t.Fatal(err)
	}
	r := registry.New(registry.Config{Store: st, Leases: kv, Log: log})
	n := r.Node("n1")
	done := make(chan struct{}, 2)
	go func() { _ = st.Run(ctx); done <- struct{}{} }()
	go func() { _ = r.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	return st, kv, n
}

func endpoint(uid string, replica uint32, node string, version uint64) api.EndpointInfo {
	return api.EndpointInfo{
		ModelUID: uid, ReplicaID: replica, NodeID: node, PlanVersion: version, Status: api.EndpointReady, EndpointKind: "native_http", APIFlavor: "openai",
	}
}

func report(endpoints ...api.EndpointInfo) api.NodeObserved {
	return api.NodeObserved{
		Node: api.NodeStatus{NodeID: "n1", CPUs: 2}, Endpoints: endpoints,
		Disk:  &api.NodeDiskStatus{NodeID: "n1", TotalBytes: 100},
		Cache: []api.ModelCacheEntry{{NodeID: "n1", ModelName: "acme/m"}},
	}
}

func mustReport(t *testing.T, n *registry.Node, o api.NodeObserved) {
	t.Helper()
	if err := n.Report(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func TestReport_makesTheStoreEqualToTheNode(t *testing.T) {
	st, _, n := open(t)
	mustReport(t, n, report(endpoint("a", 0, "n1", 1), endpoint("a", 1, "n1", 1)))
	s, _ := st.Current()
	node, ok := s.Nodes.Get("n1")
	if !ok || node.Lease == 0 || s.Endpoints.Len() != 2 || s.Disks.Len() != 1 || s.Cache.Len() != 1 {
		t.Fatalf("node %+v, %d endpoints, %d disks, %d cache entries", node, s.Endpoints.Len(), s.Disks.Len(), s.Cache.Len())
	}
	for e := range s.Endpoints.All() {
		if e.Lease != 0 {
			t.Errorf("endpoint %s is under a lease: it would vanish with the sight of its node", e.ID)
		}
	}
	// The contract's key of a cache entry: 16 hex digits of SHA-256(model_name).
	if !s.Cache.Has("n1/51f94497c93d6ea7") {
		for e := range s.Cache.All() {
			t.Errorf("cache entry under %s", e.ID)
		}
	}

	rev := s.Revision
	mustReport(t, n, report(endpoint("a", 0, "n1", 1), endpoint("a", 1, "n1", 1)))
	if s, _ = st.Current(); s.Revision != rev {
		t.Error("a report that says nothing new wrote to the store")
	}

	mustReport(t, n, report(endpoint("a", 1, "n1", 2)))
	s, _ = st.Current()
	if e, _ := s.Endpoints.Value("a/1"); s.Endpoints.Len() != 1 || e.PlanVersion != 2 {
		t.Errorf("%d endpoints, a/1 at plan %d", s.Endpoints.Len(), e.PlanVersion)
	}
}

func TestReport_takesSeveralTransactionsWhenItMust(t *testing.T) {
	st, _, n := open(t)
	var many []api.EndpointInfo
	for i := range 300 {
		many = append(many, endpoint(fmt.Sprintf("m%d", i), 0, "n1", 1))
	}
	mustReport(t, n, report(many...))
	if s, _ := st.Current(); s.Endpoints.Len() != 300 {
		t.Errorf("%d endpoints stored, want 300", s.Endpoints.Len())
	}
	mustReport(t, n, report())
	if s, _ := st.Current(); s.Endpoints.Len() != 0 {
		t.Errorf("%d endpoints left, want none", s.Endpoints.Len())
	}
}

func TestReport_speaksForItsOwnNodeOnly(t *testing.T) {
	st, _, n := open(t)
	for name, change := range map[string]func(*api.NodeObserved){
		"node":     func(o *api.NodeObserved) { o.Node.NodeID = "n2" },
		"endpoint": func(o *api.NodeObserved) { o.Endpoints = []api.EndpointInfo{endpoint("a", 0, "n2", 1)} },
		"download": func(o *api.NodeObserved) { o.Downloads = []api.DownloadProgress{{NodeID: "n2", ModelUID: "a"}} },
		"cache":    func(o *api.NodeObserved) { o.Cache[0].NodeID = "n2" },
		"disk":     func(o *api.NodeObserved) { o.Disk.NodeID = "n2" },
		"alert":    func(o *api.NodeObserved) { o.Alerts = []api.DiskAlert{{NodeID: "n2", AlertType: "disk_warning"}} },
	} {
		o := report()
		change(&o)
		if err := n.Report(t.Context(), o); !api.HasCode(err, api.CodeForbidden) {
			t.Errorf("%s of another node: %v, want forbidden", name, err)
		}
	}
	if s, _ := st.Current(); s.Revision > 1 {
		t.Error("a refused report wrote to the store")
	}
}

// TestReport_leavesTheReplacementAlone: a replica that was placed elsewhere under a newer plan is that node's; ours, on its way out, neither
// overwrites nor deletes it.
func TestReport_leavesTheReplacementAlone(t *testing.T) {
	st, kv, n := open(t)
	other := registry.New(registry.Config{Store: st, Leases: kv, Log: slog.New(slog.DiscardHandler)}).Node("n2")
	mustReport(t, n, report(endpoint("a", 0, "n1", 1)))
	if _, err := st.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "a", api.PlacementPlan{ModelUID: "a", Version: 2, Assignments: []api.PlacementAssignment{{ReplicaID: 0, NodeID: "n2"}}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.Report(t.Context(), api.NodeObserved{Node: api.NodeStatus{NodeID: "n2"}, Endpoints: []api.EndpointInfo{endpoint("a", 0, "n2", 2)}}); err != nil {
		t.Fatal(err)
	}
	for _, o := range []api.NodeObserved{report(endpoint("a", 0, "n1", 1)), report()} {
		mustReport(t, n, o)
		s, _ := st.Current()
		if e, _ := s.Endpoints.Value("a/0"); e.NodeID != "n2" {
			t.Fatalf("endpoint of the replacement is now %+v", e)
		}
	}
}

func TestReport_afterALostLeaseWritesAllAnew(t *testing.T) {
	st, kv, n := open(t)
	mustReport(t, n, report(endpoint("a", 0, "n1", 1)))
	s, _ := st.Current()
	node, _ := s.Nodes.Get("n1")
	kv.Expire(node.Lease)
	for s, changed := st.Current(); s.Nodes.Has("n1"); s, changed = st.Current() {
		<-changed
	}
	if s, _ = st.Current(); !s.Endpoints.Has("a/0") {
		t.Fatal("the endpoint went with the node's lease")
	}
	mustReport(t, n, report(endpoint("a", 0, "n1", 1)))
	if s, _ = st.Current(); !s.Nodes.Has("n1") || !s.Endpoints.Has("a/0") {
		t.Fatal("the node's documents did not come back")
	}
}

func TestDesired_wakesForItsOwnNodeOnly(t *testing.T) {
	st, _, n := open(t)
	put := func(uid, node string) {
		t.Helper()
		_, err := st.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
			if err := store.Models.Put(tx, uid, api.ModelSpec{ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal}); err != nil {
				return err
			}
			return store.Deployments.Put(tx, uid, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: 1, Version: 1})
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = st.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
			return store.Placements.Put(tx, uid, api.PlacementPlan{ModelUID: uid, Version: 1, Assignments: []api.PlacementAssignment{{NodeID: node}}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	d, changed := n.Desired()
	for d.Revision == 0 { // until the session has looked once
		<-changed
		d, changed = n.Desired()
	}
	put("mine", "n1")
	<-changed
	for d, changed = n.Desired(); len(d.Replicas) == 0; d, changed = n.Desired() {
		<-changed
	}
	if d.Replicas[0].Spec.ModelUID != "mine" {
		t.Fatalf("desired %+v", d.Replicas)
	}
	put("other", "n2")
	put("mine-too", "n1") // when this one is seen, the other has been passed over
	for d2, c := n.Desired(); len(d2.Replicas) < 2; d2, c = n.Desired() {
		if c != changed {
			t.Fatal("a change on another node woke this one")
		}
		<-c
	}
}
