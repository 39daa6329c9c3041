package transfer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// LimitConfig says how much of the network a node's transfers may use together. Zero values are replaced.
type LimitConfig struct {
	Connections     int    // most to one hub; 0 = 16
	PeerConnections int    // most to one other node; 0 = 2
	BytesPerSecond  uint64 // from hubs, all transfers together; 0 = no limit
}

// How long one rate is measured: several times what a new connection needs to give its first byte.
const (
	minWindow   = 60 * time.Millisecond
	maxWindow   = 2 * time.Second
	openWindows = 5
)

// block is how much is read before it is written and hashed: it stays in the processor's cache meanwhile.
const block = 256 << 10

// dripping is the speed in bytes per second below which a connection looks stuck: even a modem is faster.
const dripping = 1 << 10

// Limits are what all transfers of a node share: connections per source, divided fairly, and the bandwidth.
type Limits struct {
	cfg     LimitConfig
	bucket  *rate.Limiter // nil = no limit
	chunk   int           // bytes to read before they are paid for
	least   float64       // bytes per second; a connection to a hub that brings less is worth opening anew, also when it is the only one
	buffers sync.Pool

	mu      sync.Mutex
	lines   map[string]*line
	changed chan struct{}
}

// line is everybody who fetches from one source.
type line struct {
	ramp  ramp
	bytes atomic.Int64
	open  time.Duration // that a connection takes to give its first byte
	seats []*seat
	name  string
	peer  bool
}

// seat is one transfer's place in a line.
type seat struct {
	limits     *Limits
	line       *line
	want, held int
}

// NewLimits returns limits for one node.
func NewLimits(cfg LimitConfig) *Limits {
	if cfg.Connections <= 0 {
		cfg.Connections = 16
	}
	if cfg.PeerConnections <= 0 {
		cfg.PeerConnections = 2
	}
	l := &Limits{cfg: cfg, chunk: block, least: dripping, lines: map[string]*line{}, changed: make(chan struct{})}
	l.buffers.New = func() any { return new([block]byte) }
	if n := cfg.BytesPerSecond; n > 0 {
		// Small reads let every connection have its turn before the other side takes it for dead.
		l.chunk = int(min(max(n/16, 4<<10), block))
		l.bucket = rate.NewLimiter(rate.Limit(n), l.chunk)
		l.least = min(l.least, float64(n)/float64(4*cfg.Connections)) // what is slow on purpose is no fault
	}
	return l
}

func (l *Limits) buffer() *[block]byte { return l.buffers.Get().(*[block]byte) }

func (l *Limits) giveBack(buf *[block]byte) { l.buffers.Put(buf) }

// pay waits until n bytes, at most chunk, may have come.
func (l *Limits) pay(ctx context.Context, n int) error {
	if l.bucket == nil {
		return nil
	}
	return l.bucket.WaitN(ctx, n)
}

// Pay waits until n bytes may pass, for those who use the node's bandwidth besides transfers.
func (l *Limits) Pay(ctx context.Context, n int) error {
	for n > 0 {
		part := min(n, l.chunk)
		if err := l.pay(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// changes returns a channel that closes when somebody's share may have grown.
func (l *Limits) changes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Limits) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// join takes a place in the line of a source. Every join needs its leave.
func (l *Limits) join(s Source) *seat {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.lines[s.Name()]
	if !ok {
		at = &line{ramp: ramp{target: 1, most: l.cfg.Connections}}
		if s.Peer() {
			at.ramp = ramp{target: l.cfg.PeerConnections, most: l.cfg.PeerConnections}
		}
		l.lines[s.Name()] = at
	}
	p := &seat{limits: l, line: at}
	at.seats = append(at.seats, p)
	return p
}

func (p *seat) leave() {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	for i, o := range p.line.seats {
		if o == p {
			p.line.seats = append(p.line.seats[:i:i], p.line.seats[i+1:]...)
			break
		}
	}
	if l := p.line; l.peer && len(l.seats) == 0 { // peers come and go; what is known of a hub stays
		delete(p.limits.lines, l.name)
	}
	p.limits.wake()
}

// room tells how many connections this transfer may add, given that it could use want, and whether it should give one
// back because another transfer waits for its share.
func (p *seat) room(now time.Time, want int) (more int, over bool) {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.want = want
	wanted := 0
	for _, o := range p.line.seats {
		wanted += o.want
	}
	window := min(max(openWindows*p.line.open, minWindow), maxWindow)
	if p.line.ramp.step(now, p.line.bytes.Load(), wanted, window) {
		p.limits.wake()
	}
	_, share, starving := p.count()
	return p.free(), starving && p.held > share
}

// free is how many connections this transfer may add. The caller holds the lock.
func (p *seat) free() int {
	used, share, _ := p.count()
	target := p.line.ramp.target
	if p.held == 0 { // several files in a row are fetched side by side
		target = max(target, min(startConnections, p.line.ramp.most))
	}
	return min(share-p.held, target-used)
}

// count returns the connections of the line, this seat's share of them, and whether another has less than its share.
func (p *seat) count() (used, share int, starving bool) {
	wants := make([]int, len(p.line.seats))
	for i, o := range p.line.seats {
		wants[i] = o.want
		used += o.held
	}
	for i, n := range shares(p.line.ramp.target, wants) {
		if o := p.line.seats[i]; o == p {
			share = n
		} else if o.held < n {
			starving = true
		}
	}
	return used, share, starving
}

// take takes a connection, if there is one left.
func (p *seat) take() bool {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	if p.free() <= 0 {
		return false
	}
	p.held++
	return true
}

// untake gives a connection back that was not used: nobody needs to hear of it.
func (p *seat) untake() {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.held--
}

func (p *seat) put() {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.held--
	p.limits.wake()
}

// opened tells how long a connection took to give its first byte.
func (p *seat) opened(d time.Duration) {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.line.open += (d - p.line.open) / 4
}

// cut tells that the source is overloaded.
func (p *seat) cut(now time.Time) {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.line.ramp.cut(now)
}

// likely is how many connections this transfer has, or will have if more of them pay.
func (p *seat) likely() int {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	if p.line.ramp.curious() {
		return p.line.ramp.most
	}
	_, share, _ := p.count()
	return share
}
