package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/internal/cluster"
)

// ErrClosed is the error (in the chain) of everything that waits on a Store whose Run has returned.
var ErrClosed = errors.New("the store is closed")

// Store is the cluster's documents, live: one immutable State that follows the KV, and transactions on it. All
// methods are for any goroutine; [Store.Run] must run for anything to move.
type Store struct {
	kv    KV
	log   *slog.Logger
	kinds map[string]kind

	view    atomic.Pointer[view] // replaced by the goroutine of Run alone
	heard   atomic.Int64         // when the KV was last heard, as time since born
	born    time.Time
	lists   atomic.Int64
	running atomic.Bool
	closed  chan struct{}
	flights flights
	tails   tails
	lane    chan struct{} // held by the one Update whose turn it is: see InTurn, and after a conflict
}

// view is a State and the channels that close when it is outdated.
type view struct {
	state   *cluster.State
	changed chan struct{} // a document changed
	moved   chan struct{} // the revision moved, or a document changed
}

// Open lists the KV once and returns a Store with that State. It stays at that State until [Store.Run] runs.
func Open(ctx context.Context, kv KV, log *slog.Logger) (*Store, error) {
	s := newStore(kv, log)
	if err := s.list(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func newStore(kv KV, log *slog.Logger) *Store {
	s := &Store{
		kv: kv, log: log, kinds: kinds(), born: time.Now(),
		closed: make(chan struct{}), lane: make(chan struct{}, 1),
	}
	s.view.Store(&view{&cluster.State{}, make(chan struct{}), make(chan struct{})})
	return s
}

// Current returns the newest State, and a channel that closes as soon as a document is different from it. Between
// the two calls of a loop nothing is missed. The State is shared: nothing in it may be changed.
func (s *Store) Current() (*cluster.State, <-chan struct{}) {
	v := s.view.Load()
	return v.state, v.changed
}

// Stats are a Store's own figures.
type Stats struct {
	Revision   int64         // of the State
	Unreadable int           // stored documents that cannot be decoded, now
	Relists    int64         // lists after the first: compactions, restored backups, long outages
	Silence    time.Duration // since the KV was last heard; more than a few seconds means that the State is getting old
}

// Stats returns the figures of now.
func (s *Store) Stats() Stats {
	st := s.view.Load().state
	return Stats{
		Revision: st.Revision, Unreadable: st.Bad.Len(), Relists: max(0, s.lists.Load()-1), Silence: s.silence(),
	}
}

func (s *Store) silence() time.Duration { return time.Since(s.born) - time.Duration(s.heard.Load()) }

func (s *Store) hear() { s.heard.Store(int64(time.Since(s.born))) }

// publish makes next the current State. Readers are woken only when a document changed; who waits for a revision
// always is.
func (s *Store) publish(next *cluster.State, changed bool) {
	old := s.view.Load()
	v := &view{next, old.changed, make(chan struct{})}
	if changed {
		v.changed = make(chan struct{})
	}
	s.warn(old.state, next)
	s.view.Store(v)
	close(old.moved)
	if changed {
		close(old.changed)
	}
}

// warn logs each unreadable document once per revision of it.
func (s *Store) warn(old, next *cluster.State) {
	if next.Bad == old.Bad {
		return
	}
	for bad := range next.Bad.All() {
		if before, ok := old.Bad.Get(bad.ID); !ok || before.Rev != bad.Rev {
			s.log.Warn("stored document cannot be read and is left alone",
				"key", bad.ID, "revision", bad.Rev, "reason", bad.Value.Err)
		}
	}
}

// await returns when the State shows revision, and that State.
func (s *Store) await(ctx context.Context, revision int64) (*cluster.State, error) {
	for {
		v := s.view.Load()
		if v.state.Revision >= revision {
			return v.state, nil
		}
		select {
		case <-v.moved:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for revision %d, now at %d: %w", revision, v.state.Revision, ctx.Err())
		case <-s.closed:
			return nil, ErrClosed
		}
	}
}
