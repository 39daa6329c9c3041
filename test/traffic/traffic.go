// Package traffic is the background load of the fault tests: clients that chat with a model whose reply is known, and that say of every single
// request how it ended. It judges nothing: what may happen under a fault is for the test to say.
package traffic

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome is how a request ended, as its client saw it.
type Outcome string

// The outcomes. The first two are good; of the others only SilentCut, Wrong and Hang leave a client with no way to know.
const (
	OK         Outcome = "ok"
	Retried    Outcome = "retried"     // good, after the client was told to try again or found nobody
	Refused    Outcome = "refused"     // an error answer before anything of a reply
	ErrorEvent Outcome = "error event" // a stream that had begun ended in an error event
	Unreached  Outcome = "unreached"   // no connection: nothing was sent
	Lost       Outcome = "lost"        // the connection broke, and the client's library says so
	SilentCut  Outcome = "silent cut"  // a reply that ended in order, but is not whole
	Wrong      Outcome = "wrong"       // a whole answer that is not the model's, or breaks the protocol
	Hang       Outcome = "hang"        // no byte for as long as Spec.Hang
)

// Explicit tells whether the client was told, by Nebula or by its connection, that the request failed.
func (o Outcome) Explicit() bool {
	return o == Refused || o == ErrorEvent || o == Unreached || o == Lost
}

// Good tells whether the client got its reply.
func (o Outcome) Good() bool { return o == OK || o == Retried }

// Gateway is an address to send requests to.
type Gateway struct {
	Name   string
	URL    string
	Token  string
	Client *http.Client // nil: one of its own, which keeps connections
}

// Spec describes a load.
type Spec struct {
	Gateways []Gateway // clients are spread over them evenly
	Model    string
	Reply    string // the whole of what the model answers to everything
	Streams  int    // clients that stream; each has one request in flight
	Plain    int    // clients that do not
	// Pause is how long a client waits between two requests, on average; it varies by half, so that clients do not march in step.
	Pause time.Duration
	// Tries is how often a client tries a request that was not taken on: no connection, or 429 or 503. The next try goes to the next gateway,
	// after RetryPause. 0 is 1: what Nebula itself does not mend counts as failed.
	Tries      int
	RetryPause time.Duration // 0: 100 ms
	Hang       time.Duration // 0: 30 s
}

// Record is one request.
type Record struct {
	ID        string
	Gateway   string // of the last try
	Stream    bool
	Began     time.Time
	Took      time.Duration
	FirstByte time.Duration // until the first byte of the body; 0 when there was none
	Tries     int
	Outcome   Outcome
	Detail    string // for everything that is not good
}

func (r Record) String() string {
	kind := "plain"
	if r.Stream {
		kind = "stream"
	}
	return fmt.Sprintf("%s %s at %s to %s, after %s: %s: %s", kind, r.ID, r.Began.Format("15:04:05.000"), r.Gateway,
		r.Took.Round(time.Millisecond), r.Outcome, r.Detail)
}

// Load is a running load.
type Load struct {
	spec     Spec
	began    time.Time
	stop     chan struct{}
	once     sync.Once
	end      time.Time
	clients  sync.WaitGroup
	answered atomic.Int64

	mu      sync.Mutex
	records []Record
	flying  map[int]time.Time // when the request of each client that has one in flight began
}

// Start starts all clients. End them with Stop.
func Start(s Spec) *Load {
	s.Tries = max(1, s.Tries)
	if s.RetryPause == 0 {
		s.RetryPause = 100 * time.Millisecond
	}
	if s.Hang == 0 {
		s.Hang = 30 * time.Second
	}
	s.Gateways = append([]Gateway(nil), s.Gateways...)
	for i := range s.Gateways {
		if s.Gateways[i].Client == nil {
			s.Gateways[i].Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: s.Streams + s.Plain}}
		}
	}
	l := &Load{spec: s, began: time.Now(), stop: make(chan struct{}), flying: map[int]time.Time{}}
	for i := range s.Streams + s.Plain {
		l.clients.Go(func() { l.client(i, i >= s.Plain) })
	}
	return l
}

// Answered is how many requests have had a good end so far.
func (l *Load) Answered() int { return int(l.answered.Load()) }

// Older is how many requests that began before t are still in flight.
func (l *Load) Older(t time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, began := range l.flying {
		if began.Before(t) {
			n++
		}
	}
	return n
}

// Clients is how many clients there are.
func (l *Load) Clients() int { return l.spec.Streams + l.spec.Plain }

// Stop lets the requests in flight end and returns what became of all. It may be called more than once.
func (l *Load) Stop() Report {
	l.once.Do(func() {
		l.end = time.Now()
		close(l.stop)
	})
	l.clients.Wait()
	for _, g := range l.spec.Gateways {
		g.Client.CloseIdleConnections()
	}
	return Report{l.began, l.end.Sub(l.began), l.records}
}

// client sends one request after the other.
func (l *Load) client(number int, stream bool) {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-time.After(vary(l.spec.Pause)):
		}
		l.mu.Lock()
		l.flying[number] = time.Now()
		l.mu.Unlock()
		r := l.request(number, fmt.Sprintf("c%d-%d", number, i), stream)
		if r.Outcome.Good() {
			l.answered.Add(1)
		}
		l.mu.Lock()
		l.records = append(l.records, r)
		delete(l.flying, number)
		l.mu.Unlock()
	}
}

// request sends one request, and again where it was not taken on.
func (l *Load) request(number int, id string, stream bool) Record {
	r := Record{ID: id, Stream: stream, Began: time.Now()}
	for {
		g := l.spec.Gateways[(number+r.Tries)%len(l.spec.Gateways)]
		r.Tries++
		r.Gateway = g.Name
		a := l.spec.try(context.Background(), g, id, stream)
		r.Outcome, r.Detail, r.FirstByte = a.outcome, a.detail, 0
		if !a.firstByte.IsZero() {
			r.FirstByte = a.firstByte.Sub(r.Began)
		}
		if !a.again || r.Tries >= l.spec.Tries {
			break
		}
		select {
		case <-time.After(l.spec.RetryPause):
			continue
		case <-l.stop:
		}
		break
	}
	if r.Outcome == OK && r.Tries > 1 {
		r.Outcome = Retried
	}
	r.Took = time.Since(r.Began)
	return r
}
