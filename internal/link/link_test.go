package link_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	desired "github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func TestLink_tellsAndReports(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	walk(f, s)
}

// walk is the plain life of one node.
func walk(f *fleet, s *server) {
	t := f.t
	f.place("a", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	f.sees(n, "a/0")
	f.place("b", 1, "n1")
	d := f.sees(n, "a/0", "b/0")
	if d.History != "h1" || !d.HistoryAccepted || d.HeartbeatMS != 3000 {
		t.Errorf("history %q accepted %v, heartbeat %d ms", d.History, d.HistoryAccepted, d.HeartbeatMS)
	}
	n.mustReport(t, "a")
	st, _ := f.st.Current()
	e, ok := st.Endpoints.Get("a/0")
	if node, live := st.Nodes.Get("n1"); !ok || !live || e.Lease != 0 || node.Lease == 0 || node.Value.Epoch == 0 || node.Value.Seq != 1 {
		t.Fatalf("endpoint %+v, node %+v", e, node)
	}
	n.mustReport(t)
	if st, _ = f.st.Current(); st.Endpoints.Has("a/0") {
		t.Error("an endpoint that the node reports no more is still there")
	}
	f.unplace("a")
	f.sees(n, "b/0")
}

// TestLink_losesNothing changes wishes at random while connections break and servers come and go: in the end the node has been told what the
// store says.
func TestLink_losesNothing(t *testing.T) {
	f := newFleet(t, mem(t))
	servers := []*server{f.serve("s1", "", nil), f.serve("s2", "", nil)}
	n := f.node("n1", "", nil, servers[0].addr, servers[1].addr)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		uid := fmt.Sprintf("m%d", rnd.IntN(8))
		switch st, _ := f.st.Current(); {
		case st.Placements.Has(uid) && rnd.IntN(2) == 0:
			f.unplace(uid)
		default:
			f.place(uid, uint64(i+1), "n1", "n2")
		}
		if rnd.IntN(4) == 0 {
			servers[rnd.IntN(2)].net.cut()
		}
		if rnd.IntN(15) == 0 {
			j := rnd.IntN(2)
			servers[j].stop()
			servers[j] = f.serve(fmt.Sprintf("s%d-%d", j+1, i), servers[j].addr, nil)
		}
	}
	f.await("what the store says", func() bool {
		st, _ := f.st.Current()
		want := desired.Desired(st, "n1")
		got, _ := n.Desired()
		same := keys(got) == keys(want)
		for i := range want.Replicas {
			same = same && got.Replicas[i].PlanVersion == want.Replicas[i].PlanVersion
		}
		return same
	})
}

func TestLink_goesToAnotherServer(t *testing.T) {
	f := newFleet(t, mem(t))
	one, two := f.serve("s1", "", nil), f.serve("s2", "", nil)
	n := f.node("n1", "", nil, one.addr)
	n.mustReport(t, "a")
	n.servers.Learn([]string{one.addr, two.addr})
	one.stop()
	f.place("a", 1, "n1")
	f.sees(n, "a/0")
	n.mustReport(t, "a", "b")
	if st, _ := f.st.Current(); !st.Endpoints.Has("b/0") {
		t.Error("the report through the other server is not there")
	}
	if reports, _ := two.nodes.counts(); reports != 1 {
		t.Errorf("%d reports at the other server, want 1: the number of a report must be good everywhere", reports)
	}
}

// TestLink_leavesAPausedServer: a server whose process is stopped keeps its connections, and says nothing on them.
func TestLink_leavesAPausedServer(t *testing.T) {
	f := newFleet(t, mem(t))
	one, two := f.serve("s1", "", nil), f.serve("s2", "", nil)
	n := f.node("n1", "", nil, one.addr)
	f.place("a", 1, "n1")
	f.sees(n, "a/0")
	n.servers.Learn([]string{one.addr, two.addr})
	thaw := one.net.freeze()
	t.Cleanup(thaw)
	f.place("b", 1, "n1")
	f.sees(n, "a/0", "b/0")
	n.mustReport(t, "a", "b")
	thaw()
}

