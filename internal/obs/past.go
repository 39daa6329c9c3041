package obs

import (
	"context"
	"sync"
	"time"
)

// How finely the past is kept, and for how long.
const (
	fineEvery, fineFor     = 15 * time.Second, time.Hour
	coarseEvery, coarseFor = time.Minute, 24 * time.Hour
)

// Past is what a gateway counted over the last day: where its counters stood every 15 seconds for an hour, and every minute for a day. That is
// 1,683 samples of 312 bytes, half a megabyte, when the day is full. It is of this process, and begins anew with it.
type Past struct {
	name  string
	tally *Tally

	mu           sync.Mutex
	fine, coarse samples
}

// NewPast keeps what tally counts from now on. The name says whose it is.
func NewPast(name string, tally *Tally, now time.Time) *Past {
	p := &Past{name: name, tally: tally}
	p.sample(now)
	return p
}

// Name is whose past it is.
func (p *Past) Name() string { return p.name }

// Tally is where it is counted.
func (p *Past) Tally() *Tally { return p.tally }

// Run samples until ctx ends. It is the only one who does.
func (p *Past) Run(ctx context.Context) error {
	tick := time.NewTicker(fineEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p.sample(now)
		}
	}
}

func (p *Past) sample(now time.Time) {
	s := sample{now, p.tally.Counts()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fine = p.fine.with(s, fineEvery, fineFor)
	p.coarse = p.coarse.with(s, coarseEvery, coarseFor)
}

// Over is what was counted in the window that ends now.
func (p *Past) Over(now time.Time, window time.Duration) Span {
	return p.Curve(now, window, window)[0]
}

// Curve is what was counted in each step of the window that ends now, oldest first, without the steps before the first sample. There is always at
// least one, and together they are what Over tells.
func (p *Past) Curve(now time.Time, window, step time.Duration) []Span {
	p.mu.Lock()
	defer p.mu.Unlock()
	return curve(p.at, sample{now, p.tally.Counts()}, window, step)
}

// at is the newest sample that is not younger than t, or the oldest one of all.
func (p *Past) at(t time.Time) *sample {
	if s := p.fine.at(t); s != nil {
		return s
	}
	if s := p.coarse.at(t); s != nil {
		return s
	}
	return &p.coarse[0]
}

// sample is where the counters stood at a time.
type sample struct {
	at     time.Time
	counts Counts
}

// samples are in the order of their times.
type samples []sample

// with adds s when the last one is about as old as every says, and drops what is older than keep, but for one from where that begins.
func (l samples) with(s sample, every, keep time.Duration) samples {
	if n := len(l); n > 0 && s.at.Sub(l[n-1].at) < every-fineEvery/2 {
		return l
	}
	l = append(l, s)
	old := 0
	for old+1 < len(l) && s.at.Sub(l[old+1].at) >= keep {
		old++
	}
	if old > 0 {
		l = append(l[:0], l[old:]...)
	}
	return l
}

// at is the newest one that is not younger than t; nil: there is none.
func (l samples) at(t time.Time) *sample {
	for i := len(l) - 1; i >= 0; i-- {
		if !l[i].at.After(t) {
			return &l[i]
		}
	}
	return nil
}

// Span is what was counted from one time to another.
type Span struct {
	From, To time.Time
	Counts
}

// Seconds is how long it is.
func (s *Span) Seconds() float64 { return max(s.To.Sub(s.From).Seconds(), 0) }

// curve cuts the window before now into steps, each from the sample at its beginning to the one at its end, so that everything is in one of them.
// Steps that no sample tells apart are one, with the one after them.
func curve(at func(time.Time) *sample, now sample, window, step time.Duration) []Span {
	var out []Span
	from := at(now.at.Add(-window))
	for left := window - step; left >= 0; left -= step {
		to := &now
		if left > 0 {
			to = at(now.at.Add(-left))
		}
		if left > 0 && !to.at.After(from.at) {
			continue
		}
		out = append(out, Span{from.at, to.at, to.counts.since(&from.counts)})
		from = to
	}
	return out
}
