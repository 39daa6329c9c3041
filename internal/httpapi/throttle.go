package httpapi

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of refused attempts of one address. Attempts that succeed cost nothing: a thousand nodes behind one address may join at once.
const (
	refusedBurst = 20
	refusedEvery = time.Second // after the burst, one more each
	// refusedAddrs bounds the memory; beyond it, all further addresses share one allowance.
	refusedAddrs = 4096
)

// throttle slows down who keeps being refused.
type throttle struct {
	mu   sync.Mutex
	free map[string]time.Time // when an address will have its whole allowance back
}

// allowed tells whether an address may try now.
func (t *throttle) allowed(addr string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.free[t.key(addr)].Sub(now) < refusedBurst*refusedEvery
}

// refused counts an attempt that failed.
func (t *throttle) refused(addr string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == nil {
		t.free = map[string]time.Time{}
	}
	if len(t.free) >= refusedAddrs {
		for k, at := range t.free {
			if !at.After(now) {
				delete(t.free, k)
			}
		}
	}
	key := t.key(addr)
	from := t.free[key]
	if from.Before(now) {
		from = now
	}
	t.free[key] = from.Add(refusedEvery)
}

// key is the allowance that an address draws on; of IPv6 a whole /64, which is what one machine has.
func (t *throttle) key(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			host = p.String()
		}
	}
	if _, known := t.free[host]; !known && len(t.free) >= refusedAddrs {
		return ""
	}
	return host
}
