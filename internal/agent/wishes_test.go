package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

func wishNow(kind api.WishKind, name string, life time.Duration) api.CacheWish {
	now := time.Now()
	return api.CacheWish{
		NodeID: "n1", Kind: kind, CreatedAtMS: now.UnixMilli(), ExpiresAtMS: now.Add(life).UnixMilli(),
		Spec: api.ModelSpec{ModelName: name, ModelSource: api.SourceHuggingFace, EngineType: api.EngineLlamaCPP},
	}
}

// pullOf returns the one pull of the newest report.
func (w *world) pullOf(t *testing.T) api.CachePull {
	t.Helper()
	o, _ := w.last()
	if len(o.Pulls) != 1 {
		t.Fatalf("%d pulls reported, want 1", len(o.Pulls))
	}
	return o.Pulls[0]
}

func withCache(c *cacheOf) func(*Config) { return func(cfg *Config) { cfg.Cache = c } }

func TestPull_isReportedUntilItIsComplete(t *testing.T) {
	w, c := newWorld(), &cacheOf{}
	w.fetch = func(ctx context.Context, progress func(api.DownloadProgress)) (Model, error) {
		for i := range uint64(10) {
			progress(api.DownloadProgress{Phase: api.PhaseDownloading, TotalBytes: 1000, DownloadedBytes: 100 * i})
			time.Sleep(time.Second)
		}
		progress(api.DownloadProgress{Phase: api.PhaseComplete, TotalBytes: 1000, DownloadedBytes: 1000, ProgressPct: 100})
		return Model{}, nil
	}
	within(t, w, withCache(c), func() {
		wish := wishNow(api.WishPull, "acme/m", time.Hour)
		w.wishFiles(wish)
		after(4500 * time.Millisecond)
		p := w.pullOf(t)
		if p.Phase != api.PhaseDownloading || p.DownloadedBytes != 400 || p.NodeID != "n1" || p.WishedAtMS != wish.CreatedAtMS || p.PullID != wish.Spec.FilesID() {
			t.Errorf("after 4.5 s: %+v", p)
		}
		after(10 * time.Second)
		if p = w.pullOf(t); p.Phase != api.PhaseComplete || p.DownloadedBytes != p.TotalBytes {
			t.Errorf("at the end: %+v", p)
		}
		if c.wanted == nil || c.wanted[0].ModelName != "acme/m" {
			t.Errorf("the cache was told that %v is wanted", c.wanted)
		}
		w.wishFiles()
		after(time.Second)
		if o, _ := w.last(); len(o.Pulls) != 0 {
			t.Errorf("still reported: %+v", o.Pulls)
		}
	})
}

func TestPull_endsWithItsWishAndTriesAgainAfterPassingFailures(t *testing.T) {
	w, c := newWorld(), &cacheOf{}
	var began, ended atomic.Int32
	w.fetch = func(ctx context.Context, progress func(api.DownloadProgress)) (Model, error) {
		if began.Add(1) <= 2 {
			return Model{}, &engine.Failure{Code: api.FailDownload, Message: "the hub is away"}
		}
		<-ctx.Done()
		ended.Add(1)
		return Model{}, ctx.Err()
	}
	within(t, w, withCache(c), func() {
		w.wishFiles(wishNow(api.WishPull, "acme/m", time.Hour))
		after(500 * time.Millisecond)
		if p := w.pullOf(t); p.Phase != api.PhaseDownloading || p.Failure == nil || p.Failure.RetryAtMS == 0 {
			t.Errorf("after a passing failure: %+v", p)
		}
		after(10 * time.Second)
		if began.Load() != 3 {
			t.Errorf("%d tries, want 3", began.Load())
		}
		w.wishFiles()
		after(time.Second)
		if o, _ := w.last(); ended.Load() != 1 || len(o.Pulls) != 0 {
			t.Errorf("cancelled: %d ended, %d pulls reported", ended.Load(), len(o.Pulls))
		}
	})
}

func TestPull_thatCannotSucceedIsTriedAgainWhenWishedAgain(t *testing.T) {
	w, c := newWorld(), &cacheOf{}
	var tries atomic.Int32
	w.fetch = func(context.Context, func(api.DownloadProgress)) (Model, error) {
		if tries.Add(1) == 1 {
			return Model{}, &engine.Failure{Code: api.FailHubAuth, Message: "ask for access", Final: true}
		}
		return Model{}, nil
	}
	within(t, w, withCache(c), func() {
		w.wishFiles(wishNow(api.WishPull, "acme/m", time.Hour))
		after(5 * time.Minute)
		if p := w.pullOf(t); p.Phase != api.PhaseFailed || p.Failure == nil || !p.Failure.Final || tries.Load() != 1 {
			t.Errorf("after %d tries: %+v", tries.Load(), p)
		}
		w.wishFiles(wishNow(api.WishPull, "acme/m", time.Hour))
		after(5 * time.Second)
		if p := w.pullOf(t); p.Phase != api.PhaseComplete || tries.Load() != 2 {
			t.Errorf("after %d tries: %+v", tries.Load(), p)
		}
	})
}

