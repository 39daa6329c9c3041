package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// files is a cluster whose nodes have, or fetch, files of acme/m. A node whose name begins with "deaf" has no port.
type files struct{ s State }

func put[T any](set *Set[T], id string, rev int64, v T) {
	e := set.Edit()
	e.Put(Entry[T]{ID: id, Rev: rev, Value: v})
	*set = e.Done()
}

func (f *files) node(id string) {
	n := api.NodeStatus{NodeID: id, APIAddr: id + ":1"}
	if strings.HasPrefix(id, "deaf") {
		n.APIAddr = ""
	}
	put(&f.s.Nodes, id, 1, n)
}

func (f *files) cached(id, model string, complete bool) {
	put(&f.s.Cache, id+"/"+CacheSuffix(model), 1, api.ModelCacheEntry{NodeID: id, ModelName: model, Complete: complete})
}

// told is what a node hears of one blob: those with the whole model in capitals.
func (f *files) told(self string) string {
	b := BlobStandings(&f.s, self, []api.BlobWant{{Hash: "h", Model: "acme/m"}})[0]
	var out []string
	for _, p := range b.Peers {
		if p.Addr != p.NodeID+":1" {
			out = append(out, "?")
		}
		if p.Whole {
			p.NodeID = strings.ToUpper(p.NodeID)
		}
		out = append(out, p.NodeID)
	}
	return fmt.Sprintf("%q mine=%v %s", b.Holder, b.Mine, strings.Join(out, " "))
}

func TestBlobStandings_whoMayHaveIt(t *testing.T) {
	f := &files{}
	for _, id := range []string{"me", "whole", "part", "deaf1", "loads", "pulls", "other"} {
		f.node(id)
	}
	f.cached("me", "acme/m", true)
	f.cached("whole", "acme/m", true)
	f.cached("gone", "acme/m", true)
	f.cached("deaf1", "acme/m", true)
	f.cached("other", "acme/other", true)
	if got := f.told("me"); got != `"" mine=false WHOLE` {
		t.Error(got)
	}
	f.cached("part", "acme/m", false)
	if got := f.told("me"); got != `"" mine=false WHOLE part` {
		t.Error(got)
	}
	f.s.Cache = Set[api.ModelCacheEntry]{}
	put(&f.s.Models, "m", 1, api.ModelSpec{ModelUID: "m", ModelName: "acme/m"})
	put(&f.s.Downloads, "m/0", 1, api.DownloadProgress{NodeID: "loads"})
	put(&f.s.Downloads, "n/0", 1, api.DownloadProgress{NodeID: "other"})
	if got := f.told("me"); got != `"" mine=false loads` {
		t.Error(got)
	}
	put(&f.s.Pulls, "pulls/x", 1, api.CachePull{DownloadProgress: api.DownloadProgress{NodeID: "pulls", ModelName: "acme/m"}})
	if got := f.told("loads"); got != `"" mine=false pulls` {
		t.Error(got)
	}
}

func TestBlobStandings_theHolderComesFirst(t *testing.T) {
	f := &files{}
	for _, id := range []string{"me", "a", "b", "deaf1"} {
		f.node(id)
	}
	f.cached("a", "acme/m", true)
	f.cached("b", "acme/m", true)
	for _, c := range []struct{ holder, want string }{
		{"me", `"me" mine=true `},
		{"a", `"a" mine=false A B`},
		{"b", `"b" mine=false B A`},
		{"gone", `"gone" mine=false `}, // it is for the asking node to see that nobody reaches it
		{"deaf1", `"deaf1" mine=false `},
	} {
		put(&f.s.BlobClaims, "h", 7, api.BlobClaim{Hash: "h", NodeID: c.holder})
		if got := f.told("me"); got != c.want && !strings.HasPrefix(got, c.want) {
			t.Errorf("held by %s: %s, want %s", c.holder, got, c.want)
		}
	}
}

// Of many nodes a few are named, and not the same to everybody.
func TestBlobStandings_manyNodes(t *testing.T) {
	f := &files{}
	for i := range 300 {
		id := fmt.Sprintf("n%03d", i)
		f.node(id)
		f.cached(id, "acme/m", true)
	}
	first := map[string]bool{}
	for i := range 50 {
		b := BlobStandings(&f.s, fmt.Sprintf("n%03d", i), []api.BlobWant{{Hash: "h", Model: "acme/m"}})[0]
		if len(b.Peers) != maxBlobPeers {
			t.Fatalf("%d nodes named", len(b.Peers))
		}
		first[b.Peers[0].NodeID] = true
	}
	if len(first) < 30 {
		t.Errorf("50 nodes are sent to %d", len(first))
	}
}
