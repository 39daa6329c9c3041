package agent

import (
	"context"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

func TestRun_fromWishToServingToGone(t *testing.T) {
	w := newWorld()
	w.fetch = func(ctx context.Context, progress func(api.DownloadProgress)) (Model, error) {
		for done := uint64(0); done < 100; done += 20 {
			progress(api.DownloadProgress{Phase: api.PhaseDownloading, TotalBytes: 100, DownloadedBytes: done})
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
				return Model{}, ctx.Err()
			}
		}
		return Model{Path: "/m/a.gguf"}, nil
	}
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(5 * time.Second)
		o, e := w.last()
		if e.Status != api.EndpointStarting || len(o.Downloads) != 1 || o.Downloads[0].DownloadedBytes != 40 || o.Downloads[0].ModelUID != "a" {
			t.Fatalf("while downloading: %+v, downloads %+v", e, o.Downloads)
		}
		after(10 * time.Second)
		o, e = w.last()
		if e.Status != api.EndpointReady || e.BaseURL == nil || *e.BaseURL != "http://127.0.0.1:4100" || len(o.Downloads) != 0 {
			t.Fatalf("after the download: %+v, downloads %+v", e, o.Downloads)
		}
		if e.ServedName != "a" || e.NodeID != "n1" || e.PlanVersion != 1 {
			t.Errorf("endpoint %+v", e)
		}

		w.mu.Lock()
		w.inFlight = 1
		w.mu.Unlock()
		w.wish()
		after(30 * time.Second)
		if _, e = w.last(); e.Status != api.EndpointDraining {
			t.Fatalf("with a request in flight: %s, want draining", e.Status)
		}
		if stops, _ := w.proc(0).gone(); stops != 0 {
			t.Fatal("the engine was stopped with a request in flight")
		}
		w.mu.Lock()
		w.inFlight = 0
		w.mu.Unlock()
		after(time.Second)
		if stops, gone := w.proc(0).gone(); stops == 0 || !gone {
			t.Error("the drained engine is not stopped and removed")
		}
		if o, _ = w.last(); len(o.Endpoints) != 0 {
			t.Errorf("endpoints of a stopped replica: %+v", o.Endpoints)
		}
	})
}

func TestRun_drainEndsWithItsTimeout(t *testing.T) {
	w := newWorld()
	w.inFlight = 1
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		w.wish()
		after(59 * time.Second)
		if stops, _ := w.proc(0).gone(); stops != 0 {
			t.Fatal("stopped before the drain time-out")
		}
		after(2 * time.Second)
		if stops, gone := w.proc(0).gone(); stops == 0 || !gone {
			t.Error("not stopped after the drain time-out")
		}
	})
}

func TestRun_stopWhileDownloading(t *testing.T) {
	w := newWorld()
	w.fetch = func(ctx context.Context, _ func(api.DownloadProgress)) (Model, error) {
		<-ctx.Done()
		return Model{}, ctx.Err()
	}
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		w.wish()
		after(time.Second)
		if o, _ := w.last(); len(o.Endpoints) != 0 || w.started() != 0 {
			t.Errorf("after a stop in a download: endpoints %+v, %d engines started", o.Endpoints, w.started())
		}
	})
}

func TestRun_crashesAreRetriedWithBackOff(t *testing.T) {
	w := newWorld()
	w.behave = func(_ int, p *fakeProc) { p.end("boom") }
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		var at []time.Duration
		for i, began := 1, time.Now(); len(at) < 6; i++ {
			for w.started() < i {
				after(100 * time.Millisecond)
			}
			at = append(at, time.Since(began).Round(time.Second))
			if i == 4 {
				if _, e := w.last(); e.Failure == nil || e.Failure.Code != api.FailEngineCrash || e.Failure.Final || e.Failure.RetryAtMS == 0 {
					t.Errorf("between crashes: failure %+v", e.Failure)
				}
			}
		}
		for i, want := range []time.Duration{0, 1, 3, 7, 15, 31} {
			if at[i] != want*time.Second {
				t.Errorf("start %d after %v, want %ds", i+1, at[i], want)
			}
		}
		after(time.Second)
		if _, e := w.last(); e.Failure == nil || e.Failure.Code != api.FailCrashLoop || e.Status != api.EndpointUnhealthy {
			t.Errorf("after 6 crashes: %s, failure %+v; want crash_loop", e.Status, e.Failure)
		}
		w.mu.Lock()
		w.behave = nil
		w.mu.Unlock()
		after(2 * time.Minute)
		if _, e := w.last(); e.Status != api.EndpointReady || e.Failure != nil || e.Restarts < 6 {
			t.Errorf("after the cause was mended: %s, failure %+v, %d restarts; want it to recover by itself", e.Status, e.Failure, e.Restarts)
		}
	})
}

