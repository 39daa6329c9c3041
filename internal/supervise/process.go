package supervise

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/internal/engine"
)

// killPatience is how long a killed process may take to go; one that hangs in the kernel takes longer.
const killPatience = 15 * time.Second

// Process is one run of a replica's engine, started by this driver or by an earlier one. Its methods may be called from
// several goroutines.
type Process struct {
	driver  *Driver
	dir     string
	rec     launchFile
	shimPID int // of a shim that is our child
	done    chan struct{}

	mu       sync.Mutex
	state    stateFile
	exit     engine.Exit
	stopping bool // a Stop is at work
	asked    bool // a Stop was asked for, by this driver or an earlier one
	orphaned bool // the shim died before its engine
	owned    bool // the engine was seen to own its port
	named    bool // and to serve our model
}

// Identity returns whose engine this is.
func (p *Process) Identity() engine.Identity { return p.rec.Identity }

// Meta returns what Start was given.
func (p *Process) Meta() []byte { return p.rec.Meta }

// Launch returns what runs: its probes and stop rules hold for an adopted process too.
func (p *Process) Launch() engine.Launch { return p.rec.Launch }

// PID returns the process id of the engine's main process.
func (p *Process) PID() int { return p.now().Engine.PID }

// StartedAt returns when the engine was started.
func (p *Process) StartedAt() time.Time { return p.now().StartedAt }

// Done closes once nothing of the engine is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// LogPath returns the file that the engine's output goes to; older parts lie beside it.
func (p *Process) LogPath() string { return filepath.Join(p.dir, logName) }

func (p *Process) now() stateFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Exit returns how the engine ended. It means something once Done is closed.
func (p *Process) Exit() engine.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Port returns the port that the engine listens on, 0 until it is known.
func (p *Process) Port() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Port == 0 {
		var s stateFile
		if readJSON(filepath.Join(p.dir, stateName), &s) == nil && s.Engine == p.state.Engine {
			p.state.Port = s.Port
		}
		if p.state.Port == 0 && p.orphaned && p.rec.Launch.PortMode == engine.PortFromLog {
			p.state.Port = portInLog(p.dir, p.rec.Launch.PortLog)
		}
	}
	return p.state.Port
}

// Tail returns the last lines of the log, at most n.
func (p *Process) Tail(n int) []string { return tailLines(p.dir, n) }

// Usage is what an engine has used so far.
type Usage struct {
	LogBytes int64         // of the current log file
	LogAt    time.Time     // when it last wrote
	CPU      time.Duration // of all its living processes
	RSS      int64         // bytes, of all its living processes; shared pages count in each
}

// Usage returns what the engine and its process group use.
func (p *Process) Usage() Usage {
	var u Usage
	if fi, err := os.Stat(p.LogPath()); err == nil {
		u.LogBytes, u.LogAt = fi.Size(), fi.ModTime()
	}
	for _, s := range group(p.PID()) {
		u.CPU += time.Duration(s.cpu) * (time.Second / clockTicks)
		u.RSS += s.pages * int64(os.Getpagesize())
	}
	return u
}

// clockTicks is the kernel's unit of CPU time in /proc for programs, fixed at 100 in a second on Linux.
const clockTicks = 100

// Activity returns a number that differs from the last one when the engine was at work in between: it wrote to its log,
// used a second of CPU, or grew or shrank by a MiB.
func (p *Process) Activity() uint64 {
	u := p.Usage()
	h := fnv.New64a()
	_ = binary.Write(h, binary.LittleEndian, []int64{u.LogBytes, u.LogAt.UnixNano(), int64(u.CPU / time.Second), u.RSS >> 20})
	return h.Sum64()
}

// observe waits for the end and notes how it came.
//
//  1. The shim ends: it has written the exit status.
//  2. It has not: it was killed. The engine may live on; its exit status is lost with the shim.
//  3. What the engine leaves behind is ended.
func (p *Process) observe() {
	s := p.now()
	if !p.driver.await(s.Shim) {
		return
	}
	bury(s.Shim)
	var exit engine.Exit
	if readJSON(filepath.Join(p.dir, exitName), &exit) != nil { // 2
		if s.Engine.carries(envRun, p.rec.Run) {
			p.driver.cfg.Log.Warn("engine has lost its shim", "model", p.rec.Identity.ModelUID, "replica", p.rec.Identity.ReplicaID, "pid", s.Engine.PID)
			p.mu.Lock()
			p.orphaned = true
			p.mu.Unlock()
			if !p.driver.await(s.Engine) {
				return
			}
		}
		exit = engine.Exit{Code: -1, Unknown: true, At: time.Now()}
	}
	if !killAll(ofRun(p.rec.Run), killPatience) { // 3
		p.driver.cfg.Log.Error("processes of an ended engine do not go", "model", p.rec.Identity.ModelUID, "replica", p.rec.Identity.ReplicaID)
	}
	p.finish(exit)
}

