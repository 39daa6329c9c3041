package peer_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/store"
)

const mb = 1 << 20

// all fetches files on nodes at the same moment, every file of a node at once, and returns how long it took.
func all(t *testing.T, nodes []*node, files ...manifest.Entry) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	began := time.Now()
	var running sync.WaitGroup
	for _, n := range nodes {
		for _, e := range files {
			running.Go(func() {
				if err := n.fetch(ctx, e); err != nil {
					t.Errorf("%s: %s: %v", n.id, e.Path, err)
				}
			})
		}
	}
	running.Wait()
	return time.Since(began)
}

func (c *club) nodes(ids ...string) []*node {
	var out []*node
	for _, id := range ids {
		out = append(out, c.start(id))
	}
	return out
}

func (c *club) wantSent(most int64) {
	c.t.Helper()
	if got := c.hub.sent.Load(); got > most {
		c.t.Errorf("the origin sent %.1f MB, at most %.1f MB were needed", float64(got)/mb, float64(most)/mb)
	}
}

func TestPeers_oneFetchForFourNodes(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	c.hub.rate.Store(24 * mb)
	e := c.file("one", 24*mb)
	all(t, c.nodes("n1", "n2", "n3", "n4"), e)
	c.wantSent(24 * mb)
}

func TestPeers_eachShardOnceAndByDifferentNodes(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	c.hub.rate.Store(32 * mb)
	var files []manifest.Entry
	for _, name := range []string{"a", "b", "c", "d"} {
		files = append(files, c.file(name, 12*mb))
	}
	nodes := c.nodes("n1", "n2", "n3", "n4")
	all(t, nodes, files...)
	c.wantSent(48 * mb)
	st, _ := c.st.Current()
	holders := map[string]int{}
	for claim := range st.BlobClaims.All() {
		holders[claim.Value.NodeID]++
	}
	if len(holders) < 2 {
		t.Errorf("one node fetched all: %v", holders)
	}
}

// More nodes than one may have as readers: the others read from its readers.
func TestPeers_manyReaders(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	c.hub.rate.Store(8 * mb)
	e := c.file("one", 24*mb)
	nodes := c.nodes("n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9")
	if _, err := c.st.Update(t.Context(), store.OwnerControl, func(tx *store.Tx) error {
		return store.Models.Put(tx, "m", api.ModelSpec{ModelUID: "m", ModelName: model, ModelSource: api.SourceHuggingFace})
	}); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes { // as agents do while they fetch
		o := api.NodeObserved{Node: api.NodeStatus{NodeID: n.id, APIAddr: n.addr, Epoch: 1, Seq: 1}}
		o.Downloads = []api.DownloadProgress{{ModelUID: "m", ReplicaID: uint32(i), NodeID: n.id, ModelName: model, Phase: api.PhaseDownloading}}
		if err := c.reg.Report(t.Context(), n.id, o); err != nil {
			t.Fatal(err)
		}
	}
	all(t, nodes, e)
	c.wantSent(24 * mb)
	_, rest := c.holder(e, nodes)
	var served int64
	for _, n := range rest {
		served += n.asked.Load()
	}
	if served == 0 {
		t.Error("all nodes read from the one that fetches")
	}
}

func TestPeers_aloneIsNotHeldUp(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	e := c.file("one", 9*mb)
	if took := all(t, c.nodes("n1"), e); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	c.wantSent(9 * mb)
}

// until waits for what must happen.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// holder returns the node that has the claim of a file, and the others.
func (c *club) holder(e manifest.Entry, nodes []*node) (*node, []*node) {
	c.t.Helper()
	var at *node
	until(c.t, "a claim", func() bool {
		st, _ := c.st.Current()
		claim, ok := st.BlobClaims.Value(e.Hex)
		for _, n := range nodes {
			if ok && n.id == claim.NodeID {
				at = n
			}
		}
		return at != nil
	})
	var rest []*node
	for _, n := range nodes {
		if n != at {
			rest = append(rest, n)
		}
	}
	return at, rest
}

// begin starts a fetch on each node, which goes on while the test does something.
func begin(t *testing.T, nodes []*node, e manifest.Entry) (cancel map[string]context.CancelFunc, wait func(...*node)) {
	cancel = map[string]context.CancelFunc{}
	done := map[string]chan error{}
	for _, n := range nodes {
		ctx, stop := context.WithTimeout(t.Context(), 90*time.Second)
		ended := make(chan error, 1)
		cancel[n.id], done[n.id] = stop, ended
		go func() { ended <- n.fetch(ctx, e) }()
	}
	return cancel, func(nodes ...*node) {
		t.Helper()
		for _, n := range nodes {
			if err := <-done[n.id]; err != nil {
				t.Errorf("%s: %v", n.id, err)
			}
		}
	}
}

func TestPeers_holderDiesHalfWay(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	c.hub.rate.Store(12 * mb)
	e := c.file("one", 24*mb)
	nodes := c.nodes("n1", "n2", "n3", "n4")
	cancel, wait := begin(t, nodes, e)
	dead, rest := c.holder(e, nodes)
	until(t, "half of the file", func() bool { return c.hub.sent.Load() > 12*mb })
	cancel[dead.id]()
	c.away.Store(true) // of a node that is killed no server hears
	dead.stop()
	c.away.Store(false)
	wait(rest...)
	c.wantSent(24*mb + 24*mb/20 + mb) // what the dead one had not passed on
	if now, _ := c.holder(e, nodes); now == dead {
		t.Errorf("the dead node has the claim still")
	}
}

