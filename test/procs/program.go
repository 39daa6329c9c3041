package procs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program says what to start.
type Program struct {
	Name  string // for messages
	Path  string
	Args  []string
	Env   []string              // on top of this process's own
	Log   io.Writer             // standard output and standard error; nil: nowhere
	Start func(*exec.Cmd) error // how to start it, for one that runs elsewhere; nil: (*exec.Cmd).Start
}

// Running is a program that was started.
type Running struct {
	ID
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a program, in a process group of its own so that a Ctrl-C at the tests does not reach it.
func Start(p Program) (*Running, error) {
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if f, ok := p.Log.(*os.File); ok {
		cmd.Stdout, cmd.Stderr = f, f // the file itself: whoever inherits it does not delay Wait
	} else if p.Log != nil {
		cmd.Stdout, cmd.Stderr = p.Log, p.Log
	}
	start := p.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	id, _, err := stat(cmd.Process.Pid)
	r := &Running{ID: id, name: p.Name, cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(r.exited)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	return r, err
}

// Exited closes when the program has ended.
func (r *Running) Exited() <-chan struct{} { return r.exited }

// ExitCode is the exit code of a program that has ended; -1 when a signal ended it.
func (r *Running) ExitCode() int {
	<-r.exited
	return r.cmd.ProcessState.ExitCode()
}

// Kill kills the program without warning and waits for its end.
func (r *Running) Kill() error {
	err := r.Signal(syscall.SIGKILL)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-r.exited
	return err
}

// Pause stops the program where it is, until Resume, and returns when it stands.
func (r *Running) Pause() error {
	if err := r.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); !r.Paused(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not stop after SIGSTOP", r.name)
		}
	}
	return nil
}

// Resume lets a paused program go on.
func (r *Running) Resume() error { return r.Signal(syscall.SIGCONT) }

// Interrupt ends the program as Ctrl-C does. One that is still there after the grace time is killed, and that is an error.
func (r *Running) Interrupt(grace time.Duration) error {
	_ = r.Resume() // a paused program hears nothing else
	if err := r.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-r.exited:
		return nil
	case <-time.After(grace):
	}
	return errors.Join(fmt.Errorf("%s does not end within %s of an interrupt", r.name, grace), r.Kill())
}

// Build builds the nebula program into a directory and returns its path. Flags go to go build.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	out := filepath.Join(dir, "nebula")
	build := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", out}, flags...), "./cmd/nebula")...)
	build.Dir = filepath.Dir(strings.TrimSpace(string(mod)))
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nebula: %w\n%s", err, text)
	}
	return out, nil
}

// Log is a program's output that can be read while it is written.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Tail returns the last lines.
func (l *Log) Tail(lines int) string { return tail(l.String(), lines) }

// TailFile returns the last lines of a file, or why it cannot be read.
func TailFile(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return tail(string(b), lines)
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
