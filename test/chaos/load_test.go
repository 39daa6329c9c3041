//go:build chaos

package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/test/traffic"
)

// The background load: as many clients as the reliability table says, slow enough to leave two cores to what is tested.
const (
	streamClients = 50
	plainClients  = 50
	clientPause   = 2500 * time.Millisecond
	// leastPerSecond is the traffic below which a row has shown nothing: of that many clients, of fewer in proportion.
	leastPerSecond = 10
	leastRequests  = 100
)

// load starts the background load and waits until it flows, so that the fault meets it.
func load(t *testing.T, s traffic.Spec) *traffic.Load {
	t.Helper()
	s.Reply, s.Pause = reply, clientPause
	if s.Streams+s.Plain == 0 {
		s.Streams, s.Plain = streamClients, plainClients
	}
	l := traffic.Start(s)
	t.Cleanup(func() {
		if r := l.Stop(); t.Failed() {
			t.Log(r)
		}
	})
	flow(t, l, leastRequests)
	return l
}

// flow waits until so many more requests have had a good end.
func flow(t *testing.T, l *traffic.Load, more int) time.Duration {
	t.Helper()
	from := l.Answered()
	return eventually(t, 2*time.Minute, func() error {
		if n := l.Answered() - from; n < more {
			return fmt.Errorf("%d of %d requests answered", n, more)
		}
		return nil
	})
}

// passed waits until the requests that are in flight now have ended. Between two kills it makes each a fault of its own to every request: one that
// has seen two engines die is not given a third, and on a slow machine requests last longer than a restart.
func passed(t *testing.T, l *traffic.Load) {
	t.Helper()
	now := time.Now()
	eventually(t, 2*time.Minute, func() error {
		if n := l.Older(now); n > 0 {
			return fmt.Errorf("%d requests from before are still in flight", n)
		}
		return nil
	})
}

// finish stops the load and checks what holds under every fault: no request was cut silently, none hung, none got what the model did not say, and
// there was enough of it. Outcomes other than those allowed are failures.
func finish(t *testing.T, l *traffic.Load, allowed ...traffic.Outcome) traffic.Report {
	t.Helper()
	r := l.Stop()
	t.Log(r)
	rate := float64(leastPerSecond*l.Clients()) / (streamClients + plainClients)
	if r.Good() < leastRequests || r.PerSecond() < rate {
		t.Errorf("invalid: %d good requests, %.0f a second, are too little traffic to show anything; %d and %.0f are wanted",
			r.Good(), r.PerSecond(), leastRequests, rate)
	}
	if bad := r.Other(allowed...); len(bad) > 0 {
		t.Errorf("%d requests ended as none may:\n%s", len(bad), traffic.Show(bad))
	}
	return r
}
