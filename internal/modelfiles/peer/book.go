package peer

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Config is what Peers are made of.
type Config struct {
	// Ask asks the servers of the cluster.
	Ask func(ctx context.Context, ask api.BlobsAsk) (api.BlobsAnswer, error)
	// TLS is how this node reaches another one.
	TLS   func(node string) *tls.Config
	Shelf Shelf
	Take  func(ctx context.Context, n int) error // waits until n bytes may leave this node; nil: always
	Log   *slog.Logger
}

// Peers is this node among the others: what it fetches, what it gives. Its methods are for any goroutine; [Peers.Run] must run for
// the servers to be asked, and without it every file comes from its origin.
type Peers struct {
	cfg    Config
	shop   shop
	guests guests
	wire   wire

	mu       sync.Mutex
	blobs    map[string]*Blob     // being fetched, by hash
	kept     map[string]time.Time // claims of blobs that are complete, and until when they are kept
	dropped  []string             // claims to give back
	silent   time.Time            // since when no server has answered; zero: the last one did
	failures int                  // of asking, in a row
	renewed  time.Time
	woken    chan struct{}
}

// Times of asking.
const (
	askTimeout = 3 * time.Second
	askPressed = 250 * time.Millisecond // while a blob waits for the answer
	askCalm    = 5 * time.Second        // while all blobs come in
	gather     = 20 * time.Millisecond  // for the blobs of one model to be asked for together
	renewEvery = 10 * time.Second       // of claims, which last 30 s
	keepFor    = 90 * time.Second       // a finished claim, so that readers still find the blob; by then this node has reported the model
)

// New returns Peers that know nobody yet.
func New(cfg Config) *Peers {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Peers{
		cfg: cfg, shop: shop{readers: map[reader]int{}}, guests: guests{known: map[api.BlobCaller]guest{}}, wire: newWire(cfg.TLS), blobs: map[string]*Blob{}, kept: map[string]time.Time{},
		woken: make(chan struct{}, 1),
	}
}

// Blob is one blob that this node fetches, for as long as it does.
type Blob struct {
	peers *Peers
	entry manifest.Entry
	model string

	// The rest belongs to who holds peers.mu.
	users   int
	known   standing
	pressed api.ClaimWish // what the servers are asked for
	over    int64
	gave    map[string]bool // nodes whose bytes are in the file
	changed chan struct{}   // closes when the servers have told something new
}

// Begin says that this node fetches a blob of a model, and returns where it comes from. End must be called. A blob that two models need at the same
// time is one.
func (p *Peers) Begin(e manifest.Entry, model string) *Blob {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.blobs[e.Hex]
	if b == nil {
		b = &Blob{
			peers: p, entry: e, model: model, known: standing{size: e.Size, progress: time.Now()}, pressed: api.ClaimNeeded, gave: map[string]bool{}, changed: make(chan struct{}),
		}
		delete(p.kept, e.Hex) // a claim that is still ours is found by the first ask
		p.blobs[e.Hex] = b
		p.wake()
	}
	b.users++
	return b
}

// End says that the blob is complete, or given up. A claim of a complete one is kept for a while.
func (b *Blob) End(complete bool) {
	p := b.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.users--; b.users > 0 {
		return
	}
	delete(p.blobs, b.entry.Hex)
	switch {
	case !b.known.mine:
		// There may be a claim on its way: it ends by itself, or the next ask finds it.
		return
	case complete:
		p.kept[b.entry.Hex] = time.Now().Add(keepFor)
	default:
		p.dropped = append(p.dropped, b.entry.Hex)
	}
	p.wake()
}

// holds tells whether this node fetches a blob from its origin for all.
func (p *Peers) holds(hash string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.blobs[hash]
	return b != nil && b.known.mine
}

// wake lets Run look at once.
func (p *Peers) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// Run asks the servers until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	defer p.wire.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			p.farewell(ctx)
			return nil
		case <-p.woken:
			pause(ctx, p.soon(time.Since(last)))
		case <-timer.C:
		}
		ask, needed := p.question(time.Now())
		if needed {
			p.ask(ctx, ask)
			last = time.Now()
		}
		timer.Reset(p.due())
	}
}

// soon is how long an ask may wait that somebody waits for. A blob that nobody has asked for yet does not wait for the beat of the others, which
// is there so that the nodes take their claims by turns.
func (p *Peers) soon(since time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.blobs {
		if !b.known.told && p.failures == 0 {
			return gather/2 + rand.N(gather)
		}
	}
	return max(gather, askPressed/2+rand.N(askPressed)-since)
}

// farewell gives the claims back, so that nobody waits for them to end.
func (p *Peers) farewell(ctx context.Context) {
	p.mu.Lock()
	var held []string
	for hash, b := range p.blobs {
		if b.known.mine {
			held = append(held, hash)
		}
	}
	for hash := range p.kept {
		held = append(held, hash)
	}
	p.mu.Unlock()
	if len(held) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for chunk := range slices.Chunk(held, api.MaxBlobsDropped) {
		if _, err := p.cfg.Ask(ctx, api.BlobsAsk{Want: []api.BlobWant{}, Drop: chunk}); err != nil {
			return // they end by themselves
		}
	}
}

