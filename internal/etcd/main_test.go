package etcd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/internal/store"
)

// roleEnv makes this test binary a child or a parent instead of running tests; dirEnv is its store directory.
const (
	roleEnv = "NEBULA_ETCD_TEST_ROLE"
	dirEnv  = "NEBULA_ETCD_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "child":
		os.Exit(childMain())
	case "parent":
		os.Exit(parentMain())
	case "chatter":
		fmt.Fprintln(os.Stderr, "panic: something went wrong")
		os.Exit(2)
	}
	goleak.VerifyTestMain(m)
}

// childMain is what the program's hidden command does.
func childMain() int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	err := Serve(context.Background(), ServeConfig{Dir: os.Getenv(dirEnv), Parent: os.Stdin, Report: os.Stdout, Log: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// parentMain supervises a child until it is killed. It says the child's pid and endpoint.
// held is what such a parent holds in the store.
var held = Held{Key: "/office", Value: "the parent"}

func parentMain() int {
	cfg := childConfig(os.Getenv(dirEnv), nil)
	cfg.Release = held
	s, err := Supervise(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.PID(), s.Endpoint())
	<-s.Done()
	return 0
}

// fastExit spares the second that a program under the race detector takes to end.
const fastExit = "GORACE=atexit_sleep_ms=0"

// childConfig makes this test binary the child.
func childConfig(dir string, log *slog.Logger) SuperviseConfig {
	return SuperviseConfig{
		Command: []string{"/usr/bin/env", fastExit, roleEnv + "=child", dirEnv + "=" + dir, os.Args[0]},
		Dir:     dir,
		Log:     log,
	}
}

// testLog writes to the test's log, and can be searched.
type testLog struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
	over  atomic.Bool
}

func newLog(t *testing.T) (*slog.Logger, *testLog) {
	l := &testLog{t: t}
	t.Cleanup(func() { l.over.Store(true) })
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo})), l
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := strings.TrimSpace(string(p))
	l.lines = append(l.lines, line)
	if !l.over.Load() {
		l.t.Log(line)
	}
	return len(p), nil
}

// await waits for a line with text.
func (l *testLog) await(text string) {
	l.t.Helper()
	eventually(l.t, "log line with "+text, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Contains(strings.Join(l.lines, "\n"), text)
	})
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after 30s", what)
		}
	}
}

// inProcess runs Serve in this process until the test ends, and returns where it listens.
func inProcess(t *testing.T, dir string) string {
	t.Helper()
	log, _ := newLog(t)
	parent, hold := io.Pipe()
	out, report := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Serve(context.Background(), ServeConfig{Dir: dir, Parent: parent, Report: report, Log: log})
		ended <- err
		_ = report.CloseWithError(io.EOF)
	}()
	t.Cleanup(func() {
		_ = hold.Close()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return readReport(t, out).Endpoint
}

func readReport(t *testing.T, from io.Reader) (r struct{ Endpoint, Error, Kind string }) {
	t.Helper()
	line, err := bufio.NewReader(from).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no report: %v", err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatalf("report %q: %v", line, err)
	}
	return r
}

// dial connects until the test ends.
func dial(t *testing.T, endpoint, namespace string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), Config{Endpoints: []string{endpoint}, Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// supervise runs a child process until the test ends.
func supervise(t *testing.T, dir string) (*Supervisor, *testLog) {
	t.Helper()
	log, lines := newLog(t)
	s, err := Supervise(t.Context(), childConfig(dir, log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s, lines
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("no process to signal: %d", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("signal %v to %d: %v", sig, pid, err)
	}
}

// freeze stops a process and waits until all of it stands still.
func freeze(t *testing.T, pid int) {
	t.Helper()
	kill(t, pid, syscall.SIGSTOP)
	eventually(t, "stopped process", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
			stat, err := os.ReadFile(path)
			_, after, _ := strings.Cut(string(stat), ") ")
			return err == nil && !strings.HasPrefix(after, "T")
		})
	})
}

// running tells whether a process exists and is not a zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func mustPut(t *testing.T, kv store.KV, key, value string) int64 {
	t.Helper()
	res, err := kv.Txn(t.Context(), nil, []store.Op{put(key, value)})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return res.Revision
}

// startParent runs a process that supervises a child, and returns both pids.
func startParent(t *testing.T, dir string) (parent *exec.Cmd, child int, endpoint string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fastExit, roleEnv+"=parent", dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscan(out, &child, &endpoint); err != nil {
		t.Fatalf("parent said nothing: %v", err)
	}
	return cmd, child, endpoint
}
