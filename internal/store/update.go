package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

const (
	// updateTimeout bounds an Update whose context has no earlier end: longer than etcd takes to elect a leader.
	updateTimeout = 10 * time.Second
	// txnTimeout bounds one try to commit, so that a lost answer leaves time to ask again.
	txnTimeout = 3 * time.Second
	// maxTries bounds the runs of an Update's function. From the second on, one Update at a time retries in this
	// process, so that conflicts come only from other processes and from first tries.
	maxTries = 20
)

// ErrFenced is the error (in the chain) of an Update whose [Fence] does not hold any more: nothing was written.
var ErrFenced = errors.New("fenced off: this is not the leader any more")

// Option changes how an Update commits.
type Option func(*options)

type options struct {
	fences []Cond
	inTurn bool
}

// Fence makes the commit depend on one more condition, as a rule [Leader.Fence]. When it does not hold the Update
// fails with ErrFenced and is not tried again.
func Fence(c Cond) Option { return func(o *options) { o.fences = append(o.fences, c) } }

// InTurn makes an Update wait for its turn before its first try already, not only after a conflict: for those that all write one document, of
// which two at a time would always be one too many.
func InTurn() Option { return func(o *options) { o.inTurn = true } }

// Update runs fn on the newest State and commits what it wrote as one transaction, provided that nothing it read
// or wrote has changed meanwhile; otherwise it runs fn again on the newer State. It returns the revision of the
// commit once [Store.Current] shows it: who asked for a change sees it. A function that writes nothing commits
// nothing.
//
// fn may run several times and must do nothing but read and write tx. Its error ends the Update and comes back as
// it is. Further errors: [ErrFenced]; [ErrLeaseGone] and [ErrClosed] in the chain; an *api.Error with CodeConflict
// after too many conflicts, CodeTooLarge for more than a transaction holds, CodeUnavailable when nothing was
// written because the KV does not answer or is full, CodeTimeout when it is not known whether it was.
func (s *Store) Update(ctx context.Context, owner Owner, fn func(*Tx) error, opts ...Option) (int64, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	inLane := false
	for try := range maxTries {
		if !inLane && (o.inTurn || try > 0) {
			if err := s.enterLane(ctx); err != nil {
				return 0, err
			}
			inLane = true
			defer func() { <-s.lane }()
		}
		state, _ := s.Current()
		tx := newTx(state, owner)
		if err := tx.run(fn); err != nil {
			return 0, err
		}
		if len(tx.writes)+len(tx.added)+len(tx.removed)+len(tx.forgotten) == 0 {
			return state.Revision, nil
		}
		rev, conflict, err := s.commit(ctx, tx, o.fences)
		if err != nil || !conflict {
			return rev, err
		}
		if try > 0 {
			sleep(ctx, jitter(time.Millisecond<<min(try, 6))) // another process writes the same documents
		}
	}
	return 0, api.Errorf(api.CodeConflict,
		"somebody else kept changing the same documents; nothing was written: try again")
}

// Preview runs fn as Update does and returns the State as it would be after the commit, which does not happen. Its errors are those that
// Update would have before it asks the KV.
func (s *Store) Preview(owner Owner, fn func(*Tx) error) (*cluster.State, error) {
	state, _ := s.Current()
	tx := newTx(state, owner)
	if err := tx.run(fn); err != nil {
		return nil, err
	}
	_, ops, err := tx.request()
	if err != nil {
		return nil, err
	}
	return preview(s.kinds, state, ops), nil
}

// Records reads what [Tx.Append] has added under a prefix, in the order of the keys, from the KV itself.
func (s *Store) Records(ctx context.Context, prefix string) ([]KeyValue, error) {
	all, _, err := s.RecordsAt(ctx, prefix)
	return all, err
}

// RecordsAt is Records, and returns also the revision of the KV as of which they are all.
func (s *Store) RecordsAt(ctx context.Context, prefix string) ([]KeyValue, int64, error) {
	all, revision, err := s.kv.List(ctx, prefix)
	if err != nil {
		return nil, 0, unanswered(ctx, err)
	}
	return all, revision, nil
}

func (s *Store) enterLane(ctx context.Context) error {
	select {
	case s.lane <- struct{}{}:
		return nil
	case <-ctx.Done():
		return unanswered(ctx, ctx.Err())
	case <-s.closed:
		return closed()
	}
}

