package agent

import "time"

// The rule for engines that fail: 1, 2, 4 … 60 s between tries, and a crash loop after 5 failures in 10 minutes.
const (
	firstDelay  = time.Second
	maxDelay    = time.Minute
	loopCount   = 5
	loopWindow  = 10 * time.Minute
	forgetAfter = 10 * time.Minute // of serving
)

// Tries remembers a replica's failures. The zero value has none.
type Tries struct {
	InARow int         // since it last served for long
	Recent []time.Time // inside the window
}

// Failed returns the memory with one more failure at now.
func (t Tries) Failed(now time.Time) Tries {
	recent := []time.Time{now}
	for i := len(t.Recent) - 1; i >= 0 && len(recent) < loopCount; i-- {
		if now.Sub(t.Recent[i]) <= loopWindow {
			recent = append([]time.Time{t.Recent[i]}, recent...)
		}
	}
	return Tries{InARow: t.InARow + 1, Recent: recent}
}

// Served returns the memory after the engine served for d: a long time forgives everything.
func (t Tries) Served(d time.Duration) Tries {
	if d >= forgetAfter {
		return Tries{}
	}
	return t
}

// Looping tells whether the replica failed too often in a short time.
func (t Tries) Looping() bool { return len(t.Recent) >= loopCount }

// Delay is how long to wait before the next try.
func (t Tries) Delay() time.Duration {
	if t.InARow == 0 {
		return 0
	}
	d := firstDelay << min(t.InARow-1, 10)
	return min(d, maxDelay)
}
