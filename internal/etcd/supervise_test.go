package etcd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

// TestSupervisor_killedWhileWriting kills the child under four writers. Each continues where the store says it is;
// nothing that was acknowledged may be missing, and the watch must bring every number once.
func TestSupervisor_killedWhileWriting(t *testing.T) {
	t.Parallel()
	s, lines := supervise(t, t.TempDir())
	c := dial(t, s.Endpoint(), "")
	_, from, err := c.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	const writers = 4
	var over atomic.Bool // and not a context: a write whose caller has left may land after the last list
	var mu sync.Mutex
	acked := map[string]int{}
	var writing sync.WaitGroup
	for w := range writers {
		key := fmt.Sprintf("/n/%d", w)
		writing.Go(func() {
			for i := 1; !over.Load(); i++ {
				res, err := c.Txn(t.Context(), nil, []store.Op{put(key, fmt.Sprint(i))})
				if err == nil && res.OK {
					mu.Lock()
					acked[key] = i
					mu.Unlock()
				} else if !errors.Is(err, store.ErrAmbiguous) && !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	defer writing.Wait()
	defer over.Store(true)
	total := func() int {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, i := range acked {
			n += i
		}
		return n
	}
	seen := follow(t, c, from)
	for range 2 {
		before, pid := total(), s.PID()
		eventually(t, "writes", func() bool { return total() > before+40 })
		kill(t, pid, syscall.SIGKILL)
		before = total()
		eventually(t, "writes by the next child", func() bool { return s.PID() != pid && total() > before+40 })
	}
	over.Store(true)
	writing.Wait()
	kvs, rev, err := c.List(t.Context(), "/n/")
	if err != nil || len(kvs) != writers {
		t.Fatalf("list: %v, %v", kvs, err)
	}
	for _, kv := range kvs {
		if stored := atoi(t, string(kv.Value)); stored < acked[kv.Key] {
			t.Errorf("%s: %d was acknowledged, %d is stored", kv.Key, acked[kv.Key], stored)
		}
	}
	seen.caughtUp(t, kvs, rev)
	lines.await("signal: killed")
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return n
}

// follower is what the store does: it watches, and when a watch ends it watches again from where it was.
type follower struct {
	mu       sync.Mutex
	revision int64
	values   map[string]string
}

func follow(t *testing.T, c *Client, from int64) *follower {
	f := &follower{revision: from, values: map[string]string{}}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for after := from; ctx.Err() == nil; {
			err := c.Watch(ctx, "/n/", after, func(b store.Batch) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, ev := range b.Events {
					if ev.ModRev <= after {
						t.Errorf("event at %d after %d", ev.ModRev, after)
					}
					f.values[ev.Key] = string(ev.Value)
				}
				after, f.revision = b.Revision, b.Revision
				return nil
			})
			if errors.Is(err, store.ErrCompacted) {
				t.Errorf("watch: %v", err)
				return
			}
		}
	})
	t.Cleanup(func() {
		stop()
		watching.Wait()
	})
	return f
}

func (f *follower) at() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

func (f *follower) caughtUp(t *testing.T, want []store.KeyValue, rev int64) {
	t.Helper()
	eventually(t, "watch that has caught up", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.revision >= rev
	})
	for _, kv := range want {
		if f.values[kv.Key] != string(kv.Value) {
			t.Errorf("%s: the watch brought %s, stored is %s", kv.Key, f.values[kv.Key], kv.Value)
		}
	}
}

// TestSupervisor_killedAnytime kills children at random moments of their start and first writes.
func TestSupervisor_killedAnytime(t *testing.T) {
	t.Parallel()
	s, _ := supervise(t, t.TempDir())
	c := dial(t, s.Endpoint(), "")
	mustPut(t, c, "/k", "kept")
	random := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		eventually(t, "child", func() bool { return s.PID() != 0 })
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		if pid := s.PID(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			eventually(t, "death", func() bool { return s.PID() != pid })
		}
	}
	eventually(t, "healthy store", func() bool { return c.Health(t.Context()) == nil })
	kvs, _, err := c.List(t.Context(), "/")
	if err != nil || len(kvs) != 1 || string(kvs[0].Value) != "kept" {
		t.Errorf("got %v, %v", kvs, err)
	}
}

// TestSupervisor_frozen stops the child without killing it: nothing tells a client but silence.
func TestSupervisor_frozen(t *testing.T) {
	t.Parallel()
	s, _ := supervise(t, t.TempDir())
	c := dial(t, s.Endpoint(), "")
	rev := mustPut(t, c, "/n/k", "1")
	ended := make(chan error, 1)
	live := make(chan struct{}, 100)
	go func() {
		ended <- c.Watch(t.Context(), "/n/", rev, func(store.Batch) error {
			live <- struct{}{}
			return nil
		})
	}()
	<-live
	pid := s.PID()
	freeze(t, pid)
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Txn(ctx, nil, []store.Op{put("/n/k", "2")}); !errors.Is(err, store.ErrAmbiguous) {
		t.Errorf("transaction: got %v, want ErrAmbiguous", err)
	}
	if err := c.Health(ctx); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("health: got %v, want ErrUnavailable", err)
	}
	// 4 s is the promise; the rest is for a busy machine.
	select {
	case err := <-ended:
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("watch: got %v, want ErrUnavailable", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the watch does not notice the silence")
	}
	kill(t, pid, syscall.SIGCONT)
	eventually(t, "healthy store", func() bool { return c.Health(t.Context()) == nil })
	mustPut(t, c, "/n/k", "3")
	if s.PID() != pid {
		t.Error("the child was replaced")
	}
}

