package gateway

import "time"

// load is what choosing between replicas needs to know of one.
type load struct {
	inflight int64
	ejected  bool // has failed several times in a row and rests
	tried    bool // has already failed this very request
}

// pick returns which of the replicas gets the next request, or -1.
//
//  1. Never one that was tried for this request.
//  2. One that rests only when all others do too: a doubtful answer is better than none.
//  3. Of these the one with the fewest requests in flight.
//  4. Of equals, the next one in turn: idle replicas share the work, and none is always the first to be tried.
func pick(of []load, turn uint64) int {
	best, equals := -1, uint64(0)
	for i := range of {
		switch {
		case of[i].tried:
		case best < 0 || of[i].before(of[best]):
			best, equals = i, 1
		case of[i] == of[best]:
			equals++
		}
	}
	if equals < 2 {
		return best
	}
	skip := turn % equals
	for i := best; ; i++ {
		if of[i] != of[best] {
			continue
		}
		if skip == 0 {
			return i
		}
		skip--
	}
}

// before tells whether a replica like l is to be preferred to one like m.
func (l load) before(m load) bool {
	if l.ejected != m.ejected {
		return m.ejected
	}
	return l.inflight < m.inflight
}

// When a replica rests: what Envoy calls outlier ejection.
const (
	ejectAfter = 3                // failures in a row
	restFirst  = 10 * time.Second // the nth rest in a row is n times as long
	restMost   = 5 * time.Minute
)

// health is how a replica did lately. The zero health is that of one that never failed.
type health struct {
	fails   int           // in a row
	rests   int           // in a row, none of them followed by a success
	resting time.Duration // until when it rests, on the gateway's own clock
}

func (h health) ejected(now time.Duration) bool { return now < h.resting }

// failed returns h after a failure. It rests from the third in a row on, if mayRest; after a rest a single failure is enough, so a
// dead replica costs one try per rest. What was in flight when the rest began changes nothing.
func (h health) failed(now time.Duration, mayRest bool) health {
	if h.ejected(now) {
		return h
	}
	h.fails++
	if h.fails < ejectAfter && h.rests == 0 || !mayRest {
		return h
	}
	h.rests++
	h.resting = now + min(restFirst*time.Duration(h.rests), restMost)
	return h
}

// mayRest tells whether one more of all replicas may rest: at most half of them, so never the only one.
func mayRest(resting, all int) bool { return 2*(resting+1) <= all }

// budget bounds the further tries that engines which answer badly may cause: a fifth of the requests over time, and three a second
// where there are few. A failing engine is not asked twice as much because it fails.
type budget struct {
	tries float64       // that may be made now
	seen  uint64        // requests that have been counted in
	at    time.Duration // when that was
}

const (
	triesPerRequest = 0.2
	triesPerSecond  = 3
	triesAtMost     = 50 // saved up
)

// spend asks for one try at now, when there have been so many requests in all.
func (b budget) spend(requests uint64, now time.Duration) (budget, bool) {
	if b.tries < triesPerSecond {
		b.tries = min(triesPerSecond, b.tries+triesPerSecond*(now-b.at).Seconds())
	}
	b.tries = min(triesAtMost, b.tries+triesPerRequest*float64(requests-b.seen))
	b.seen, b.at = requests, now
	if b.tries < 1 {
		return b, false
	}
	b.tries--
	return b, true
}
