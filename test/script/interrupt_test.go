package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// interrupt is a program of the scripts: it runs a command, passes on what the command prints, presses Ctrl-C once the output matches, and
// ends as the command did: interrupt [-tty] REGEXP COMMAND ARG…. With -tty the command has a terminal of its own, 24 lines of 100 columns.
// A fixed time instead would be too short on a busy machine. A command that has not printed it within a minute is killed: exit code 1.
func interrupt(args []string) int {
	tty := len(args) > 0 && args[0] == "-tty"
	if tty {
		args = args[1:]
	}
	if len(args) < 2 {
		return complain(2, errors.New("usage: interrupt [-tty] REGEXP COMMAND ARG…"))
	}
	want, err := regexp.Compile(args[0])
	if err != nil {
		return complain(2, err)
	}
	cmd := exec.Command(args[1], args[2:]...) //nolint:gosec // what a script of testdata says
	cmd.Stderr = os.Stderr
	out, err := start(cmd, tty)
	if err != nil {
		return complain(1, err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()

	var seen bytes.Buffer
	pressed := false
	for buf := make([]byte, 4096); ; {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if _, gone := os.Stdout.Write(buf[:n]); gone != nil {
			return complain(1, gone)
		}
		if !pressed && want.Match(seen.Bytes()) {
			pressed = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				return complain(1, err)
			}
		}
		if err != nil { // a terminal ends with EIO, a pipe with EOF
			break
		}
	}
	err = cmd.Wait()
	if !pressed {
		return complain(1, fmt.Errorf("%v never printed %s: %w", args[1:], want, err))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// start starts the command and returns where its output comes from.
func start(cmd *exec.Cmd, tty bool) (io.Reader, error) {
	if tty {
		return pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return out, cmd.Start()
}

func complain(code int, err error) int {
	fmt.Fprintln(os.Stderr, "interrupt:", err)
	return code
}
