// Package supervise runs engines as processes that outlive the agent. Each runs under a shim, a small process of Nebula's
// own binary that keeps its log and its exit status; what is known of it is on disk, so that a later agent takes it over.
//
// It decides nothing: what to run is an engine.Launch, and whether to run, stop or forget is the agent's. It never knows
// a process by name or age, and never signals one that is not provably its own. It needs Linux 5.3. See DESIGN.md.
package supervise

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/internal/engine"
)

// Config is what a driver needs.
type Config struct {
	Dir  string       // of all runs; one driver at a time
	Shim []string     // command that ends in [ShimMain]; an absolute path first
	Log  *slog.Logger // of the driver, not of the engines

	LogMB    int // an engine's log is rotated at this size, in MiB; 0 = 16
	LogFiles int // how many files of it are kept; 0 = 3
	KeepRuns int // how many ended runs of a replica keep their logs; 0 = 3
	// KeepLogs is how long the logs of a replica that does not run here any more are kept; 0 = a week.
	KeepLogs time.Duration
}

// Driver starts engines and finds those that an earlier driver on the same folder left.
type Driver struct {
	cfg Config

	mu      sync.Mutex
	closed  bool
	handles map[*handle]bool // of the watchers; closing them ends the watching
	watch   sync.WaitGroup
}

// New returns a driver on cfg.Dir, which it makes if need be.
func New(cfg Config) (*Driver, error) {
	if len(cfg.Shim) == 0 || !filepath.IsAbs(cfg.Shim[0]) {
		return nil, fmt.Errorf("shim command %q must begin with an absolute path", cfg.Shim)
	}
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("engines cannot be watched: pidfd_open, of Linux 5.3 and newer, fails: %w", err)
	}
	_ = unix.Close(fd)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of engine runs: %w", err)
	}
	dir, err := filepath.EvalSymlinks(cfg.Dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("find the folder of engine runs: %w", err)
	}
	cfg.Dir = dir
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&cfg.LogMB, 16}, {&cfg.LogFiles, 3}, {&cfg.KeepRuns, 3}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if cfg.KeepLogs <= 0 {
		cfg.KeepLogs = 7 * 24 * time.Hour
	}
	return &Driver{cfg: cfg, handles: map[*handle]bool{}}, nil
}

// Close stops watching; the engines run on. Processes of this driver learn nothing more, and their Done stays open.
func (d *Driver) Close() {
	d.mu.Lock()
	d.closed = true
	for h := range d.handles {
		h.close()
	}
	d.mu.Unlock()
	d.watch.Wait()
}

// Start runs a launch for a replica and returns once the process exists; meta is kept with it and comes back from
// [Driver.Adopt]. An error that is an *engine.Failure tells people why the engine cannot be started here. When ctx ends
// first, nothing is left running.
func (d *Driver) Start(ctx context.Context, id engine.Identity, l engine.Launch, meta []byte) (*Process, error) {
	if len(l.Argv) == 0 || !filepath.IsAbs(l.Argv[0]) {
		return nil, fmt.Errorf("start engine: command %q must begin with an absolute path", l.Argv)
	}
	replica, err := replicaDir(d.cfg.Dir, id.ModelUID, id.ReplicaID)
	if err != nil {
		return nil, err
	}
	dir, err := nextRun(replica)
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	p := &Process{
		driver: d, dir: dir, done: make(chan struct{}),
		rec: launchFile{
			Run: rand.Text(), Supervisor: d.cfg.Dir, Identity: id, Launch: l, Meta: meta,
			LogMB: d.cfg.LogMB, LogFiles: d.cfg.LogFiles, BootID: bootID(),
		},
	}
	if err := writeJSON(filepath.Join(dir, launchName), &p.rec); err != nil {
		return nil, errors.Join(fmt.Errorf("start engine: %w", err), os.RemoveAll(dir))
	}
	if err := d.spawn(ctx, p); err != nil {
		p.abandon()
		return nil, err
	}
	d.observe(p)
	return p, nil
}

// spawn runs the shim of p and waits until it has started the engine.
func (d *Driver) spawn(ctx context.Context, p *Process) error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start shim: %w", err)
	}
	defer ready.Close()
	out, err := os.OpenFile(filepath.Join(p.dir, shimLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		theirs.Close()
		return fmt.Errorf("start shim: %w", err)
	}
	cmd := &exec.Cmd{
		Path: d.cfg.Shim[0], Args: slices.Concat(d.cfg.Shim, []string{strconv.Itoa(readyFD), p.dir}),
		Env: p.rec.environment(), Dir: "/", Stdout: out, Stderr: out, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // no terminal and no signal of the agent's group reaches it
	}
	err = cmd.Start()
	out.Close()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start shim: %w", err)
	}
	p.shimPID = cmd.Process.Pid
	_ = cmd.Process.Release() // the watcher takes its status
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	_, err = io.ReadAll(ready) // ends when the shim has written state.json or exit.json, or is gone
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("start shim: %w", err)
	}
	return p.started()
}

// started reads what the shim wrote at the start.
func (p *Process) started() error {
	var exit engine.Exit
	if readJSON(filepath.Join(p.dir, exitName), &exit) == nil && exit.Error != "" {
		f := engine.StartFailure(p.rec.Launch.Engine, p.rec.Launch.Argv[0], exit.Error)
		return &f
	}
	err := readJSON(filepath.Join(p.dir, stateName), &p.state)
	if err == nil && p.state.Engine.PID != 0 {
		return nil
	}
	words, _ := os.ReadFile(filepath.Join(p.dir, shimLog))
	return fmt.Errorf("start shim: it ended at once: %s", strings.TrimSpace(string(words)))
}

// abandon ends and removes a run that did not start.
func (p *Process) abandon() {
	if p.shimPID != 0 {
		// A program that is just taking its place in a process shows no environment yet: the shim, or the engine that it starts, would be overlooked, and
		// be waited for until it ends by itself. They are in the session that the shim leads; until it is buried no other can have its number.
		inRun := ofRun(p.rec.Run)
		killAll(func(pid int) bool {
			s, err := readStat(pid)
			return err == nil && s.session == p.shimPID || inRun(pid)
		}, killPatience)
		_, _ = unix.Wait4(p.shimPID, nil, 0, nil)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.driver.cfg.Log.Warn("engine run not removed", "error", err)
	}
}

// observe starts p's watcher.
func (d *Driver) observe(p *Process) { d.watch.Go(func() { p.observe() }) }

// await returns true once a process has ended, false when the driver was closed first.
func (d *Driver) await(id procID) bool {
	h, err := hold(id)
	if errors.Is(err, errNoProcess) {
		return true
	}
	if err != nil {
		d.cfg.Log.Error("process cannot be watched", "pid", id.PID, "error", err)
		return false
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		h.close()
		return false
	}
	d.handles[h] = true
	d.mu.Unlock()
	err = h.wait()
	d.mu.Lock()
	delete(d.handles, h)
	d.mu.Unlock()
	h.close()
	return err == nil
}
