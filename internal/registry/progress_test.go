package registry_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func downloading(uid string, done uint64) api.DownloadProgress {
	return api.DownloadProgress{ModelUID: uid, NodeID: "n1", ModelName: "acme/m", Phase: api.PhaseDownloading, TotalBytes: 100, DownloadedBytes: done}
}

func pulling(id string, phase api.DownloadPhase) api.CachePull {
	return api.CachePull{PullID: id, WishedAtMS: 1, DownloadProgress: api.DownloadProgress{NodeID: "n1", ModelName: "acme/m", Phase: phase}}
}

// TestProgress_hasAShortLifeOfItsOwn: signs of life keep a download in sight; without them it is gone after 30 s, while the node still counts as there.
func TestProgress_hasAShortLifeOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kv := storetest.NewMem()
		log := slog.New(slog.DiscardHandler)
		st, err := store.Open(ctx, kv, log)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = st.Run(ctx) }()
		defer func() { cancel(); <-done; _ = kv.Close() }()
		r := registry.New(registry.Config{Store: st, Leases: kv, TTL: 2 * time.Minute, Log: log})
		n := r.Node("n1")
		o := report()
		o.Node.Epoch, o.Node.Seq = 1, 1
		o.Downloads = api.List[api.DownloadProgress]{downloading("a", 10)}
		o.Pulls = []api.CachePull{pulling("p1", api.PhaseDownloading), pulling("p2", api.PhaseComplete), pulling("p3", api.PhaseFailed)}
		mustReport(t, n, o)
		for range 12 {
			time.Sleep(5 * time.Second)
			if err := r.Heartbeat(ctx, "n1", api.NodeHeartbeat{Epoch: 1, Seq: 1}); err != nil {
				t.Fatal(err)
			}
		}
		s, _ := st.Current()
		if s.Downloads.Len() != 1 || s.Pulls.Len() != 3 {
			t.Fatalf("after a minute of heartbeats: %d downloads, %d pulls; want 1 and 3", s.Downloads.Len(), s.Pulls.Len())
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		s, _ = st.Current()
		if s.Downloads.Len() != 0 || s.Pulls.Has("n1/p1") || !s.Pulls.Has("n1/p2") || !s.Pulls.Has("n1/p3") || !s.Nodes.Has("n1") {
			t.Errorf("after 31 s of silence: %d downloads, pulls p1 %v, p2 %v, p3 %v, node %v; want the progress gone and the rest there", s.Downloads.Len(),
				s.Pulls.Has("n1/p1"), s.Pulls.Has("n1/p2"), s.Pulls.Has("n1/p3"), s.Nodes.Has("n1"))
		}
		mustReport(t, n, o) // the same report brings it back
		if s, _ = st.Current(); s.Downloads.Len() != 1 || !s.Pulls.Has("n1/p1") {
			t.Error("a report does not bring the progress back")
		}
	})
}

// TestReport_afterItsProgressIsGone: the lease ended though the node was there, as when the store was slow. The node is told to send its report
// again at most once.
func TestReport_afterItsProgressIsGone(t *testing.T) {
	st, kv, n := open(t)
	o := report()
	o.Downloads = api.List[api.DownloadProgress]{downloading("a", 10)}
	mustReport(t, n, o)
	s, _ := st.Current()
	d, _ := s.Downloads.Get("a/0")
	node, _ := s.Nodes.Get("n1")
	if d.Lease == 0 || d.Lease == node.Lease {
		t.Fatalf("the download is under lease %d, the node under %d", d.Lease, node.Lease)
	}
	kv.Expire(d.Lease)
	o.Downloads[0].DownloadedBytes = 20
	if err := n.Report(t.Context(), o); err != nil && !api.HasCode(err, api.CodeConflict) {
		t.Fatal(err)
	}
	mustReport(t, n, o)
	if s, _ = st.Current(); s.Downloads.Len() != 1 {
		t.Error("the next report does not show the download")
	}
}

func TestReport_pullsGoWithTheReport(t *testing.T) {
	st, _, n := open(t)
	o := report()
	o.Pulls = []api.CachePull{pulling("p1", api.PhaseDownloading), pulling("p2", api.PhaseComplete)}
	mustReport(t, n, o)
	s, _ := st.Current()
	rev := s.Revision
	mustReport(t, n, o)
	if s, _ = st.Current(); s.Revision != rev {
		t.Error("a report that says nothing new wrote to the store")
	}
	o.Pulls = o.Pulls[1:]
	mustReport(t, n, o)
	if s, _ = st.Current(); s.Pulls.Len() != 1 || !s.Pulls.Has("n1/p2") {
		t.Errorf("%d pulls left, want p2 alone", s.Pulls.Len())
	}
	o.Pulls = nil // as an agent of an earlier version reports
	mustReport(t, n, o)
	if s, _ = st.Current(); s.Pulls.Len() != 0 {
		t.Errorf("%d pulls left, want none", s.Pulls.Len())
	}
	o.Pulls = []api.CachePull{{PullID: "p1", DownloadProgress: api.DownloadProgress{NodeID: "n2"}}}
	if err := n.Report(t.Context(), o); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("a pull of another node was taken: %v", err)
	}
}
