package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/test/hub"
	"github.com/nebula-serve/nebula/test/llama"
)

// blobs returns the names of the verified contents in a data directory.
func blobs(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "models"), func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && e.Type().IsRegular() && filepath.Base(filepath.Dir(name)) == "blobs" && !strings.Contains(e.Name(), ".nebula.") {
			out = append(out, e.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fleetOf starts a server and nodes that ask a hub.
func fleetOf(t *testing.T, h *hub.Hub, ids ...string) (*nebula, map[string]*machine) {
	t.Helper()
	engine := llama.Need(t)
	s := begin(t, "server", "--fleet-listen", port(t), "--node-id", "server1")
	nodes := map[string]*machine{}
	for _, id := range ids {
		nodes[id] = join(t, s, "node", id, "--listen", port(t), "--llama-server", engine, "--hf-endpoint", h.URL)
	}
	s.nodesReady(len(ids))
	return s, nodes
}

// TestCache_walk is a model's files from the warming of a node to their deletion: pulled to one node, used by the model that starts there without
// another byte, kept by a plain delete, and deleted with --purge there alone and as far as nothing else uses them.
func TestCache_walk(t *testing.T) {
	const reply = "Warm."
	r := repo(t, reply)
	r.Files["tiny-F16.gguf"] = r.Files["tiny-Q4_K_M.gguf"][:] // the same content under another name, as another choice
	r.Files["other-Q8_0.gguf"] = repo(t, "Other.").Files["tiny-Q4_K_M.gguf"]
	h := hub.Start(t, r)
	s, nodes := fleetOf(t, h, "node1", "node2")
	out := s.must("cache", "pull", "acme/Tiny-GGUF", "--file", "tiny-Q4*", "--node", "node1", "--wait", "--timeout", "60s")
	if !strings.Contains(out, "The files of acme/Tiny-GGUF are on node1") {
		t.Errorf("pull: %q", out)
	}
	if got := blobs(t, nodes["node1"].dir); len(got) != 1 {
		t.Fatalf("node1 has %v", got)
	}
	if got := blobs(t, nodes["node2"].dir); len(got) != 0 {
		t.Errorf("node2 has %v", got)
	}
	sent := h.Sent()
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--file", "tiny-Q4*", "--start", "--node", "node1", "--wait", "--timeout", "60s")
	if got, err := s.ask("tiny"); err != nil || got != reply {
		t.Errorf("%q, %v", got, err)
	}
	if h.Sent() != sent {
		t.Errorf("%d bytes were fetched again", h.Sent()-sent)
	}

	// A second choice shares the content; it keeps it.
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "twin", "--file", "tiny-F16*")
	s.must("cache", "pull", "twin", "--node", "node1,node2", "--wait", "--timeout", "60s")
	s.must("cache", "cancel", "twin")
	s.must("cache", "cancel", "acme/Tiny-GGUF")
	eventually(t, 60*time.Second, func() error { // the caches are looked at now and then
		out := s.must("cache", "list")
		if strings.Count(out, "acme/Tiny-GGUF") != 2 {
			return errors.New(out)
		}
		return nil
	})
	out = s.must("model", "delete", "tiny", "--purge")
	if !strings.Contains(out, "node1 removes") {
		t.Errorf("delete --purge: %q", out)
	}
	eventually(t, 60*time.Second, func() error { // once its engine has left
		if !strings.Contains(nodes["node1"].log.String(), "files purged") {
			return errors.New("not purged yet")
		}
		return nil
	})
	for _, id := range []string{"node1", "node2"} {
		if got := blobs(t, nodes[id].dir); len(got) != 1 {
			t.Errorf("%s has %v; the content that twin uses must stay", id, got)
		}
	}
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "other", "--file", "other*", "--start", "--node", "node1", "--wait", "--timeout", "60s")
	if got := blobs(t, nodes["node1"].dir); len(got) != 2 {
		t.Fatalf("node1 has %v", got)
	}

	// A delete alone keeps files; one with --purge and a new model at once lose none either.
	s.must("model", "delete", "other")
	sent = h.Sent()
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "other", "--file", "other*", "--start", "--node", "node1", "--wait", "--timeout", "60s")
	s.must("model", "delete", "other", "--purge")
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "other", "--file", "other*", "--start", "--node", "node1", "--wait", "--timeout", "60s")
	if h.Sent() != sent {
		t.Errorf("%d bytes were fetched again", h.Sent()-sent)
	}
	s.must("model", "delete", "other", "--purge")
	eventually(t, 60*time.Second, func() error {
		if got := blobs(t, nodes["node1"].dir); len(got) != 1 {
			return fmt.Errorf("node1 has %v", got)
		}
		return nil
	})
}

