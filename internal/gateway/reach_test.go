package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Each letter is a probe half a second after the one before: + answered, - not. What follows is whether the node is silent then.
func TestReach(t *testing.T) {
	for probes, want := range map[string]string{
		"+++":            "...",
		"-+-+-+":         "......",
		"--":             ".S",
		"--++-+++":       ".SSSSSS.",
		"---+++--":       ".SSSS..S",
		"+-+--++---++++": "....SSSSSSSS..",
	} {
		var r reach
		var got strings.Builder
		for i, p := range probes {
			r = r.after(p == '+', time.Duration(i)*probeEvery)
			got.WriteString(map[bool]string{true: "S", false: "."}[r.silent])
			if suspected := r.silent || p == '-'; r.suspected() != suspected {
				t.Errorf("%s: after %d probes suspected is %v", probes, i+1, r.suspected())
			}
		}
		if got.String() != want {
			t.Errorf("%s: %s, want %s", probes, got.String(), want)
		}
	}
	var r reach
	for now := time.Duration(0); ; now += probeLimit {
		if r = r.after(false, now); r.hopeless(now) {
			if since := now - r.since; since < giveUp || since > giveUp+probeLimit {
				t.Errorf("hopeless after %v of silence", since)
			}
			break
		}
	}
}

func TestBuildTable_otherNodes(t *testing.T) {
	s := &cluster.State{}
	addModel(s, "m", "m")
	put(&s.Nodes, "n2", api.NodeStatus{NodeID: "n2", APIAddr: "10.0.0.2:8083"})
	on := func(replica uint32, node, addr string) {
		e := endpointAt("m", replica, "http://127.0.0.1:8000")
		e.NodeID, e.NodeAddr = node, addr
		addEndpoint(s, e)
	}
	on(0, "n1", "10.0.0.1:8083") // this very machine
	on(1, "n2", "10.0.0.9:8083") // what it says itself
	on(2, "n2", "")              // of an earlier version: its node knows
	on(3, "n3", "10.0.0.3:8083") // no server sees it
	on(4, "n4", "")              // nobody knows where it is
	on(5, "../n", "10.0.0.5:1")  // nobody has that name
	var got []string
	for _, to := range buildTable(s, "n1").models["m"].targets {
		got = append(got, to.node+" "+to.addr+to.prefix)
	}
	want := []string{" 127.0.0.1:8000", "n2 10.0.0.9:8083/engines/m/1", "n2 10.0.0.2:8083/engines/m/2", "n3 10.0.0.3:8083/engines/m/3"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, to := range buildTable(s, "").models["m"].targets { // a gateway on a machine without a node
		if to.node == "" {
			t.Errorf("%+v is reached on loopback", to)
		}
	}
}

// An idle node is not probed, and a node that is in no table is forgotten.
func TestLive_peers(t *testing.T) {
	s := &cluster.State{}
	addModel(s, "m", "m")
	e := endpointAt("m", 0, "http://127.0.0.1:1")
	e.NodeID, e.NodeAddr = "n2", "10.0.0.2:1"
	addEndpoint(s, e)
	l := liveForTest()
	table := buildTable(s, "n1")
	l.bind(table)
	if got := l.unwatched(); len(got) != 0 {
		t.Errorf("%d idle nodes are probed", len(got))
	}
	r, _ := table.models["m"].choose(canChat, nil, 0)
	if got := l.unwatched(); len(got) != 1 || got[0].node != "n2" || len(l.unwatched()) != 0 {
		t.Errorf("%+v are probed, want the one in use, once", got)
	}
	r.peer.probing.Store(false)
	remove(&s.Endpoints, "m/0")
	l.bind(buildTable(s, "n1"))
	if len(l.peers) != 1 {
		t.Error("a node with a request is forgotten")
	}
	r.release()
	l.bind(buildTable(s, "n1"))
	if len(l.peers) != 0 {
		t.Error("a node that is gone is kept")
	}
}
