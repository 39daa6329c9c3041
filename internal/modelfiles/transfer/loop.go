package transfer

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// How often the loop looks at things that no event tells.
const (
	watchEvery   = 30 * time.Millisecond
	sourcesEvery = 5 * time.Second
	rateOver     = 3 * time.Second // that a connection's speed is smoothed over
)

// enough is how many bytes a connection has to bring, so that its end says nothing against its source.
const enough = 256 << 10

// Why a connection was given up.
var (
	errStalled = errors.New("no byte for too long")
	errSlow    = errors.New("far slower than the others")
	errDrips   = errors.New("hardly a byte")
)

// source is a Source and how it does.
type source struct {
	Source
	standing
	name  string
	seat  *seat
	whole bool // it ignores ranges: the next request is for everything
	bad   int  // answers against the protocol in a row, without a byte
}

// loop decides who fetches what. It is one goroutine, and the only one that touches its fields.
type loop struct {
	*Blob
	all   map[string]*source // every one that was ever named
	order []*source          // those named last, best first
	ended chan *task
	fresh chan listing // at most one is under way

	asking  bool
	askAt   time.Time // when sources are to be asked for next
	lost    int       // times that asking failed in a row
	watched time.Time
}

// listing is an answer of Job.Sources.
type listing struct {
	sources []Source
	err     error
}

func newLoop(b *Blob) *loop {
	return &loop{Blob: b, all: map[string]*source{}, ended: make(chan *task), fresh: make(chan listing, 1)}
}

// run returns when every byte is written.
func (l *loop) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer l.close()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		changed := l.job.Limits.changes()
		l.ask(ctx, now)
		l.watch(now)
		wait := l.start(ctx, now)
		if len(l.running) == 0 && l.missing() == 0 {
			return nil
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case t := <-l.ended:
			if err := l.settle(ctx, t, time.Now()); err != nil {
				return err
			}
		case f := <-l.fresh:
			if err := l.learn(f, time.Now()); err != nil {
				return err
			}
		case <-changed:
		case <-timer.C:
		}
	}
}

// close waits until nobody works for the loop any more. Its context has ended.
func (l *loop) close() {
	for len(l.running) > 0 {
		l.drop(<-l.ended)
	}
	if l.asking {
		<-l.fresh
	}
	for _, s := range l.all {
		s.seat.leave()
	}
}

// missing is how many bytes are not written yet.
func (l *loop) missing() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.job.Entry.Size - l.written.total()
}

// ask asks for sources when it is time, without waiting for the answer.
func (l *loop) ask(ctx context.Context, now time.Time) {
	if l.asking || now.Before(l.askAt) || l.job.Entry.Size == 0 {
		return
	}
	l.asking = true
	go func() {
		s, err := l.job.Sources(ctx)
		l.fresh <- listing{s, err}
	}()
}

// learn takes over an answer of Job.Sources. What is known of a source stays known.
func (l *loop) learn(f listing, now time.Time) error {
	l.asking, l.askAt = false, now.Add(sourcesEvery)
	if f.err != nil {
		e, ok := fail.As(f.err)
		if !ok || !passing(e) {
			return f.err
		}
		l.lost++
		l.askAt = now.Add(backOff(l.lost, l.job.Patience.FirstDelay, l.job.Patience.MaxDelay, rand.Float64()))
		l.job.Gauge.failed(e.Message)
		return nil
	}
	l.lost, l.order = 0, nil
	for _, s := range f.sources {
		at, ok := l.all[s.Name()]
		if !ok {
			at = &source{Source: s, name: s.Name(), seat: l.job.Limits.join(s)}
			at.peer = s.Peer()
			l.all[at.name] = at
		}
		l.order = append(l.order, at)
	}
	if len(l.order) == 0 { // others may be fetching it; who has it will be told soon
		l.askAt = now.Add(backOff(1, l.job.Patience.FirstDelay, l.job.Patience.MaxDelay, rand.Float64()))
	}
	return nil
}

// start begins as many requests as there are bytes and connections for, and returns how long to wait at most for the
// next look.
func (l *loop) start(ctx context.Context, now time.Time) time.Duration {
	for {
		src, wait := l.whom(now)
		if src == nil {
			if wait == 0 || wait > watchEvery {
				wait = watchEvery
			}
			return wait
		}
		if !src.seat.take() { // another transfer was faster
			return watchEvery
		}
		t, ok := l.next(src)
		if !ok {
			src.seat.untake()
			return watchEvery
		}
		l.launch(ctx, t, now)
	}
}

