package agent

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// heldPull is a pull in hand: what the loop knows of it.
type heldPull struct {
	wish     api.CacheWish
	state    api.CachePull
	over     bool
	stopping bool
	cancel   context.CancelFunc
}

// pullNews is a pull's news for the loop; gone means that it was cancelled and nothing of it runs any more.
type pullNews struct {
	id    string
	state api.CachePull
	over  bool
	gone  bool
}

// heldPurge is a purge that the loop knows of.
type heldPurge struct {
	HeldPurge
	cancel context.CancelFunc
}

// purged is the outcome of a purge.
type purged struct {
	id  string
	err error
}

// purgeAgain is the pause after a purge that failed.
const purgeAgain = time.Minute

// files is the part of the loop that looks after files beyond what replicas need; the loop's goroutine owns it.
type files struct {
	pulls        map[string]*heldPull
	purges       map[string]*heldPurge
	news         chan pullNews
	purged       chan purged
	pins, wanted []api.ModelSpec // as last told; nil = never
	stopped      []api.ModelSpec
}

func newFiles() files {
	return files{pulls: map[string]*heldPull{}, purges: map[string]*heldPurge{}, news: make(chan pullNews), purged: make(chan purged)}
}

// lookAfterFiles takes the steps that the wishes ask for.
func (l *loop) lookAfterFiles(ctx context.Context, want api.NodeDesired, now time.Time) {
	if l.cfg.Cache == nil || want.Revision == 0 {
		return
	}
	for {
		plan := PlanWishes(want, l.heldFiles(), now)
		for _, a := range plan {
			l.actOnWish(ctx, a, now)
		}
		if !slices.ContainsFunc(plan, func(a WishAction) bool { return a.Verb == VerbHearPurge || a.Verb == VerbForget }) {
			break // else there may be more to do at once
		}
	}
	// A first look that may miss a pin tells nothing: as long as nobody has told, nothing is deleted to make room.
	pins, all := Pins(want, l.files.pins)
	if first := l.files.pins == nil; first && all || !first && !reflect.DeepEqual(pins, l.files.pins) {
		l.files.pins = pins
		l.cfg.Cache.SetPins(pins)
	}
	if !reflect.DeepEqual(want.Stopped, l.files.stopped) {
		l.files.stopped = want.Stopped
		l.cfg.Cache.SetStopped(want.Stopped)
	}
	wanted := Wanted(want, l.heldFiles())
	if uncertain := len(want.Frozen) > 0 || want.History != "" && !want.HistoryAccepted; uncertain {
		if l.files.wanted == nil {
			return // what is not known to be wanted might be deleted
		}
		wanted = Both(l.files.wanted, wanted)
	}
	if l.files.wanted == nil || !reflect.DeepEqual(wanted, l.files.wanted) {
		l.files.wanted = wanted
		l.cfg.Cache.SetWanted(wanted)
	}
}

func (l *loop) heldFiles() HeldFiles {
	h := HeldFiles{Pulls: map[string]HeldPull{}, Purges: map[string]HeldPurge{}}
	for id, p := range l.files.pulls {
		h.Pulls[id] = HeldPull{p.wish, p.over, p.stopping}
	}
	for id, p := range l.files.purges {
		h.Purges[id] = p.HeldPurge
	}
	for _, r := range l.held {
		spec := r.want.Spec.FilesOnly()
		spec.EngineType = engineOf(r.want)
		h.Used = append(h.Used, spec)
	}
	return h
}

func (l *loop) actOnWish(ctx context.Context, a WishAction, now time.Time) {
	log := l.cfg.Log.With("files", a.Wish.Spec.ModelName, "wish", a.ID)
	switch a.Verb {
	case VerbPull:
		log.Info("pull begins")
		l.pull(ctx, a)
		l.dirty = true
	case VerbRenew:
		p := l.files.pulls[a.ID]
		p.wish, p.state.WishedAtMS = a.Wish, a.Wish.CreatedAtMS
		l.dirty = true
	case VerbCancel:
		p := l.files.pulls[a.ID]
		p.stopping = true
		p.cancel()
	case VerbHearPurge:
		l.files.purges[a.ID] = &heldPurge{HeldPurge: HeldPurge{Wish: a.Wish, Since: now}}
	case VerbPurge:
		log.Info("purge begins")
		l.purge(ctx, a)
	case VerbHalt:
		l.files.purges[a.ID].cancel()
	case VerbForget:
		if p, ok := l.files.pulls[a.ID]; ok && p.over {
			delete(l.files.pulls, a.ID)
			l.dirty = true
		}
		if p, ok := l.files.purges[a.ID]; ok && !p.Running {
			delete(l.files.purges, a.ID)
		}
	}
}

// pull starts the goroutine of a pull.
func (l *loop) pull(ctx context.Context, a WishAction) {
	ended := ctx.Done()
	post := func(n pullNews) {
		n.id = a.ID
		select {
		case l.files.news <- n:
		case <-ended:
		}
	}
	p := puller{cfg: &l.cfg, spec: a.Wish.Spec, post: post}
	p.state = api.CachePull{PullID: a.ID, DownloadProgress: api.DownloadProgress{
		ModelUID: a.Wish.Spec.ModelUID, NodeID: l.cfg.NodeID, ModelName: a.Wish.Spec.ModelName, Phase: api.PhaseDownloading, UpdatedAtMS: time.Now().UnixMilli(),
	}}
	ctx, cancel := context.WithCancel(ctx)
	h := &heldPull{wish: a.Wish, state: p.state, cancel: cancel}
	h.state.WishedAtMS = a.Wish.CreatedAtMS
	l.files.pulls[a.ID] = h
	l.helpers.Go(func() {
		defer cancel()
		p.run(ctx)
		if ctx.Err() != nil {
			post(pullNews{gone: true})
		}
	})
}

