package hub

import (
	"context"
	"net"
	"sync"
	"time"
)

// slack is how much lateness is made up for: without it every late wake-up of a timer would lower the rate.
const slack = 20 * time.Millisecond

// pacer spreads bytes over time: those of one connection, or of all together.
type pacer struct {
	mu   sync.Mutex
	next time.Time // when the bytes after those that went may go
}

// take lets n bytes go at a rate per second and returns how long to wait after them.
func (p *pacer) take(n int64, rate int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch late := now.Sub(p.next); {
	case p.next.IsZero():
		p.next = now
	case late > slack:
		p.next = now.Add(-slack)
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return p.next.Sub(now)
}

// pacerKey is where a request's context holds the pacer of its connection.
type pacerKey struct{}

func withPacer(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, pacerKey{}, new(pacer))
}

// pace waits as the caps on the rate demand after n bytes; false = the client is gone.
func (h *Hub) pace(ctx context.Context, f Faults, n int64) bool {
	var wait time.Duration
	if p, ok := ctx.Value(pacerKey{}).(*pacer); ok && f.BytesPerSecond > 0 {
		wait = p.take(n, f.BytesPerSecond, time.Now())
	}
	if f.AllBytesPerSecond > 0 {
		wait = max(wait, h.all.take(n, f.AllBytesPerSecond, time.Now()))
	}
	return pause(ctx, wait)
}

// pause waits; false = the client is gone.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
