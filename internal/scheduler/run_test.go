package scheduler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a store in memory: it takes what the loop writes unless refuse says no.
type desk struct {
	mu      sync.Mutex
	s       *cluster.State
	changed chan struct{}
	writes  [][]Change
	refuse  func(n int) error // n counts the calls of Place
	calls   int
}

func newDesk(t *testing.T, text string) *desk {
	t.Helper()
	c, err := clustertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{s: c.State, changed: make(chan struct{})}
}

func (d *desk) Current() (*cluster.State, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.s, d.changed
}

func (d *desk) Place(_ context.Context, changes []Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.refuse != nil {
		if err := d.refuse(d.calls); err != nil {
			return err
		}
	}
	d.writes = append(d.writes, changes)
	d.publish(apply(d.s, changes))
	return nil
}

// seen returns what was written, and the number of attempts.
func (d *desk) seen() (writes [][]Change, calls int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.writes), d.calls
}

func (d *desk) publish(s *cluster.State) {
	d.s = s
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *desk) edit(change func(s *cluster.State)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := *d.s
	next.Revision++
	change(&next)
	d.publish(&next)
}

// start runs the loop in the test's bubble and returns what it logs and how to end it.
func start(t *testing.T, d *desk) (logged *bytes.Buffer, end func()) {
	t.Helper()
	logged = &bytes.Buffer{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Config{Cluster: d, Log: slog.New(slog.NewTextHandler(logged, nil))}) }()
	return logged, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

func TestRun_placesWhatIsWantedAndThenRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "node a\nmodel chat engine=llamacpp\ndeploy chat running")
		_, end := start(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		if writes, _ := d.seen(); len(writes) != 1 || len(writes[0]) != 1 || writes[0][0].UID != "chat" {
			t.Errorf("wrote %+v, want the plan of chat once", writes)
		}
		began := time.Now()
		d.edit(func(s *cluster.State) { s.Models = cluster.Set[api.ModelSpec]{} })
		synctest.Wait()
		if writes, _ := d.seen(); len(writes) != 2 || writes[1][0].Plan != nil {
			t.Errorf("wrote %+v, want the plan dropped", writes[1:])
		}
		if time.Since(began) != 0 {
			t.Errorf("waited %v for a change that was there", time.Since(began))
		}
		end()
	})
}

func TestRun_writesManyPlansInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		fmt.Fprintln(&text, "node a")
		for i := range 220 {
			fmt.Fprintf(&text, "model m%03d engine=llamacpp\ndeploy m%03d running\n", i, i)
		}
		for i := range 3 { // too many replicas to be with the rest
			fmt.Fprintf(&text, "model n%d engine=llamacpp\ndeploy n%d running replicas=900\n", i, i)
		}
		d := newDesk(t, text.String())
		_, end := start(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		var sizes []int
		writes, _ := d.seen()
		for _, w := range writes {
			sizes = append(sizes, len(w))
		}
		if fmt.Sprint(sizes) != "[100 100 22 1]" {
			t.Errorf("wrote batches of %v", sizes)
		}
		end()
	})
}

func TestRun_aNodeThatStaysAwayComesDueWithoutAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "node b\nmodel chat engine=llamacpp\ndeploy chat running\nplan chat version=1 0@a")
		_, end := start(t, d)
		time.Sleep(LostAfter - time.Second)
		synctest.Wait()
		if writes, _ := d.seen(); len(writes) != 0 {
			t.Fatalf("wrote %+v before the time", writes)
		}
		time.Sleep(2 * resync)
		synctest.Wait()
		if writes, _ := d.seen(); len(writes) != 1 || writes[0][0].Plan.Assignments[0].NodeID != "b" {
			t.Errorf("wrote %+v, want chat on b", writes)
		}
		end()
	})
}

