// Package app is the only place where concrete meets concrete: it builds the parts of a role, starts them in order and takes them down in
// the opposite one. It holds no rule of its own.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// life owns what has been started: clean-ups run in the opposite order, and the first part that ends by itself ends all.
type life struct {
	log      *slog.Logger
	cleanups []cleanup
	failed   chan error // the first failure of a part
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

func newLife(log *slog.Logger) *life { return &life{log: log, failed: make(chan error, 1)} }

// onStop registers how to take down what has just been made.
func (l *life) onStop(name string, run func(context.Context) error) {
	l.cleanups = append(l.cleanups, cleanup{name, run})
}

// goRun runs a part until it is taken down. Its context ends then, and not before those of the parts started later.
func (l *life) goRun(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		select {
		case l.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
	l.onStop(name, func(context.Context) error {
		cancel()
		done.Wait()
		return nil
	})
}

// stopTimeout bounds the whole of a shutdown.
const stopTimeout = 90 * time.Second

// stop takes everything down, last made first.
func (l *life) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, c := range slices.Backward(l.cleanups) {
		if err := c.run(ctx); err != nil {
			l.log.Warn("not taken down cleanly", "part", c.name, "error", err)
		}
	}
	l.cleanups = nil
}

// wait returns when ctx ends (nil) or a part fails.
func (l *life) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-l.failed:
		return err
	}
}
