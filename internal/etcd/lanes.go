package etcd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// lookEvery is how often the endpoints are looked at, and lookTime how long one may take to answer: a dead or paused one is left
	// after at most the sum.
	lookEvery = 500 * time.Millisecond
	lookTime  = time.Second
	// homeAfter is how often in a row the first endpoint must look good before the client returns to it.
	homeAfter = 10
	// membersEvery is after how many looks the list of members is read again.
	membersEvery = 10
)

// lane is the way to one endpoint: a connection of its own. The library's own choice between endpoints goes round all of them, and
// leaves one that is silent after 13 s at the earliest.
type lane struct {
	endpoint   string
	configured bool // by Config, and not learned from the list of members
	etcd       *clientv3.Client
	watches    pb.WatchClient
	leases     pb.LeaseClient
	member     uint64 // the member that has answered here last; 0 = none yet. For look alone.
}

// era is the time during which all calls go to one endpoint. Its end ends the calls and watches that are under way.
type era struct {
	*lane
	over chan struct{} // closed at the end
}

// bind returns a context that ends with the caller's or with the era.
func (e *era) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	return until(ctx, e.over)
}

// until returns a context that ends with ctx, or when the channel is closed.
func until(ctx context.Context, over <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-over:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// call gives fn the present endpoint, and the next one when the client leaves that before fn has succeeded. Use it for what may be
// repeated without harm.
func (c *Client) call(ctx context.Context, fn func(context.Context, *lane) error) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	for {
		e := c.era.Load()
		callCtx, done := e.bind(ctx)
		err := fn(callCtx, e.lane)
		done()
		if err == nil || ctx.Err() != nil || !closed(e.over) || closed(c.closing) {
			return err
		}
	}
}

// enter begins an era on a lane and ends the one before.
func (c *Client) enter(l *lane) {
	if old := c.era.Swap(&era{l, make(chan struct{})}); old != nil {
		close(old.over)
	}
}

// condition is how an endpoint looks from here.
type condition struct {
	good   bool // it answers, knows a leader and may vote: it can serve
	member uint64
}

func look(ctx context.Context, l *lane) condition {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	r, err := l.etcd.Status(ctx, l.endpoint) // the member's own word: it needs no others, and costs no entry in the log
	if err != nil {
		return condition{}
	}
	return condition{good: r.Leader != 0 && !r.IsLearner, member: r.Header.GetMemberId()}
}

// lookAll looks at all lanes at the same time.
func lookAll(ctx context.Context, lanes []*lane) []condition {
	seen := make([]condition, len(lanes))
	var looking sync.WaitGroup
	for i, l := range lanes {
		looking.Go(func() { seen[i] = look(ctx, l) })
	}
	looking.Wait()
	for i, s := range seen {
		if s.member != 0 {
			lanes[i].member = s.member
		}
	}
	return seen
}

// choose says which endpoint to use. The present one is left for a better one only: when the cluster has no leader at all, there is
// none. homeGood is how often in a row the first has looked good.
func choose(seen []condition, present, homeGood int) int {
	if present >= 0 && seen[present].good && (present == 0 || homeGood < homeAfter) {
		return present
	}
	if best := slices.IndexFunc(seen, func(s condition) bool { return s.good }); best >= 0 {
		return best
	}
	return max(present, 0)
}

// tend keeps the client on an endpoint that can serve, and with Config.Members knows where the members are, until the client closes.
func (c *Client) tend(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	homeGood, learners := 0, []uint64(nil)
	for round := 0; ; round++ {
		if c.followMembers && (round%membersEvery == 0 || len(learners) > 0) {
			learners = c.learnMembers(ctx)
			c.promote(ctx, learners)
		}
		lanes := c.allLanes()
		seen := lookAll(ctx, lanes)
		if homeGood++; !seen[0].good {
			homeGood = 0
		}
		present := slices.Index(lanes, c.era.Load().lane)
		if next := choose(seen, present, homeGood); next != present && ctx.Err() == nil {
			c.log.Info("store connection moves to another member", "from", c.era.Load().endpoint, "to", lanes[next].endpoint)
			c.enter(lanes[next])
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// begin finds the first endpoint to use, until ctx ends: after that it is the first one.
func (c *Client) begin(ctx context.Context) {
	lanes := c.allLanes()
	c.enter(lanes[0])
	if len(lanes) == 1 {
		return
	}
	for {
		seen := lookAll(ctx, lanes)
		if best := choose(seen, -1, 0); seen[best].good {
			c.enter(lanes[best])
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery / 5):
		}
	}
}

func (c *Client) allLanes() []*lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lanes)
}

// learnMembers reads the list of members and gives each a lane, and says which of them wait to be promoted.
func (c *Client) learnMembers(ctx context.Context) (learners []uint64) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	r, err := c.era.Load().etcd.MemberList(ctx)
	if err != nil {
		return nil // the next time
	}
	lanes := c.allLanes()
	home := lanes[0].member // on a socket that the list does not name
	urls := map[string]bool{}
	for _, m := range r.Members {
		for _, u := range m.ClientURLs {
			if m.ID != home && !strings.HasPrefix(u, "unix") {
				urls[u] = true
			}
		}
		if m.IsLearner && m.Name != "" { // one without a name has not started yet
			learners = append(learners, m.ID)
		}
	}
	present := c.era.Load().lane
	for _, l := range lanes {
		if known := urls[l.endpoint]; !known && !l.configured && l != present {
			c.removeLane(l)
		}
		delete(urls, l.endpoint)
	}
	for u := range urls {
		if err := c.addLane(u, false); err != nil {
			c.log.Warn("cannot connect to a member of the store", "endpoint", u, "error", err)
		}
	}
	return learners
}

func (c *Client) removeLane(l *lane) {
	c.mu.Lock()
	c.lanes = slices.DeleteFunc(c.lanes, func(other *lane) bool { return other == l })
	c.mu.Unlock()
	_ = l.etcd.Close()
}

// promote makes voters of learners that have caught up. The leader knows who has, and refuses the others.
func (c *Client) promote(ctx context.Context, learners []uint64) {
	for _, id := range learners {
		try, cancel := context.WithTimeout(ctx, lookTime)
		_, err := c.era.Load().etcd.MemberPromote(try, id)
		cancel()
		switch is := rpctypes.Error(err); {
		case err == nil:
			c.log.Info("a new member of the store has caught up and votes from now on", "member", memberID(id))
		case errors.Is(is, rpctypes.ErrMemberLearnerNotReady), errors.Is(is, rpctypes.ErrMemberNotLearner):
		default:
			c.log.Debug("member is not promoted yet", "member", memberID(id), "error", err)
		}
	}
}
