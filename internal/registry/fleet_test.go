package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// server is one server's registry on a store of its own.
type server struct {
	*registry.Registry
	t  *testing.T
	st *store.Store
}

func serve(t *testing.T, kv store.KV) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, kv, log)
	if err != nil {
		t.Fatal(err)
	}
	r := registry.New(registry.Config{Store: st, Leases: kv, Log: log})
	done := make(chan struct{}, 2)
	go func() { _ = st.Run(ctx); done <- struct{}{} }()
	go func() { _ = r.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	return &server{r, t, st}
}

func (s *server) update(owner store.Owner, fn func(*store.Tx) error) {
	s.t.Helper()
	if _, err := s.st.Update(s.t.Context(), owner, fn); err != nil {
		s.t.Fatal(err)
	}
}

// join makes nodes members.
func (s *server) join(ids ...string) {
	s.t.Helper()
	for len(ids) > 0 {
		n := min(len(ids), 50)
		s.update(store.OwnerControl, func(tx *store.Tx) error {
			for _, id := range ids[:n] {
				m := api.Member{Role: api.MachineNode, ID: id, KeyHash: "k"}
				if err := store.Members.Put(tx, m.Key(), m); err != nil {
					return err
				}
			}
			return nil
		})
		ids = ids[n:]
	}
}

func (s *server) remove(id string) {
	s.t.Helper()
	s.update(store.OwnerControl, func(tx *store.Tx) error { return store.Members.Delete(tx, api.MemberKey(api.MachineNode, id)) })
}

func numbered(id string, epoch, seq uint64, endpoints ...string) api.NodeObserved {
	o := api.NodeObserved{Node: api.NodeStatus{NodeID: id, Epoch: epoch, Seq: seq}}
	for _, uid := range endpoints {
		o.Endpoints = append(o.Endpoints, endpoint(uid, 0, id, 1))
	}
	return o
}

func (s *server) report(o api.NodeObserved) error { return s.Report(s.t.Context(), o.Node.NodeID, o) }

func (s *server) heartbeat(id string, epoch, seq uint64) error {
	return s.Heartbeat(s.t.Context(), id, api.NodeHeartbeat{Epoch: epoch, Seq: seq})
}

// wait waits until this server's state satisfies ok.
func (s *server) wait(ok func() bool) {
	s.t.Helper()
	for !ok() {
		_, changed := s.st.Current()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond): // not everything that is waited for is in the state
		case <-s.t.Context().Done():
			s.t.Fatal("the test ended before")
		}
	}
}

// catchUp waits until this server has seen all that there is.
func (s *server) catchUp(kv *storetest.MemKV) {
	s.t.Helper()
	s.wait(func() bool { st, _ := s.st.Current(); return st.Revision >= kv.Revision() })
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func conflict(t *testing.T, what string, err error) {
	t.Helper()
	if !api.HasCode(err, api.CodeConflict) {
		t.Errorf("%s: %v, want a conflict", what, err)
	}
}

// TestReport_anyServer: a node changes its server at will; each finds what vanished while it spoke to the other.
func TestReport_anyServer(t *testing.T) {
	kv := storetest.NewMem()
	one, two := serve(t, kv), serve(t, kv)
	one.join("n1", "n2")
	ok(t, one.report(numbered("n2", 1, 1, "x")))
	ok(t, one.report(numbered("n1", 1, 1, "a")))
	two.catchUp(kv)
	ok(t, two.report(numbered("n1", 1, 2, "a", "b")))
	one.catchUp(kv)
	ok(t, one.report(numbered("n1", 1, 3, "a")))
	two.catchUp(kv)
	s, _ := one.st.Current()
	if s.Endpoints.Has("b/0") || !s.Endpoints.Has("a/0") || !s.Endpoints.Has("x/0") {
		t.Error("b/0 should be gone, a/0 and x/0 should be there")
	}
	ok(t, two.heartbeat("n1", 1, 3))
	ok(t, one.heartbeat("n1", 1, 3))
}

func TestReport_refusesAnOlderOne(t *testing.T) {
	kv := storetest.NewMem()
	one, two := serve(t, kv), serve(t, kv)
	one.join("n1")
	ok(t, one.report(numbered("n1", 5, 2, "a")))
	two.catchUp(kv)
	for _, older := range []api.NodeObserved{numbered("n1", 5, 1, "b"), numbered("n1", 4, 9, "b")} {
		conflict(t, "an older report", two.report(older))
	}
	ok(t, two.report(numbered("n1", 5, 2, "a"))) // the same again, as after a lost answer
	ok(t, two.report(numbered("n1", 6, 1, "c"))) // the agent has started anew
	conflict(t, "one of the earlier start", one.report(numbered("n1", 5, 3, "b")))
	s, _ := two.st.Current()
	if s.Endpoints.Len() != 1 || !s.Endpoints.Has("c/0") {
		t.Errorf("%d endpoints, want c/0 alone", s.Endpoints.Len())
	}
}

// TestReport_fenceHoldsInALaggingServer: a server that has not seen the newer report yet writes nothing of an older one.
func TestReport_fenceHoldsInALaggingServer(t *testing.T) {
	kv := storetest.NewMem()
	one := serve(t, kv)
	one.join("n1")
	ok(t, one.report(numbered("n1", 1, 1, "a")))
	slow := &heldKV{MemKV: kv, hold: make(chan struct{})}
	late := serve(t, slow)
	ok(t, one.report(numbered("n1", 1, 3, "c")))
	done := make(chan error, 1)
	go func() { done <- late.report(numbered("n1", 1, 2, "b")) }()
	<-slow.asked()
	close(slow.hold)
	conflict(t, "a report older than what the server has not seen yet", <-done)
	if s, _ := one.st.Current(); s.Endpoints.Has("b/0") {
		t.Error("an older report was written")
	}
}

// heldKV is a KV whose watches bring nothing until hold is closed.
type heldKV struct {
	*storetest.MemKV
	hold chan struct{}
	mu   sync.Mutex
	txn  chan struct{} // closed at the first transaction
}

func (k *heldKV) asked() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.txn == nil {
		k.txn = make(chan struct{})
	}
	return k.txn
}

