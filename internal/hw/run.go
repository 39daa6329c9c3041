package hw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// Exec is the Runner of real programs. The zero value is ready.
type Exec struct {
	Timeout time.Duration // 0 = 30 s: waking idle GPUs takes long

	mu   sync.Mutex
	hung map[string]<-chan struct{} // programs that did not even end when they were killed; closes when they do
}

// errHangs is told while an earlier run of the program sits in a driver that does not answer.
var errHangs = errors.New("it hangs and cannot be killed: the driver does not answer, restart the machine")

// grace is how long a killed program gets to be gone.
const grace = 2 * time.Second

// Run runs the program for at most Timeout and returns what it printed on both outputs. A program that a broken driver
// holds even after it was killed is left behind, once: until it is gone, further calls fail at once.
func (e *Exec) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	timeout := e.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	if e.hangs(name) {
		return nil, errHangs
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = cmd.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(2 * grace):
			e.leave(name, done)
			return nil, errHangs
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no answer within %s: %w", timeout, ctx.Err())
	}
	return out.Bytes(), err
}

func (e *Exec) hangs(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	done, ok := e.hung[name]
	if !ok {
		return false
	}
	select {
	case <-done:
		delete(e.hung, name)
		return false
	default:
		return true
	}
}

func (e *Exec) leave(name string, done <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hung == nil {
		e.hung = map[string]<-chan struct{}{}
	}
	e.hung[name] = done
}
