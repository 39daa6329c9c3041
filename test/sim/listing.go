package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/client"
)

// listCommand makes this program list models for another one of itself: a process that runs a thousand agents and tens of thousands of engines
// would measure how long its own goroutines wait for a processor.
const listCommand = "list-models"

// tokenVar hands the credential over, which belongs in no argument.
const tokenVar = "SIM_TOKEN"

// listMain lists models ten times a second until standard input ends, and prints how long each took, in microseconds.
func listMain(base string) error {
	s := &server{client: client.New(base, os.Getenv(tokenVar)).WithHTTP(many)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with its parent, or with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		took, err := s.times(ctx, 1)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, d := range took {
			fmt.Println(d.Microseconds())
		}
	}
}

// listing lists models in a process of its own until it is stopped.
type listing struct {
	cmd   *exec.Cmd
	stdin io.Closer
	read  chan struct{} // closed when all has been read

	mu    sync.Mutex
	taken sample
}

func (s *server) listing(token string) (*listing, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &listing{cmd: exec.Command(self, listCommand, s.client.Base()), read: make(chan struct{})}
	l.cmd.Env, l.cmd.Stderr = append(os.Environ(), tokenVar+"="+token), os.Stderr
	stdin, err1 := l.cmd.StdinPipe()
	stdout, err2 := l.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, l.cmd.Start()); err != nil {
		return nil, err
	}
	l.stdin = stdin
	go func() {
		defer close(l.read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if us, err := strconv.Atoi(lines.Text()); err == nil {
				l.mu.Lock()
				l.taken = append(l.taken, time.Duration(us)*time.Microsecond)
				l.mu.Unlock()
			}
		}
	}()
	return l, nil
}

// cut returns what was taken since the last cut.
func (l *listing) cut() sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.taken
	l.taken = nil
	return out
}

func (l *listing) stop() error {
	_ = l.stdin.Close() // it may have ended
	<-l.read
	return l.cmd.Wait()
}
