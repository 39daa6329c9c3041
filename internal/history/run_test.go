package history_test

import (
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

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
	"github.com/nebula-serve/nebula/internal/history"
)

// memory is a cluster with the histories of its models.
type memory struct {
	mu      sync.Mutex
	state   *cluster.State
	changed chan struct{}
	events  map[string][]api.ModelEvent
	refuse  error // what the store answers
}

func newMemory() *memory {
	return &memory{state: &cluster.State{}, changed: make(chan struct{}), events: map[string][]api.ModelEvent{}}
}

func (m *memory) Current() (*cluster.State, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.changed
}

func (m *memory) Histories(context.Context) (uids []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range m.events {
		uids = append(uids, uid)
	}
	return uids, nil
}

func (m *memory) Events(_ context.Context, uid string) ([]api.ModelEvent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events[uid]), nil
}

func (m *memory) Write(_ context.Context, events []api.ModelEvent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return m.refuse
	}
	for _, e := range events {
		m.events[e.ModelUID] = append(m.events[e.ModelUID], e)
	}
	return nil
}

func (m *memory) Forget(_ context.Context, uid string, ids []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events[uid] = slices.DeleteFunc(m.events[uid], func(e api.ModelEvent) bool { return slices.Contains(ids, e.ID) })
	if len(m.events[uid]) == 0 {
		delete(m.events, uid)
	}
	return nil
}

// becomes shows another state and lets the recorder look.
func (m *memory) becomes(t *testing.T, text string) {
	t.Helper()
	c, err := clustertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	c.State.Revision += m.state.Revision
	m.state = c.State
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	time.Sleep(15 * time.Second)
}

// told returns the verbs of a model's history.
func (m *memory) told(uid string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var verbs []string
	for _, e := range m.events[uid] {
		verbs = append(verbs, e.Verb)
	}
	return strings.Join(verbs, " ")
}

// leads runs a recorder until the function that it returns is called.
func leads(t *testing.T, m *memory) (resign func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- history.Run(ctx, history.Config{Cluster: m, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	}()
	time.Sleep(3 * time.Second)
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

const (
	wished  = "node n1\nmodel m engine=llamacpp\ndeploy m running replicas=1\n"
	placed  = wished + "plan m version=1 0@n1\n"
	serving = placed + "endpoint m/0@n1 ready\n"
)

// TestRun_everyLeaderGoesOn: what one leader told the next one does not tell again, and what happened between them it does.
func TestRun_everyLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		resign := leads(t, m)
		m.becomes(t, wished)
		m.becomes(t, placed)
		m.becomes(t, serving)
		first := m.told("m")
		if !strings.Contains(first, "placed") || !strings.HasSuffix(first, " running") {
			t.Fatalf("told %q", first)
		}
		resign()
		resign = leads(t, m)
		if got := m.told("m"); got != first {
			t.Errorf("after a change of leaders: %q, before %q", got, first)
		}
		resign()
		m.becomes(t, placed+"endpoint m/0@n1 failed fail=out_of_memory message=\"It is full.\" final\n")
		resign = leads(t, m)
		if got := m.told("m"); got != first+" failed" {
			t.Errorf("what happened between two leaders: %q after %q", got, first)
		}
		resign()
	})
}

// TestRun_aFlappingModelIsBounded: it says at most so many things a minute, and then where it stands.
func TestRun_aFlappingModelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		resign := leads(t, m)
		begin := time.Now()
		for range 40 {
			m.becomes(t, serving)
			m.becomes(t, placed)
		}
		m.becomes(t, serving)
		minutes := int(time.Since(begin)/time.Minute) + 1
		if got := m.told("m"); strings.Count(got, " ") > 20*minutes || !strings.HasSuffix(got, "running") {
			t.Errorf("told in %d minutes: %q", minutes, got)
		}
		resign()
	})
}

// TestRun_theStoreRefuses: what could not be written is told when it can be, once.
func TestRun_theStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.refuse = errors.New("full")
		resign := leads(t, m)
		m.becomes(t, serving)
		if got := m.told("m"); got != "" {
			t.Fatalf("told %q", got)
		}
		m.mu.Lock()
		m.refuse = nil
		m.mu.Unlock()
		time.Sleep(time.Minute)
		if got := m.told("m"); got != "placed running" {
			t.Errorf("told %q", got)
		}
		resign()
	})
}

// TestRun_forgets: too many, too old, and those of deleted models, also of one that an earlier leader saw go.
func TestRun_forgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		write := func(uid string, n int, at time.Time) {
			for i := range n {
				m.events[uid] = append(m.events[uid], api.ModelEvent{ID: fmt.Sprintf("%013d-%03d", at.UnixMilli(), i), TimeMS: at.UnixMilli(), ModelUID: uid, Verb: "stopped"})
			}
		}
		write("many", history.Kept+30, time.Now())
		write("old", 3, time.Now().Add(-history.KeptFor-time.Hour))
		write("old", 2, time.Now())
		write("gone", 4, time.Now().Add(-22*time.Hour))
		m.becomes(t, "model many\nmodel old\n")
		resign := leads(t, m)
		time.Sleep(70 * time.Minute)
		for uid, want := range map[string]int{"many": history.Kept, "old": 2, "gone": 4} {
			if got, _ := m.Events(t.Context(), uid); len(got) != want {
				t.Errorf("%s: %d events are kept, want %d", uid, len(got), want)
			}
		}
		time.Sleep(3 * time.Hour)
		if uids, _ := m.Histories(t.Context()); slices.Contains(uids, "gone") {
			t.Error("the history of a deleted model stays")
		}
		resign()
	})
}
