package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// leaderPrefix is where the keys of leaders are. The State ignores them.
const leaderPrefix = "/leader/"

// LeaderKey is the key of an office; its value is the ID of who holds it.
func LeaderKey(office string) string { return leaderPrefix + office }

// Candidate wants to lead.
type Candidate struct {
	Name       string // of the office: a key segment, "scheduler"
	ID         string // of the candidate, for people who look into the store
	TTLSeconds int64  // how long after its last renewal a dead leader keeps the office; at least 1
	Log        *slog.Logger
}

// Leader holds an office until Done closes. Being leader is no permission to write: a paused process may believe it
// for too long. The permission is [Leader.Fence], which the store checks in every transaction.
type Leader struct {
	kv     KV
	who    Candidate
	fence  Cond
	lease  int64
	done   chan struct{}
	cancel context.CancelFunc
	renews sync.WaitGroup
}

// Campaign waits until the candidate holds the office, and returns with it; the error is ctx's, or says that the
// candidate is not a legal one. When ctx ends later, renewal ends too and the office is lost. Call
// [Leader.Resign] in the end in any case.
func Campaign(ctx context.Context, kv KV, who Candidate) (*Leader, error) {
	if !api.KnownUID(who.Name) || who.TTLSeconds < 1 {
		return nil, fmt.Errorf("campaign: %q with a TTL of %d s is not a legal office", who.Name, who.TTLSeconds)
	}
	key := leaderPrefix + who.Name
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		err := waitVacant(ctx, kv, key)
		if err == nil {
			var l *Leader
			if l, err = take(ctx, kv, key, who); l != nil {
				who.Log.Info("leading", "office", who.Name, "id", who.ID, "epoch", l.fence.ModRev)
				return l, nil
			}
			if err == nil { // somebody was faster
				pause = retryFirst
				continue
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("campaign for %s: %w", who.Name, ctx.Err())
		}
		who.Log.Warn("campaign disturbed, trying again", "office", who.Name, "error", err)
		sleep(ctx, jitter(pause))
	}
}

// holder returns the key of an office, if somebody holds it, and the store's revision.
func holder(ctx context.Context, kv KV, key string) (*KeyValue, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, txnTimeout)
	defer cancel()
	found, revision, err := kv.List(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("look who holds %s: %w", key, err)
	}
	for _, f := range found {
		if f.Key == key {
			return &f, revision, nil
		}
	}
	return nil, revision, nil
}

var errVacant = errors.New("vacant")

// waitVacant returns nil when nobody holds the office.
func waitVacant(ctx context.Context, kv KV, key string) error {
	held, revision, err := holder(ctx, kv, key)
	if err != nil || held == nil {
		return err
	}
	err = kv.Watch(ctx, key, revision, func(b Batch) error {
		for _, ev := range b.Events {
			if ev.Key == key && ev.Deleted {
				return errVacant
			}
		}
		return nil
	})
	if errors.Is(err, errVacant) || errors.Is(err, ErrCompacted) {
		return nil // after a compaction: try, and look again
	}
	return err
}

// take tries to take a vacant office: nil and no error when somebody was faster.
func take(ctx context.Context, kv KV, key string, who Candidate) (*Leader, error) {
	asked := time.Now()
	lease, err := kv.Grant(ctx, who.TTLSeconds)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	revision, err := create(ctx, kv, Op{Key: key, Value: []byte(who.ID), Lease: lease})
	if revision == 0 {
		// The lease goes, and with it a creation of unknown outcome. When even that fails it goes by itself.
		return nil, errors.Join(err, revoke(ctx, kv, lease))
	}
	// The leader outlives the campaign: its renewals end with ctx or with Resign.
	renewCtx, cancel := context.WithCancel(ctx)
	l := &Leader{
		kv: kv, who: who, lease: lease, cancel: cancel, done: make(chan struct{}),
		fence: Cond{Key: key, ModRev: revision, Create: true},
	}
	l.renews.Go(func() { l.renew(renewCtx, asked) })
	return l, nil
}

// create makes a key if it is absent and returns its revision; 0 when it is not ours.
func create(ctx context.Context, kv KV, op Op) (int64, error) {
	tryCtx, cancel := context.WithTimeout(ctx, txnTimeout)
	defer cancel()
	res, err := kv.Txn(tryCtx, []Cond{{Key: op.Key}}, []Op{op})
	switch {
	case err == nil && res.OK:
		return res.Revision, nil
	case err == nil:
		return 0, nil
	case !isAmbiguous(err):
		return 0, fmt.Errorf("take %s: %w", op.Key, err)
	}
	held, _, lookErr := holder(ctx, kv, op.Key)
	if lookErr == nil && held != nil && held.Lease == op.Lease {
		return held.ModRev, nil
	}
	return 0, errors.Join(fmt.Errorf("take %s: %w", op.Key, err), lookErr)
}

func revoke(ctx context.Context, kv KV, lease int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txnTimeout)
	defer cancel()
	return kv.Revoke(ctx, lease)
}

// Fence returns the condition that holds only while this leader is the leader, for [Fence].
func (l *Leader) Fence() Cond { return l.fence }

// Done is closed when the office is lost or resigned: the lease or the key is gone, or for a whole TTL of this
// process's own monotonic clock no renewal got through.
func (l *Leader) Done() <-chan struct{} { return l.done }

// Resign gives the office up at once, instead of when its lease ends, and waits for everything that the Leader
// started. It may be called more than once and after the office was lost.
func (l *Leader) Resign(ctx context.Context) error {
	l.cancel()
	l.renews.Wait()
	ctx, cancel := context.WithTimeout(ctx, txnTimeout)
	defer cancel()
	if err := l.kv.Revoke(ctx, l.lease); err != nil {
		return fmt.Errorf("resign from %s: %w", l.who.Name, err)
	}
	return nil
}

// renew keeps the lease alive three times per TTL. renewed is always a time before the request was sent, so this clock
// runs out before the store's.
func (l *Leader) renew(ctx context.Context, renewed time.Time) {
	defer close(l.done)
	ttl := time.Duration(l.who.TTLSeconds) * time.Second
	pause := ttl / 3
	for {
		sleep(ctx, min(pause, time.Until(renewed.Add(ttl))))
		asked := time.Now()
		if ctx.Err() != nil {
			return
		}
		if asked.Sub(renewed) >= ttl {
			l.lost("not renewed in time")
			return
		}
		tryCtx, cancel := context.WithTimeout(ctx, min(ttl/3, ttl-asked.Sub(renewed)))
		err := l.kv.KeepAlive(tryCtx, l.lease)
		gone := err == nil && l.replaced(tryCtx)
		cancel()
		switch {
		case gone || errors.Is(err, ErrLeaseGone):
			l.lost("lease or key is gone")
			return
		case err == nil:
			renewed, pause = asked, ttl/3
		default:
			pause = ttl / 10
		}
	}
}

// replaced tells whether the key is surely not the one that this leader made.
func (l *Leader) replaced(ctx context.Context) bool {
	held, _, err := holder(ctx, l.kv, l.fence.Key)
	return err == nil && (held == nil || held.ModRev != l.fence.ModRev)
}

func (l *Leader) lost(reason string) {
	l.who.Log.Warn("leadership lost", "office", l.who.Name, "id", l.who.ID, "reason", reason)
}
