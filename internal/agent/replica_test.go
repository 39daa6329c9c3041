package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// An engine that does not go may still hold its GPUs: it stays in hand and on record, and nothing takes its place.
func TestRun_engineThatDoesNotGoIsNeverForgotten(t *testing.T) {
	for _, way := range []string{"not wanted", "hung"} {
		t.Run(way, func(t *testing.T) {
			w := newWorld()
			within(t, w, nil, func() {
				w.wish(replicaOf("a", 0))
				after(time.Second)
				p := w.proc(0)
				p.refuseStops(errors.New("it does not go, even when killed"))
				if way == "hung" {
					p.listen(engine.AnswerFailed)
				} else {
					w.wish()
				}
				after(2 * time.Minute)
				o, e := w.last()
				if _, gone := p.gone(); gone || w.started() != 1 || len(o.Endpoints) != 1 {
					t.Fatalf("forgotten %v, %d engines started, endpoints %+v", gone, w.started(), o.Endpoints)
				}
				if e.Status == api.EndpointReady || e.Failure == nil {
					t.Errorf("its endpoint is %s with failure %+v; people should see why it stays", e.Status, e.Failure)
				}
				p.refuseStops(nil)
				after(time.Minute)
				if _, gone := p.gone(); !gone {
					t.Error("it goes now, and is not stopped and removed")
				}
				want := map[string]int{"not wanted": 1, "hung": 2}[way]
				if w.started() != want {
					t.Errorf("%d engines started, want %d", w.started(), want)
				}
			})
			if stops, _ := w.proc(0).gone(); stops < 2 {
				t.Errorf("stopped %d times, want more tries", stops)
			}
		})
	}
}

// The agent ends all the same; the record stays for the next one.
func TestRun_endsWithAnEngineThatDoesNotGo(t *testing.T) {
	w := newWorld()
	within(t, w, func(c *Config) { c.StopOnExit = true }, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		w.proc(0).refuseStops(errors.New("it does not go"))
	})
	w.proc(0).mu.Lock()
	defer w.proc(0).mu.Unlock()
	if w.proc(0).removed || w.proc(0).stops == 0 {
		t.Errorf("removed %v after %d stops; want it tried, and kept on record", w.proc(0).removed, w.proc(0).stops)
	}
}

func (p *fakeProc) refuseStops(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stuck = err
}