// TestRun_saysOnceThatMostNodesAreAbsent follows three nodes of which two go away and come back.
func TestRun_saysOnceThatMostNodesAreAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "member a\nmember b\nmember c\nnode a\nnode b\nnode c\nmodel chat engine=llamacpp\ndeploy chat running replicas=3\nplan chat 0@a 1@b 2@c")
		logged, end := start(t, d)
		all, _ := d.Current()
		d.edit(func(s *cluster.State) {
			edit := s.Nodes.Edit()
			edit.Delete("a")
			edit.Delete("b")
			s.Nodes = edit.Done()
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := strings.Count(logged.String(), "most nodes do not report"); n != 1 {
			t.Errorf("logged %d times that most nodes are absent, want once:\n%s", n, logged)
		}
		d.edit(func(s *cluster.State) { s.Nodes = all.Nodes })
		time.Sleep(time.Hour)
		end()
		if n := strings.Count(logged.String(), "enough nodes report again"); n != 1 {
			t.Errorf("logged %d times that it is over, want once:\n%s", n, logged)
		}
		if writes, _ := d.seen(); len(writes) != 0 {
			t.Errorf("wrote %+v, want nothing moved", writes)
		}
	})
}

// TestRun_lostAfterIsWhatPeopleSay replaces after a minute what waits five by default.
func TestRun_lostAfterIsWhatPeopleSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "member a\nmember b\nnode b\nmodel chat engine=llamacpp\ndeploy chat running\nplan chat version=1 0@a")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, Config{Cluster: d, LostAfter: time.Minute, Log: slog.New(slog.DiscardHandler)})
		}()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if writes, _ := d.seen(); len(writes) != 0 {
			t.Errorf("wrote %+v before the time", writes)
		}
		time.Sleep(2 * resync)
		synctest.Wait()
		if writes, _ := d.seen(); len(writes) != 1 || len(writes[0][0].Plan.Displaced) != 1 {
			t.Errorf("wrote %+v, want chat moved and its old place remembered", writes)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRun_plansAgainAfterAFailureAndLogsItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "node a\nmodel chat engine=llamacpp\ndeploy chat running")
		cause := errors.New("no leader")
		d.refuse = func(n int) error {
			switch {
			case n <= 4:
				return fmt.Errorf("attempt %d: %w", n, cause)
			case n <= 6:
				return api.Errorf(api.CodeConflict, "revision %d is gone", n)
			}
			return nil
		}
		logged, end := start(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		if writes, calls := d.seen(); len(writes) != 1 || calls != 7 {
			t.Errorf("wrote %d times in %d calls, want once in 7", len(writes), calls)
		}
		d.edit(func(s *cluster.State) { s.Models = cluster.Set[api.ModelSpec]{} })
		time.Sleep(time.Minute)
		end()
		if writes, _ := d.seen(); len(writes) != 2 {
			t.Errorf("wrote %d times, want one more", len(writes))
		}
		if n := strings.Count(logged.String(), "plans not written"); n != 2 {
			t.Errorf("logged %d failures, want one of each kind:\n%s", n, logged)
		}
		if n := strings.Count(logged.String(), "plans are written again"); n != 1 {
			t.Errorf("logged %d times that it is over, want once:\n%s", n, logged)
		}
	})
}

func TestRun_doesNotHammerAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "node a\nmodel chat engine=llamacpp\ndeploy chat running")
		d.refuse = func(int) error { return errors.New("down") }
		_, end := start(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		// 0.1, 0.2, 0.4 … 5 s, 5 s …: six tries in the first 6.3 s, then one in five seconds.
		if _, calls := d.seen(); calls < 10 || calls > 20 {
			t.Errorf("tried %d times in a minute", calls)
		}
		end()
	})
}

func TestRun_endsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, "node a\nmodel chat engine=llamacpp\ndeploy chat running")
		d.refuse = func(int) error { return errors.New("down") }
		_, end := start(t, d)
		time.Sleep(30 * time.Second)
		began := time.Now()
		end()
		if time.Since(began) != 0 {
			t.Errorf("took %v to end", time.Since(began))
		}
	})
}