func (k *heldKV) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	res, err := k.MemKV.Txn(ctx, ifs, ops)
	asked := k.asked()
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-asked:
	default:
		close(k.txn)
	}
	return res, err
}

func (k *heldKV) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	select {
	case <-k.hold:
	case <-ctx.Done():
		return ctx.Err()
	}
	return k.MemKV.Watch(ctx, prefix, revision, fn)
}

func TestReport_membersOnly(t *testing.T) {
	one := serve(t, storetest.NewMem())
	if err := one.report(numbered("n1", 1, 1, "a")); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("%v, want forbidden", err)
	}
	one.join("n1")
	ok(t, one.report(numbered("n1", 1, 1, "a")))
	one.remove("n1")
	if err := one.report(numbered("n1", 1, 2, "b")); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("after its removal: %v, want forbidden", err)
	}
}

// TestReport_showsTheNodeLast: whoever sees a node sees what it has reported.
func TestReport_showsTheNodeLast(t *testing.T) {
	kv := storetest.NewMem()
	one := serve(t, kv)
	one.join("n1")
	o := numbered("n1", 1, 1)
	for i := range 200 {
		o.Endpoints = append(o.Endpoints, endpoint(fmt.Sprintf("m%d", i), 0, "n1", 1))
	}
	seen := make(chan int, 1)
	go func() {
		for {
			s, changed := one.st.Current()
			if s.Nodes.Has("n1") {
				seen <- s.Endpoints.Len()
				return
			}
			<-changed
		}
	}()
	ok(t, one.report(o))
	if n := <-seen; n != 200 {
		t.Errorf("the node appeared with %d of 200 endpoints", n)
	}
}

func TestHeartbeat(t *testing.T) {
	kv := storetest.NewMemManual()
	one := serve(t, kv)
	one.join("n1")
	conflict(t, "before any report", one.heartbeat("n1", 1, 1))
	ok(t, one.report(numbered("n1", 1, 1, "a")))
	rev := kv.Revision()
	for range 10 { // 40 s, with a lease of 15
		kv.Advance(4 * time.Second)
		ok(t, one.heartbeat("n1", 1, 1))
	}
	if kv.Revision() != rev {
		t.Errorf("heartbeats moved the store from revision %d to %d", rev, kv.Revision())
	}
	conflict(t, "for a report that nobody has seen", one.heartbeat("n1", 1, 2))
	conflict(t, "for an earlier start", one.heartbeat("n1", 0, 1))
	kv.Advance(16 * time.Second)
	conflict(t, "after the end of the lease", one.heartbeat("n1", 1, 1))
	one.wait(func() bool { s, _ := one.st.Current(); return !s.Nodes.Has("n1") })
	if s, _ := one.st.Current(); !s.Endpoints.Has("a/0") {
		t.Error("the endpoint went with the sight of the node")
	}
	ok(t, one.report(numbered("n1", 1, 1, "a")))
	ok(t, one.heartbeat("n1", 1, 1))
	kv.FailLeases(errors.New("no quorum"))
	if err := one.heartbeat("n1", 1, 1); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("without a store: %v, want unavailable", err)
	}
}

