package agent

import (
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

const heldFiles = "/m/a.gguf by the engine of a, replica 0"

// The files of an engine are held from before it starts until it is gone, once, however often it is restarted.
func TestRun_holdsTheFilesOfAnEngineAsLongAsItIsThere(t *testing.T) {
	w := newWorld()
	atStart := 0
	w.behave = func(int, *fakeProc) { atStart = w.heldFor(heldFiles) }
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		if atStart != 1 || w.heldFor(heldFiles) != 1 {
			t.Errorf("%d holds when it started and %d now, want 1", atStart, w.heldFor(heldFiles))
		}
		w.proc(0).end("it crashed")
		after(30 * time.Second)
		if w.started() < 2 || atStart != 1 || w.heldFor(heldFiles) != 1 {
			t.Errorf("after a restart (%d starts): %d holds when it started and %d now, want 1", w.started(), atStart, w.heldFor(heldFiles))
		}
		w.wish()
		after(time.Minute)
		if n := w.heldFor(heldFiles); n != 0 {
			t.Errorf("%d holds are left after it is gone", n)
		}
	})
}

// The next agent holds what it adopts before it says what is wanted: from then on files may be deleted.
func TestRun_holdsAdoptedEnginesBeforeAnythingIsWanted(t *testing.T) {
	w := newWorld()
	want := replicaOf("a", 0)
	w.want.Replicas = []api.DesiredReplica{want}
	c := &cacheOf{}
	seen := -1
	within(t, w, func(cfg *Config) {
		w.left = []*fakeProc{leftOver(t, want)}
		cfg.Cache = watched{c, func() {
			if seen < 0 {
				seen = w.heldFor(heldFiles)
			}
		}}
	}, func() { after(time.Second) })
	if seen != 1 {
		t.Errorf("%d holds when files may first be deleted, want 1", seen)
	}
}

// watched calls saw when the agent first tells what is wanted.
type watched struct {
	Cache
	saw func()
}

func (c watched) SetWanted(specs []api.ModelSpec) {
	c.saw()
	c.Cache.SetWanted(specs)
}

// Files that went between their fetch and the start are fetched again; no engine is started without them.
func TestRun_startsNoEngineOnFilesThatWent(t *testing.T) {
	w := newWorld()
	w.noHold = &engine.Failure{Code: api.FailDownload, Message: "they were removed"}
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		if _, e := w.last(); w.started() != 0 || e.Failure == nil || e.Failure.Code != api.FailDownload {
			t.Errorf("%d engines started, failure %+v", w.started(), e.Failure)
		}
		w.mu.Lock()
		w.noHold = nil
		w.mu.Unlock()
		after(time.Minute)
		if _, e := w.last(); e.Status != api.EndpointReady {
			t.Errorf("it is %s, want ready", e.Status)
		}
	})
}

// While the spec of a model cannot be read, what was wanted before stays wanted; an agent that has never known what is tells nothing.
func TestRun_forgetsNoWantedFilesWhileModelsCannotBeRead(t *testing.T) {
	for _, why := range []string{"a spec that cannot be read", "a restored cluster"} {
		t.Run(why, func(t *testing.T) {
			w := newWorld()
			c := &cacheOf{}
			unsure := func(yes bool) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.want.Frozen, w.want.History, w.want.HistoryAccepted = nil, "h1", true
				if yes && why == "a restored cluster" {
					w.want.HistoryAccepted = false
				} else if yes {
					w.want.Frozen = []string{"b"}
				}
			}
			names := func() (out []string) {
				c.mu.Lock()
				defer c.mu.Unlock()
				for _, s := range c.wanted {
					out = append(out, s.ModelName)
				}
				return out
			}
			within(t, w, func(cfg *Config) { cfg.Cache = c; unsure(true) }, func() {
				named := replicaOf("a", 0)
				named.Spec.ModelName = "org/a"
				w.wish(named)
				after(time.Second)
				if got := names(); got != nil {
					t.Errorf("told %q before it can be known", got)
				}
				unsure(false)
				w.wish(named)
				after(time.Second)
				unsure(true)
				w.wish()
				after(2 * time.Minute)
				if got := names(); len(got) != 1 {
					t.Errorf("wanted %q, want what was wanted before", got)
				}
				unsure(false)
				w.wish()
				after(2 * time.Minute)
				if got := names(); len(got) != 0 {
					t.Errorf("wanted %q after all is known again", got)
				}
			})
		})
	}
}
