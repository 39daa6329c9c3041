package peer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Times of knowing a caller. A certificate alone is good for a day, also when its node was removed from the cluster in the meantime.
const (
	memberFor   = time.Minute
	strangerFor = 5 * time.Second // short: a server may not have heard yet of a node that has just joined
	unsureFor   = 5 * time.Second // while no server answers: nodes go on without them
	checkWithin = 2 * time.Second
)

// guests are the callers that this node knows, and what as.
type guests struct {
	mu    sync.Mutex
	known map[api.BlobCaller]guest
}

type guest struct {
	member bool
	until  time.Time
}

// member tells whether a caller is a node of the cluster still, as far as the servers tell.
func (p *Peers) member(ctx context.Context, c api.BlobCaller) bool {
	now := time.Now()
	p.guests.mu.Lock()
	g, ok := p.guests.known[c]
	p.guests.mu.Unlock()
	if ok && now.Before(g.until) {
		return g.member
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	answer, err := p.cfg.Ask(ctx, api.BlobsAsk{Want: []api.BlobWant{}, Callers: []api.BlobCaller{c}})
	cancel()
	switch {
	case err != nil:
		g = guest{member: !ok || g.member, until: now.Add(unsureFor)}
	case slices.Contains(answer.Strangers, c):
		g = guest{until: now.Add(strangerFor)}
		p.cfg.Log.Warn("a node that is not of this cluster any more asks for files and gets none", "node", c.NodeID)
	default:
		g = guest{member: true, until: now.Add(memberFor)}
	}
	p.guests.mu.Lock()
	defer p.guests.mu.Unlock()
	for other, was := range p.guests.known {
		if now.After(was.until.Add(memberFor)) {
			delete(p.guests.known, other)
		}
	}
	p.guests.known[c] = g
	return g.member
}
