package transfer

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// Source is where the bytes of a blob come from.
type Source interface {
	// Name is the same for sources that share connections: a host.
	Name() string
	// Peer tells that the source is another node, not a hub.
	Peer() bool
	// Open asks for [from, to). The body begins at from and holds the bytes up to end, which is not beyond to; it may
	// break earlier. Errors, also those of the body, are *fail.Error or the context's.
	Open(ctx context.Context, from, to int64) (body io.ReadCloser, end int64, err error)
}

// Patience says how long to bear with sources.
type Patience struct {
	FirstDelay, MaxDelay time.Duration // between tries, doubling, with jitter
	Stall                time.Duration // without a byte, before a connection to a hub is given up
	PeerStall            time.Duration // the same for a peer, which may itself be waiting
	Slow                 time.Duration // far slower than the others, before a connection is opened anew
	BadAnswers           int           // answers against the protocol in a row, without a byte, before the transfer ends
}

// DefaultPatience is for use in earnest.
func DefaultPatience() Patience {
	return Patience{time.Second, 30 * time.Second, 10 * time.Second, 25 * time.Second, 10 * time.Second, 6}
}

// Gauge is how far a transfer is. The transfer writes it, everybody may read it.
type Gauge struct {
	Have    atomic.Int64 // bytes in their place on the disk
	Reused  atomic.Int64 // of them, what was there when the transfer began
	Network atomic.Int64 // bytes that came from hubs
	Peers   atomic.Int64 // bytes that came from other nodes
	Retries atomic.Int64 // requests that failed or were given up, and were repeated

	source, trouble atomic.Pointer[string]
}

// Source is whom the last bytes came from; empty = nobody yet.
func (g *Gauge) Source() string { return deref(g.source.Load()) }

// Trouble is the sentence of the last failure, as long as no byte came since.
func (g *Gauge) Trouble() string { return deref(g.trouble.Load()) }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (g *Gauge) came(from *string, peer bool, n int64) {
	if peer {
		g.Peers.Add(n)
	} else {
		g.Network.Add(n)
	}
	if g.source.Load() != from {
		g.source.Store(from)
	}
	if g.trouble.Load() != nil {
		g.trouble.Store(nil)
	}
}

func (g *Gauge) failed(sentence string) {
	g.Retries.Add(1)
	g.trouble.Store(&sentence)
}