// TestHeartbeat_growsWithTheFleet: in a large fleet nodes give signs of life less often, and are believed for longer. A node that registered while
// the fleet was small gets a longer lease.
func TestHeartbeat_growsWithTheFleet(t *testing.T) {
	one := serve(t, storetest.NewMem())
	one.join("n1")
	ok(t, one.report(numbered("n1", 1, 1)))
	beat := func() int64 { d, _ := one.Desired("n1"); return d.HeartbeatMS }
	one.wait(func() bool { return beat() == 3000 })
	var more []string
	for i := range 999 {
		more = append(more, fmt.Sprintf("m%d", i))
	}
	one.join(more...)
	one.wait(func() bool { return beat() == 10_000 })
	conflict(t, "under a lease that is too short now", one.heartbeat("n1", 1, 1))
	ok(t, one.report(numbered("n1", 1, 1)))
	ok(t, one.heartbeat("n1", 1, 1))
	s, _ := one.st.Current()
	if n, _ := s.Nodes.Value("n1"); n.LeaseSeconds != 50 {
		t.Errorf("a lease of %d s, want 50", n.LeaseSeconds)
	}
}

func TestAbsent(t *testing.T) {
	kv := storetest.NewMem()
	one := serve(t, kv)
	one.join("n1", "n2")
	one.wait(func() bool { return len(one.Absent()) == 2 })
	ok(t, one.report(numbered("n1", 1, 1)))
	one.wait(func() bool { a := one.Absent(); _, away := a["n2"]; return len(a) == 1 && away })
	first := one.Absent()["n2"]
	one.wait(func() bool { return one.Absent()["n2"] > first }) // it goes on counting
	s, _ := one.st.Current()
	n, _ := s.Nodes.Get("n1")
	kv.Expire(n.Lease)
	one.wait(func() bool { return len(one.Absent()) == 2 })
	if a := one.Absent(); a["n1"] >= a["n2"] {
		t.Errorf("n1 away for %s, n2 for %s: n1 went later", a["n1"], a["n2"])
	}
	one.remove("n2")
	one.wait(func() bool { return len(one.Absent()) == 1 })
}

func TestSweep(t *testing.T) {
	kv := storetest.NewMem()
	one := serve(t, kv)
	one.join("n1", "n2", "n3")
	for _, id := range []string{"n1", "n2", "n3"} {
		o := numbered(id, 1, 1)
		for i := range 70 {
			o.Endpoints = append(o.Endpoints, endpoint(fmt.Sprintf("%s-%d", id, i), 0, id, 1))
		}
		o.Disk = &api.NodeDiskStatus{NodeID: id}
		o.Cache = []api.ModelCacheEntry{{NodeID: id, ModelName: "m"}}
		o.Alerts = []api.DiskAlert{{NodeID: id, AlertType: "disk_warning"}}
		ok(t, one.report(o))
	}
	s, _ := one.st.Current()
	for _, id := range []string{"n1", "n2"} { // n1 is removed, n2 out of sight; n3 is removed but still reports, for a moment
		n, _ := s.Nodes.Get(id)
		kv.Expire(n.Lease)
	}
	one.remove("n1")
	one.remove("n3")
	one.wait(func() bool { s, _ := one.st.Current(); return s.Nodes.Len() == 1 })
	if err := one.Sweep(t.Context(), store.Fence(store.Cond{Key: "/leader/scheduler", ModRev: 99, Create: true})); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the sweep of one who leads no more: %v", err)
	}
	ok(t, one.Sweep(t.Context()))
	left := map[string]int{}
	s, _ = one.st.Current()
	for e := range s.Endpoints.All() {
		left[e.Value.NodeID]++
	}
	for e := range s.Disks.All() {
		left[e.Value.NodeID]++
	}
	for e := range s.Cache.All() {
		left[e.Value.NodeID]++
	}
	for e := range s.Alerts.All() {
		left[e.Value.NodeID]++
	}
	if want := map[string]int{"n2": 73, "n3": 73}; !reflect.DeepEqual(left, want) {
		t.Errorf("documents left %v, want %v", left, want)
	}
}

