package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/internal/engine"
)

// Adopt returns every run on record that an earlier driver on this folder left: those that still run, to be watched and
// stopped like our own, and those that ended meanwhile, whose Done is closed and whose exit status was kept. Each stays
// on record until it is removed. It also returns the strays: processes of this folder that no record names. A process
// that merely has the pid of a recorded one is neither touched nor returned.
//
// It is to be called once, before the first Start.
func (d *Driver) Adopt(ctx context.Context) ([]*Process, []Stray, error) {
	dirs, err := allRuns(d.cfg.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list engine runs: %w", err)
	}
	if err := expire(d.cfg.Dir, time.Now().Add(-d.cfg.KeepLogs)); err != nil {
		d.cfg.Log.Warn("old logs not removed", "error", err)
	}
	var out []*Process
	for _, dir := range dirs {
		if !onRecord(dir) {
			continue
		}
		p, err := d.adopt(ctx, dir)
		if err != nil {
			return nil, nil, err
		}
		if p != nil {
			out = append(out, p)
		}
	}
	strays, err := d.Strays()
	return out, strays, err
}

// adopt reads one run. It returns nil for one that never came to life, which it removes, and for one that cannot be read,
// which it leaves: whatever runs of it shows up as a stray.
func (d *Driver) adopt(ctx context.Context, dir string) (*Process, error) {
	p := &Process{driver: d, dir: dir, done: make(chan struct{})}
	if err := readJSON(filepath.Join(dir, launchName), &p.rec); err != nil {
		d.cfg.Log.Error("engine run cannot be read", "dir", dir, "error", err)
		return nil, nil
	}
	if _, err := os.Stat(filepath.Join(dir, stopName)); err == nil {
		p.asked = true
	}
	if p.rec.BootID != bootID() { // nothing of before the restart runs, whatever has those pids now
		p.state = stateFile{}
		_ = readJSON(filepath.Join(dir, stateName), &p.state)
		p.finish(p.ending())
		return p, nil
	}
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	_, err := os.Stat(filepath.Join(dir, exitName))
	if p.state.Engine.PID == 0 && err != nil { // the agent or the shim was killed before there was an engine
		killAll(ofRun(p.rec.Run), killPatience)
		return nil, os.RemoveAll(dir)
	}
	if p.state.Shim.carries(envRun, p.rec.Run) || p.state.Engine.carries(envRun, p.rec.Run) {
		if !p.state.Shim.carries(envRun, p.rec.Run) {
			p.state.Shim = procID{} // whoever has the pid now is not waited for
		}
		d.observe(p)
		return p, nil
	}
	killAll(ofRun(p.rec.Run), killPatience) // children that both left
	p.finish(p.ending())
	return p, nil
}

// ending reads how an ended run came to its end.
func (p *Process) ending() engine.Exit {
	var exit engine.Exit
	if readJSON(filepath.Join(p.dir, exitName), &exit) != nil {
		return engine.Exit{Code: -1, Unknown: true, At: time.Now()}
	}
	return exit
}

// settle reads the state and gives a shim that is only just starting its engine the time to do it.
func (p *Process) settle(ctx context.Context) error {
	for end := time.Now().Add(5 * time.Second); ; {
		err := readJSON(filepath.Join(p.dir, stateName), &p.state)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.driver.cfg.Log.Error("engine state cannot be read", "dir", p.dir, "error", err)
			return nil
		}
		if p.state.Engine.PID != 0 || time.Now().After(end) || !p.starting() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// starting tells whether the run has a process but neither engine nor end.
func (p *Process) starting() bool {
	if _, err := os.Stat(filepath.Join(p.dir, exitName)); err == nil {
		return false
	}
	mine, found := ofRun(p.rec.Run), false
	_ = processes(func(pid int) bool { found = mine(pid); return !found })
	return found
}

// Stray is what runs in the name of this folder and is on no record.
type Stray struct {
	Run      string
	Identity engine.Identity // as its environment says
	PIDs     []int
}

// Strays lists the processes of this folder whose run is on no record.
func (d *Driver) Strays() ([]Stray, error) {
	known, err := d.known()
	if err != nil {
		return nil, err
	}
	found := map[string]*Stray{}
	err = processes(func(pid int) bool {
		env, err := os.ReadFile(procPath(pid, "environ"))
		if err != nil {
			return true
		}
		run, _ := lookup(env, envRun)
		if dir, ok := lookup(env, envSupervisor); !ok || dir != d.cfg.Dir || run == "" || known[run] {
			return true
		}
		s := found[run]
		if s == nil {
			s = &Stray{Run: run}
			if id, ok := lookup(env, envReplica); ok {
				_ = json.Unmarshal([]byte(id), &s.Identity)
			}
			found[run] = s
		}
		s.PIDs = append(s.PIDs, pid)
		return true
	})
	var out []Stray
	for _, s := range found {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Stray) int { return a.PIDs[0] - b.PIDs[0] })
	return out, err
}

// known returns the runs on record. It is read before the processes: a run that starts meanwhile is on record first.
func (d *Driver) known() (map[string]bool, error) {
	dirs, err := allRuns(d.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list engine runs: %w", err)
	}
	out := map[string]bool{}
	for _, dir := range dirs {
		var rec launchFile
		if readJSON(filepath.Join(dir, launchName), &rec) == nil {
			out[rec.Run] = true
		}
	}
	return out, nil
}

// Reap ends a stray: TERM to each of its processes, and KILL to what is left when grace or ctx ends.
func (d *Driver) Reap(ctx context.Context, s Stray, grace time.Duration) error {
	known, err := d.known()
	if err != nil {
		return err
	}
	if known[s.Run] {
		return fmt.Errorf("reap stray: run %s is on record", s.Run)
	}
	mine := ofRun(s.Run)
	alive := func(sig unix.Signal) int {
		n := 0
		_ = processes(func(pid int) bool {
			if st, err := readStat(pid); err == nil && !st.gone() && mine(pid) {
				n++
				if sig != 0 {
					_ = send(st.id, sig)
				}
			}
			return true
		})
		return n
	}
	left := alive(unix.SIGTERM)
	for end := time.Now().Add(grace); left > 0 && time.Now().Before(end) && ctx.Err() == nil; left = alive(0) {
		time.Sleep(20 * time.Millisecond)
	}
	if !killAll(mine, killPatience) {
		return fmt.Errorf("stray processes %v do not go, even when killed", s.PIDs)
	}
	return nil
}