// takePull applies a pull's news.
func (l *loop) takePull(n pullNews) {
	p := l.files.pulls[n.id]
	l.dirty = true
	if n.gone {
		delete(l.files.pulls, n.id)
		return
	}
	n.state.WishedAtMS = p.wish.CreatedAtMS
	p.state, p.over = n.state, n.over
	if n.over && p.stopping { // it was cancelled too late to be stopped
		delete(l.files.pulls, n.id)
	}
}

func (l *loop) purge(ctx context.Context, a WishAction) {
	ended := ctx.Done()
	ctx, cancel := context.WithCancel(ctx)
	h := l.files.purges[a.ID]
	h.Running, h.cancel = true, cancel
	l.helpers.Go(func() {
		defer cancel()
		freed, err := l.cfg.Cache.Purge(ctx, a.Wish.Spec, time.UnixMilli(a.Wish.CreatedAtMS))
		switch {
		case err == nil:
			l.cfg.Log.Info("files purged", "model", a.Wish.Spec.ModelName, "freed_bytes", freed)
		case !errors.Is(err, context.Canceled):
			l.cfg.Log.Warn("files not purged", "model", a.Wish.Spec.ModelName, "error", err)
		}
		select {
		case l.files.purged <- purged{a.ID, err}:
		case <-ended:
		}
	})
}

func (l *loop) takePurged(p purged, now time.Time) {
	h := l.files.purges[p.id]
	h.Running, h.Done = false, p.err == nil
	if p.err != nil {
		h.RetryAt = now.Add(purgeAgain)
	}
}

// pullDocuments is how the pulls stand, in order.
func (l *loop) pullDocuments() []api.CachePull {
	var out []api.CachePull
	for _, p := range l.files.pulls {
		out = append(out, p.state)
	}
	slices.SortFunc(out, func(a, b api.CachePull) int { return strings.Compare(a.PullID, b.PullID) })
	return out
}

// puller brings a model's files here for nobody yet. One goroutine runs it and owns everything in it.
type puller struct {
	cfg   *Config
	spec  api.ModelSpec
	state api.CachePull
	post  func(pullNews)
}

// run ends when the files are here, when they cannot be had, or when ctx does. A replica of the same files shares the transfer.
func (p *puller) run(ctx context.Context) {
	req := FileRequest{Spec: p.spec, Engine: p.spec.Engine()}
	if p.spec.TokenSecret != "" {
		req.Token = func(ctx context.Context) (api.Token, error) { return token(ctx, p.cfg.Link, p.spec) }
	}
	var tries Tries
	for {
		_, err := p.cfg.Files.Fetch(ctx, req, moderated(func(d api.DownloadProgress) {
			d.ModelUID, d.NodeID, d.ModelName, d.UpdatedAtMS = p.spec.ModelUID, p.cfg.NodeID, p.spec.ModelName, time.Now().UnixMilli()
			p.state.DownloadProgress, p.state.Failure = d, nil
			if d.Phase != api.PhaseComplete && d.Phase != api.PhaseFailed { // which this method says, when it is over
				p.post(pullNews{state: p.state})
			}
		}))
		now := time.Now()
		p.state.UpdatedAtMS = now.UnixMilli()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			p.state.Phase, p.state.Failure = api.PhaseComplete, nil
			p.cfg.Log.Info("pull complete", "files", p.spec.ModelName)
			p.post(pullNews{state: p.state, over: true})
			return
		}
		tries = tries.Failed(now)
		fail := describe(err)
		fail.AtMS = now.UnixMilli()
		p.state.Failure = &fail
		p.cfg.Log.Warn("pull failed", "files", p.spec.ModelName, "code", fail.Code, "error", fail.Message, "final", fail.Final)
		if fail.Final {
			p.state.Phase = api.PhaseFailed
			p.post(pullNews{state: p.state, over: true})
			return
		}
		p.state.Phase, p.state.SpeedBytesPerSec, p.state.ETASeconds = api.PhaseDownloading, 0, 0
		fail.RetryAtMS = now.Add(tries.Delay()).UnixMilli()
		p.post(pullNews{state: p.state})
		select {
		case <-ctx.Done():
			return
		case <-time.After(tries.Delay()):
		}
	}
}

// moderated passes progress on about once a second, and at every change of phase.
func moderated(post func(api.DownloadProgress)) func(api.DownloadProgress) {
	const every = 950 * time.Millisecond // the source tells in steps of its own: with a whole second it would often be the step after
	var last time.Time
	var phase api.DownloadPhase
	return func(p api.DownloadProgress) {
		now := time.Now()
		if p.Phase == phase && now.Sub(last) < every {
			return
		}
		last, phase = now, p.Phase
		post(p)
	}
}