func TestPeers_holderStandsStill(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	c.hub.rate.Store(12 * mb)
	e := c.file("one", 12*mb)
	nodes := c.nodes("n1", "n2", "n3")
	cancel, wait := begin(t, nodes, e)
	slow, rest := c.holder(e, nodes)
	slow.stall.Store(true) // it is there and takes requests
	wait(rest...)
	cancel[slow.id]()
	wait()
	c.wantSent(24 * mb)
	if now, _ := c.holder(e, nodes); now == slow {
		t.Error("the claim was not taken over")
	}
}

func TestPeers_wrongBytes(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	e := c.file("one", 9*mb)
	n1 := c.start("n1")
	all(t, []*node{n1}, e)
	c.report(n1, model)
	n1.spoil.Store(true)
	n2 := c.start("n2")
	all(t, []*node{n2}, e)
	c.wantSent(18 * mb) // all of it from the origin, once the bad node is known
	n3 := c.start("n3")
	c.report(n2, model)
	n1.spoil.Store(false)
	all(t, []*node{n3}, e)
	c.wantSent(18 * mb)
}

func TestPeers_nodeThatDoesNotHaveIt(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	e := c.file("one", 9*mb)
	c.report(c.start("n1"), model) // other files of the same model
	all(t, c.nodes("n2", "n3"), e)
	c.wantSent(9 * mb)
}

func TestPeers_deadNodeThatShouldHaveIt(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	e := c.file("one", 9*mb)
	n1 := c.start("n1")
	c.report(n1, model)
	n1.stop()
	all(t, c.nodes("n2", "n3"), e)
	c.wantSent(9 * mb)
}

func TestPeers_serversAway(t *testing.T) {
	t.Parallel()
	t.Run("from the beginning", func(t *testing.T) {
		t.Parallel()
		c := newClub(t)
		e := c.file("one", 9*mb)
		nodes := c.nodes("n1", "n2")
		c.away.Store(true)
		if took := all(t, nodes, e); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
		c.wantSent(18 * mb)
	})
	t.Run("in the middle", func(t *testing.T) {
		t.Parallel()
		c := newClub(t)
		c.hub.rate.Store(8 * mb)
		e := c.file("one", 48*mb) // longer than a claim's renewal
		nodes := c.nodes("n1", "n2", "n3")
		_, wait := begin(t, nodes, e)
		c.holder(e, nodes)
		until(t, "some bytes", func() bool { return c.hub.sent.Load() > 4*mb })
		c.away.Store(true)
		wait(nodes...)
		c.wantSent(48 * mb)
	})
}

// A node whose hub sends nothing passes the claim on, and everybody gets the file all the same.
func TestPeers_holderWithoutOrigin(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	e := c.file("one", 9*mb)
	nodes := c.nodes("n1", "n2")
	c.hub.stuck.Store(true)
	cancel, wait := begin(t, nodes, e)
	first, rest := c.holder(e, nodes)
	until(t, "the claim to be taken over", func() bool { now, _ := c.holder(e, nodes); return now != first })
	c.hub.stuck.Store(false)
	wait(rest...)
	cancel[first.id]()
}

func TestPeers_claimsEnd(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	c.hub.stuck.Store(true)
	e := c.file("one", 9*mb)
	n1 := c.start("n1")
	cancel, _ := begin(t, []*node{n1}, e)
	c.holder(e, []*node{n1})
	cancel["n1"]() // the model is stopped
	until(t, "the claim to be given back", func() bool { st, _ := c.st.Current(); return st.BlobClaims.Len() == 0 })
	_, _ = begin(t, []*node{n1}, e)
	c.holder(e, []*node{n1})
	n1.stop() // the agent ends
	until(t, "the claim to be given back", func() bool { st, _ := c.st.Current(); return st.BlobClaims.Len() == 0 })
}

// A node that was removed has a certificate for a day: it gets no more files, from the servers' word and from the nodes themselves.
func TestPeers_removedNodeGetsNothing(t *testing.T) {
	t.Parallel()
	c := newClub(t)
	e := c.file("one", 9*mb)
	n1, n2 := c.start("n1"), c.start("n2")
	all(t, []*node{n1}, e)
	c.report(n1, model)
	c.member("n2", "of another machine that has taken the name")
	if got := n2.get(n1, e); got != 403 {
		t.Errorf("a node that joined again elsewhere: %d", got)
	}
	c.member("n2", n2.cred.KeyHash())
	until(t, "the node to be known again", func() bool { return n2.get(n1, e) == 200 })
	c.away.Store(true)
	if got := n2.get(n1, e); got != 200 {
		t.Errorf("a known node while the servers are away: %d", got)
	}
}

// get asks another node for a file and returns the status.
func (n *node) get(from *node, e manifest.Entry) int {
	n.club.t.Helper()
	way := &http.Transport{TLSClientConfig: n.cred.ClientTLS(n.club.clock, api.MachineNode, from.id)}
	defer way.CloseIdleConnections()
	req, err := http.NewRequestWithContext(n.club.t.Context(), "HEAD", fmt.Sprintf("https://%s/blobs/%s/%s", from.addr, e.Algo, e.Hex), nil)
	if err != nil {
		n.club.t.Fatal(err)
	}
	res, err := way.RoundTrip(req)
	if err != nil {
		n.club.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}
