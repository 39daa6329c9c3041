package etcd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// graceTime, then termTime, is how long a child may take to end: after the end of its standard input, after a TERM.
	graceTime = 5 * time.Second
	termTime  = 2 * time.Second
)

// child is one process that serves the store, as its parent sees it.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	ready  chan string   // gets the endpoint when the child is ready
	exited chan struct{} // closed when the process is gone and all it wrote has been read
	// The rest is complete when exited is closed.
	said    report // the child's own reason for its end
	trouble string // else the last error in its log, or the first line of a Go stack trace
	waitErr error
}

// startChild starts a process in a session of its own, so that a Ctrl-C for us does not end it before its users.
func startChild(command []string, log *slog.Logger) (*child, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = childEnvironment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("start the store process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the store process: %w", err)
	}
	c := &child{cmd: cmd, stdin: stdin, ready: make(chan string, 1), exited: make(chan struct{})}
	go func() {
		defer close(c.exited)
		var reading sync.WaitGroup
		reading.Go(func() { c.readReports(stdout) })
		reading.Go(func() { c.readLog(stderr, log) })
		reading.Wait()
		c.waitErr = cmd.Wait()
	}()
	return c, nil
}

// childEnvironment is what the child gets of our environment: what the Go runtime and the system's libraries look at. The rest may be secret, and the
// child needs none of it.
func childEnvironment(ours []string) []string {
	return slices.DeleteFunc(slices.Clone(ours), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "GODEBUG", "GOTRACEBACK", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GOCOVERDIR":
			return false
		}
		return true
	})
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// end ends the child, the harder the longer it takes, and waits for it.
func (c *child) end() {
	_ = c.stdin.Close() // it is gone already when this fails
	if c.gone(graceTime) {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if c.gone(termTime) {
		return
	}
	_ = c.cmd.Process.Kill()
	<-c.exited
}

func (c *child) gone(within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-c.exited:
		return true
	case <-t.C:
		return false
	}
}

// death says why the child ended, and whether the next one would end in the same way. Call it after exited.
func (c *child) death() (err error, final bool) {
	switch {
	case c.said.Error != "":
		err := errors.New(c.said.Error)
		if is, ok := kinds[c.said.Kind]; ok {
			err = reported{is, c.said.Error}
		}
		return err, true
	case c.trouble != "" && c.waitErr != nil:
		return fmt.Errorf("%s (%w)", c.trouble, c.waitErr), false
	case c.waitErr != nil:
		return c.waitErr, false
	}
	return errors.New("it ended without a reason"), false
}

// reported is an error that came from the child as text and is known to be another.
type reported struct {
	is   error
	text string
}

func (r reported) Error() string { return r.text }
func (r reported) Unwrap() error { return r.is }

func (c *child) readReports(from io.Reader) {
	eachLine(from, func(line []byte) {
		var r report
		if json.Unmarshal(line, &r) != nil {
			return // not ours: something printed to the standard output
		}
		if r.Error != "" {
			c.said = r
		} else if r.Endpoint != "" {
			select {
			case c.ready <- r.Endpoint:
			default:
			}
		}
	})
}

// readLog passes the child's log on. What is not a log line comes from the Go runtime.
func (c *child) readLog(from io.Reader, log *slog.Logger) {
	crashed := false
	eachLine(from, func(line []byte) {
		rec, err := parseRecord(line)
		if err != nil {
			rec = plainRecord(line, time.Now())
			if isCrash(line) && !crashed {
				crashed = true
				c.trouble = string(line)
			}
		} else if rec.Level >= slog.LevelError && !crashed {
			c.trouble = oneLine(rec)
		}
		emit(log.Handler(), rec, c.pid())
	})
}

// eachLine calls fn for every line. Of a line over 1 MiB, and from there on, it reads on but tells nothing: the
// writer must not block.
func eachLine(from io.Reader, fn func([]byte)) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			fn(lines.Bytes())
		}
	}
	_, _ = io.Copy(io.Discard, from)
}