// TestTxn_notSent is the other half of ErrAmbiguous: without a connection it is known that nothing happened.
func TestTxn_notSent(t *testing.T) {
	t.Parallel()
	s, _ := supervise(t, t.TempDir())
	c := dial(t, s.Endpoint(), "")
	mustPut(t, c, "/k", "1")
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := c.Health(ctx); !errors.Is(err, store.ErrUnavailable) { // from here on the end is known
		t.Errorf("health: got %v, want ErrUnavailable", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := c.Txn(ctx, nil, []store.Op{put("/k", "2")})
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrAmbiguous) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrUnavailable alone", err)
	}
	// A context that ends during the wait for a connection ends the watch and its goroutines.
	if err := c.Watch(ctx, "/", 1, func(store.Batch) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("watch: %v", err)
	}
}

// TestSupervisor_parentKilled: the child goes with its parent, and a new parent can start at once. What the parent held goes with it, what
// somebody else holds by then stays.
func TestSupervisor_parentKilled(t *testing.T) {
	t.Parallel()
	for holder, left := range map[string]int{held.Value: 1, "another": 2} {
		t.Run(holder, func(t *testing.T) {
			t.Parallel()
			parentKilled(t, holder, left)
		})
	}
}

func parentKilled(t *testing.T, holder string, left int) {
	dir := t.TempDir()
	parent, child, endpoint := startParent(t, dir)
	func() {
		c, err := Dial(t.Context(), Config{Endpoints: []string{endpoint}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		mustPut(t, c, "/k", "kept")
		mustPut(t, c, held.Key, holder)
		if err := parent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = parent.Wait()
	}()
	s, _ := supervise(t, dir) // waits for the old child's lock
	eventually(t, "end of the old child", func() bool { return !running(child) })
	if s.Endpoint() != endpoint {
		t.Errorf("endpoint %s, was %s", s.Endpoint(), endpoint)
	}
	kvs, _, err := dial(t, s.Endpoint(), "").List(t.Context(), "/")
	if err != nil || len(kvs) != left {
		t.Errorf("got %v, %v, want %d", kvs, err, left)
	}
}

func TestSupervisor_stop(t *testing.T) {
	t.Parallel()
	s, lines := supervise(t, t.TempDir())
	pid := s.PID()
	s.Stop()
	s.Stop()
	<-s.Done()
	if running(pid) || s.PID() != 0 {
		t.Errorf("child %d is left behind", pid)
	}
	for _, line := range lines.lines {
		if strings.Contains(line, "level=ERROR") {
			t.Errorf("an orderly end logs %s", line)
		}
	}
}

func TestSupervisor_stopIgnored(t *testing.T) {
	t.Parallel()
	s, _ := supervise(t, t.TempDir())
	pid := s.PID()
	freeze(t, pid) // neither reads its input nor takes a TERM
	s.Stop()
	if running(pid) {
		t.Errorf("child %d is left behind", pid)
	}
}

func TestSupervise_twoOnOneDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := supervise(t, dir)
	log, _ := newLog(t)
	_, err := Supervise(t.Context(), childConfig(dir, log))
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d, started by process %d", first.PID(), os.Getpid())) {
		t.Errorf("got %v", err)
	}
}

func TestSupervise_badCommand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command []string
		want    string
	}{
		"none":         {nil, "no command"},
		"no such file": {[]string{"/no/such/program"}, "no such file"},
		"ends at once": {[]string{"/bin/false"}, "exit status 1"},
		"panics":       {[]string{"/usr/bin/env", fastExit, roleEnv + "=chatter", os.Args[0]}, "panic: something went wrong (exit status 2)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Supervise(t.Context(), SuperviseConfig{Command: c.command, Dir: "DIR"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	_, err := Supervise(t.Context(), SuperviseConfig{Command: []string{"/bin/cat"}, Dir: "DIR", ReadyTimeout: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "the store in DIR was not ready after 100ms") {
		t.Errorf("never ready: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Supervise(ctx, SuperviseConfig{Command: []string{"/bin/cat"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestPauseAfter(t *testing.T) {
	var got []string
	for deaths := range 7 {
		got = append(got, pauseAfter(deaths).String())
	}
	if want := "200ms 400ms 800ms 1.6s 3.2s 5s 5s"; strings.Join(got, " ") != want || pauseAfter(1000) != backoffLast {
		t.Errorf("got %v, want %s", got, want)
	}
}
