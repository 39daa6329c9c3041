package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readyTime bounds the first start: a large database takes seconds, an old child that is ending up to 10 s.
	readyTime = 30 * time.Second
	// firstTries is how many children may die before the first is ready: one may have been unlucky, three are not.
	firstTries = 3
	// backoffFirst and backoffLast bound the pause before a child that died is replaced.
	backoffFirst = 200 * time.Millisecond
	backoffLast  = 5 * time.Second
	// steady is how long a child must have been ready for its death to count as the first again.
	steady = 10 * time.Second
)

// SuperviseConfig says what to supervise. Command and Dir are required.
type SuperviseConfig struct {
	// Command starts a process that calls [Serve] with its standard input as Parent, its standard output as Report
	// and a JSON log on its standard error.
	Command []string
	// Dir is the store directory that the command serves. QuotaBytes and Cluster, as in [ServeConfig], reach it through a file there.
	Dir        string
	QuotaBytes int64
	Cluster    *ClusterConfig
	// Release is what this process holds in the store while it lives: the child deletes it when the process is gone, by whatever death.
	Release Held
	Log     *slog.Logger
	// ReadyTimeout bounds the first start: 30 s when zero.
	ReadyTimeout time.Duration
}

// Supervisor keeps one child process running that serves the store, and starts it again when it dies.
type Supervisor struct {
	cfg      SuperviseConfig
	endpoint string
	pid      atomic.Int64
	stop     chan struct{} // closed by Stop
	stopOnce sync.Once
	done     chan struct{} // closed when the loop has ended
}

// Supervise starts the child and returns when it is ready. ctx and the time-out bound only this start; afterwards
// the child runs until Stop, since it must outlive everything that uses it. When this process dies, by whatever
// death, the child ends too: it sees the end of its standard input.
//
// The error is a sentence for people; [ErrInUse], [ErrDamaged] and [ErrRemoved] are among the causes. No child is left behind then.
func Supervise(ctx context.Context, cfg SuperviseConfig) (*Supervisor, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Command) == 0 {
		return nil, errors.New("supervise the store: no command")
	}
	if err := writeSetup(cfg.Dir, setup{cfg.QuotaBytes, cfg.Cluster, cfg.Release}); err != nil {
		return nil, err
	}
	s := &Supervisor{cfg: cfg, stop: make(chan struct{}), done: make(chan struct{})}
	first := make(chan started, 1)
	go s.run(first)
	timeout := time.NewTimer(orDefault(cfg.ReadyTimeout, readyTime))
	defer timeout.Stop()
	var err error
	select {
	case f := <-first:
		s.endpoint, err = f.endpoint, f.err
	case <-ctx.Done():
		err = fmt.Errorf("start the store in %s: %w", cfg.Dir, ctx.Err())
	case <-timeout.C:
		err = fmt.Errorf("the store in %s was not ready after %s: see the log", cfg.Dir, orDefault(cfg.ReadyTimeout, readyTime))
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// started is how the first start went.
type started struct {
	endpoint string
	err      error
}

// Endpoint is where the store listens, for [Config]. It stays the same when the child is replaced.
func (s *Supervisor) Endpoint() string { return s.endpoint }

// PID is the process id of the present child, 0 while there is none.
func (s *Supervisor) PID() int { return int(s.pid.Load()) }

// Done is closed when the Supervisor has ended, which only Stop makes it do.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Stop ends the child in an orderly way, with force if it takes more than 5 s, and waits for all that the
// Supervisor started. It may be called more than once.
func (s *Supervisor) Stop() {
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.done
}

// run replaces one child by the next. It reports once to first.
func (s *Supervisor) run(first chan<- started) {
	defer close(s.done)
	ready := false // whether any child ever was
	for deaths := 0; ; deaths++ {
		l := s.live(func(endpoint string) {
			if !ready {
				first <- started{endpoint: endpoint}
			}
			ready = true
		})
		switch {
		case l.stopped:
			return
		case !ready && (l.final || deaths+1 == firstTries):
			first <- started{err: fmt.Errorf("the store in %s does not start: %w", s.cfg.Dir, l.err)}
			return
		case l.ready >= steady:
			deaths = 0
		}
		pause := pauseAfter(deaths)
		s.cfg.Log.Error("store process ended, starting it again", "dir", s.cfg.Dir, "error", l.err, "pause", pause)
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
	}
}

// pauseAfter is the pause before the next child, after so many deaths before this one.
func pauseAfter(deaths int) time.Duration {
	return min(backoffFirst<<min(deaths, 10), backoffLast)
}

// life is what became of one child.
type life struct {
	stopped bool          // by Stop
	ready   time.Duration // for how long it was ready
	final   bool          // it said itself that it cannot run, and the next would say the same
	err     error
}

// live starts a child and stays with it until it has ended.
func (s *Supervisor) live(onReady func(endpoint string)) life {
	c, err := startChild(s.cfg.Command, s.cfg.Log)
	if err != nil {
		return life{final: true, err: err}
	}
	s.pid.Store(int64(c.pid()))
	defer s.pid.Store(0)
	var since time.Time
	for {
		select {
		case endpoint := <-c.ready:
			since = time.Now()
			s.cfg.Log.Info("store process is ready", "pid", c.pid(), "endpoint", endpoint)
			onReady(endpoint)
		case <-s.stop:
			c.end()
			return life{stopped: true}
		case <-c.exited:
			l := life{}
			l.err, l.final = c.death()
			if !since.IsZero() {
				l.ready = time.Since(since)
			}
			return l
		}
	}
}
