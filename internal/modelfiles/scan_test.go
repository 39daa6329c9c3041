package modelfiles

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/test/hub"
)

// TestScan looks at a cache with a complete model, half a one, one of another program, plain folders and rubbish.
func TestScan(t *testing.T) {
	shared := random(500, 7)
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: map[string][]byte{"a.gguf": ggufFile(5000, 1), "b.gguf": ggufFile(5000, 1)}})
	s := newStore(t, h)
	if got, err := s.Scan(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("an empty cache: %v %v", got, err)
	}
	m := mustFetch(t, s, llama("*.gguf"), map[string][]byte{"a.gguf": ggufFile(5000, 1), "b.gguf": ggufFile(5000, 1)})
	write := func(name string, b []byte) {
		name = filepath.Join(s.cfg.CacheDir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("hub/models--half/blobs/"+strings.Repeat("a", 64)+".nebula.part", shared)
	write("hub/models--theirs--model/blobs/"+strings.Repeat("b", 40), shared)
	write("hub/models--theirs--model/snapshots/"+strings.Repeat("c", 40)+"/x.gguf", shared)
	write("hub/datasets--x--y/blobs/z", shared)
	write("hub/.locks/x", shared)
	write("mine/config.json", []byte("{}"))
	write("mine/model.safetensors", tensors(400, 1))
	write("org2/unfinished/m-00001-of-00002.gguf", shared)
	write("org2/loading/m.gguf", shared)
	write("org2/loading/m.gguf.aria2", shared)
	write("notes/readme.md", shared)
	write("file", shared)
	if err := os.Link(filepath.Join(s.cfg.CacheDir, "mine/model.safetensors"), filepath.Join(s.cfg.CacheDir, "mine/twice.safetensors")); err != nil {
		t.Fatal(err)
	}
	dir := s.cfg.CacheDir
	want := []api.ModelCacheEntry{
		{NodeID: "n1", ModelName: "half", CachePath: dir + "/hub/models--half", SizeBytes: 500},
		{NodeID: "n1", ModelName: "mine", CachePath: dir + "/mine", SizeBytes: uint64(2 + len(tensors(400, 1))), FileCount: 3, Complete: true},
		{NodeID: "n1", ModelName: "org/model", CachePath: dir + "/hub/models--org--model", SizeBytes: m.Bytes, FileCount: 2, Complete: true},
		{NodeID: "n1", ModelName: "org2/loading", CachePath: dir + "/org2/loading", SizeBytes: 1000, FileCount: 2},
		{NodeID: "n1", ModelName: "org2/unfinished", CachePath: dir + "/org2/unfinished", SizeBytes: 500, FileCount: 1},
		{NodeID: "n1", ModelName: "theirs/model", CachePath: dir + "/hub/models--theirs--model", SizeBytes: 1000, FileCount: 1},
	}
	ignoreTimes := cmpopts.IgnoreFields(api.ModelCacheEntry{}, "LastAccessedMS", "DiscoveredAtMS")
	first, err := s.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, first, ignoreTimes); d != "" {
		t.Fatal(d)
	}
	for _, e := range first {
		if e.DiscoveredAtMS <= 0 || e.LastAccessedMS < e.DiscoveredAtMS {
			t.Errorf("%s: found at %d, used at %d", e.ModelName, e.DiscoveredAtMS, e.LastAccessedMS)
		}
	}
	if second, err := again(t, s).Scan(t.Context()); err != nil || cmp.Diff(first, second) != "" {
		t.Errorf("another scan, after a restart, differs: %s %v", cmp.Diff(first, second), err)
	}
	overwrite(t, m.Path, 100) // through the link: bytes that nobody verified
	got, err := s.Scan(t.Context())
	if err != nil || got[2].Complete {
		t.Errorf("a changed model still counts as complete: %+v %v", got[2], err)
	}
	sum := uint64(0)
	for _, e := range first {
		sum += e.SizeBytes
	}
	p, err := s.Look(t.Context(), nil)
	if err != nil || p.Disk.ModelCount != 6 || p.Disk.ModelCacheBytes != sum || len(p.Models) != 6 {
		t.Errorf("%+v, %d entries, %v: %v", p.Disk, len(p.Models), p.Alerts, err)
	}
}

// TestScan_otherRoot: a model that was fetched to a folder of its own is found there.
func TestScan_otherRoot(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
	s := newStore(t, h)
	req := llama()
	req.Spec.ModelPath = t.TempDir()
	m := mustFetch(t, s, req, map[string][]byte{"a.gguf": ggufFile(100, 1)})
	if !strings.HasPrefix(m.Path, req.Spec.ModelPath+"/hub/") {
		t.Errorf("fetched to %s", m.Path)
	}
	got, err := s.Scan(t.Context())
	if err != nil || len(got) != 1 || !got[0].Complete {
		t.Errorf("%+v: %v", got, err)
	}
}

func TestDisk(t *testing.T) {
	dir := smallDisk(t, 10<<20)
	s := newStore(t, hub.Start(t), func(c *Config) { c.CacheDir = filepath.Join(dir, "not", "yet") })
	if err := os.WriteFile(filepath.Join(dir, "x"), make([]byte, 9<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := disk.Status("n1", s.cfg.CacheDir, time.UnixMilli(7))
	if err != nil {
		t.Fatal(err)
	}
	if d.TotalBytes != 10<<20 || d.UsedBytes != 9<<20 || d.AvailableBytes != 1<<20 || d.UsagePct != 90 || d.UpdatedAtMS != 7 || d.NodeID != "n1" {
		t.Errorf("%+v", d)
	}
}

// TestRun_seesChanges: what people put into the folders and take out of them is told soon, what was published too.
func TestRun_seesChanges(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
	s := newStore(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	await := func(want string) {
		t.Helper()
		began := time.Now()
		for {
			p, newer := s.Storage()
			var got []string
			for _, m := range p.Models {
				got = append(got, m.ModelName)
			}
			if p.Disk != nil && strings.Join(got, " ") == want {
				return
			}
			select {
			case <-newer:
			case <-time.After(scanEvery/2 - time.Since(began)): // the scan at the minute would see it too: that is not what is tested
				t.Fatalf("after %v the models are %q, want %q", time.Since(began), got, want)
			}
		}
	}
	await("")
	mustFetch(t, s, llama(), map[string][]byte{"a.gguf": ggufFile(100, 1)})
	await("org/model")
	dir := filepath.Join(s.cfg.CacheDir, "mine", "new")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.gguf"), ggufFile(100, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	await("mine/new org/model")
	if err := os.RemoveAll(filepath.Join(s.cfg.CacheDir, "hub", "models--org--model")); err != nil {
		t.Fatal(err)
	}
	await("mine/new")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
