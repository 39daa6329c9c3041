package scheduler

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Cluster is what the loop needs of the store.
type Cluster interface {
	// Current returns the newest State, and a channel that closes when there is a newer one.
	Current() (*cluster.State, <-chan struct{})
	// Place writes all changes in one transaction, and only if each plan still has the revision that its change was made
	// for and this scheduler still leads. It returns when Current shows the commit.
	Place(ctx context.Context, changes []Change) error
}

const (
	// batch is how many plans one transaction changes at most, and batchReplicas how many replicas they have in all, unless one plan alone
	// has more: etcd takes 128 operations and about a megabyte, and a replica takes some 200 bytes. Bigger batches make the 10,000 models
	// of a fleet cheaper, and one after the other is fast enough: the plans are written in about a second.
	batch         = 100
	batchReplicas = 2000
	// resync is how long the loop waits without any change: nodes that stay away come due without an event.
	resync = pause / 2
	// share bounds the loop to a fifth of a core when the cluster changes all the time: a pass is followed by a rest of
	// so many times its length, but never of more than maxRest.
	share   = 4
	maxRest = time.Second
	// The wait after a failed write doubles from firstWait to maxWait.
	firstWait = 100 * time.Millisecond
	maxWait   = 5 * time.Second
)

// Run keeps the plans as Plan wants them until ctx ends, which is its only way to return. Whoever calls it makes sure
// that no other scheduler runs, or that Place refuses the one that does not lead.
//
// A write that fails is no special case: the loop looks at the newest State and plans again. An error is logged when it
// first occurs, and once more when it is over.
func Run(ctx context.Context, cfg Config) error {
	l := loop{Config: cfg}
	if l.LostAfter == 0 {
		l.LostAfter = LostAfter
	}
	for ctx.Err() == nil {
		began := time.Now()
		s, changed := l.Cluster.Current()
		var changes []Change
		changes, l.memory = Plan(s, l.memory, began, l.LostAfter)
		l.logMassLoss(began)
		rest := min(share*time.Since(began), maxRest)
		if err := l.carryOut(ctx, changes); err != nil {
			wait(ctx, nil, l.failed(ctx, err))
			continue
		}
		wait(ctx, nil, rest)
		wait(ctx, changed, resync) // a commit of ours has closed it: the next turn makes sure that nothing is left to do
	}
	return nil
}

// Config is what the loop needs.
type Config struct {
	Cluster   Cluster
	LostAfter time.Duration // how long a node may stay away before its replicas get another place; 0 = LostAfter
	Log       *slog.Logger
}

// loop is what Run keeps from turn to turn.
type loop struct {
	Config
	memory  Memory
	failing string        // the kind of the error that was logged last; empty = none
	backoff time.Duration // after the next failure

	massSince time.Time // since when most nodes are absent; zero: they are not
	massTold  bool      // and whether that was logged
}

// carryOut writes the changes in batches, up to the first that fails.
func (l *loop) carryOut(ctx context.Context, changes []Change) error {
	for part := range batches(changes) {
		if err := l.Cluster.Place(ctx, part); err != nil {
			return err
		}
		if l.failing != "" {
			l.Log.Info("plans are written again")
		}
		l.failing, l.backoff = "", 0
		for _, c := range part {
			l.logChange(c)
		}
	}
	return nil
}

// batches cuts changes into parts that fit into a transaction.
func batches(changes []Change) iter.Seq[[]Change] {
	return func(yield func([]Change) bool) {
		for len(changes) > 0 {
			n, replicas := 0, 0
			for n < min(batch, len(changes)) {
				if p := changes[n].Plan; p != nil {
					replicas += len(p.Assignments) + len(p.Displaced)
				}
				if n > 0 && replicas > batchReplicas {
					break
				}
				n++
			}
			if !yield(changes[:n]) {
				return
			}
			changes = changes[n:]
		}
	}
}

// failed takes note of an error and returns how long to wait before planning again.
func (l *loop) failed(ctx context.Context, err error) time.Duration {
	if kind := kindOf(err); kind != l.failing && ctx.Err() == nil {
		l.failing = kind
		l.Log.Warn("plans not written; planning again", "error", err)
	}
	l.backoff = min(max(2*l.backoff, firstWait), maxWait)
	return l.backoff
}

// massTold is how long most nodes must be absent before it is worth a line: while a fleet joins or a server starts, they are for a moment.
const massTold = 10 * time.Second

// logMassLoss says when so many nodes are absent that nothing is moved, and when it is over.
func (l *loop) logMassLoss(now time.Time) {
	m := &l.memory
	switch {
	case !m.mass:
		if l.massTold {
			l.Log.Info("enough nodes report again: lost nodes are replaced as usual", "absent", m.absent, "known", m.known)
		}
		l.massSince, l.massTold = time.Time{}, false
	case l.massSince.IsZero():
		l.massSince = now
	case !l.massTold && now.Sub(l.massSince) >= massTold:
		l.massTold = true
		l.Log.Error("most nodes do not report: nothing is moved; check the network", "absent", m.absent, "known", m.known)
	}
}

func (l *loop) logChange(c Change) {
	if c.Plan == nil {
		l.Log.Info("plan dropped", "model", c.UID)
		return
	}
	attrs := []any{"model", c.UID, "version", c.Plan.Version, "replicas", len(c.Plan.Assignments)}
	if u := c.Plan.Unplaced; u != nil {
		attrs = append(attrs, "unplaced", u.Code, "why", u.Message)
	}
	l.Log.Info("model planned", attrs...)
}

// kindOf tells errors of one kind from those of another, so that the same trouble is logged once although its text, with
// revisions and addresses in it, differs every time.
func kindOf(err error) string {
	if e, ok := api.AsError(err); ok {
		return string(e.Code)
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// wait returns after d, or when changed closes or ctx ends.
func wait(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}
