package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nebula-serve/nebula/internal/store"
)

// Grant implements [store.Leases]. etcd lets no lease live shorter than about 2 s.
func (c *Client) Grant(ctx context.Context, ttlSeconds int64) (int64, error) {
	if ttlSeconds < 1 {
		return 0, fmt.Errorf("lease of %d s: at least 1", ttlSeconds)
	}
	var resp *clientv3.LeaseGrantResponse
	err := c.call(ctx, func(ctx context.Context, l *lane) (err error) { // one too many expires by itself
		resp, err = l.etcd.Grant(ctx, ttlSeconds)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", readError(err))
	}
	return int64(resp.ID), nil
}

// Revoke implements [store.Leases].
func (c *Client) Revoke(ctx context.Context, lease int64) error {
	err := c.call(ctx, func(ctx context.Context, l *lane) error {
		_, err := l.etcd.Revoke(ctx, clientv3.LeaseID(lease))
		return err
	})
	if err = readError(err); err != nil && !errors.Is(err, store.ErrLeaseGone) {
		return fmt.Errorf("revoke lease %x: %w", lease, err)
	}
	return nil
}

// renewPause is the time between two tries of KeepAlive to renew a lease: without a leader etcd breaks a new stream at once.
const renewPause = 100 * time.Millisecond

// KeepAlive implements [store.Leases]. All calls of a client share one stream, and none writes anything to etcd's log. The library's
// own has a timer for each lease, which would renew it also when nobody calls any more.
func (c *Client) KeepAlive(ctx context.Context, lease int64) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	for {
		r := c.renewals.of(c.era.Load())
		ttl, err := r.renew(ctx, lease)
		switch {
		case err == nil && ttl > 0:
			return nil
		case err == nil:
			return fmt.Errorf("keep lease %x alive: %w", lease, store.ErrLeaseGone)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("keep lease %x alive: %w", lease, readError(err))
		case <-c.closing:
			return fmt.Errorf("keep lease %x alive: %w", lease, readError(err))
		case <-time.After(renewPause):
		}
	}
}

// renewals holds the stream on which leases are renewed, and opens the next when that has broken.
type renewals struct {
	mu      sync.Mutex
	present *renewal
	open    sync.WaitGroup
}

// of returns a stream of the era.
func (rs *renewals) of(e *era) *renewal {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.present; r != nil && !closed(r.over) && r.of == e {
		return r
	}
	r := &renewal{of: e, over: make(chan struct{}), ask: make(chan int64), waiting: map[int64][]chan int64{}}
	rs.present = r
	if closed(e.over) {
		r.end(errLeft)
	} else {
		rs.open.Go(r.run)
	}
	return r
}

// wait waits for all streams to end, after the end of the last era.
func (rs *renewals) wait() {
	rs.mu.Lock() // nobody opens one from here on
	defer rs.mu.Unlock()
	rs.open.Wait()
}

// renewal is one stream of renewals. etcd answers in the order of the questions, each with the lease's id.
type renewal struct {
	of    *era
	ask   chan int64
	over  chan struct{} // closed at the end
	cause error         // of the end; read it after that
	once  sync.Once

	mu      sync.Mutex
	waiting map[int64][]chan int64 // for the answer about a lease, in the order of asking
	answers int                    // that have come
}

func (r *renewal) end(cause error) {
	r.once.Do(func() {
		r.cause = cause
		close(r.over)
	})
}

// renew asks once, and returns the lease's new time to live in seconds, 0 when it is gone. An error means that the stream is at its end.
func (r *renewal) renew(ctx context.Context, lease int64) (int64, error) {
	answer := make(chan int64, 1)
	r.mu.Lock()
	r.waiting[lease] = append(r.waiting[lease], answer)
	before := r.answers
	r.mu.Unlock()
	select {
	case r.ask <- lease:
	case <-r.over:
		return 0, r.cause
	case <-ctx.Done():
		r.forget(lease, answer) // it was not asked: an answer would be for somebody else
		return 0, r.giveUp(ctx, before)
	}
	select {
	case ttl := <-answer:
		return ttl, nil
	case <-r.over:
		return 0, r.cause
	case <-ctx.Done():
		return 0, r.giveUp(ctx, before)
	}
}

// forget takes one who has asked nothing out of those that wait.
func (r *renewal) forget(lease int64, answer chan int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[lease] = slices.DeleteFunc(r.waiting[lease], func(c chan int64) bool { return c == answer })
	if len(r.waiting[lease]) == 0 {
		delete(r.waiting, lease)
	}
}

// giveUp ends a stream on which nobody got an answer while one caller has waited for all of its time.
func (r *renewal) giveUp(ctx context.Context, before int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == before && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.end(ctx.Err())
	}
	return ctx.Err()
}

// run sends what is asked until the stream breaks or its era ends.
func (r *renewal) run() {
	var receiving sync.WaitGroup
	defer receiving.Wait()
	ctx, leave := r.of.bind(clientv3.WithRequireLeader(context.Background()))
	defer leave()
	ctx, cancel := until(ctx, r.over)
	defer cancel()
	stream, err := r.of.leases.LeaseKeepAlive(ctx, callOptions()...)
	if err != nil {
		r.end(err)
		return
	}
	receiving.Go(func() { r.receive(stream) })
	for {
		select {
		case lease := <-r.ask:
			_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}) // an error comes back through receive
		case <-r.over:
			return
		case <-ctx.Done():
			r.end(errLeft)
			return
		}
	}
}

func (r *renewal) receive(stream pb.Lease_LeaseKeepAliveClient) {
	for {
		resp, err := stream.Recv()
		if err != nil {
			r.end(err)
			return
		}
		r.deliver(resp.ID, resp.TTL)
	}
}

// deliver gives an answer to the one who has waited longest for it.
func (r *renewal) deliver(lease, ttl int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers++
	if first := r.waiting[lease]; len(first) > 1 {
		first[0] <- ttl
		r.waiting[lease] = first[1:]
	} else if len(first) == 1 {
		first[0] <- ttl
		delete(r.waiting, lease)
	}
}