// whom chooses the source of the next request, or nil and how long until one can be asked.
func (l *loop) whom(now time.Time) (*source, time.Duration) {
	all := make([]standing, len(l.order))
	alone := slices.ContainsFunc(l.order, func(s *source) bool { return s.whole })
	for i, s := range l.order {
		if l.doubtful && s.peer {
			s.barred = true
		}
		room, over := s.seat.room(now, s.running+l.useful())
		if over {
			l.giveUpOne(s)
		}
		s.full = room <= 0 || alone && (!s.whole || len(l.running) > 0)
		all[i] = s.standing
	}
	i, wait := pick(all, now)
	if i < 0 {
		return nil, wait
	}
	return l.order[i], 0
}

// useful is how many more requests there is something to ask for.
func (l *loop) useful() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.job.Entry.Size <= oneGet {
		return 1 - min(len(l.running), 1)
	}
	left := l.job.Entry.Size - l.written.total()
	for _, t := range l.running {
		left -= t.end - t.at
	}
	return int((left + minTake - 1) / minTake)
}

// giveUpOne ends the newest request to a source early: another transfer waits for its connection.
func (l *loop) giveUpOne(s *source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range slices.Backward(l.running) {
		if t.src == s && t.end > t.busy {
			t.end = max(t.busy, t.at)
			return
		}
	}
}

// next chooses what the next request is for.
func (l *loop) next(src *source) (*task, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := l.job.Entry.Size
	if src.whole {
		gap := l.written.gaps(size)
		if len(gap) == 0 {
			return nil, false
		}
		// What lies behind comes once more: the part that is here is read over, the rest is written in order.
		l.written = l.written.without(span{gap[0].From, size})
		l.job.Gauge.Have.Store(l.written.total())
		src.whole = false
		return &task{src: src, whole: true, asked: span{0, size}, at: gap[0].From, end: size}, true
	}
	running := make([]span, len(l.running))
	for i, t := range l.running {
		running[i] = span{t.at, t.end}
	}
	s, ok := take(l.written, running, size, l.connections())
	if !ok {
		s, ok = l.halve()
	}
	return &task{src: src, asked: s, at: s.From, end: s.To}, ok
}

// connections is how many requests this transfer has, or may soon have.
func (l *loop) connections() int {
	n := 0
	for _, s := range l.order {
		n += s.seat.likely()
	}
	return max(n, 1)
}

// halve takes the second half of the running request that would end last, if that saves time.
func (l *loop) halve() (span, bool) {
	paces := make([]pace, len(l.running))
	for i, t := range l.running {
		if !t.whole && !t.src.Peer() && l.job.Entry.Size > oneGet {
			paces[i] = pace{t.end - max(t.at, t.busy), t.rate}
		}
	}
	i := split(paces)
	if i < 0 {
		return span{}, false
	}
	t := l.running[i]
	s := span{t.end - paces[i].left/2, t.end}
	t.end = s.From
	return s, true
}

func (l *loop) launch(ctx context.Context, t *task, now time.Time) {
	ctx, t.stop = context.WithCancelCause(ctx)
	t.began, t.busy = now, t.at
	t.src.running++
	l.mu.Lock()
	l.running = append(l.running, t)
	l.mu.Unlock()
	go func() {
		t.err = l.work(ctx, t)
		l.ended <- t
	}()
}

// drop takes a task that has ended out of the books.
func (l *loop) drop(t *task) {
	l.mu.Lock()
	l.running = slices.DeleteFunc(l.running, func(x *task) bool { return x == t })
	l.mu.Unlock()
	t.stop(nil)
	t.src.running--
	t.src.seat.put()
}

