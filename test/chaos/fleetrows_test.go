//go:build chaos

package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// generous bounds what the rows only log otherwise: targets are a few seconds, and the machine may be busy.
const generous = 30 * time.Second

// TestF07_nodeAgentKilled: kill -9 of a node's agent, which is also the way to its engines. Nothing fails but streams under way there; the next
// agent adopts the same engines.
func TestF07_nodeAgentKilled(t *testing.T) {
	f := shared(t)
	s := f.servers[0]
	before := s.replicas(t, "m")
	l := f.load(t)
	for _, n := range f.nodes {
		said, err := s.heard()
		ok(t, err)
		for key := range said { // the other node has nothing to say
			if key[len(key)-2:] != n.name[len(n.name)-2:] {
				delete(said, key)
			}
		}
		ok(t, n.Kill())
		flow(t, l, 30)
		ok(t, n.start())
		t.Logf("%s adopted and reported within %s", n.name, s.news(t, said).Round(10*time.Millisecond))
		flow(t, l, 30)
		passed(t, l)
	}
	onlyStarted(t, finish(t, l, traffic.ErrorEvent))
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}

// TestF20_storeLeaderKilled: the server whose store leads is killed with its store. Requests go on, the store takes changes again soon, and none
// that was acknowledged is lost.
func TestF20_storeLeaderKilled(t *testing.T) {
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l, w := f.load(t), f.write(t)
	leader, followers := f.storeLeader(t)
	f.kill(t, leader)
	w.flow(t)
	gap := w.gap()
	t.Logf("%s killed: no change for %s, watchers elsewhere silent for %s and %s", leader.name, gap.Round(10*time.Millisecond),
		w.silence(followers[0]).Round(10*time.Millisecond), w.silence(followers[1]).Round(10*time.Millisecond))
	if gap > generous {
		t.Errorf("no change was taken for %s", gap)
	}
	ok(t, f.sameEverywhere(t, before))
	ok(t, leader.start())
	f.serverReady(t, leader)
	w.finish(t)
	finish(t, l)
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF21_storeLeaderPaused: the leading store stands still for 5 s (SIGSTOP).
func TestF21_storeLeaderPaused(t *testing.T) {
	full(t)
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l, w := f.load(t), f.write(t)
	leader, _ := f.storeLeader(t)
	paused := leader.of(procs.KindEtcd)
	for _, p := range paused {
		ok(t, p.Signal(19))
	}
	time.Sleep(5 * time.Second) // the fault itself
	gap := w.gap()
	for _, p := range paused {
		ok(t, p.Signal(18))
	}
	t.Logf("the store of %s paused: no change for %s", leader.name, gap.Round(10*time.Millisecond))
	w.finish(t)
	finish(t, l)
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF22_storeLeaderCutOff: the server whose store leads is cut off from all others. They elect another one and go on; it takes no change alone,
// and shows the same as they do once it is back.
func TestF22_storeLeaderCutOff(t *testing.T) {
	full(t)
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l, w := f.load(t), f.write(t)
	leader, followers := f.storeLeader(t)
	ok(t, leader.host.Cut(netns.Control))
	eventually(t, generous, func() error {
		acks, _ := w.counts()
		status, err := followers[0].client.StoreStatus(t.Context())
		if err != nil || !status.Leader || acks == 0 {
			return fmt.Errorf("leader %v: %w", status.Leader, err)
		}
		return nil
	})
	hold(t, 8*time.Second, func() error { return f.sameEverywhere(t, before) })
	ok(t, leader.host.Heal())
	t.Logf("%s cut off: no change for %s", leader.name, w.gap().Round(10*time.Millisecond))
	w.finish(t)
	finish(t, l)
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF23_ownStoreSilent: the store beside a server falls silent (SIGSTOP) while the others go on. The server's watch moves to another member.
func TestF23_ownStoreSilent(t *testing.T) {
	f := shared(t)
	l, w := f.load(t), f.write(t)
	_, followers := f.storeLeader(t)
	s := followers[0]
	paused := s.of(procs.KindEtcd)
	for _, p := range paused {
		ok(t, p.Signal(19))
	}
	w.flow(t) // at every server, this one too
	silence := w.silence(s)
	for _, p := range paused {
		ok(t, p.Signal(18))
	}
	t.Logf("the store of %s paused: its watcher was silent for %s", s.name, silence.Round(10*time.Millisecond))
	if silence > generous {
		t.Errorf("the watch stood still for %s", silence)
	}
	w.finish(t)
	finish(t, l)
}

// TestF24_quorumLost: two of three servers are dead for longer than a node's lease. No engine stops, nothing is moved, no request fails; then the
// nodes are back.
func TestF24_quorumLost(t *testing.T) {
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l, w := f.load(t), f.write(t)
	dead := f.servers[1:]
	for _, s := range dead {
		f.kill(t, s)
	}
	hold(t, 20*time.Second, func() error { return f.sameEverywhere(t, before) })
	ok(t, together(dead, func(s *server) error { return s.start() }))
	for _, s := range dead {
		t.Logf("%s ready after %s", s.name, f.serverReady(t, s).Round(10*time.Millisecond))
	}
	for _, n := range []string{"n1", "n2"} {
		f.nodeState(t, n, "ready")
	}
	w.finish(t)
	finish(t, l)
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF25_allServersKilled: every server and every store is dead for 15 s. Requests go on as if nothing were.
func TestF25_allServersKilled(t *testing.T) {
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l, w := f.load(t), f.write(t)
	for _, s := range f.servers {
		f.kill(t, s)
	}
	hold(t, 15*time.Second, func() error { return f.sameEverywhere(t, before) })
	flow(t, l, 50)
	ok(t, together(f.servers, func(s *server) error { return s.start() }))
	for _, s := range f.servers {
		t.Logf("%s ready after %s", s.name, f.serverReady(t, s).Round(10*time.Millisecond))
	}
	w.finish(t)
	finish(t, l)
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF25_restartsInTheOutage: every server is dead for a minute, and meanwhile gateway and agents are killed and started again. They serve from what
// they have kept on disk: no engine is restarted, and only what was under way at the process that was killed is lost.
func TestF25_restartsInTheOutage(t *testing.T) {
	full(t)
	f := shared(t)
	before := f.servers[0].replicas(t, "m")
	l := load(t, traffic.Spec{Gateways: []traffic.Gateway{f.gateway(t, f.gateways[0])}, Model: "m", Tries: 100})
	for _, s := range f.servers {
		f.kill(t, s)
	}
	began := time.Now()
	for _, p := range []*program{f.gateways[0].program, f.nodes[0], f.nodes[1], f.gateways[0].program} {
		ok(t, p.Kill())
		ok(t, p.start())
		t.Logf("%s started anew without servers: 50 requests were answered after %s", p.name, flow(t, l, 50).Round(10*time.Millisecond))
		passed(t, l)
	}
	hold(t, time.Until(began.Add(time.Minute)), func() error { return f.sameEverywhere(t, before) })
	flow(t, l, 50)
	ok(t, together(f.servers, func(s *server) error { return s.start() }))
	f.whole(t)
	onlyStarted(t, finish(t, l, traffic.Lost, traffic.ErrorEvent))
	f.servers[0].settled(t, "m")
	f.servers[0].sameEngines(t, "m", before)
	owned(t, f.servers[0].client, f.nodes...)
}

// TestF40_nodeCutFromServers: a node loses the servers while gateways still reach it. They go on using it, its engines go on, nothing is
// replaced before lost_after, and on return it is the same.
func TestF40_nodeCutFromServers(t *testing.T) {
	f := shared(t)
	s := f.servers[0]
	before := s.replicas(t, "m")
	l := f.load(t)
	ok(t, f.nodes[0].host.Cut(netns.Control))
	cutOff := f.nodeState(t, "n1", "cut_off")
	t.Logf("shown as cut off after %s", cutOff.Round(100*time.Millisecond))
	hold(t, 5*time.Second, func() error { return f.sameEverywhere(t, before) })
	flow(t, l, 50)
	ok(t, f.nodes[0].host.Heal())
	back := f.nodeState(t, "n1", "ready")
	t.Logf("ready again %s after the line was back", back.Round(100*time.Millisecond))
	finish(t, l)
	s.settled(t, "m")
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}

// TestF41_gatewayCutFromNode: one gateway cannot reach one node. It answers by the other one; the servers' own gateways use both as before.
func TestF41_gatewayCutFromNode(t *testing.T) {
	f := shared(t)
	s := f.servers[0]
	before := s.replicas(t, "m")
	// One engine answers nearly all of it: more at once would wait for each other, and show no more of the fault.
	few := traffic.Spec{Model: "m", Streams: 10, Plain: 10}
	l := f.loadOf(t, few)
	few.Gateways = []traffic.Gateway{f.gateway(t, f.servers[1])}
	other := load(t, few)
	ok(t, f.gateways[0].host.CutFrom(f.nodes[0].host, netns.Data))
	flow(t, l, 150)
	ok(t, f.gateways[0].host.Heal())
	flow(t, l, 50)
	r := finish(t, other)
	if most := r.Latency(1); most > generous {
		t.Errorf("a request through a gateway that nothing was done to took %s", most)
	}
	onlyStarted(t, finish(t, l, traffic.ErrorEvent))
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}
