package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
)

// Times of reading.
const (
	settleWithin = 5 * time.Second  // for it to be decided whether others have a blob
	openWithin   = 20 * time.Second // for one of the others to have bytes
	holderWaits  = 5 * time.Second  // for its next bytes, before it ends an answer
	hangs        = 8 * time.Second  // without a byte: longer than a holder waits before it ends an answer
)

// Sources returns where the blob comes from now: from other nodes, or from its origin. It waits a moment for the servers' word when nothing is
// known yet.
func (b *Blob) Sources(ctx context.Context, origin transfer.Source) ([]transfer.Source, error) {
	late := time.Now().Add(settleWithin)
	for {
		now := time.Now()
		v, _, changed := b.decide(now)
		switch {
		case v.origin:
			return []transfer.Source{origin}, nil
		case v.from != "", v.wish == api.ClaimNever && v.over == 0, !now.Before(late):
			return []transfer.Source{others{b}}, nil
		}
		if err := waitFor(ctx, changed, min(v.until.Sub(now), late.Sub(now))); err != nil {
			return nil, err
		}
	}
}

// decide says what to do about the blob, and presses the servers for what that needs. Changed closes when they have told something new.
func (b *Blob) decide(now time.Time) (v verdict, from neighbour, changed <-chan struct{}) {
	p := b.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	v = next(b.known, now)
	if v.alone {
		b.known.alone = true
		p.cfg.Log.Warn("other nodes do not give a file, and this node fetches it by itself", "model", b.model, "file", b.entry.Path)
	}
	if v.from != "" {
		from = *b.neighbour(v.from)
	}
	if (v.wish != api.ClaimNever || v.over != 0) && (b.pressed != v.wish || b.over != v.over) {
		b.pressed, b.over = v.wish, v.over
		p.wake()
	}
	return v, from, b.changed
}

// neighbour finds a node. The caller holds mu.
func (b *Blob) neighbour(id string) *neighbour {
	for i := range b.known.others {
		if b.known.others[i].id == id {
			return &b.known.others[i]
		}
	}
	return &neighbour{} // out of sight by now
}

// about changes what is known of a node.
func (b *Blob) about(id string, change func(*neighbour)) {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	change(b.neighbour(id))
}

// Wrong says that bytes of other nodes were wrong: the rest of this blob comes from its origin, and whoever has sent some of it is not asked for it
// any more.
func (b *Blob) Wrong() {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	for id := range b.gave {
		b.neighbour(id).bad = true
		b.peers.cfg.Log.Warn("a node has sent wrong bytes of a file, and is not asked for it any more", "node", id, "model", b.model, "file", b.entry.Path)
	}
	clear(b.gave)
	b.known.alone = true
}

// others is the other nodes as one source.
type others struct{ *Blob }

// Name is for people, and another one for each blob: transfers share out the connections to sources of one name.
func (o others) Name() string { return "other nodes (" + o.entry.Hex[:8] + ")" }

// Peer tells that this is not the origin.
func (others) Peer() bool { return true }

// Open finds a node that has bytes from an offset on, and waits a while for one.
func (o others) Open(ctx context.Context, from, to int64) (io.ReadCloser, int64, error) {
	b := o.Blob
	late := time.Now().Add(openWithin)
	for {
		now := time.Now()
		v, n, changed := b.decide(now)
		switch {
		case v.origin:
			return nil, 0, b.nobody("no other node has %s of %q; it comes from its hub", fail.Size(b.entry.Size-from), b.entry.Path)
		case v.from != "":
			body, end, err := b.read(ctx, n, from, to)
			if err == nil || ctx.Err() != nil {
				return body, end, err
			}
			continue
		case !now.Before(late):
			return nil, 0, b.nobody("the nodes that have %q give nothing of it just now", b.entry.Path)
		}
		if err := waitFor(ctx, changed, min(v.until.Sub(now), late.Sub(now))); err != nil {
			return nil, 0, err
		}
	}
}

func (b *Blob) nobody(format string, args ...any) error {
	return fail.Passing(api.FailDownload, fail.Network, format, args...)
}

// read asks one node. An error means that another one, or the same one later, is to be asked; it has been noted.
func (b *Blob) read(ctx context.Context, n neighbour, from, to int64) (_ io.ReadCloser, _ int64, err error) {
	h, caller := b.entry.Hash, ctx.Err
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s/blobs/%s/%s", n.addr, h.Algo, h.Hex), nil)
	if err != nil {
		return nil, 0, b.failed(n.id, err)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	req.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(holderWaits/time.Second)))
	res, err := b.peers.wire.to(n.id).RoundTrip(req)
	if err != nil {
		return nil, 0, b.failed(n.id, err)
	}
	b.hear(n.id, res.Header)
	end, err := b.check(res, n.id, from, to)
	if err != nil {
		_ = res.Body.Close()
		return nil, 0, err
	}
	return &body{blob: b, node: n.id, from: res.Body, cancel: cancel, left: end - from, idle: time.AfterFunc(hangs, cancel), caller: caller}, end, nil
}

