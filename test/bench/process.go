package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one that the bench started.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// start runs a program in a process group of its own, so that a Ctrl-C reaches it through stop alone.
func start(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stopGrace is how long a process may take to end in order.
const stopGrace = 30 * time.Second

// stop ends the process in order, else kills it and what it started.
func (p *process) stop() {
	family := append(descendants(p.pid()), identify(p.pid()))
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(stopGrace):
	}
	for _, d := range family {
		if d.started != "" && identify(d.pid).started == d.started {
			_ = syscall.Kill(d.pid, syscall.SIGKILL)
		}
	}
	<-p.done
}

// ended returns an error with the end of the log when the process has ended.
func (p *process) ended() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s ended by itself: %s", filepath.Base(p.cmd.Path), b[max(0, len(b)-1500):])
}

// await asks until the answer is nil, the process ends or the time is over.
func (p *process) await(ctx context.Context, what string, limit time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if err := p.ended(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not after %s: %w", what, limit, err)
		case <-tick.C:
		}
	}
}

// member is a process of a tree, with what the kernel tells of it.
type member struct {
	pid, parent int
	started     string        // clock ticks since the machine started; with the pid it names a process; empty = it is gone
	cpu         time.Duration // user + system
	rss         float64       // MiB
	args        []string
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// identify reads /proc/PID/stat; the zero member is a process that is gone. The fields are those of proc_pid_stat(5).
func identify(pid int) member {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return member{}
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	f := strings.Fields(rest) // f[0] is field 3
	if len(f) < 22 {
		return member{}
	}
	at := func(field int) int {
		n, _ := strconv.Atoi(f[field-3]) // the kernel writes numbers
		return n
	}
	m := member{pid: pid, parent: at(4), started: f[22-3], cpu: time.Duration(at(14)+at(15)) * clockTick}
	m.rss = float64(at(24)) * float64(os.Getpagesize()) / (1 << 20)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		m.args = strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
	}
	return m
}

// descendants returns the processes below pid.
func descendants(pid int) []member {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	children := map[int][]member{}
	for _, name := range names {
		if id, err := strconv.Atoi(filepath.Base(name)); err == nil {
			m := identify(id)
			children[m.parent] = append(children[m.parent], m)
		}
	}
	var out []member
	for next := children[pid]; len(next) > 0; next = next[1:] {
		out = append(out, next[0])
		next = append(next, children[next[0].pid]...)
	}
	return out
}

// freePort finds a port on loopback that nobody listens on.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
