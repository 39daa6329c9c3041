package obs

import (
	"sync/atomic"
	"time"
)

// Counter is one of the things that a gateway counts over all models.
type Counter int

// The counters of a gateway.
const (
	Answered2xx   Counter = iota // requests, by the status of their answers; 499, where the client has left, is among 4xx
	Answered4xx                  //
	Answered5xx                  //
	Retries                      // tries after the first
	RetriesOK                    // requests answered by one of them
	FailedConnect                // tries that failed at an engine, by how
	FailedTimeout                //
	Failed5xx                    //
	FailedOther                  //
	TooLarge                     // requests refused for their size
	Skipped                      // choices that passed over a replica because it rests
	Rested                       // rests that replicas were given
	counters
)

// buckets are the upper bounds of what durations are counted by, in seconds; one more holds what is longer.
var buckets = [...]float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60}

// Buckets are the upper bounds of the buckets that durations of requests are counted in, in seconds.
func Buckets() []float64 { b := buckets; return b[:] }

// durations counts by bucket: those above the bound before, and not above this one.
type durations [len(buckets) + 1]uint64

// Counts is what a gateway has counted since its process began: a value, of 288 bytes.
type Counts struct {
	N             [counters]uint64
	Latency, TTFT durations
}

// Tally counts. It takes no lock, and the zero Tally is ready for use.
type Tally struct {
	n             [counters]atomic.Uint64
	latency, ttft [len(buckets) + 1]atomic.Uint64
}

// Add counts one more of c.
func (t *Tally) Add(c Counter) { t.n[c].Add(1) }

// Get is how many of c there were.
func (t *Tally) Get(c Counter) uint64 { return t.n[c].Load() }

// Answered counts a request by the status of its answer.
func (t *Tally) Answered(status int) {
	switch {
	case status >= 500:
		t.Add(Answered5xx)
	case status >= 400:
		t.Add(Answered4xx)
	default:
		t.Add(Answered2xx)
	}
}

// Latency counts how long a request took to the end of its answer.
func (t *Tally) Latency(d time.Duration) { t.latency[bucketOf(d)].Add(1) }

// TTFT counts how long a request waited for the first byte that its engine generated.
func (t *Tally) TTFT(d time.Duration) { t.ttft[bucketOf(d)].Add(1) }

func bucketOf(d time.Duration) int {
	s := d.Seconds()
	for i, bound := range buckets {
		if s <= bound {
			return i
		}
	}
	return len(buckets)
}

// Counts is what has been counted by now. Of a request that ends at this moment a part may be missing.
func (t *Tally) Counts() (c Counts) {
	for i := range t.n {
		c.N[i] = t.n[i].Load()
	}
	for i := range t.latency {
		c.Latency[i], c.TTFT[i] = t.latency[i].Load(), t.ttft[i].Load()
	}
	return c
}

// since is what has come to c after before. A counter that has fallen began anew in between: then it is what it has reached since.
func (c Counts) since(before *Counts) Counts {
	less := func(now []uint64, then []uint64) {
		for i := range now {
			if now[i] >= then[i] {
				now[i] -= then[i]
			}
		}
	}
	less(c.N[:], before.N[:])
	less(c.Latency[:], before.Latency[:])
	less(c.TTFT[:], before.TTFT[:])
	return c
}
