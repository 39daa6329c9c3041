//go:build chaos

package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
)

// program is one nebula role on its data directory. It can be ended in every way and started again.
type program struct {
	name   string
	binary string
	args   []string
	env    []string
	dir    string // its data directory
	log    string // its output, of all its lives
	host   *netns.Host

	*procs.Running // of its present or last life
}

// newProgram names a role, with a data directory in the lab.
func newProgram(name string, host *netns.Host, args ...string) *program {
	dir := filepath.Join(lab.dir, name)
	return &program{name: name, binary: lab.nebula, dir: dir, log: dir + ".log", host: host, args: append(args, "--data-dir", dir)}
}

// start starts a program that does not run.
func (p *program) start() error {
	f, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	spec := procs.Program{Name: p.name, Path: p.binary, Args: p.args, Env: p.env, Log: f}
	if p.host != nil {
		spec.Start = p.host.Start
	}
	p.Running, err = procs.Start(spec)
	return err
}

// runs tells whether the program has been started and has not ended.
func (p *program) runs() bool { return p.Running != nil && p.Alive() }

// check returns an error with the end of the log when the program has ended by itself.
func (p *program) check() error {
	if p.runs() {
		return nil
	}
	return fmt.Errorf("%s has ended:\n%s", p.name, procs.TailFile(p.log, 20))
}

// token is the admin credential in the data directory.
func (p *program) token() (string, error) {
	b, err := os.ReadFile(filepath.Join(p.dir, "admin.token"))
	return strings.TrimSpace(string(b)), err
}

// cli runs a command line against the program, on its host, and returns what it printed.
func (p *program) cli(args ...string) (string, error) {
	cmd := exec.Command(p.binary, append(args, "--data-dir", p.dir)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	start := cmd.Start
	if p.host != nil {
		start = func() error { return p.host.Start(cmd) }
	}
	if err := start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("nebula %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// engines returns the processes of a kind that work for the program's data directory.
func (p *program) of(kind procs.Kind) []procs.Process {
	all, err := procs.Of(p.dir)
	if err != nil {
		return nil // /proc cannot be read: nothing else works either
	}
	var out []procs.Process
	for _, x := range all {
		if x.Kind() == kind && strings.Contains(strings.Join(append(x.Argv, x.Env...), "\n"), p.dir+"/") {
			out = append(out, x)
		}
	}
	return out
}

// keepLogs shows the end of the programs' logs when the test has failed, and keeps them whole among its artifacts.
func keepLogs(t *testing.T, programs ...*program) {
	t.Helper()
	if !t.Failed() {
		return
	}
	for _, p := range programs {
		t.Logf("end of the log of %s:\n%s", p.name, procs.TailFile(p.log, 25))
		b, err := os.ReadFile(p.log)
		if err == nil {
			err = os.WriteFile(filepath.Join(t.ArtifactDir(), p.name+".log"), b, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // without -artifacts the directory may be gone already
			t.Log(err)
		}
	}
}

// server is a program with an API.
type server struct {
	*program
	url    string
	client *client.Client
}
