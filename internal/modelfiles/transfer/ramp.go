package transfer

import (
	"cmp"
	"slices"
	"time"
)

// ramp decides how many connections one source gets. It begins with one: as long as a file comes in order it is hashed
// from memory, and a fast source needs no more. It takes four times as many while that pays, since a server that
// limits each connection gives as many times more; it goes back when it did not pay, and tries smaller steps later.
type ramp struct {
	target, most int

	factor  int     // of the next step; 0 = the first
	from    int     // connections before the last step; 0 = none to judge
	base    float64 // bytes per second with them
	since   time.Time
	bytes   int64
	hold    time.Time // no step before
	pause   time.Duration
	lastCut time.Time
}

// How the number of connections changes.
const (
	startConnections = 4               // how many files may have one each from the start
	rampPause        = 5 * time.Second // after a step that did not pay, doubling
	rampMaxPause     = time.Minute
	rampWorth        = 0.35 // a step must bring this share of what it would bring with a limit per connection
	cutEvery         = time.Second
)

// step looks at the counter of bytes at time now. wanted is how many connections there is work for; window is how long a
// rate is measured. It reports whether the target changed.
func (r *ramp) step(now time.Time, bytes int64, wanted int, window time.Duration) bool {
	if wanted < r.target || r.since.IsZero() { // with some of them idle nothing can be learnt
		r.since, r.bytes = now, bytes
		return false
	}
	d := now.Sub(r.since)
	if d < window {
		return false
	}
	rate, before := float64(bytes-r.bytes)/d.Seconds(), r.target
	r.since, r.bytes = now, bytes
	switch {
	case r.from > 0 && rate-r.base < r.base*rampWorth*(float64(r.target)/float64(r.from)-1):
		r.target, r.from, r.factor = r.from, 0, 2
		r.pause = min(max(2*r.pause, rampPause), rampMaxPause)
		r.hold = now.Add(r.pause)
	case r.target < r.most && !now.Before(r.hold):
		r.from, r.base = r.target, rate
		r.target = min(r.target*cmp.Or(r.factor, 4), r.most)
	default:
		r.from = 0
	}
	return r.target != before
}

// curious tells that more connections may come soon: they want short stretches.
func (r *ramp) curious() bool { return r.from > 0 || r.hold.IsZero() && r.target < r.most }

// cut halves the connections: the source is overloaded. Several complaints at once are one.
func (r *ramp) cut(now time.Time) {
	if now.Sub(r.lastCut) < cutEvery {
		return
	}
	r.lastCut, r.since, r.from = now, time.Time{}, 0
	r.target = max(r.target/2, 1)
	r.pause = min(max(2*r.pause, rampPause), rampMaxPause)
	r.hold = now.Add(r.pause)
}

// shares divides n connections among transfers that want so many each: nobody gets more than it wants, what one leaves
// goes to the others, and everybody gets at least one, which the caller lets them use in turn.
func shares(n int, wants []int) []int {
	out := make([]int, len(wants))
	order := make([]int, len(wants))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return wants[a] - wants[b] })
	for k, i := range order {
		rest := len(order) - k
		out[i] = min(wants[i], max((n+rest-1)/rest, 1))
		n = max(n-out[i], 0)
	}
	return out
}

func median(running []pace) float64 {
	rates := make([]float64, len(running))
	for i, p := range running {
		rates[i] = p.rate
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}