// TestCache_purgeOfANodeThatIsAway: it is said, and nothing happens when the node is back after the wish has ended.
func TestCache_purgeOfANodeThatIsAway(t *testing.T) {
	h := hub.Start(t, repo(t, "Away."))
	s, nodes := fleetOf(t, h, "node1")
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny")
	s.must("cache", "pull", "tiny", "--wait", "--timeout", "60s")
	s.must("cache", "cancel", "tiny")
	eventually(t, 60*time.Second, func() error {
		if s.model("tiny").CacheStatus == nil {
			return errors.New("not seen yet")
		}
		return nil
	})
	nodes["node1"].kill9()
	eventually(t, 60*time.Second, func() error { // its lease
		n, err := s.client.Node(context.Background(), "node1")
		if err == nil && n.State == api.NodeReady {
			err = errors.New("still there")
		}
		return err
	})
	if out := s.must("model", "delete", "tiny", "--purge"); !strings.Contains(out, "node1 is away") {
		t.Errorf("delete --purge: %q", out)
	}
	ctx := context.Background()
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + s.dir + "/etcd/etcd.sock"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kv.Close() }()
	kvs, _, err := kv.List(ctx, "/cache_wishes/node1/purge-")
	if err != nil || len(kvs) != 1 || kvs[0].Lease == 0 {
		t.Fatalf("wishes %v, %v", kvs, err)
	}
	if err := kv.Revoke(ctx, kvs[0].Lease); err != nil { // the hour is over
		t.Fatal(err)
	}
	nodes["node1"].start()
	s.nodesReady(1)
	s.must("cache", "pull", "acme/Tiny-GGUF", "--wait", "--timeout", "60s") // it has caught up with its wishes
	if got := blobs(t, nodes["node1"].dir); len(got) == 0 || strings.Contains(nodes["node1"].log.String(), "purge begins") {
		t.Errorf("the node deleted files after the wish had ended; it has %v", got)
	}
}

// TestCache_pullThatFails says why, and waiting for it fails.
func TestCache_pullThatFails(t *testing.T) {
	h := hub.Start(t, hub.Repo{ID: "acme/Gated", Gated: true, Files: map[string][]byte{"m.gguf": []byte("GGUF")}})
	n := up(t, "--hf-endpoint", h.URL)
	n.nodesReady(1)
	out, errs, code := n.cli("cache", "pull", "acme/Gated", "--engine", "llamacpp", "--wait", "--timeout", "60s")
	if code != 1 || !strings.Contains(errs, "ask for access") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if out := n.must("cache", "pulls"); !strings.Contains(out, "failed") || !strings.Contains(out, "ask for access") {
		t.Errorf("pulls: %s", out)
	}
}

// TestDownload_isSeenWhileItMoves: through the API's event stream, with every figure sound at every event.
func TestDownload_isSeenWhileItMoves(t *testing.T) {
	r := repo(t, longReply())
	total := uint64(len(r.Files["tiny-Q4_K_M.gguf"]))
	h := hub.Start(t, r)
	h.Break(hub.Faults{AllBytesPerSecond: int(total / 6)})
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	n.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--start")
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	var seen []api.DownloadProgress
	var ages []time.Duration
	for d, err := range n.client.WatchModel(ctx, "tiny") {
		if err != nil {
			t.Fatal(err)
		}
		if d.DownloadProgress != nil {
			p := d.DownloadProgress.Replicas[0]
			if len(seen) == 0 || seen[len(seen)-1] != p {
				seen, ages = append(seen, p), append(ages, time.Since(time.UnixMilli(p.UpdatedAtMS)))
			}
		}
		if d.State == api.StateRunning {
			if d.DownloadProgress != nil {
				t.Errorf("runs, and still shows a download: %+v", d.DownloadProgress)
			}
			break
		}
	}
	moving := 0
	for i, p := range seen {
		if p.ModelUID != "tiny" || p.ReplicaID != 0 || p.NodeID == "" || p.ModelName != "acme/Tiny-GGUF" || p.UpdatedAtMS == 0 {
			t.Errorf("whose is %+v?", p)
		}
		if p.DownloadedBytes > p.TotalBytes || p.FilesDone > p.FilesTotal || p.ProgressPct < 0 || p.ProgressPct > 100 {
			t.Errorf("beyond its end: %+v", p)
		}
		if atEnd := p.DownloadedBytes == p.TotalBytes && p.TotalBytes > 0; atEnd != (p.Phase == api.PhaseVerifying || p.Phase == api.PhaseComplete) {
			t.Errorf("done == total in phase %s: %+v", p.Phase, p)
		}
		if p.Phase == api.PhaseDownloading && p.SpeedBytesPerSec > 0 && p.ETASeconds > 0 {
			moving++
		}
		if i > 0 && (p.DownloadedBytes < seen[i-1].DownloadedBytes || p.ProgressPct < seen[i-1].ProgressPct || seen[i-1].TotalBytes > 0 && p.TotalBytes != seen[i-1].TotalBytes) {
			t.Errorf("went back: %+v, then %+v", seen[i-1], p)
		}
	}
	if len(seen) < 5 || moving < 3 {
		t.Errorf("%d events, %d of them with speed and time left: %+v", len(seen), moving, seen)
	} else if last := seen[len(seen)-1]; last.Phase != api.PhaseComplete || last.ProgressPct != 100 || last.TotalBytes < total || last.FilesDone != last.FilesTotal {
		t.Errorf("the last event: %+v", last)
	}
	t.Logf("%d events, seen %s after they were told at the latest", len(seen), slices.Max(ages).Round(time.Millisecond))
}

// TestCache_pullAndReplicaShareATransfer: every byte comes once.
func TestCache_pullAndReplicaShareATransfer(t *testing.T) {
	r := repo(t, longReply())
	whole := int64(len(r.Files["tiny-Q4_K_M.gguf"]))
	h := hub.Start(t, r)
	h.Break(hub.Faults{AllBytesPerSecond: int(whole / 3)})
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	n.nodesReady(1)
	n.must("cache", "pull", "acme/Tiny-GGUF", "--engine", "llamacpp")
	n.must("model", "create", "acme/Tiny-GGUF", "--uid", "tiny", "--start")
	n.until("tiny", 60*time.Second, api.StateDownloading)
	n.must("cache", "cancel", "acme/Tiny-GGUF") // one that lets go does not stop the other
	n.until("tiny", 60*time.Second, api.StateRunning)
	if sent := h.Sent(); sent > whole*101/100 {
		t.Errorf("%d bytes for a model of %d", sent, whole)
	}
}