// TestSweep_leavesWhatWasInherited: an existing Nebula's nodes are not members yet, and were not removed. What came later of such a node is cleared away.
func TestSweep_leavesWhatWasInherited(t *testing.T) {
	kv := storetest.NewMem()
	put := func(node string) {
		kv.Put("/endpoints/"+node+"/0", fmt.Appendf(nil, `{"model_uid":%q,"replica_id":0,"plan_version":1,"node_id":%q,"endpoint_kind":"native_http","api_flavor":"openai","status":"ready","last_heartbeat_ms":1}`, node, node))
		kv.Put("/model_cache/"+node+"/m", fmt.Appendf(nil, `{"node_id":%q,"model_name":"m","cache_path":"/m"}`, node))
		kv.Put("/node_disk/"+node, fmt.Appendf(nil, `{"node_id":%q,"model_dir":"/m"}`, node))
		kv.Put("/alerts/"+node+"/disk_warning", fmt.Appendf(nil, `{"node_id":%q,"alert_type":"disk_warning","message":"x","model_dir":"/m"}`, node))
	}
	put("old")
	put("mixed")
	one := serve(t, kv)
	s, _ := one.st.Current()
	kv.Put("/cluster/info", fmt.Appendf(nil, `{"id":"c","history":"h","inherited_revision":%d}`, s.Revision))
	put("gone")
	kv.Put("/model_cache/mixed/n", []byte(`{"node_id":"mixed","model_name":"n","cache_path":"/n"}`))
	one.wait(func() bool { s, _ := one.st.Current(); return s.Cache.Len() == 4 && s.Info.Len() == 1 })
	ok(t, one.Sweep(t.Context()))
	s, _ = one.st.Current()
	if s.Endpoints.Len() != 2 || s.Cache.Len() != 2 || s.Disks.Len() != 2 || s.Alerts.Len() != 2 || s.Disks.Has("gone") || s.Cache.Has("mixed/n") {
		t.Errorf("left are %d endpoints, %d cached models, %d disks and %d alerts; want 2 of each, those of old and mixed", s.Endpoints.Len(), s.Cache.Len(), s.Disks.Len(), s.Alerts.Len())
	}
}

// TestReport_leavesUnreadableDocumentsAlone: what nobody can read is neither overwritten nor removed, and the rest goes on.
func TestReport_leavesUnreadableDocumentsAlone(t *testing.T) {
	kv := storetest.NewMem()
	one := serve(t, kv)
	one.join("n1", "n2")
	kv.Put("/endpoints/a/0", []byte("{"))
	kv.Put("/nodes/n2/status", []byte("{"))
	one.wait(func() bool { s, _ := one.st.Current(); return s.Bad.Len() == 2 })
	ok(t, one.report(numbered("n1", 1, 1, "a", "b")))
	ok(t, one.report(numbered("n2", 1, 1, "c")))
	ok(t, one.report(numbered("n1", 1, 2)))
	one.remove("n2")
	ok(t, one.Sweep(t.Context()))
	s, _ := one.st.Current()
	if s.Bad.Len() != 2 || !s.Endpoints.Has("c/0") || s.Endpoints.Has("b/0") {
		t.Errorf("%d unreadable documents, want 2; %d endpoints, want c/0", s.Bad.Len(), s.Endpoints.Len())
	}
}

// TestDesired_tellsOfItsRevision: the revision is one at which the set holds, however long ago the set itself changed, so that a node can tell which of
// two servers lags.
func TestDesired_tellsOfItsRevision(t *testing.T) {
	kv := storetest.NewMem()
	one := serve(t, kv)
	one.join("n1")
	d, changed := one.Desired("n1")
	ok(t, one.report(numbered("n1", 1, 1, "a")))
	// The registry looks at a new state a moment after it is there, and claims nothing before.
	one.wait(func() bool { later, _ := one.Desired("n1"); return later.Revision > d.Revision })
	later, again := one.Desired("n1")
	if s, _ := one.st.Current(); later.Revision > s.Revision {
		t.Errorf("revision %d, the store is at %d", later.Revision, s.Revision)
	}
	if changed != again {
		t.Error("a report woke its own node")
	}
}

func TestDesired_displacedAndServers(t *testing.T) {
	one := serve(t, storetest.NewMem())
	one.join("n1")
	one.update(store.OwnerControl, func(tx *store.Tx) error {
		if err := store.Models.Put(tx, "a", api.ModelSpec{ModelUID: "a", ModelName: "a", ModelSource: api.SourceLocal}); err != nil {
			return err
		}
		if err := store.Deployments.Put(tx, "a", api.ModelDeployment{ModelUID: "a", DesiredState: api.DesiredRunning, Replicas: 1, Version: 1}); err != nil {
			return err
		}
		m := api.Member{Role: api.MachineServer, ID: "s1", Addr: "10.0.0.1:8443"}
		return store.Members.Put(tx, m.Key(), m)
	})
	d, changed := one.Desired("n1")
	if len(d.Replicas) != 0 {
		t.Fatalf("desired %+v", d.Replicas)
	}
	one.update(store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "a", api.PlacementPlan{
			ModelUID: "a", Version: 2, Assignments: []api.PlacementAssignment{{NodeID: "n2", ReplicaID: 1}}, Displaced: []api.PlacementAssignment{{NodeID: "n1"}},
		})
	})
	<-changed
	one.wait(func() bool { d, _ = one.Desired("n1"); return len(d.Replicas) == 1 })
	if !d.Replicas[0].Displaced || !reflect.DeepEqual(d.Servers, []string{"10.0.0.1:8443"}) {
		t.Errorf("displaced %v, servers %v", d.Replicas[0].Displaced, d.Servers)
	}
}