func TestPurge_waitsForTheEngineAndHappensOnce(t *testing.T) {
	w, c := newWorld(), &cacheOf{}
	d := replicaOf("m", 0)
	d.Spec.ModelName, d.Spec.ModelSource, d.Spec.ModelPath, d.Spec.EngineType = "acme/m", api.SourceHuggingFace, "", api.EngineLlamaCPP
	within(t, w, withCache(c), func() {
		w.wish(d)
		after(5 * time.Second)
		w.mu.Lock()
		w.inFlight = 1 // a stream that takes its time
		w.mu.Unlock()
		wish := wishNow(api.WishPurge, "acme/m", time.Hour)
		w.wish()
		w.wishFiles(wish)
		after(30 * time.Second)
		if c.purged() != 0 {
			t.Fatalf("purged under an engine: %v", c.purges)
		}
		w.mu.Lock()
		w.inFlight = 0
		w.mu.Unlock()
		after(10 * time.Minute)
		if c.purged() != 1 {
			t.Errorf("purges: %v, want one", c.purges)
		}
	})
}

func TestPurge_isTriedAgainUntilItsTimeIsOver(t *testing.T) {
	w, c := newWorld(), &cacheOf{purge: func(context.Context) error { return errors.New("the disk is away") }}
	within(t, w, withCache(c), func() {
		w.wishFiles(wishNow(api.WishPurge, "acme/m", time.Hour)) // and no server ever says that it has ended
		after(10*time.Minute + time.Second)
		if n := c.purged(); n < 9 || n > 11 {
			t.Errorf("%d tries in 10 minutes, want one a minute", n)
		}
		after(2 * time.Hour)
		if n := c.purged(); n > 61 {
			t.Errorf("%d tries: it went on after its hour", n)
		}
	})
}

func TestPurge_isHaltedWhenItsFilesAreWanted(t *testing.T) {
	halted := make(chan struct{}, 1)
	w, c := newWorld(), &cacheOf{purge: func(ctx context.Context) error {
		<-ctx.Done()
		halted <- struct{}{}
		return ctx.Err()
	}}
	within(t, w, withCache(c), func() {
		purge := wishNow(api.WishPurge, "acme/m", time.Hour)
		w.wishFiles(purge)
		after(time.Second)
		w.wishFiles(purge, wishNow(api.WishPin, "acme/m", 0))
		after(time.Second)
		if len(halted) != 1 {
			t.Error("the purge goes on")
		}
		if last := c.pins[len(c.pins)-1]; len(last) != 1 || last[0].ModelName != "acme/m" {
			t.Errorf("pins: %v", c.pins)
		}
	})
}

// TestPins_nothingIsToldBeforeAllCanBeRead: until then the cache deletes nothing.
func TestPins_nothingIsToldBeforeAllCanBeRead(t *testing.T) {
	w, c := newWorld(), &cacheOf{}
	w.want.FrozenWishes = []string{"pin-0011"}
	within(t, w, withCache(c), func() {
		w.wishFiles(wishNow(api.WishPin, "acme/m", 0))
		after(time.Minute)
		if len(c.pins) != 0 {
			t.Errorf("told %v, and a pin may be missing", c.pins)
		}
		w.mu.Lock()
		w.want.FrozenWishes = nil
		w.mu.Unlock()
		w.wishFiles(wishNow(api.WishPin, "acme/m", 0))
		after(time.Second)
		if len(c.pins) != 1 || len(c.pins[0]) != 1 {
			t.Errorf("told %v, want one pin once", c.pins)
		}
	})
}

// TestDownload_isShownUntilTheReplicaIsReady: who watches it sees its end. One that had nothing to fetch is not shown at all.
func TestDownload_isShownUntilTheReplicaIsReady(t *testing.T) {
	for _, fetched := range []bool{true, false} {
		w := newWorld()
		w.fetch = func(_ context.Context, progress func(api.DownloadProgress)) (Model, error) {
			if fetched {
				progress(api.DownloadProgress{Phase: api.PhaseDownloading, TotalBytes: 10, DownloadedBytes: 4})
				time.Sleep(3 * time.Second)
			}
			progress(api.DownloadProgress{Phase: api.PhaseComplete, TotalBytes: 10, DownloadedBytes: 10})
			return Model{Path: "/m/a.gguf"}, nil
		}
		w.behave = func(_ int, p *fakeProc) { p.listen(engine.AnswerBusy) }
		within(t, w, nil, func() {
			w.wish(replicaOf("m", 0))
			after(5 * time.Second)
			o, e := w.last()
			if shown := len(o.Downloads) == 1 && o.Downloads[0].Phase == api.PhaseComplete; shown != fetched || e.Status != api.EndpointStarting {
				t.Errorf("fetched %v: while the engine starts (%s): %+v", fetched, e.Status, o.Downloads)
			}
			w.proc(0).listen(engine.AnswerOK)
			after(2 * time.Second)
			if o, e = w.last(); len(o.Downloads) != 0 || e.Status != api.EndpointReady {
				t.Errorf("fetched %v: when it is %s: %+v", fetched, e.Status, o.Downloads)
			}
		})
	}
}