// TestLink_lateReportIsRefused: a report that a server has taken before it was paused comes after a newer one through another server.
func TestLink_lateReportIsRefused(t *testing.T) {
	f := newFleet(t, mem(t))
	view := f.open()
	one, two := f.serve("s1", "", view), f.serve("s2", "", nil)
	n := f.node("n1", "", nil, one.addr)
	n.mustReport(t, "a")
	resume := one.nodes.pause()
	t.Cleanup(resume)
	n.servers.Learn([]string{one.addr, two.addr})
	n.mustReport(t, "old") // hangs at one; two takes it in the end
	n.mustReport(t, "new")
	// One whose view shows just what the late report says has nothing to write, and nothing to refuse.
	f.await("the paused server's view", func() bool { st, _ := view.Current(); return st.Endpoints.Has("new/0") })
	resume()
	if err := <-one.nodes.late; !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "older") {
		t.Fatalf("the late report: %v, want a conflict", err)
	}
	f.catchUp()
	st, _ := f.st.Current()
	if st.Endpoints.Has("old/0") || !st.Endpoints.Has("new/0") {
		t.Error("the late report has overwritten a newer one")
	}
}

// TestLink_heartbeats: when nothing changes, nodes cost the store nothing and the network little.
func TestLink_heartbeats(t *testing.T) {
	kv := mem(t)
	f := newFleet(t, kv)
	s := f.serve("s1", "", nil)
	n := f.node("n1", "", nil, s.addr)
	f.sees(n)
	n.mustReport(t, "a", "b")
	rev, sent := kv.Revision(), 0
	f.await("heartbeat", func() bool {
		before := s.net.total()
		n.mustReport(t, "a", "b")
		sent = s.net.total() - before
		_, beats := s.nodes.counts()
		return beats > 0
	})
	if kv.Revision() != rev {
		t.Errorf("the store went from revision %d to %d", rev, kv.Revision())
	}
	if reports, _ := s.nodes.counts(); reports != 1 {
		t.Errorf("%d whole reports, want 1", reports)
	}
	const most = 1536
	if sent == 0 || sent > most {
		t.Errorf("a heartbeat took %d bytes both ways, want at most %d", sent, most)
	}
	t.Logf("a heartbeat takes %d bytes both ways", sent)
}

// TestLink_registersAgain: the cluster has lost sight of a node that lives, as after an outage of the store.
func TestLink_registersAgain(t *testing.T) {
	kv := mem(t)
	f := newFleet(t, kv)
	s := f.serve("s1", "", nil)
	n := f.node("n1", "", nil, s.addr)
	f.sees(n)
	n.mustReport(t, "a")
	st, _ := f.st.Current()
	node, _ := st.Nodes.Get("n1")
	kv.Expire(node.Lease)
	f.await("end of the lease", func() bool { st, _ = f.st.Current(); return !st.Nodes.Has("n1") })
	if !st.Endpoints.Has("a/0") {
		t.Fatal("the endpoint went with the lease")
	}
	f.await("absence", func() bool { _, absent := s.registry.Absent()["n1"]; return absent })
	f.await("return", func() bool {
		n.mustReport(t, "a")
		st, _ = f.st.Current()
		return st.Nodes.Has("n1")
	})
	f.await("end of the absence", func() bool { _, absent := s.registry.Absent()["n1"]; return !absent })
	if e, _ := st.Endpoints.Get("a/0"); e.Lease != 0 {
		t.Error("the endpoint is under a lease now")
	}
}

func TestLink_startsWithoutServers(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	f.sees(n, "a/0")
	n.stop()
	s.stop()
	again := f.node("n1", n.dir, n.cred, s.addr)
	d := f.sees(again, "a/0")
	if d.History != "h1" {
		t.Errorf("history %q", d.History)
	}
	// Meanwhile the wish has changed. The servers' word counts as soon as there is one.
	f.place("b", 1, "n1")
	f.unplace("a")
	back := f.serve("s1-again", s.addr, nil)
	f.sees(again, "b/0")
	again.stop()
	// A node that finds a server does not begin with what it was told last.
	f.place("c", 1, "n1")
	f.unplace("b")
	f.await("the server's own view of it", func() bool { d, _ := back.registry.Desired("n1"); return keys(d) == "c/0" })
	third := f.node("n1", n.dir, n.cred, back.addr)
	f.await("first set", func() bool { d, _ := third.Desired(); return d.Revision > 0 })
	if d, _ := third.Desired(); keys(d) != "c/0" {
		t.Errorf("began with %s although a server answers", keys(d))
	}
}

