package modelfiles

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/test/hub"
)

// fetchAsProcess is the body of a process that fetches org/model and may be killed at any time. TestMain runs it.
func fetchAsProcess(dir, endpoint string) int {
	s, err := New(Config{CacheDir: dir, Endpoint: endpoint, KeepFree: 1, patience: quick()})
	if err == nil {
		_, err = s.Fetch(context.Background(), llama("*.gguf"), nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startFetch starts that process.
func startFetch(t *testing.T, dir string, h *hub.Hub) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "MODELFILES_TEST_FETCH="+dir, "MODELFILES_TEST_HUB="+h.URL)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// await polls until a condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// partial is the length of the longest partial file in a cache.
func partial(dir string) (n int64) {
	names, _ := filepath.Glob(filepath.Join(dir, "hub/*/blobs/*.nebula.part"))
	for _, name := range names {
		if fi, err := os.Stat(name); err == nil {
			n = max(n, fi.Size())
		}
	}
	return n
}

// TestKill9 kills a downloading process again and again. What was written is not fetched again, nothing unverified is
// published, and the end is right.
func TestKill9(t *testing.T) {
	const whole = 6_000_000
	files := map[string][]byte{"a.gguf": ggufFile(whole, 1), "b.gguf": ggufFile(50_000, 2)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	s := newStore(t, h)
	dir := s.cfg.CacheDir
	const kills = 4
	for i := range kills {
		h.Break(hub.Faults{BytesPerSecond: 3_000_000})
		cmd := startFetch(t, dir, h)
		from := partial(dir)
		await(t, "the download to grow", func() bool { return partial(dir) >= from+whole/8 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if cmd.ProcessState.Exited() {
			t.Fatalf("round %d: the process ended by itself", i)
		}
		if strings.Contains(tree(t, dir), "refs/main") {
			t.Fatalf("round %d: half a model is published", i)
		}
	}
	h.Break(hub.Faults{})
	cmd := startFetch(t, dir, h)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	mustFetch(t, again(t, s, func(c *Config) { c.Offline = true }), llama("*.gguf"), files)
	total := int64(len(files["a.gguf"]) + len(files["b.gguf"]))
	// The journal is a fraction of a second old, and what the killed process had not read yet was on the wire.
	if again := h.Sent() - total; again > kills*(600_000+3_000_000/2) {
		t.Errorf("%d bytes were sent again after %d kills", again, kills)
	}
}

// TestTwoProcesses fetch one model into one cache: each byte comes once.
func TestTwoProcesses(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(2_000_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 4_000_000})
	s := newStore(t, h)
	a, b := startFetch(t, s.cfg.CacheDir, h), startFetch(t, s.cfg.CacheDir, h)
	errA, errB := a.Wait(), b.Wait()
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if sent := h.Sent(); sent != int64(len(files["a.gguf"])) {
		t.Errorf("sent %d bytes for a file of %d", sent, len(files["a.gguf"]))
	}
	mustFetch(t, again(t, s, func(c *Config) { c.Offline = true }), llama("*.gguf"), files)
}

// smallDisk mounts a disk of its own for a test.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("nebula-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("mounting a small disk is not allowed here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestDiskFull_before: a model that does not fit is refused with the numbers, before a byte of it is asked for.
func TestDiskFull_before(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(3<<20, 1)))
	s := newStore(t, h, func(c *Config) { c.CacheDir = smallDisk(t, 2<<20) })
	_, err := s.Fetch(t.Context(), llama(), nil)
	e, ok := fail.As(err)
	if !ok || e.Code != api.FailDiskFull || e.Final || !strings.Contains(e.Message, "3.1 MB") || !strings.Contains(e.Message, "are missing") {
		t.Errorf("%v", err)
	}
	if h.Sent() != 0 {
		t.Errorf("%d bytes were fetched", h.Sent())
	}
}

// TestDiskFull_during: somebody else fills the disk on the way. What is here stays, and the download goes on when there
// is space again.
func TestDiskFull_during(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(900_000, 1), "b.gguf": ggufFile(900_000, 2), "c.gguf": ggufFile(900_000, 3), "d.gguf": ggufFile(900_000, 4), "e.gguf": ggufFile(900_000, 5)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	dir := smallDisk(t, 6<<20)
	s := newStore(t, h, func(c *Config) { c.CacheDir = dir })
	h.Break(hub.Faults{BytesPerSecond: 2_000_000})
	filler := filepath.Join(dir, "filler")
	once := false
	_, err := s.Fetch(t.Context(), llama("*.gguf"), func(p Progress) {
		if p.DoneBytes > 200_000 && !once {
			once = true // four files have their blocks; the fifth finds none
			if err := os.WriteFile(filler, make([]byte, 2<<20), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	if e, ok := fail.As(err); !ok || e.Code != api.FailDiskFull || e.Final {
		t.Fatalf("%v", err)
	}
	if strings.Contains(tree(t, dir), "refs/main") {
		t.Fatal("half a model is published")
	}
	deleteFile(t, filler)
	h.Break(hub.Faults{})
	mustFetch(t, s, llama("*.gguf"), files)
	total := int64(5 * len(files["a.gguf"]))
	if again := h.Sent() - total; again > total/4 {
		t.Errorf("%d bytes were sent again", again)
	}
}

// TestReserve: two downloads are not promised the same space, and what is left free stays free.
func TestReserve(t *testing.T) {
	h := hub.Start(t)
	s := newStore(t, h)
	_, _, avail, err := disk.Usage(s.cfg.CacheDir)
	if err != nil {
		t.Fatal(err)
	}
	d := cache.NewDir(cache.Root(s.cfg.CacheDir), "org/model")
	blob := func(share float64) []manifest.Entry {
		return []manifest.Entry{{Path: "x", Size: int64(float64(avail) * share), Hash: manifest.Hash{Algo: manifest.SHA256, Hex: strings.Repeat("a", 64)}}}
	}
	first, err := s.reserve(t.Context(), d, blob(0.6))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.reserve(t.Context(), d, blob(0.6)); !fail.Has(err, fail.DiskSpace) {
		t.Errorf("the same space twice: %v", err)
	}
	first.Release()
	second, err := s.reserve(t.Context(), d, blob(0.6))
	if err != nil {
		t.Errorf("after a release: %v", err)
	}
	second.Took(int64(float64(avail) * 0.6))
	if _, err := s.reserve(t.Context(), d, blob(0.6)); err != nil {
		t.Errorf("what is written counts as used, not as promised: %v", err)
	}
	s.room = disk.NewLedger(avail)
	if _, err := s.reserve(t.Context(), d, blob(0.1)); !fail.Has(err, fail.DiskSpace) {
		t.Errorf("into what is kept free: %v", err)
	}
}

// TestFetch_readOnly: a folder that cannot be written to is said to be so.
func TestFetch_readOnly(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, h, func(c *Config) { c.CacheDir = filepath.Join(file, "below") })
	_, err := s.Fetch(t.Context(), llama(), nil)
	if e, ok := fail.As(err); !ok || e.Reason != fail.Disk || !strings.Contains(e.Message, "may write") {
		t.Errorf("%v", err)
	}
}
