package obs

import (
	"sync"
	"time"
)

// Sampler lets through the first lines of every second and counts the rest, so that a storm of failures fills neither the disk nor
// a core. The zero Sampler lets nothing through; use NewSampler.
type Sampler struct {
	perSecond int

	mu      sync.Mutex
	second  int64
	passed  int
	dropped uint64
}

// NewSampler returns a Sampler that passes at most perSecond events in each second of the clock it is given.
func NewSampler(perSecond int) *Sampler { return &Sampler{perSecond: perSecond} }

// Allow tells whether an event at now may pass. When it may, dropped is how many were held back since the last one that passed.
func (s *Sampler) Allow(now time.Time) (ok bool, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := now.Unix(); sec != s.second {
		s.second, s.passed = sec, 0
	}
	if s.passed >= s.perSecond {
		s.dropped++
		return false, 0
	}
	s.passed++
	dropped, s.dropped = s.dropped, 0
	return true, dropped
}