func TestRun_finalFailureWaitsForPeople(t *testing.T) {
	w := newWorld()
	w.behave = func(_ int, p *fakeProc) {
		p.end("gguf_init_from_file: invalid magic characters: 'just', expected 'GGUF'")
	}
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Hour)
		if _, e := w.last(); w.started() != 1 || e.Failure == nil || !e.Failure.Final || e.Failure.Code != api.FailNotGGUF {
			t.Fatalf("%d starts, failure %+v; want one start and a final failure", w.started(), e.Failure)
		}
		w.mu.Lock()
		w.behave = nil
		w.mu.Unlock()
		again := replicaOf("a", 0)
		again.Generation = 2
		w.wish(again)
		after(time.Second)
		if _, e := w.last(); e.Status != api.EndpointReady {
			t.Errorf("after people started it again: %s", e.Status)
		}
	})
}

func TestRun_missingEngineIsSaid(t *testing.T) {
	w := newWorld()
	w.missing = "vLLM is not installed: pip install vllm"
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		if _, e := w.last(); e.Failure == nil || e.Failure.Code != api.FailEngineMissing || !e.Failure.Final || w.started() != 0 {
			t.Errorf("failure %+v", e.Failure)
		}
	})
}

func TestRun_silentEngineLeavesRotationAndIsRestarted(t *testing.T) {
	w := newWorld()
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Second)
		w.proc(0).listen(engine.AnswerFailed)
		after(5 * time.Second)
		if _, e := w.last(); e.Status != api.EndpointUnhealthy || e.Failure == nil || e.Failure.Code != api.FailProbe {
			t.Fatalf("after two failed probes: %s, %+v", e.Status, e.Failure)
		}
		w.proc(0).listen(engine.AnswerOK)
		after(3 * time.Second)
		if _, e := w.last(); e.Status != api.EndpointReady || e.PID != w.proc(0).pid || e.Failure != nil {
			t.Fatalf("after it answered again: %s, %+v", e.Status, e.Failure)
		}
		w.proc(0).listen(engine.AnswerFailed)
		after(time.Minute)
		if stops, gone := w.proc(0).gone(); stops == 0 || !gone {
			t.Error("the silent engine still runs")
		}
		if _, e := w.last(); e.Status != api.EndpointReady || e.PID == w.proc(0).pid {
			t.Errorf("after a minute of silence: %s, pid %d", e.Status, e.PID)
		}
	})
}

func TestRun_stalledStartIsGivenUp(t *testing.T) {
	w := newWorld()
	w.behave = func(n int, p *fakeProc) {
		if n == 1 {
			p.listen(engine.AnswerBusy)
		}
	}
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(4 * time.Minute)
		if w.started() != 1 {
			t.Fatal("given up before the stall time-out")
		}
		after(2 * time.Minute)
		if _, e := w.last(); w.started() != 2 || e.Status != api.EndpointReady {
			t.Errorf("%d starts, %s; want a second start that serves", w.started(), e.Status)
		}
		if stops, _ := w.proc(0).gone(); stops == 0 {
			t.Error("the stalled engine still runs")
		}
	})
}

func TestRun_loadingIsTold(t *testing.T) {
	w := newWorld()
	w.behave = func(_ int, p *fakeProc) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answer, p.tail = engine.AnswerBusy, []string{"Loading safetensors checkpoint shards:  50% Completed | 2/4"}
	}
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(3 * time.Second)
		if _, e := w.last(); e.Status != api.EndpointStarting || e.LoadedPercent == nil || *e.LoadedPercent != 50 {
			t.Fatalf("while it loads: %s, loaded %v; want 50 %%", e.Status, e.LoadedPercent)
		}
		w.proc(0).listen(engine.AnswerOK)
		after(time.Second)
		if _, e := w.last(); e.Status != api.EndpointReady || e.LoadedPercent != nil {
			t.Errorf("once ready: %s, loaded %v", e.Status, e.LoadedPercent)
		}
	})
}

