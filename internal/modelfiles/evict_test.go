package modelfiles

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/test/hub"
)

// named is the request for the only file of a repository.
func named(repo string) Request {
	return Request{Spec: api.ModelSpec{ModelUID: "m", ModelName: repo, ModelSource: api.SourceHuggingFace, EngineType: api.EngineLlamaCPP}}
}

// repos is a hub with models org/m0, org/m1 … of so many bytes.
func repos(t *testing.T, n, size int) *hub.Hub {
	t.Helper()
	var all []hub.Repo
	for i := range n {
		all = append(all, hub.Repo{ID: fmt.Sprint("org/m", i), Files: map[string][]byte{"a.gguf": ggufFile(size, uint64(i))}})
	}
	return hub.Start(t, all...)
}

// filled is a store that has them, the first one used longest ago, and has been told that nothing is wanted.
func filled(t *testing.T, h *hub.Hub, n int, change ...func(*Config)) (*Store, []Model) {
	t.Helper()
	s := newStore(t, h, change...)
	var out []Model
	for i := range n {
		m, err := s.Fetch(t.Context(), named(fmt.Sprint("org/m", i)), nil)
		if err != nil {
			t.Fatal(err)
		}
		d, what, _ := cache.At(m.Path)
		d.Touch(what, time.Now().Add(-time.Duration(n-i)*time.Hour))
		out = append(out, m)
	}
	s.SetPins(nil)
	s.SetWanted(nil)
	return s, out
}

func prune(t *testing.T, s *Store, req api.CachePrune) api.CachePruned {
	t.Helper()
	out, err := s.Prune(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Problems) > 0 {
		t.Fatalf("problems: %q", out.Problems)
	}
	return out
}

func here(m Model) bool {
	_, err := os.Stat(m.Path)
	return err == nil
}

func why(out api.CachePruned, model string) string {
	for _, k := range out.Kept {
		if k.ModelName == model {
			return k.Reason
		}
	}
	return ""
}

func TestPrune_dryRunTellsWhatTheRealRunDoes(t *testing.T) {
	h := repos(t, 3, 200_000)
	s, models := filled(t, h, 3)
	s.SetPins([]api.ModelSpec{named("org/m1").Spec})
	before := tree(t, s.cfg.CacheDir)
	dry := prune(t, s, api.CachePrune{AllUnused: true, DryRun: true})
	if tree(t, s.cfg.CacheDir) != before {
		t.Fatal("a dry run changed the cache")
	}
	real := prune(t, s, api.CachePrune{AllUnused: true})
	if dry.FreedBytes != real.FreedBytes || dry.FreedBytes < 400_000 || fmt.Sprint(dry.Removed) != fmt.Sprint(real.Removed) {
		t.Errorf("dry run: %+v\nreal run: %+v", dry, real)
	}
	if here(models[0]) || !here(models[1]) || here(models[2]) || why(real, "org/m1") != "pinned" {
		t.Errorf("left: %v %v %v; kept %+v", here(models[0]), here(models[1]), here(models[2]), real.Kept)
	}
	if _, err := s.Fetch(t.Context(), named("org/m0"), nil); err != nil {
		t.Errorf("it cannot be fetched again: %v", err)
	}
}

func TestPrune_nothingBeforeTheWishesAreKnown(t *testing.T) {
	h := repos(t, 1, 1000)
	s, models := filled(t, h, 1)
	next := again(t, s)
	if _, err := next.Prune(t.Context(), api.CachePrune{AllUnused: true}); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("error %v", err)
	}
	next.SetWanted(nil) // the pins are not known yet
	if _, err := next.Prune(t.Context(), api.CachePrune{AllUnused: true}); !api.HasCode(err, api.CodeUnavailable) || !here(models[0]) {
		t.Errorf("error %v, here %v", err, here(models[0]))
	}
}

func TestPrune_keepsWhatIsToRunHere(t *testing.T) {
	h := repos(t, 2, 1000)
	s, models := filled(t, h, 2)
	s.SetWanted([]api.ModelSpec{named("org/m0").Spec})
	out := prune(t, s, api.CachePrune{AllUnused: true})
	if !here(models[0]) || here(models[1]) {
		t.Errorf("left: %v %v; %+v", here(models[0]), here(models[1]), out)
	}
}

// TestPrune_keepsWhatARealProcessHolds: another process has the hold, and loses it by kill -9 alone.
func TestPrune_keepsWhatARealProcessHolds(t *testing.T) {
	h := repos(t, 1, 100_000)
	s, models := filled(t, h, 1)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "MODELFILES_TEST_HOLD="+models[0].Path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has the hold
		t.Fatal(err)
	}
	got := prune(t, s, api.CachePrune{AllUnused: true})
	if !here(models[0]) || why(got, "org/m0") != "in use by the engine of a test" {
		t.Errorf("here %v, kept %+v", here(models[0]), got.Kept)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if got := prune(t, s, api.CachePrune{AllUnused: true}); here(models[0]) {
		t.Errorf("it is still kept: %+v", got.Kept)
	}
}

