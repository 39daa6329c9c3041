package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// queued is how many batches may wait to be applied before the watch is held up.
	queued = 64
	// retryFirst and retryLast bound the pause between two tries to watch or list.
	retryFirst = 50 * time.Millisecond
	retryLast  = 2 * time.Second
	// relistAfter is the silence after which the KV may be another one than before (a restored backup that has moved
	// past our revision again), so that following it needs a fresh list.
	relistAfter = 10 * time.Second
	// listTimeout is how long the list of everything may take: tens of thousands of documents take a second.
	listTimeout = 30 * time.Second
)

// Run follows the KV until ctx ends, then closes the Store for all who wait on it, and returns nil. It returns an
// error only when called twice. Nothing that the KV does ends it: it lists or watches again.
func (s *Store) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("store: Run was called twice")
	}
	defer close(s.closed)
	for pause := retryFirst; ctx.Err() == nil; pause = min(2*pause, retryLast) {
		before := s.heard.Load()
		err := s.follow(ctx)
		if s.heard.Load() != before {
			pause = retryFirst
		}
		if ctx.Err() == nil {
			s.again(ctx, err, pause)
		}
	}
	return nil
}

// again pauses after a watch that ended and prepares the next one: everything is listed again when the watch could
// not go on from the State's revision, or when the KV was silent for so long that it may be another one. An outage
// is one warning, however long it lasts.
func (s *Store) again(ctx context.Context, ended error, pause time.Duration) {
	level := slog.LevelDebug
	if pause == retryFirst {
		level = slog.LevelWarn
	}
	s.log.Log(ctx, level, "watch of the store ended", "error", ended)
	sleep(ctx, jitter(pause))
	if !errors.Is(ended, ErrCompacted) && s.silence() < relistAfter {
		return
	}
	if err := s.list(ctx); err != nil {
		s.log.Log(ctx, level, "store does not answer", "error", err)
		return
	}
	s.log.Info("listed the store again", "revision", s.view.Load().state.Revision)
}

// list builds the State anew from everything there is and swaps it in whole: readers see the old one or the new
// one, never an emptier one.
func (s *Store) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	all, revision, err := s.kv.List(ctx, root)
	if err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	s.hear()
	s.lists.Add(1)
	s.flights.skip()
	s.publish(fromList(s.kinds, all, revision), true)
	s.tails.skip()
	return nil
}

// follow applies what happens after the State's revision until the watch ends, and returns why. All batches that wait become
// one new State.
func (s *Store) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()

	if s.lists.Load() == 0 { // the State is a snapshot's: the store may have any history since
		if err := s.list(ctx); err != nil {
			return err
		}
		s.log.Info("the store answers; its State has taken the place of the snapshot", "revision", s.view.Load().state.Revision)
	}
	var ended error
	batches := make(chan Batch, queued)
	from := s.view.Load().state.Revision
	watching.Go(func() {
		defer close(batches)
		ended = s.kv.Watch(ctx, root, from, func(b Batch) error {
			select {
			case batches <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for first := range batches {
		waiting := []Batch{first}
		for range len(batches) {
			waiting = append(waiting, <-batches)
		}
		s.apply(waiting)
	}
	return ended
}

func (s *Store) apply(waiting []Batch) {
	s.hear()
	old := s.view.Load().state
	b := newBuilder(s.kinds, *old)
	for _, batch := range waiting {
		s.flights.see(batch.Events)
		b.apply(batch)
	}
	if next := b.done(); b.touched || next.Revision != old.Revision {
		s.publish(next, b.touched)
	}
	s.tails.tell(waiting)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// jitter returns a time between d/2 and d, so that those who failed together do not try again together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
