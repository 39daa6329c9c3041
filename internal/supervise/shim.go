package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/nebula-serve/nebula/internal/engine"
)

// readyFD is where the shim inherits the pipe whose end tells the driver that state.json or exit.json is written.
const readyFD = 3

// ShimMain is the body of the shim process: it runs the engine of one run and writes down what becomes of it. args are
// what [Driver.Start] appends to its command. It returns the exit status of the process.
func ShimMain(args []string) int {
	if len(args) != 2 || args[0] != strconv.Itoa(readyFD) {
		fmt.Fprintln(os.Stderr, "the shim is started by Nebula itself, and is of no use by hand")
		return 2
	}
	runtime.GOMAXPROCS(1) // it copies a log and waits
	debug.SetGCPercent(20)
	s := shim{dir: args[1]}
	if err := s.run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s shim: %v\n", time.Now().UTC().Format(time.RFC3339), err)
		return 1
	}
	return 0
}

// shim is the engine's parent. It outlives the agent, and holds what only a parent can know: the exit status.
type shim struct {
	dir   string
	rec   launchFile
	state stateFile
	found chan int // the port, once the engine has logged it
}

func (s *shim) run() error {
	// The driver's pipe must not leak into the engine.
	unix.CloseOnExec(readyFD)
	ready := os.NewFile(readyFD, "ready")
	defer ready.Close()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	// Children whose parent ends become ours: nothing that the engine starts escapes.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	if err := readJSON(s.path(launchName), &s.rec); err != nil {
		return err
	}
	me, err := idOf(os.Getpid())
	if err != nil {
		return err
	}
	s.state.Shim = me
	if err := writeJSON(s.path(stateName), &s.state); err != nil {
		return err
	}
	oom := oomKills()
	log := &lumberjack.Logger{Filename: s.path(logName), MaxSize: s.rec.LogMB, MaxBackups: max(1, s.rec.LogFiles-1)}
	defer log.Close()
	cmd, output, err := s.start()
	if err != nil {
		return s.finish(engine.Exit{Code: -1, Error: err.Error(), At: time.Now()})
	}
	if err := writeJSON(s.path(stateName), &s.state); err != nil { // an engine without a record must not live
		_ = cmd.Process.Kill()
		return err
	}
	_ = ready.Close()
	s.found = make(chan int, 1)
	copied := make(chan struct{})
	go func() { s.copy(log, output); close(copied) }()
	exit := s.supervise(cmd, signals)
	exit.OOM = exit.Signal == int(unix.SIGKILL) && oomKills() > oom
	select {
	case <-copied:
	case <-time.After(time.Second): // a process that could not be killed still holds the pipe
	}
	return s.finish(exit)
}

func (s *shim) path(name string) string { return filepath.Join(s.dir, name) }

// start runs the engine in a process group of its own.
func (s *shim) start() (*exec.Cmd, *os.File, error) {
	work := s.path(workName)
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	l := s.rec.Launch
	cmd := &exec.Cmd{
		Path: l.Argv[0], Args: l.Argv, Env: append(append([]string{}, l.Env...), s.rec.environment()...), Dir: work,
		Stdout: in, Stderr: in, SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, nil, err
	}
	s.state.StartedAt = time.Now()
	if s.state.Engine, err = idOf(cmd.Process.Pid); err != nil { // not reaped yet, so it is there
		_ = cmd.Process.Kill()
		out.Close()
		return nil, nil, err
	}
	if l.PortMode == engine.PortReserved {
		s.state.Port = l.Port
	}
	return cmd, out, nil
}

// supervise returns when the engine and all that it started are gone. It alone writes the state from here on.
func (s *shim) supervise(cmd *exec.Cmd, signals <-chan os.Signal) engine.Exit {
	ended := make(chan engine.Exit, 1)
	go func() { ended <- s.reap(cmd.Process.Pid) }()
	for {
		select {
		case exit := <-ended:
			return exit
		case port := <-s.found:
			s.state.Port = port
			if err := writeJSON(s.path(stateName), &s.state); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		case sig := <-signals:
			if sig != unix.SIGHUP {
				_ = cmd.Process.Signal(unix.SIGTERM) // through a pidfd: never to another process
			}
		}
	}
}

// reap waits for the engine, ends whatever it left behind, and takes every child's status so that no zombie stays.
func (s *shim) reap(pid int) engine.Exit {
	exit := engine.Exit{Code: -1, Unknown: true}
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // no child at all: somebody else took the status
			break
		}
		if got == pid {
			exit = engine.Exit{Code: ws.ExitStatus(), At: time.Now()}
			if ws.Signaled() {
				exit.Code, exit.Signal = -1, int(ws.Signal())
			}
			break
		}
	}
	if exit.At.IsZero() {
		exit.At = time.Now()
	}
	me, inRun := os.Getpid(), ofRun(s.rec.Run)
	for deadline := time.Now().Add(10 * time.Second); childrenLeft() && time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		killAll(func(pid int) bool {
			st, err := readStat(pid)
			return err == nil && (st.parent == me || inRun(pid))
		}, 0)
	}
	return exit
}

// childrenLeft takes the status of every ended child and tells whether there are others.
func childrenLeft() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false // ECHILD
		}
		if pid == 0 {
			return true
		}
	}
}

// copy moves the engine's output to the log as it is, and looks for the port on the way. It goes on when the log cannot
// be written (a full disk), because an engine whose output nobody reads stops.
func (s *shim) copy(log io.Writer, output io.Reader) {
	find := portFinder{re: s.rec.Launch.PortLog}
	if s.rec.Launch.PortMode != engine.PortFromLog {
		find.re = nil
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := output.Read(buf)
		_, _ = log.Write(buf[:n])
		if port := find.feed(buf[:n]); port > 0 {
			s.found <- port // once: the finder is done after it
		}
		if err != nil {
			return
		}
	}
}

// portFinder finds the line with the engine's port in its output, however that is cut.
type portFinder struct {
	re   *regexp.Regexp // nil when there is nothing to find (any more)
	line []byte
}

// feed returns the port once, else 0.
func (f *portFinder) feed(b []byte) int {
	if f.re == nil {
		return 0
	}
	fresh := len(f.line) // before it there is no line end
	f.line = append(f.line, b...)
	start := 0
	for i := fresh; i < len(f.line); i++ {
		if c := f.line[i]; c != '\n' && c != '\r' {
			continue
		}
		line := f.line[start:i]
		start = i + 1
		if m := f.re.FindSubmatch(line); len(m) > 1 {
			if port, err := strconv.Atoi(string(m[1])); err == nil && port > 0 && port < 1<<16 {
				f.re, f.line = nil, nil
				return port
			}
		}
	}
	const longest = 8 << 10 // of a line that is worth looking at
	f.line = append(f.line[:0], f.line[max(start, len(f.line)-longest):]...)
	return 0
}

// finish writes down the end. A full disk may get free: the exit status is not given up at the first try.
func (s *shim) finish(exit engine.Exit) error {
	var err error
	for range 30 {
		if err = writeJSON(s.path(exitName), &exit); err == nil || errors.Is(err, os.ErrNotExist) {
			return err
		}
		time.Sleep(time.Second)
	}
	return err
}
