package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

// place is where a node is reached.
type place struct{ node, addr string }

// peer is what this gateway itself knows of a node at one address: other gateways may reach it, or not.
type peer struct {
	place
	inflight atomic.Int64 // requests at its replicas
	silent   atomic.Bool  // reach.silent, for reading without the lock
	listed   uint64       // the last round of live that saw it; under live's lock
	probing  atomic.Bool  // one goroutine of watchPeers has it
	reach    reach        // that goroutine's
}

// peer returns the node of a target; nil for one of this machine.
func (l *live) peer(g target) *peer {
	if g.node == "" {
		return nil
	}
	at := place{g.node, g.addr}
	p := l.peers[at]
	if p == nil {
		p = &peer{place: at}
		l.peers[at] = p
	}
	return p
}

// forgetPeers drops the nodes that no table has any more.
func (l *live) forgetPeers() {
	for at, p := range l.peers {
		if p.listed != l.round && p.inflight.Load() == 0 && !p.probing.Load() {
			delete(l.peers, at)
		}
	}
}

// unwatched returns the nodes that are to be probed and are not: those that requests wait for now.
func (l *live) unwatched() []*peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*peer
	for _, p := range l.peers {
		if p.inflight.Load() > 0 && p.probing.CompareAndSwap(false, true) {
			out = append(out, p)
		}
	}
	return out
}

// watchPeers probes the nodes in use, each by a goroutine of its own, until ctx ends. A node that is not in use costs nothing.
func (g *Gateway) watchPeers(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	for sleep(ctx, probeEvery) {
		for _, p := range g.live.unwatched() {
			probes.Go(func() {
				defer p.probing.Store(false)
				g.watchPeer(ctx, p)
			})
		}
	}
}

// watchPeer probes one node as long as it is in use or suspected.
func (g *Gateway) watchPeer(ctx context.Context, p *peer) {
	for ctx.Err() == nil {
		from := time.Now()
		err := g.probe(ctx, p)
		if ctx.Err() != nil {
			return
		}
		g.judge(p, err)
		if !g.wanted(p) {
			return
		}
		sleep(ctx, probeEvery-time.Since(from))
	}
}

// wanted tells whether a node is still to be probed.
func (g *Gateway) wanted(p *peer) bool {
	if p.inflight.Load() > 0 {
		return true
	}
	g.live.mu.Lock()
	defer g.live.mu.Unlock()
	return p.reach.suspected() && p.listed == g.live.round
}

var errNoAnswer = errors.New("no answer to a probe")

// probe asks a node for a sign of life.
func (g *Gateway) probe(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	call := new(upstream.Call)
	defer context.AfterFunc(ctx, func() { call.Abort(errNoAnswer) })()
	res, err := g.client.Do(ctx, call, &upstream.Request{Addr: p.addr, Peer: p.node, Path: "/healthz", Get: true})
	if err != nil {
		return err
	}
	defer res.Close()
	for err == nil {
		_, err = res.Next()
	}
	if res.Status() != http.StatusOK {
		return errors.New("it says that it is not well")
	}
	return nil
}

// judge takes note of a probe. As long as a node is silent, whoever waits there for a first byte is sent elsewhere: also who came
// after it was found to be silent.
func (g *Gateway) judge(p *peer, err error) {
	before, now := p.reach, time.Since(g.born)
	p.reach = before.after(err == nil, now)
	p.silent.Store(p.reach.silent)
	if err != nil {
		g.client.Drop(p.addr, p.node) // an old connection proves less than a new one
	}
	switch {
	case p.reach.silent && !before.silent:
		g.log.Warn("node does not answer this gateway; its replicas are used only when there are no others", "node", p.node, "addr", p.addr, "error", err)
	case before.silent && !p.reach.silent:
		g.log.Info("node answers this gateway again", "node", p.node, "addr", p.addr)
	}
	if p.reach.silent {
		g.evacuate(p, p.reach.hopeless(now))
	}
}

// evacuate ends the requests that wait at a node and that another replica could answer; all of them when it is hopeless.
func (g *Gateway) evacuate(p *peer, hopeless bool) {
	models := g.table.Load().models
	for _, r := range g.live.at(p) {
		m := models[r.uid]
		if hopeless || m != nil && slices.ContainsFunc(m.ready, func(o *replica) bool { return !o.silent() }) {
			r.abandon()
		}
	}
}

// at returns the replicas of a node.
func (l *live) at(p *peer) []*replica {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*replica
	for _, r := range l.replicas {
		if r.peer == p {
			out = append(out, r)
		}
	}
	return out
}
