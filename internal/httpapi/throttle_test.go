package httpapi

import (
	"fmt"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	var th throttle
	now := time.Now()
	const addr = "10.0.0.1:1234"
	for i := range refusedBurst {
		if !th.allowed(addr, now) {
			t.Fatalf("refused after %d attempts", i)
		}
		th.refused(addr, now)
	}
	if th.allowed("10.0.0.1:999", now) {
		t.Error("more than the burst is allowed, from another port of the same machine")
	}
	if !th.allowed("10.0.0.2:1234", now) || !th.allowed("[2001:db8::1]:1", now) {
		t.Error("others pay for it")
	}
	if !th.allowed(addr, now.Add(refusedEvery)) {
		t.Error("no attempt comes back")
	}
	for range refusedBurst {
		th.refused("[2001:db8::1]:1", now)
	}
	if th.allowed("[2001:db8::ffff:1]:1", now) {
		t.Error("a neighbour within the same /64 starts afresh")
	}
}

// TestThrottle_boundsItsMemory: an attacker with many addresses costs no memory beyond the bound, and not the others' allowances.
func TestThrottle_boundsItsMemory(t *testing.T) {
	var th throttle
	now := time.Now()
	for i := range 2 * refusedAddrs {
		th.refused(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&0xff, i&0xff), now)
	}
	if n := len(th.free); n > refusedAddrs+1 {
		t.Errorf("%d addresses are remembered", n)
	}
	if th.allowed("192.168.0.1:1", now) {
		t.Error("beyond the bound every address has an allowance of its own")
	}
	later := now.Add(2 * refusedAddrs * refusedEvery)
	th.refused("192.168.0.1:1", later)
	if n := len(th.free); n != 1 {
		t.Errorf("%d addresses are remembered long after", n)
	}
}
