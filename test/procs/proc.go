// Package procs starts the programs that tests run from the outside, finds what those started in turn, and ends all of it. It signals a
// process only by its pid together with its start time, so it never reaches a stranger. It knows no API of Nebula's.
package procs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ID names one process for good: a pid alone may be given to another process later.
type ID struct {
	PID   int
	Ticks uint64 // when it started, in clock ticks since the machine did
}

func (id ID) String() string { return fmt.Sprintf("%d-%d", id.PID, id.Ticks) }

// Parse reads what String wrote; ok is false for anything else.
func Parse(s string) (id ID, ok bool) {
	pid, ticks, found := strings.Cut(s, "-")
	var err, err2 error
	id.PID, err = strconv.Atoi(pid)
	id.Ticks, err2 = strconv.ParseUint(ticks, 10, 64)
	return id, found && err == nil && err2 == nil
}

// Self is this process.
func Self() ID {
	id, _, _ := stat(os.Getpid())
	return id
}

// Find returns the process that has a pid now; ok is false when there is none, or only a zombie.
func Find(pid int) (id ID, ok bool) {
	id, state, err := stat(pid)
	return id, err == nil && state != 'Z' && state != 'X'
}

// Alive tells whether exactly this process runs; a zombie does not.
func (id ID) Alive() bool {
	now, ok := Find(id.PID)
	return ok && now == id
}

// Paused tells whether the process is stopped by a signal.
func (id ID) Paused() bool {
	now, state, err := stat(id.PID)
	return err == nil && now == id && state == 'T'
}

// Signal sends a signal; to a process that has ended it is os.ErrProcessDone.
func (id ID) Signal(sig syscall.Signal) error {
	if !id.Alive() {
		return os.ErrProcessDone
	}
	if err := syscall.Kill(id.PID, sig); errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	} else if err != nil {
		return fmt.Errorf("signal process %d: %w", id.PID, err)
	}
	return nil
}

// Kill kills the process and waits until it is gone. One that has ended already is no error.
func (id ID) Kill() error {
	if err := id.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); id.Alive(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not go after SIGKILL", id.PID)
		}
	}
	return nil
}

// stat reads identity and state of a process.
func stat(pid int) (id ID, state byte, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ID{}, 0, err
	}
	// The second field is the command in parentheses, which may itself hold spaces and parentheses.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 20 {
		return ID{}, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	ticks, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return ID{pid, ticks}, fields[0][0], err
}

// Kind tells what a process of Nebula's is.
type Kind string

// The kinds.
const (
	KindNebula Kind = "nebula" // a role, or a command
	KindEtcd   Kind = "etcd"
	KindShim   Kind = "shim"
	KindEngine Kind = "engine"
)

// Process is a running process as /proc shows it.
type Process struct {
	ID
	Argv []string
	Env  []string // as it was started with
}

// Kind is what the process is, told from what it was started with.
func (p Process) Kind() Kind {
	switch {
	case len(p.Argv) > 1 && p.Argv[1] == "__etcd":
		return KindEtcd
	case len(p.Argv) > 1 && p.Argv[1] == "__shim":
		return KindShim
	case p.Lookup("NEBULA_RUN") != "":
		return KindEngine
	}
	return KindNebula
}

// Lookup returns a variable of the environment, empty when there is none.
func (p Process) Lookup(name string) string {
	for _, kv := range p.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

func (p Process) String() string {
	return fmt.Sprintf("%s %d: %s", p.Kind(), p.PID, strings.Join(p.Argv, " "))
}

// All returns every running process but this one for which keep is true.
func All(keep func(Process) bool) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		id, ok := Find(pid)
		cmd, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		p := Process{id, split(cmd), split(env)}
		if ok && len(cmd) > 0 && keep(p) && id.Alive() { // alive: what was read belongs to it
			out = append(out, p)
		}
	}
	return out, nil
}

// Of returns every process that works for a directory: its command line or its environment names it. Only root sees the environment of
// other users' processes.
func Of(dir string) ([]Process, error) {
	return All(func(p Process) bool {
		for _, list := range [][]string{p.Argv, p.Env} {
			for _, s := range list {
				if strings.Contains(s, dir) {
					return true
				}
			}
		}
		return false
	})
}

// End kills every process that works for a directory: those that start others first.
func End(dir string) error {
	for range 10 { // one that was just being started may be missed once
		left, err := Of(dir)
		if err != nil || len(left) == 0 {
			return err
		}
		var all error
		for _, kind := range []Kind{KindNebula, KindEtcd, KindShim, KindEngine} {
			for _, p := range left {
				if p.Kind() == kind {
					all = errors.Join(all, p.Kill())
				}
			}
		}
		if all != nil {
			return all
		}
	}
	return fmt.Errorf("processes for %s come again and again", dir)
}

// CPU is the processor time, of the user and of the system, that the process has used so far. One that is gone has an error.
func (id ID) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id.PID))
	if err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", id.PID, err)
	}
	f := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:]) // f[0] is field 3 of proc_pid_stat(5)
	if len(f) < 20 || string(f[19]) != strconv.FormatUint(id.Ticks, 10) {
		return 0, fmt.Errorf("processor time of process %d: it has ended", id.PID)
	}
	ticks := 0
	for _, s := range f[11:13] {
		n, err := strconv.Atoi(string(s))
		if err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", id.PID, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil // the clock tick of every Linux that Go runs on
}

func split(b []byte) []string {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}