// bury takes the status of an ended process, if it is a child of this one, so that no zombie stays. Its threads may take
// a moment longer than its first one.
func bury(id procID) {
	for range 1000 {
		s, err := readStat(id.PID)
		if err != nil || s.id != id || s.parent != os.Getpid() {
			return
		}
		if pid, _ := unix.Wait4(id.PID, nil, unix.WNOHANG, nil); pid == id.PID {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// finish publishes the end.
func (p *Process) finish(exit engine.Exit) {
	p.mu.Lock()
	exit.Stopped = p.asked
	p.exit = exit
	p.mu.Unlock()
	close(p.done)
}

// Stop ends the engine by the rules of its launch: signals to the main process, then KILL to its group. It returns when
// nothing is left, or with an error when that takes the kernel more than half a minute. When ctx ends, the rest of the
// rules is skipped and the group killed at once. It may be called again, and by several at a time.
func (p *Process) Stop(ctx context.Context) error {
	if p.begin() {
		defer p.end()
		p.ask(ctx)
	} else {
		select {
		case <-p.done:
		case <-ctx.Done():
		}
	}
	return p.Kill()
}

// begin claims the stop; false: somebody else is at it.
func (p *Process) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return false
	}
	p.stopping = true
	p.mark()
	return true
}

func (p *Process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = false
}

// mark notes, for later agents too, that the end is wanted. The caller holds mu.
func (p *Process) mark() {
	select {
	case <-p.done:
	default:
		if !p.asked {
			p.asked = true
			if err := os.WriteFile(filepath.Join(p.dir, stopName), nil, 0o600); err != nil {
				p.driver.cfg.Log.Warn("stop not recorded", "error", err)
			}
		}
	}
}

// ask sends the launch's signals when their time has come, until the engine is gone or its patience or ctx ends.
func (p *Process) ask(ctx context.Context) {
	began := time.Now()
	steps := append([]engine.TimedSignal{}, p.rec.Launch.Stop...)
	steps = append(steps, engine.TimedSignal{After: p.rec.Launch.KillAfter})
	for _, s := range steps {
		timer := time.NewTimer(s.After - time.Since(began))
		select {
		case <-p.done:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if s.Signal == "" || p.gone(0) { // ended just now: its pid may be anybody's
			return
		}
		sig := unix.SignalNum("SIG" + s.Signal)
		if err := send(p.now().Engine, sig); err != nil {
			p.driver.cfg.Log.Warn("engine not signalled", "signal", s.Signal, "error", err)
		}
	}
}

// Kill ends the engine, its process group and whatever else it started, at once, and returns when nothing is left.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	p.mu.Lock()
	p.mark()
	s := p.state
	p.mu.Unlock()
	if s.Engine.runs() { // so its group is its own
		_ = unix.Kill(-s.Engine.PID, unix.SIGKILL)
	}
	inRun := ofRun(p.rec.Run)
	killAll(func(pid int) bool { return pid != s.Shim.PID && inRun(pid) }, killPatience)
	if p.gone(killPatience / 3) {
		return nil
	}
	// Nothing of the engine may be left, and yet its shim does not end: it hangs.
	_ = send(s.Shim, unix.SIGKILL)
	if p.gone(killPatience) {
		return nil
	}
	return fmt.Errorf("engine %s (process %d) does not go, even when killed", p.rec.Identity.ModelUID, s.Engine.PID)
}

func (p *Process) gone(within time.Duration) bool {
	select {
	case <-p.done:
		return true
	default:
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// Remove takes an ended process off the record. The logs of the last few runs stay for reading.
func (p *Process) Remove() error {
	select {
	case <-p.done:
	default:
		return errors.New("remove engine run: it has not ended")
	}
	if err := forget(p.dir); err != nil {
		return fmt.Errorf("remove engine run: %w", err)
	}
	if err := prune(filepath.Dir(p.dir), p.driver.cfg.KeepRuns); err != nil {
		return fmt.Errorf("remove old engine runs: %w", err)
	}
	return nil
}