// holdAsProcess holds a model's files until it is killed.
func holdAsProcess(path string) int {
	s, err := New(Config{CacheDir: "/nowhere"})
	if err == nil {
		_, err = s.Hold(context.Background(), path, "the engine of a test")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("held")
	select {}
}

func TestPrune_keepsWhatAnotherNodeReads(t *testing.T) {
	h := repos(t, 1, 100_000)
	s, models := filled(t, h, 1)
	real, err := filepath.EvalSymlinks(models[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	f, release, ok := shelf{s}.Whole(manifest.Hash{Algo: manifest.SHA256, Hex: filepath.Base(real)})
	if !ok {
		t.Fatal("the file is not lent")
	}
	defer f.Close()
	got := prune(t, s, api.CachePrune{AllUnused: true})
	if !here(models[0]) || !strings.Contains(why(got, "org/m0"), "another node") {
		t.Errorf("here %v, kept %+v", here(models[0]), got.Kept)
	}
	release()
	if prune(t, s, api.CachePrune{AllUnused: true}); here(models[0]) {
		t.Error("it is still kept")
	}
}

func TestPrune_keepsWhatIsBeingFetched(t *testing.T) {
	h := repos(t, 1, 1<<20)
	s := newStore(t, h)
	s.SetPins(nil)
	s.SetWanted(nil)
	h.Break(hub.Faults{BytesPerSecond: 100_000})
	ctx, cancel := context.WithCancel(t.Context())
	moving, over := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(over)
		_, _ = s.Fetch(ctx, named("org/m0"), func(p Progress) {
			if p.DoneBytes > 0 {
				once.Do(func() { close(moving) })
			}
		})
	}()
	<-moving
	d := cache.NewDir(cache.Root(s.cfg.CacheDir), "org/m0")
	parts, _ := filepath.Glob(filepath.Join(d.Blobs(), "*.nebula.part"))
	for _, p := range parts {
		old := time.Now().Add(-30 * 24 * time.Hour)
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if got := prune(t, s, api.CachePrune{Orphans: true}); len(parts) == 0 || len(got.Removed) > 0 {
		t.Errorf("%d parts; removed %+v", len(parts), got.Removed)
	}
	cancel()
	<-over
}

// TestPrune_finishesWhatACrashLeft ends a removal by the store after each step; the next store finishes it.
func TestPrune_finishesWhatACrashLeft(t *testing.T) {
	h := repos(t, 2, 1000)
	crash := errors.New("the machine stopped")
	for steps := 0; ; steps++ {
		left := steps
		s, models := filled(t, h, 2, func(c *Config) {
			c.step = func(string, string) error {
				if left--; left < 0 {
					return crash
				}
				return nil
			}
		})
		s.SetPins([]api.ModelSpec{named("org/m1").Spec})
		out, err := s.Prune(t.Context(), api.CachePrune{AllUnused: true})
		if err != nil {
			t.Fatal(err)
		}
		next := again(t, s, func(c *Config) { c.step = nil })
		next.SetPins([]api.ModelSpec{named("org/m1").Spec})
		next.SetWanted(nil)
		prune(t, next, api.CachePrune{AllUnused: true})
		if here(models[0]) || !here(models[1]) {
			t.Fatalf("step %d: left %v %v", steps, here(models[0]), here(models[1]))
		}
		if strings.Contains(tree(t, s.cfg.CacheDir), "m0") && strings.Contains(tree(t, filepath.Join(s.cfg.CacheDir, "hub", "models--org--m1")), "m0") {
			t.Fatalf("step %d: something of it is left", steps)
		}
		if len(out.Problems) == 0 {
			break
		}
	}
}

// TestPrune_racesWithFetch removes and fetches the same models all the time. Whatever Fetch returns is whole under a hold.
func TestPrune_racesWithFetch(t *testing.T) {
	h := repos(t, 3, 20_000)
	s, _ := filled(t, h, 3)
	until := time.Now().Add(2 * time.Second)
	var fetchers, pruner sync.WaitGroup
	stop := make(chan struct{})
	pruner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			out, err := s.Prune(t.Context(), api.CachePrune{AllUnused: true})
			if err != nil || len(out.Problems) > 0 {
				t.Errorf("prune: %v, %q", err, out.Problems)
				return
			}
		}
	})
	for i := range 4 {
		fetchers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			held := 0
			for n := 0; time.Now().Before(until) || held == 0 && n < 1000; n++ {
				m, err := s.Fetch(t.Context(), named(fmt.Sprint("org/m", r.IntN(3))), nil)
				if err != nil {
					t.Errorf("fetch: %v", err)
					return
				}
				release, err := s.Hold(t.Context(), m.Path, "the engine of a test")
				if err != nil {
					continue // it went in between: an agent fetches again
				}
				held++
				if b, err := os.ReadFile(m.Path); err != nil || uint64(len(b)) != m.Bytes {
					t.Errorf("a held file has %d bytes of %d: %v", len(b), m.Bytes, err)
				}
				release()
			}
		})
	}
	fetchers.Wait()
	close(stop)
	pruner.Wait()
}