// settle draws the conclusions from a request that has ended. The bytes that it did not bring are free again.
func (l *loop) settle(ctx context.Context, t *task, now time.Time) error {
	l.drop(t)
	src, got := t.src, t.got.Load()
	if got > 0 {
		src.failures, src.bad = 0, 0
	}
	if t.err == nil || t.dropped || ctx.Err() != nil {
		return ctx.Err()
	}
	e, ok := fail.As(t.err)
	if t.kicked != nil {
		e, ok = fail.Passing(api.FailDownload, fail.Network, "%s sent %s", src.name, kickedFor(t.kicked, l.patience(t))).Because(t.kicked), true
	}
	if !ok {
		return t.err
	}
	if e.Code == api.FailDiskFull || e.Reason == fail.Disk {
		return t.err
	}
	l.job.Gauge.failed(e.Message)
	l.job.Log.Info("request for a file failed, will retry", "file", l.job.Entry.Path, "source", src.name, "reason", string(e.Reason), "error", e.Message)
	l.askAt = now // who failed may be gone
	switch {
	case src.peer && (!passing(e) && e.Reason != fail.NoEntry || e.Reason == fail.RangeIgnored):
		src.barred = true
		return nil
	case e.Reason == fail.RangeIgnored:
		src.whole = true
		for _, other := range l.running {
			other.dropped = true
			other.stop(e)
		}
		return nil
	case !src.peer && !passing(e):
		return t.err
	case e.Reason == fail.BadServer:
		if src.bad++; src.bad >= l.job.Patience.BadAnswers && !src.peer {
			return t.err
		}
	case e.Reason == fail.RateLimited, e.Reason == fail.Server:
		src.seat.cut(now)
	}
	l.wait(src, e, got, now)
	return nil
}

// wait leaves a source alone for a while after a failure. Requests that fail together are one failure, and a connection
// that brought enough is taken up at once.
func (l *loop) wait(src *source, e *fail.Error, got int64, now time.Time) {
	busy := e.Reason == fail.RateLimited
	if got >= enough || now.Before(src.until) || busy && !src.peer { // a hub's client waits itself as long as it was told
		return
	}
	if !busy {
		src.failures++
	}
	src.until = now.Add(backOff(max(src.failures, 1), l.job.Patience.FirstDelay, l.job.Patience.MaxDelay, rand.Float64()))
}

func kickedFor(why error, d time.Duration) string {
	switch {
	case errors.Is(why, errSlow):
		return "far less than over the other connections for " + d.String()
	case errors.Is(why, errDrips):
		return "hardly a byte for " + d.String()
	}
	return "nothing for " + d.String()
}

// passing tells whether asking again may help.
func passing(e *fail.Error) bool {
	switch e.Reason {
	case fail.Network, fail.Server, fail.RateLimited, fail.BadServer, fail.ExpiredAddress, fail.RangeIgnored:
		return !e.Final
	}
	return false
}

// watch measures the running requests and gives up those that stall or crawl.
func (l *loop) watch(now time.Time) {
	dt := now.Sub(l.watched)
	if dt < watchEvery {
		return
	}
	l.watched = now
	paces := make([]pace, 0, len(l.running))
	hubs := make([]*task, 0, len(l.running))
	stalled := map[*source]int{}
	for _, t := range l.running {
		got := t.got.Load()
		if got > t.seen {
			t.src.failures, t.src.bad = 0, 0
		}
		w := 1 - math.Exp(-float64(dt)/float64(rateOver))
		if age := now.Sub(t.began); age < rateOver { // no history yet: the mean
			t.rate = float64(got) / max(age.Seconds(), 0.001)
		} else {
			t.rate += w * (float64(got-t.seen)/dt.Seconds() - t.rate)
		}
		t.seen = got
		last := time.Duration(t.last.Load())
		if t.kicked == nil && last > 0 && now.Sub(t.began)-last > l.patience(t) {
			stalled[t.src]++
			l.kick(t, errStalled)
		}
		if !t.src.Peer() && last > 0 {
			paces, hubs = append(paces, pace{rate: t.rate}), append(hubs, t)
		}
	}
	for s, n := range stalled {
		if n*5 > s.running { // more than every fifth: too many for that source
			s.seat.cut(now)
		}
	}
	for i, crawls := range slow(paces) {
		t, why := hubs[i], errSlow
		if drips := t.rate < l.job.Limits.least; drips {
			crawls, why = true, errDrips
		}
		switch {
		case !crawls:
			t.slowSince = time.Time{}
		case t.slowSince.IsZero():
			t.slowSince = now
		case t.kicked == nil && now.Sub(t.slowSince) >= l.job.Patience.Slow:
			l.kick(t, why)
		}
	}
}

func (l *loop) kick(t *task, why error) {
	t.kicked = why
	t.stop(why)
}

// patience is how long a request may bring nothing.
func (l *loop) patience(t *task) time.Duration {
	if t.src.Peer() {
		return l.job.Patience.PeerStall
	}
	return l.job.Patience.Stall
}
