package httpapi

import (
	"sync"
	"time"
)

// allowance is how many logins may fail before each further one has to wait, twice as long each time.
type allowance struct {
	free    int           // failures that cost nothing
	longest time.Duration // wait
}

var (
	perAccount = allowance{free: 5, longest: time.Minute} // short, so that a stranger cannot lock people out for long
	perAddress = allowance{free: 20, longest: 15 * time.Minute}
)

const (
	// failuresKept is how long failures count.
	failuresKept = time.Hour
	// failureKeys bounds the memory; beyond it all others share one count.
	failureKeys = 4096
)

// backoff counts failures by key: of an account, known or not, or an address.
type backoff struct {
	allowance
	mu   sync.Mutex
	seen map[string]failures
}

type failures struct {
	n     int
	last  time.Time
	until time.Time // no try before
}

// try counts a try as if it failed, before any work is done for it, so that tries at the same time cannot pass together. It returns how long to
// wait instead; 0: go on.
func (b *backoff) try(key string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]failures{}
	}
	key = b.room(key, now)
	f := b.seen[key]
	if now.Sub(f.last) >= failuresKept {
		f = failures{}
	}
	if wait := f.until.Sub(now); wait > 0 {
		return wait
	}
	f.n, f.last = f.n+1, now
	if over := f.n - b.free; over >= 0 {
		f.until = now.Add(min(b.longest, time.Second<<min(over, 20)))
	}
	b.seen[key] = f
	return 0
}

// right takes back what try has counted: of an account everything, of an address the one try.
func (b *backoff) right(key string, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, known := b.seen[key]
	if !known {
		return
	}
	if f.n--; all || f.n <= 0 {
		delete(b.seen, key)
		return
	}
	if f.n < b.free {
		f.until = time.Time{}
	}
	b.seen[key] = f
}

// room returns the key to count under, having made room for it where possible.
func (b *backoff) room(key string, now time.Time) string {
	if _, known := b.seen[key]; known || len(b.seen) < failureKeys {
		return key
	}
	for k, f := range b.seen {
		if now.Sub(f.last) >= failuresKept {
			delete(b.seen, k)
		}
	}
	if len(b.seen) < failureKeys {
		return key
	}
	return ""
}
