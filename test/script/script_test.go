package script

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nebula-serve/nebula/internal/cli"
	"github.com/nebula-serve/nebula/test/answers"
	"github.com/nebula-serve/nebula/test/llama"
)

// TestMain makes this binary stand for nebula inside the scripts, its child processes included.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"nebula":    func() { os.Exit(cli.MainThrough(answers.Keeping(), os.Args[1:])) },
		"interrupt": func() { os.Exit(interrupt(os.Args[1:])) },
		"http":      func() { os.Exit(httpCall(os.Args[1:])) },
	})
}

// TestScripts runs each file of testdata as a terminal session. Whatever servers answer there is held against the OpenAPI document.
func TestScripts(t *testing.T) {
	engine, kept := llama.Find(), answers.CheckAtEnd(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NEBULA_DATA_DIR", filepath.Join(e.WorkDir, "data"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("GORACE", "atexit_sleep_ms=20") // the race detector waits for a second at every end, and there are hundreds here
			e.Setenv(answers.Folder, kept)
			e.Setenv("NEBULA_LLAMA_SERVER", engine)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails, "waitfile": waitFile, "waitout": waitOut, "meddle": meddle, "openlink": openLink},
		Condition: func(cond string) (bool, error) {
			return cond == "engine" && engine != "", nil
		},
	})
}

// fails runs a command that has to end with an exit code: fails CODE COMMAND ARG….
func fails(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("ended with %v, not with exit status %s", err, args[0])
	}
}

// waitFile waits until a file exists.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: waitfile FILE")
	}
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has not appeared", path)
		}
	}
}

// waitOut runs a command until its output matches: waitout REGEXP COMMAND ARG….
func waitOut(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: waitout REGEXP COMMAND ARG…")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && want.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s never printed %s; last: %v\n%s", args[1], args[0], err, out)
		}
	}
}
