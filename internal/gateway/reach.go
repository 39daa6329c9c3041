package gateway

import "time"

// When a node counts as silent. A node that does not answer is found in at most probeEvery + silentAfter * probeLimit = 2.5 s.
const (
	probeEvery  = 500 * time.Millisecond
	probeLimit  = time.Second // for one answer
	silentAfter = 2           // probes in a row without an answer
	backAfter   = 3           // answers in a row
	// giveUp is how long after that the requests end which wait there although no other replica could answer: until then the network
	// may come back, and with it their answers.
	giveUp = 15 * time.Second
)

// reach is how a node did in its last probes. The zero reach is that of one that answers.
type reach struct {
	strikes int // probes without an answer, in a row
	good    int // answers in a row
	silent  bool
	since   time.Duration // when it became silent
}

// after returns r after one more probe, whose outcome is known at now.
func (r reach) after(answered bool, now time.Duration) reach {
	if !answered {
		r.strikes, r.good = r.strikes+1, 0
		if r.strikes >= silentAfter && !r.silent {
			r.silent, r.since = true, now
		}
		return r
	}
	r.strikes, r.good = 0, r.good+1
	r.silent = r.silent && r.good < backAfter
	return r
}

// suspected tells whether a node is probed although nobody uses it.
func (r reach) suspected() bool { return r.silent || r.strikes > 0 }

// hopeless tells whether nobody should wait for it any more.
func (r reach) hopeless(now time.Duration) bool { return r.silent && now-r.since >= giveUp }