// commit tries to commit until the outcome is known, and waits until the State shows it: the commit, or what was in
// its way.
//
// Asking the same again after an unknown outcome is safe: the conditions cover every key that is written, so of all
// tries at most one can succeed, and once one has been refused none of the earlier can.
func (s *Store) commit(ctx context.Context, tx *Tx, fences []Cond) (rev int64, conflict bool, err error) {
	ifs, ops, err := tx.request()
	if err != nil {
		return 0, false, err
	}
	ifs = append(ifs, fences...)
	fl := s.flights.enter(ops)
	defer s.flights.leave(fl)
	unknown := false
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		if rev, _ := s.flights.outcome(fl); unknown && rev != 0 {
			return rev, false, s.committed(ctx, rev)
		}
		if err := s.over(ctx); err != nil {
			return 0, false, lost(ctx, err, unknown)
		}
		res, err := s.try(ctx, ifs, ops)
		switch {
		case err == nil && res.OK:
			return res.Revision, false, s.committed(ctx, res.Revision)
		case err == nil && unknown:
			return s.whose(ctx, fl, res.Revision, fences)
		case err == nil:
			conflict, err := s.conflict(ctx, res.Revision, fences)
			return 0, conflict, err
		case errors.Is(err, ErrLeaseGone):
			return 0, false, fmt.Errorf("commit: %w", err)
		case isAmbiguous(err):
			unknown = true
		case !unknown:
			return 0, false, lost(ctx, err, false)
		}
		sleep(ctx, jitter(pause))
	}
}

// over says why there is no use in trying on, or nil.
func (s *Store) over(ctx context.Context) error {
	select {
	case <-s.closed:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// conflict waits until the State shows what a transaction was refused for at a revision, and tells whether it was a
// conflict. If not, a fence fell.
func (s *Store) conflict(ctx context.Context, at int64, fences []Cond) (bool, error) {
	if _, err := s.await(ctx, at); err != nil {
		return false, lost(ctx, err, false)
	}
	if len(fences) == 0 {
		return true, nil
	}
	switch res, err := s.try(ctx, fences, nil); {
	case err != nil:
		return false, lost(ctx, err, false)
	case !res.OK:
		return false, ErrFenced
	}
	return true, nil
}

// whose finds out what stood in the way of a transaction that was tried before with unknown outcome: its own commit,
// or somebody else's.
func (s *Store) whose(ctx context.Context, fl *flight, at int64, fences []Cond) (int64, bool, error) {
	if _, err := s.await(ctx, at); err != nil {
		return 0, false, lost(ctx, err, true)
	}
	switch rev, blind := s.flights.outcome(fl); {
	case rev != 0:
		return rev, false, nil
	case blind:
		return 0, false, lost(ctx, ErrAmbiguous, true)
	}
	conflict, err := s.conflict(ctx, at, fences)
	return 0, conflict, err
}

func (s *Store) try(ctx context.Context, ifs []Cond, ops []Op) (TxnResult, error) {
	ctx, cancel := context.WithTimeout(ctx, txnTimeout)
	defer cancel()
	return s.kv.Txn(ctx, ifs, ops)
}

// isAmbiguous counts a deadline as an unknown outcome too: it may have passed after the request was sent.
func isAmbiguous(err error) bool {
	return errors.Is(err, ErrAmbiguous) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// committed waits until the State shows a commit.
func (s *Store) committed(ctx context.Context, rev int64) error {
	_, err := s.await(ctx, rev)
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return both(api.Errorf(api.CodeTimeout,
		"the change is saved, but this server does not see it yet: it is stopping, or has lost the store; look again in a moment"), err)
}

// lost turns the reason why a commit was given up into the error for the caller.
func lost(ctx context.Context, cause error, unknown bool) error {
	switch {
	case errors.Is(cause, ErrFull):
		return both(api.Errorf(api.CodeUnavailable,
			"the store is full and takes no changes but deletions; models go on running: remove what is not needed, run nebula admin reclaim, then try again"), cause)
	case errors.Is(cause, ErrTooLarge):
		return both(api.Errorf(api.CodeTooLarge, "this change is too large for one transaction: make the documents smaller"), cause)
	case unknown:
		return both(api.Errorf(api.CodeTimeout,
			"the store did not confirm the change, so it may or may not have been saved: look before you try again"), cause)
	case errors.Is(cause, ErrClosed):
		return closed()
	}
	return unanswered(ctx, cause)
}

func closed() error {
	return both(api.Errorf(api.CodeUnavailable, "this server is stopping: try again in a moment"), ErrClosed)
}

// unanswered is the error for a KV that does not answer; nothing was written. A caller who left gets that back.
func unanswered(ctx context.Context, cause error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("update: %w", cause)
	}
	return both(api.Errorf(api.CodeUnavailable,
		"the store does not answer, so nothing was changed; models go on running: check etcd and try again"), cause)
}

// both joins what people read and what the log and errors.Is need.
func both(forPeople *api.Error, cause error) error { return fmt.Errorf("%w: %w", forPeople, cause) }