// hear takes in what a node says of how much it has.
func (b *Blob) hear(id string, h http.Header) {
	have, err := strconv.ParseInt(h.Get(haveHeader), 10, 64)
	if err != nil {
		return
	}
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	n := b.neighbour(id)
	if have > n.have && id == b.known.holder {
		b.known.progress = time.Now()
	}
	n.have = have
}

// check reads the head of an answer and returns where its bytes end.
func (b *Blob) check(res *http.Response, id string, from, to int64) (end int64, err error) {
	restFor := func(d time.Duration) error {
		b.about(id, func(n *neighbour) { n.fails, n.rest = 0, time.Now().Add(d) })
		return b.nobody("node %s has no more of %q just now", id, b.entry.Path)
	}
	switch res.StatusCode {
	case http.StatusPartialContent:
	case http.StatusNoContent:
		if b.isHolder(id) {
			return 0, restFor(restEmpty / 20) // it has waited
		}
		return 0, restFor(restEmpty)
	case http.StatusServiceUnavailable:
		return 0, restFor(restEmpty)
	case http.StatusNotFound:
		rest := rest404Part
		b.about(id, func(n *neighbour) {
			if n.have = 0; n.whole {
				rest = rest404
			}
		})
		return 0, restFor(rest)
	default:
		return 0, b.failed(id, fmt.Errorf("status %d", res.StatusCode))
	}
	span, size, _ := strings.Cut(strings.TrimPrefix(res.Header.Get("Content-Range"), "bytes "), "/")
	first, last, _ := strings.Cut(span, "-")
	a, err1 := strconv.ParseInt(first, 10, 64)
	z, err2 := strconv.ParseInt(last, 10, 64)
	if err := errors.Join(err1, err2); err != nil || a != from || z < from || z >= to || size != strconv.FormatInt(b.entry.Size, 10) {
		return 0, b.failed(id, fmt.Errorf("it sent the range %.60q for bytes %d-%d/%d", res.Header.Get("Content-Range"), from, to-1, b.entry.Size))
	}
	return z + 1, nil
}

func (b *Blob) isHolder(id string) bool {
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	return id == b.known.holder
}

// failed notes a failure of a node, which then rests.
func (b *Blob) failed(id string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	b.about(id, func(n *neighbour) {
		n.fails++
		n.rest = time.Now().Add(restAfter(n.fails))
	})
	b.peers.cfg.Log.Debug("another node does not give a file", "node", id, "model", b.model, "file", b.entry.Path, "error", err)
	return fail.Passing(api.FailDownload, fail.Network, "node %s does not give %q", id, b.entry.Path).Because(err)
}

// restAfter is how long a node rests that has failed so many times in a row.
func restAfter(fails int) time.Duration {
	return min(500*time.Millisecond<<min(fails-1, 10), restLongest)
}

// body is what one node sends of a blob.
type body struct {
	blob   *Blob
	node   string
	from   io.ReadCloser
	cancel context.CancelFunc
	left   int64
	idle   *time.Timer  // ends the answer of a node that sends nothing
	caller func() error // why the caller does not want it any more; nil: it does
}

// Read returns what has come. An end before the announced one is an error, also an orderly one of a node that has no more just now.
func (r *body) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n, err := r.from.Read(p[:min(int64(len(p)), r.left)])
	if n > 0 {
		r.left -= int64(n)
		r.idle.Reset(hangs)
		r.took()
	}
	switch {
	case err == nil:
		return n, nil
	case r.left <= 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, r.blob.nobody("node %s has no more of %q just now", r.node, r.blob.entry.Path)
	case r.caller() != nil:
		return n, r.caller()
	case errors.Is(err, context.Canceled):
		err = errSilent
	}
	return n, r.blob.failed(r.node, err)
}

var errSilent = errors.New("it sends nothing")

func (r *body) took() {
	b := r.blob
	b.peers.mu.Lock()
	defer b.peers.mu.Unlock()
	b.known.progress = time.Now()
	b.gave[r.node] = true
	if n := b.neighbour(r.node); n.fails > 0 {
		n.fails = 0
	}
}

// Close ends the reading.
func (r *body) Close() error {
	r.idle.Stop()
	r.cancel()
	return r.from.Close()
}

// waitFor waits until something has changed, but not longer than for d.
func waitFor(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(max(d, time.Millisecond))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