func TestVerify_tellsEachDamagedFileAndTheNextStartFetchesIt(t *testing.T) {
	h := repos(t, 2, 100_000)
	s, models := filled(t, h, 2)
	overwrite(t, models[0].Path, 50_000)
	chtimes(t, models[0].Path)
	var events []api.VerifyEvent
	if err := s.Verify(t.Context(), "", func(e api.VerifyEvent) error { events = append(events, e); return nil }); err != nil {
		t.Fatal(err)
	}
	last := events[len(events)-1]
	if last.Type != api.VerifyEnd || last.Files != 2 || last.Damaged != 1 || last.DoneBytes != last.TotalBytes {
		t.Errorf("end: %+v", last)
	}
	found := 0
	for _, e := range events {
		if e.Type == api.VerifyDamaged {
			found++
			if e.ModelName != "org/m0" || e.File != "a.gguf" || !strings.HasSuffix(e.Fault, "in the 8388608 bytes from byte 0 on") {
				t.Errorf("damage: %+v", e)
			}
		}
	}
	if found != 1 || !here(models[0]) {
		t.Errorf("%d damaged files told, here %v", found, here(models[0]))
	}
	sent := h.Sent()
	m, err := s.Fetch(t.Context(), named("org/m0"), nil)
	if err != nil || h.Sent() == sent {
		t.Fatalf("it was not fetched again: %v", err)
	}
	if err := s.Verify(t.Context(), "org/m0", func(e api.VerifyEvent) error { last = e; return nil }); err != nil || last.Damaged != 0 || !here(m) {
		t.Errorf("after that: %+v, %v", last, err)
	}
	if err := s.Verify(t.Context(), "org/none", func(api.VerifyEvent) error { return nil }); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("a model that is not there: %v", err)
	}
}

// tmpfs is a small disk of its own.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("skipped: no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestEvict_watermarksOnASmallDisk: ten models of 4 MiB on 48 MiB are over 80 %; the longest unused go until it is not over 60 %.
func TestEvict_watermarksOnASmallDisk(t *testing.T) {
	dir := tmpfs(t, "48m")
	h := repos(t, 10, 4<<20)
	s, models := filled(t, h, 10, func(c *Config) {
		c.CacheDir = dir
		c.Evict = Eviction{On: true, High: 80, Low: 60, MinAge: 10 * time.Minute}
	})
	release, err := s.Hold(t.Context(), models[0].Path, "the engine of a test")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	s.sweep(t.Context())
	st, err := disk.Status("n1", dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if st.UsagePct > 60 || st.UsagePct < 45 {
		t.Errorf("the disk is %.1f %% full, want just not over 60", st.UsagePct)
	}
	if !here(models[0]) || here(models[1]) || !here(models[9]) {
		t.Errorf("left: the held one %v, the longest unused %v, the last used %v", here(models[0]), here(models[1]), here(models[9]))
	}
	s.sweep(t.Context())
	if again, err := disk.Status("n1", dir, time.Now()); err != nil || again.UsedBytes != st.UsedBytes {
		t.Errorf("a second look removed more: %v", err)
	}
}

// TestEvict_makesRoomForADownload: with eviction a model that does not fit finds room, and takes no more than it needs; without it is refused.
func TestEvict_makesRoomForADownload(t *testing.T) {
	dir := tmpfs(t, "48m")
	h := repos(t, 10, 5<<20)
	s, models := filled(t, h, 9, func(c *Config) { c.CacheDir = dir })
	if _, err := s.Fetch(t.Context(), named("org/m9"), nil); err == nil {
		t.Fatal("it was fetched onto a full disk")
	}
	s = again(t, s, func(c *Config) { c.Evict = Eviction{On: true, High: 95, Low: 90, MinAge: 10 * time.Minute} })
	s.SetPins([]api.ModelSpec{named("org/m0").Spec})
	s.SetWanted(nil)
	m, err := s.Fetch(t.Context(), named("org/m9"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !here(m) || !here(models[0]) || here(models[1]) || !here(models[2]) {
		t.Errorf("left: the new one %v, the pinned %v, the longest unused %v, the next %v", here(m), here(models[0]), here(models[1]), here(models[2]))
	}
}