func TestRun_adoptsBeforeTheFirstReport(t *testing.T) {
	w := newWorld()
	w.want.Replicas = []api.DesiredReplica{replicaOf("a", 0)}
	var p *fakeProc
	within(t, w, func(*Config) {
		p = leftOver(t, replicaOf("a", 0))
		w.left = append(w.left, p)
	}, func() {
		after(time.Second)
		w.mu.Lock()
		first := w.reports[0]
		w.mu.Unlock()
		if len(first.Endpoints) != 1 || first.Endpoints[0].Status != api.EndpointReady || first.Endpoints[0].PID != 77 || first.Endpoints[0].BaseURL == nil {
			t.Fatalf("first report: %+v; want the adopted replica ready", first.Endpoints)
		}
		after(time.Minute)
		if stops, _ := p.gone(); stops != 0 || w.started() != 0 {
			t.Errorf("adopted engine stopped %d times, %d started; want it left alone", stops, w.started())
		}
		w.wish()
		after(time.Second)
		if stops, gone := p.gone(); stops == 0 || !gone {
			t.Error("an adopted engine that is not wanted any more still runs")
		}
	})
}

func TestRun_adoptedEngineThatEndedMeanwhileIsStartedAnew(t *testing.T) {
	w := newWorld()
	w.want.Replicas = []api.DesiredReplica{replicaOf("a", 0)}
	within(t, w, func(*Config) {
		p := leftOver(t, replicaOf("a", 0))
		p.end("boom")
		w.left = append(w.left, p)
	}, func() {
		after(5 * time.Second)
		if _, e := w.last(); w.started() != 1 || e.Status != api.EndpointReady {
			t.Errorf("%d starts, %s", w.started(), e.Status)
		}
	})
}

func TestRun_nothingIsStoppedWhileTheWishIsUnknownOrTheServerAway(t *testing.T) {
	w := newWorld()
	w.want.Revision = 0
	var p *fakeProc
	within(t, w, func(*Config) {
		p = leftOver(t, replicaOf("a", 0))
		w.left = append(w.left, p)
		w.down = true
	}, func() {
		after(time.Hour)
		if stops, _ := p.gone(); stops != 0 {
			t.Fatal("an engine was stopped although nobody said so")
		}
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		after(5 * time.Second)
		if _, e := w.last(); e.Status != api.EndpointReady {
			t.Errorf("after the server came back: %s", e.Status)
		}
	})
}

func TestRun_unreadableRecordIsEnded(t *testing.T) {
	w := newWorld()
	var p *fakeProc
	within(t, w, func(*Config) {
		p = leftOver(t, replicaOf("a", 0))
		p.meta = []byte("{")
		w.left = append(w.left, p)
	}, func() {
		after(time.Second)
		if stops, gone := p.gone(); stops == 0 || !gone {
			t.Error("an engine that nobody can account for still runs")
		}
	})
}

func TestRun_endTakesEnginesAlongOnlyWhenAsked(t *testing.T) {
	for _, stop := range []bool{false, true} {
		w := newWorld()
		within(t, w, func(c *Config) { c.StopOnExit = stop }, func() {
			w.wish(replicaOf("a", 0), replicaOf("b", 0))
			after(time.Second)
		})
		for i := range 2 {
			if stops, _ := w.proc(i).gone(); (stops > 0) != stop {
				t.Errorf("StopOnExit %v: engine %d stopped %d times", stop, i, stops)
			}
		}
		if o, _ := w.last(); (len(o.Endpoints) == 0) != stop {
			t.Errorf("StopOnExit %v: last report has endpoints %+v", stop, o.Endpoints)
		}
	}
}

func TestRun_quietNodeBeatsAndChangesNothing(t *testing.T) {
	w := newWorld()
	within(t, w, nil, func() {
		w.wish(replicaOf("a", 0))
		after(time.Minute)
		w.mu.Lock()
		n := len(w.reports)
		before := w.reports[n-1].Endpoints[0]
		w.mu.Unlock()
		after(30 * time.Second)
		_, e := w.last()
		if e.LastHeartbeatMS != before.LastHeartbeatMS {
			t.Error("an endpoint that did not change was stamped anew: every beat would be a write")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if beats := len(w.reports) - n; beats < 8 || beats > 12 {
			t.Errorf("%d reports in 30 quiet seconds, want one every 3 s", beats)
		}
	})
}
