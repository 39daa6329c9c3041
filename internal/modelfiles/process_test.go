package modelfiles

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/test/hub"
)

// order is what a process that fetches is told.
type order struct {
	Dir, Hub, Token string
	Repos           []string // fetched at the same time; nil = org/model
	Copies          int      // how many ask for each; 0 = one
	Revision        string
	Offline         bool
	Stall           time.Duration // 0 = long
}

// outcome is what it tells, as a line of JSON, at every step of every fetch.
type outcome struct {
	Repo     string
	Progress Progress
	Ended    bool
	Path     string // of a model that came
	Code     api.FailureCode
	Reason   fail.Reason
	Message  string // of one that did not
	Final    bool
}

// fetchAsProcess is the body of a process that fetches models and may be killed at any time. TestMain runs it.
func fetchAsProcess(told string) int {
	var o order
	if err := json.Unmarshal([]byte(told), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	patience := quick()
	patience.Stall = cmp.Or(o.Stall, patience.Stall)
	s, err := New(Config{CacheDir: o.Dir, Endpoint: o.Hub, Token: o.Token, Offline: o.Offline, KeepFree: 1, patience: patience})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(what outcome) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(what)
	}
	var all errgroup.Group
	for _, repo := range o.Repos {
		for range max(o.Copies, 1) {
			all.Go(func() error {
				req := llama("*.gguf")
				req.Spec.ModelName, req.Spec.Revision = repo, o.Revision
				last := outcome{Repo: repo}
				m, err := s.Fetch(context.Background(), req, func(p Progress) {
					last.Progress = p
					tell(last)
				})
				last.Ended, last.Path = true, m.Path
				if e, ok := fail.As(err); ok {
					last.Code, last.Reason, last.Message, last.Final = e.Code, e.Reason, e.Message, e.Final
				}
				tell(last)
				return err
			})
		}
	}
	if err := all.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is one that fetches.
type process struct {
	*exec.Cmd
	said bytes.Buffer // on its error output

	mu   sync.Mutex
	told []outcome
	read chan struct{} // closes at the end of its output
}

// startFetch starts one that fetches org/model.
func startFetch(t *testing.T, dir string, h *hub.Hub) *process {
	t.Helper()
	return start(t, order{Dir: dir, Hub: h.URL})
}

func start(t *testing.T, o order) *process {
	t.Helper()
	if o.Repos == nil {
		o.Repos = []string{"org/model"}
	}
	told, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe), read: make(chan struct{})}
	p.Env = append(os.Environ(), "MODELFILES_TEST_FETCH="+string(told))
	p.Stderr = &p.said
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.read)
		for lines := json.NewDecoder(out); ; {
			var o outcome
			if lines.Decode(&o) != nil {
				return
			}
			p.mu.Lock()
			p.told = append(p.told, o)
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it has ended, unless the test failed
		<-p.read
	})
	return p
}

// all is what it told so far.
func (p *process) all() []outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told)
}

// lastOf is what it told last.
func lastOf(p *process) outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) == 0 {
		return outcome{}
	}
	return p.told[len(p.told)-1]
}

// wait returns how every fetch of the process ended, when it has.
func (p *process) wait(t *testing.T) []outcome {
	t.Helper()
	select {
	case <-p.read:
	case <-time.After(3 * time.Minute):
		t.Fatalf("the process does not end; it said last: %+v", lastOf(p))
	}
	err := p.Wait()
	var ends []outcome
	for _, o := range p.all() {
		if o.Ended {
			ends = append(ends, o)
		}
	}
	if len(ends) == 0 {
		t.Fatalf("the process ended with %v and told nothing: %s", err, &p.said)
	}
	return ends
}

// await polls until a condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestKill9 kills a downloading process twice. What comes again is at most what a second brings and 1 MiB for each connection, nothing unverified
// is published, and the end is right. A download that began anew each time would cost more.
func TestKill9(t *testing.T) {
	for name, c := range map[string]struct{ whole, rate int }{"one answer": {6_000_000, 2_000_000}, "ranges": {24_000_000, 7_000_000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{"a.gguf": ggufFile(c.whole, 1), "b.gguf": ggufFile(50_000, 2)}
			total := int64(len(files["a.gguf"]) + len(files["b.gguf"]))
			h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
			h.Break(hub.Faults{AllBytesPerSecond: c.rate})
			s := newStore(t, h)
			dir := s.cfg.CacheDir
			allowed := int64(0)
			for _, at := range []int64{total * 4 / 10, total * 8 / 10} {
				p := startFetch(t, dir, h)
				await(t, "the download to grow", func() bool { return int64(lastOf(p).Progress.DoneBytes) >= at })
				allowed += int64(c.rate) + int64(h.Open())<<20
				if err := p.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				<-p.read
				_ = p.Wait()
				if p.ProcessState.Exited() {
					t.Fatal("the process ended by itself")
				}
				if strings.Contains(tree(t, dir), "refs/main") {
					t.Fatal("half a model is published")
				}
			}
			h.Break(hub.Faults{})
			p := startFetch(t, dir, h)
			if end := p.wait(t)[0]; end.Path == "" || end.Progress.ReusedBytes == 0 {
				t.Fatalf("ended with %+v", end)
			}
			keepsContract(t, p.all())
			mustFetch(t, again(t, s, func(c *Config) { c.Offline = true }), llama("*.gguf"), files)
			if again := h.Sent() - total; again > allowed {
				t.Errorf("%d bytes came again after two kills; %d may", again, allowed)
			}
		})
	}
}

// TestTwoProcesses fetch one model into one cache: each byte comes once.
func TestTwoProcesses(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(2_000_000, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{BytesPerSecond: 4_000_000})
	s := newStore(t, h)
	a, b := startFetch(t, s.cfg.CacheDir, h), startFetch(t, s.cfg.CacheDir, h)
	if a, b := a.wait(t)[0], b.wait(t)[0]; a.Path == "" || b.Path != a.Path {
		t.Fatalf("%+v, %+v", a, b)
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