// question is what to ask now. It is not needed when nothing is fetched and nothing held.
func (p *Peers) question(now time.Time) (api.BlobsAsk, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ask := api.BlobsAsk{Want: []api.BlobWant{}}
	holding := false
	for hash, until := range p.kept {
		if now.After(until) {
			delete(p.kept, hash)
			p.dropped = append(p.dropped, hash)
		}
	}
	for hash, b := range p.blobs {
		holding = holding || b.known.mine
		ask.Want = append(ask.Want, api.BlobWant{Hash: hash, Size: b.entry.Size, Model: b.model, Claim: b.pressed, Over: b.over})
	}
	// Those that wait come first, in an order of their own on each node: so the nodes take claims of different files.
	slices.SortFunc(ask.Want, func(a, b api.BlobWant) int {
		return rank(p.blobs[a.Hash]) - rank(p.blobs[b.Hash])
	})
	ask.Want = ask.Want[:min(len(ask.Want), api.MaxBlobsAsked)]
	ask.Drop = p.dropped[:min(len(p.dropped), api.MaxBlobsDropped)]
	holding = holding || len(p.kept) > 0
	ask.Renew = holding && now.Sub(p.renewed) >= renewEvery-askPressed
	return ask, len(ask.Want)+len(ask.Drop) > 0 || ask.Renew
}

func rank(b *Blob) int {
	if b.waits() {
		return 0
	}
	return 1
}

// waits tells that the blob has nowhere to come from until the servers answer. The caller holds mu.
func (b *Blob) waits() bool {
	return !b.known.told || b.over != 0 || b.known.holder == "" && b.pressed != api.ClaimNever
}

func (p *Peers) ask(ctx context.Context, ask api.BlobsAsk) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	answer, err := p.cfg.Ask(ctx, ask)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.silent.IsZero() {
			p.silent = began
			p.cfg.Log.Warn("the servers do not tell which nodes have a model's files; they come from their hub, or from the nodes that are known", "error", err)
		}
		p.failures++
	} else {
		if !p.silent.IsZero() {
			p.cfg.Log.Info("the servers tell again which nodes have a model's files")
		}
		p.silent, p.failures = time.Time{}, 0
		p.dropped = p.dropped[len(ask.Drop):]
		if ask.Renew {
			p.renewed = began
		}
		for i := range answer.Blobs {
			p.take(answer.Blobs[i], time.Now())
		}
	}
	for _, b := range p.blobs {
		b.known.silent = p.silent
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// take learns how a blob stands. What is known of a node of its own stays. The caller holds mu.
func (p *Peers) take(told api.BlobStanding, now time.Time) {
	b := p.blobs[told.Hash]
	if b == nil {
		if told.Mine { // it was given up while the answer came
			p.dropped = append(p.dropped, told.Hash)
		}
		return
	}
	k := &b.known
	if told.Holder != k.holder || told.Claim != k.claim {
		k.progress = now // another one begins
	}
	if told.Mine && b.over != 0 {
		k.robbed = true
	}
	if told.Mine && !k.mine {
		p.cfg.Log.Info("this node fetches a file for the cluster", "model", b.model, "file", b.entry.Path, "bytes", b.entry.Size)
	}
	k.told, k.mine, k.holder, k.claim = true, told.Mine, told.Holder, told.Claim
	b.over, b.pressed = 0, api.ClaimNever
	was := k.others
	k.others = make([]neighbour, 0, len(told.Peers))
	for _, t := range told.Peers {
		n := neighbour{id: t.NodeID, addr: t.Addr, have: -1}
		if i := slices.IndexFunc(was, func(n neighbour) bool { return n.id == t.NodeID }); i >= 0 {
			n = was[i]
			n.addr = t.Addr
		}
		n.whole = t.Whole
		k.others = append(k.others, n)
	}
	for _, n := range was { // one that sent wrong bytes is not forgotten while it is out of sight
		if n.bad && !slices.ContainsFunc(k.others, func(o neighbour) bool { return o.id == n.id }) {
			k.others = append(k.others, n)
		}
	}
}

// due is how long until the servers are to be asked again.
func (p *Peers) due() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := time.Hour
	if len(p.kept) > 0 {
		d = renewEvery
	}
	for _, b := range p.blobs {
		d = min(d, askCalm)
		if b.waits() {
			d = askPressed
		}
	}
	if len(p.dropped) > 0 {
		d = askPressed
	}
	if p.failures > 0 {
		d = max(d, min(askPressed<<min(p.failures-1, 4), serversAway))
	}
	return d/2 + rand.N(d/2+1)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