func TestLink_trustsNoOtherSnapshot(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1", "n2")
	n := f.node("n1", "", nil, s.addr)
	other := f.node("n2", "", nil, s.addr)
	f.sees(n, "a/0")
	f.sees(other, "a/1")
	n.stop()
	other.stop()
	s.stop()
	const file = "desired.json"
	good, err := os.ReadFile(filepath.Join(n.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(good), `"document":"ey`, `"document":"ez`, 1)
	for name, content := range map[string]string{
		"changed": changed, "cut short": string(good[:len(good)/2]), "empty": "", "another node's": string(foreign), "unsigned": `{"document":"e30="}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			again := f.node("n1", dir, n.cred, s.addr)
			f.await("word that no server answers", func() bool { return again.log.count("do not tell this node") == 1 })
			again.stop()
			if d, _ := again.Desired(); d.Revision != 0 {
				t.Errorf("it was used: %s", keys(d))
			}
			if again.log.count("is not used") != 1 {
				t.Errorf("%d warnings about it, want 1", again.log.count("is not used"))
			}
		})
	}
}

// TestLink_restore: the cluster is put back to an older state. Nothing that runs is stopped for it until people have looked.
func TestLink_restore(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1")
	f.place("b", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	f.sees(n, "a/0", "b/0")
	f.update(store.OwnerControl, func(tx *store.Tx) error {
		return store.Info.Put(tx, api.ClusterInfoID, api.ClusterInfo{ID: clusterID, History: "h2"})
	})
	f.await("news of the restore", func() bool { d, _ := n.Desired(); return d.History == "h2" })
	f.unplace("a") // an ordinary wish of the new history
	d := f.sees(n, "b/0")
	if len(d.Frozen) != 0 {
		t.Errorf("%v is frozen although the new history has named it", d.Frozen)
	}
	n.stop()
	// What the next restore does not name is held, also over a start of the agent.
	s.stop()
	f.unplace("b")
	f.info(api.ClusterInfo{ID: clusterID, History: "h3"})
	s = f.serve("s2", s.addr, nil)
	n = f.node("n1", n.dir, n.cred, s.addr)
	held := func() bool {
		d, _ := n.Desired()
		return d.History == "h3" && keys(d) == "" && strings.Join(d.Frozen, " ") == "b"
	}
	f.await("hold", held)
	n.stop()
	s.stop()
	n = f.node("n1", n.dir, n.cred, s.addr)
	f.await("hold after a start without servers", held)
	f.serve("s3", s.addr, nil)
	f.info(api.ClusterInfo{ID: clusterID, History: "h3", HistoryAccepted: true})
	f.await("end of the hold", func() bool { d, _ := n.Desired(); return d.HistoryAccepted && len(d.Frozen) == 0 })
}

// TestLink_joinsARestoredCluster: a node that knows nothing of earlier sets, because the backup did not know it and it had to join again,
// stops nothing that runs until people have looked.
func TestLink_joinsARestoredCluster(t *testing.T) {
	f := newFleet(t, mem(t))
	f.info(api.ClusterInfo{ID: clusterID, History: "h2"})
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	_ = n.Report(t.Context(), n.observed("a", "x")) // whether it is stored already is another matter
	d := f.sees(n, "a/0")
	if got := strings.Join(d.Frozen, " "); got != "x" {
		t.Errorf("%q is left alone, want x, which runs and is not named", got)
	}
	f.info(api.ClusterInfo{ID: clusterID, History: "h2", HistoryAccepted: true})
	f.await("end of the hold", func() bool { d, _ := n.Desired(); return d.HistoryAccepted && len(d.Frozen) == 0 })
}

// TestLink_neverGoesBack: the only server that is left has not seen the newest changes yet.
func TestLink_neverGoesBack(t *testing.T) {
	kv := mem(t)
	f := newFleet(t, kv)
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	f.sees(n, "a/0")
	slow := &heldKV{MemKV: kv, hold: make(chan struct{})}
	f.kv = slow
	behind := f.open()
	f.kv = kv
	f.place("b", 1, "n1")
	f.sees(n, "a/0", "b/0")
	n.servers.Learn([]string{s.addr, f.serve("s2", "", behind).addr})
	s.stop()
	f.await("word of the lagging server", func() bool { return n.log.count("an older set than is known") > 0 })
	if d, _ := n.Desired(); keys(d) != "a/0 b/0" {
		t.Errorf("went back to %s", keys(d))
	}
	close(slow.hold)
	f.unplace("a")
	f.sees(n, "b/0")
	if d, _ := n.Desired(); len(d.Frozen) != 0 {
		t.Errorf("%v is held although the history is the same", d.Frozen)
	}
}

// heldKV is a KV whose watches bring nothing until hold is closed.
type heldKV struct {
	*storetest.MemKV
	hold chan struct{}
}

func (k *heldKV) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	select {
	case <-k.hold:
	case <-ctx.Done():
		return ctx.Err()
	}
	return k.MemKV.Watch(ctx, prefix, revision, fn)
}

// TestLink_actsForItselfOnly: what a node's credential is good for.
func TestLink_actsForItselfOnly(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	n, other := f.node("n1", "", nil, s.addr), f.node("n2", "", nil, s.addr)
	other.mustReport(t, "a")
	gateway := f.node("g1", "", f.join(api.MachineGateway, "g1"), s.addr)
	st, _ := f.st.Current()
	rev := st.Nodes
	for _, call := range []struct {
		method, path string
		in           any
	}{
		{"GET", "/api/v2/nodes/n2/desired", nil},
		{"PUT", "/api/v2/nodes/n2/observed", other.observed()},
		{"POST", "/api/v2/nodes/n2/heartbeat", api.NodeHeartbeat{}},
		{"PUT", "/api/v2/nodes/n1/observed", other.observed()}, // its own path, another's facts
		{"GET", "/api/v2/models", nil},
		{"GET", "/api/v2/nodes", nil},
	} {
		if err := n.servers.JSON(t.Context(), call.method, call.path, call.in, nil); !api.HasCode(err, api.CodeForbidden) {
			t.Errorf("%s %s as n1: %v, want forbidden", call.method, call.path, err)
		}
		if err := gateway.servers.JSON(t.Context(), call.method, call.path, call.in, nil); !api.HasCode(err, api.CodeForbidden) {
			t.Errorf("%s %s as a gateway: %v, want forbidden", call.method, call.path, err)
		}
	}
	if st, _ := f.st.Current(); st.Nodes != rev {
		t.Error("a refused call changed a node")
	}
}

// TestLink_removedNode: the credential counts for nothing at once, and the node goes on running what it runs.
func TestLink_removedNode(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	f.sees(n, "a/0")
	f.update(store.OwnerControl, func(tx *store.Tx) error { return store.Members.Delete(tx, api.MemberKey(api.MachineNode, "n1")) })
	f.unplace("a")
	f.await("word of it", func() bool { return n.log.count("not a member of the cluster any more") == 1 })
	if d, _ := n.Desired(); keys(d) != "a/0" {
		t.Errorf("a removed node was told %q", keys(d))
	}
	if err := n.Report(t.Context(), n.observed("a")); !api.HasCode(err, api.CodeUnauthorized) {
		t.Errorf("its report: %v, want unauthorized", err)
	}
}

func TestLink_hundredNodes(t *testing.T) {
	f := newFleet(t, mem(t))
	servers := []string{f.serve("s1", "", nil).addr, f.serve("s2", "", nil).addr, f.serve("s3", "", nil).addr}
	const many = 100
	var nodes []*node
	for i := range many {
		nodes = append(nodes, f.node(fmt.Sprintf("n%03d", i), "", nil, servers...))
	}
	for i := range many {
		f.place(fmt.Sprintf("m%03d", i), 1, nodes[i].id, nodes[(i+1)%many].id)
	}
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			f.await("both replicas on "+n.id, func() bool { d, _ := n.Desired(); return len(d.Replicas) == 2 })
			f.await("report of "+n.id, func() bool { // one that finds no time among so many is sent again, as an agent does
				return n.Report(t.Context(), n.observed(fmt.Sprintf("m%03d", i))) == nil
			})
		})
	}
	wg.Wait()
	f.catchUp()
	if st, _ := f.st.Current(); st.Nodes.Len() != many || st.Endpoints.Len() != many {
		t.Errorf("%d nodes and %d endpoints in the store, want %d of each", st.Nodes.Len(), st.Endpoints.Len(), many)
	}
}
