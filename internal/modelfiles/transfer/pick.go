package transfer

import (
	"math"
	"time"
)

// standing is how a source has done in this transfer.
type standing struct {
	peer     bool
	full     bool      // it has as many connections as it may
	barred   bool      // it gave wrong bytes, or will never give these
	failures int       // in a row, without a byte
	until    time.Time // not to be asked before
	running  int
}

// patientWith is how often a peer may fail before a hub is asked for what it was to give.
const patientWith = 3

// pick chooses whom to ask next, best first, or -1 and how long to wait before somebody can be asked: 0 means until
// something changes. Of several peers in a row the least busy one is asked. A hub that stands behind peers is the last
// resort: not while one of them is only busy or has failed once or twice.
func pick(all []standing, now time.Time) (int, time.Duration) {
	best, wait, stop := -1, time.Duration(0), false
	for i, s := range all {
		if !s.peer && (best >= 0 || stop) {
			break
		}
		later := s.until.Sub(now)
		switch {
		case s.barred:
			continue
		case s.full:
			stop = stop || s.peer
		case later > 0:
			if stop = stop || s.peer && s.failures < patientWith; wait == 0 || later < wait {
				wait = later
			}
		case best < 0 || s.running < all[best].running:
			best = i
		}
		if best >= 0 && !s.peer {
			break
		}
	}
	if best >= 0 {
		return best, 0
	}
	return -1, wait
}

// backOff is how long a source is left alone after so many failures in a row: doubling from first to most, between half
// and one and a half of that by chance (0 <= chance < 1).
func backOff(failures int, first, most time.Duration, chance float64) time.Duration {
	d := float64(first) * math.Pow(2, float64(min(failures, 40)-1))
	return time.Duration(min(d, float64(most)) * (0.5 + chance))
}
