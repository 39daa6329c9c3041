package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

func TestStart_runsUntilStopped(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	before := time.Now()
	p := start(t, d, 3, launch())
	if p.Identity() != identity(3) || string(p.Meta()) != "memory" || p.StartedAt().Before(before) {
		t.Errorf("identity %v, meta %q, started %v", p.Identity(), p.Meta(), p.StartedAt())
	}
	eventually(t, "port", func() bool { return p.Port() != 0 })
	if got := get(t, fmt.Sprintf("http://127.0.0.1:%d/v1/models", p.Port())); !strings.Contains(got, `"model"`) {
		t.Errorf("engine answers %q", got)
	}
	s, err := readStat(p.PID())
	if err != nil || s.group != p.PID() || s.parent == os.Getpid() {
		t.Errorf("the engine must lead its own group and be the shim's child: %+v %v", s, err)
	}
	if err := p.Remove(); err == nil {
		t.Error("a running process was taken off the record")
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := p.Exit(); e.Code != 0 || e.Signal != 0 || e.Unknown || !e.Stopped || e.At.Before(before) {
		t.Errorf("exit %+v", e)
	}
	if err := errors.Join(p.Stop(t.Context()), p.Kill(), p.Remove()); err != nil {
		t.Error("stop and remove again:", err)
	}
	if ps := adopt(t, dir); len(ps) != 0 {
		t.Errorf("%d on record after removal", len(ps))
	}
	if !strings.Contains(logText(p), "got TERM") {
		t.Errorf("log is gone with the record: %q", logText(p))
	}
}

// Nothing of the agent's own environment reaches an engine; what its launch lists and the identity does.
func TestStart_environmentIsComplete(t *testing.T) {
	t.Setenv("HF_TOKEN", "hf_secretsecret")
	p := start(t, newDriver(t, t.TempDir()), 0, launch())
	raw, err := os.ReadFile(procPath(p.PID(), "environ"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for kv := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\x00"), "\x00") {
		k, v, _ := strings.Cut(kv, "=")
		keys[k] = v
	}
	var id engine.Identity
	if err := json.Unmarshal([]byte(keys[envReplica]), &id); err != nil || id != identity(0) {
		t.Errorf("identity %v %v", id, err)
	}
	delete(keys, envReplica)
	want := map[string]string{"GORACE": strings.TrimPrefix(quickRace, "GORACE="), envRun: p.rec.Run, envSupervisor: p.driver.cfg.Dir}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestExit_isKnown(t *testing.T) {
	d := newDriver(t, t.TempDir())
	cases := []struct {
		args []string
		want engine.Exit
	}{
		{[]string{"-code", "0"}, engine.Exit{}},
		{[]string{"-code", "7"}, engine.Exit{Code: 7}},
		{[]string{"-signal", "HUP"}, engine.Exit{Code: -1, Signal: int(unix.SIGHUP)}},
		{[]string{"-signal", "KILL"}, engine.Exit{Code: -1, Signal: 9}},
		{[]string{"-code", "3", "-children", "2"}, engine.Exit{Code: 3}},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			p := start(t, d, 0, launch(c.args...))
			got := waitDone(t, p)
			got.At = time.Time{}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if left := group(p.PID()); len(left) > 0 {
				t.Errorf("children live on: %v", left)
			}
			for _, line := range p.Tail(10) {
				if pid, ok := strings.CutPrefix(line, "child "); ok {
					n, _ := strconv.Atoi(pid)
					if _, err := readStat(n); err == nil {
						t.Errorf("child %d lives on", n)
					}
				}
			}
		})
	}
}

// Why an engine cannot be started is for people, and leaves nothing behind.
func TestStart_failures(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cases := []struct {
		name, binary string
		code         api.FailureCode
	}{
		{"missing", "/nowhere/llama-server", api.FailEngineMissing},
		{"not executable", script("engine", "#!/bin/sh\n", 0o600), api.FailBadInstall},
		{"no program", script("engine", "\x00\x01", 0o700), api.FailBadInstall},
		{"no interpreter", script("engine", "#!/nowhere/sh\n", 0o700), api.FailEngineMissing},
		{"a folder", t.TempDir(), api.FailBadInstall},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := launch()
			l.Argv[0] = c.binary
			_, err := d.Start(t.Context(), identity(0), l, nil)
			if f, ok := errors.AsType[*engine.Failure](err); !ok || f.Code != c.code || !f.Final || !strings.Contains(f.Message, c.binary) {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
	for name, id := range map[string]engine.Identity{"uid": {ModelUID: "../x"}, "empty": {}} {
		if _, err := d.Start(t.Context(), id, launch(), nil); !api.HasCode(err, api.CodeInvalidUID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	relative := launch()
	relative.Argv[0] = "llama-server"
	if _, err := d.Start(t.Context(), identity(0), relative, nil); err == nil {
		t.Error("a relative command was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Start(ctx, identity(0), launch(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("start without time: %v", err)
	}
	broken, err := New(Config{Dir: dir, Shim: []string{"/bin/false"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Start(t.Context(), identity(0), launch(), nil); err == nil || !strings.Contains(err.Error(), "ended at once") {
		t.Errorf("a shim that does not work: %v", err)
	}
	if left := files(t, filepath.Join(dir, "*", "*", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A shim that shows no environment, as any program while it is being started, is ended as well when a start is given up.
func TestStart_givenUpWhileTheShimHasNoEnvironment(t *testing.T) {
	dir, lived := t.TempDir(), filepath.Join(t.TempDir(), "lived")
	const bare = `: >"$1/bare"; sleep 20; : >"$2"`
	d, err := New(Config{Dir: dir, Shim: []string{"/bin/sh", "-c", `exec env -i /bin/sh -c '` + bare + `' bare "$3" "$1"`, "shim", lived}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := d.Start(ctx, identity(0), launch(), nil)
		ended <- err
	}()
	eventually(t, "a shim without an environment", func() bool { return len(files(t, filepath.Join(dir, "*", "*", "*", "bare"))) > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(lived); err == nil {
		t.Error("the shim ran to its own end")
	}
	if left := files(t, filepath.Join(dir, "*", "*", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNew_refuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"no shim": {Dir: t.TempDir()}, "relative shim": {Dir: t.TempDir(), Shim: []string{"nebula"}}, "a file": {Dir: file, Shim: shimCommand()},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TERM, TERM, then KILL of the group, with children in it and outside of it.
func TestStop_killsWhatDoesNotListen(t *testing.T) {
	l := launch("-ignore-term", "-children", "3")
	l.KillAfter = 150 * time.Millisecond
	p := start(t, newDriver(t, t.TempDir()), 0, l)
	eventually(t, "port", func() bool { return p.Port() != 0 })
	var children []procID
	for _, line := range p.Tail(100) {
		if pid, ok := strings.CutPrefix(line, "child "); ok {
			n, _ := strconv.Atoi(pid)
			id, err := idOf(n)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, id)
		}
	}
	if len(children) != 3 {
		t.Fatalf("children %v", children)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := p.Exit(); e.Signal != int(unix.SIGKILL) || !e.Stopped {
		t.Errorf("exit %+v", e)
	}
	if n := strings.Count(logText(p), "got TERM"); n != 2 {
		t.Errorf("%d TERMs: %q", n, logText(p))
	}
	for _, c := range children {
		if c.runs() {
			t.Errorf("child %v lives on", c)
		}
	}
}

// An ended context cuts the patience short, and any number of callers may stop at once.
func TestStop_atOnceAndTogether(t *testing.T) {
	l := launch("-ignore-term")
	l.Stop, l.KillAfter = []engine.TimedSignal{{Signal: "TERM"}}, time.Hour
	p := start(t, newDriver(t, t.TempDir()), 0, l)
	eventually(t, "port", func() bool { return p.Port() != 0 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "TERM", func() bool { return strings.Contains(logText(p), "got TERM") })
	select {
	case <-p.Done():
		t.Fatal("killed before its time")
	default:
	}
	cancel()
	wg.Wait()
	if e := p.Exit(); e.Signal != int(unix.SIGKILL) {
		t.Errorf("exit %+v", e)
	}
}

// A shim that hangs does not save an engine from its stop.
func TestStop_withAHangingShim(t *testing.T) {
	p := start(t, newDriver(t, t.TempDir()), 0, launch())
	if err := send(p.now().Shim, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := p.Exit(); !e.Unknown || !e.Stopped {
		t.Errorf("exit %+v", e)
	}
}

// The shim passes TERM on to the engine, and stays until it has its exit status.
func TestShim_forwardsTERM(t *testing.T) {
	p := start(t, newDriver(t, t.TempDir()), 0, launch())
	eventually(t, "port", func() bool { return p.Port() != 0 })
	if err := send(p.now().Shim, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := waitDone(t, p); e.Code != 0 || e.Unknown || e.Stopped {
		t.Errorf("exit %+v", e)
	}
}

func TestShimMain_refusesPeople(t *testing.T) {
	for _, args := range [][]string{nil, {"dir"}, {"4", "dir"}, {"3", "dir", "more"}} {
		if code := ShimMain(args); code != 2 {
			t.Errorf("%q: status %d", args, code)
		}
	}
}

func TestProbe_answers(t *testing.T) {
	d := newDriver(t, t.TempDir())
	client := &http.Client{}
	probe := engine.Probe{Path: "/health", Timeout: 10 * time.Second}
	cases := []struct {
		name string
		args []string
		want engine.Answer
	}{
		{"ok", nil, engine.AnswerOK},
		{"busy", []string{"-busy", "1h"}, engine.AnswerBusy},
		{"failed", []string{"-unhealthy"}, engine.AnswerFailed},
		{"another model", []string{"-name", "other"}, engine.AnswerStranger},
		{"does not listen", []string{"-listen=false"}, engine.AnswerRefused},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, d, uint32(i), launch(c.args...))
			if c.want != engine.AnswerRefused {
				eventually(t, "port", func() bool { return p.Port() != 0 })
			}
			for range 2 {
				if got := p.Probe(t.Context(), client, probe); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			}
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			if got := p.Probe(t.Context(), client, probe); got != engine.AnswerRefused {
				t.Errorf("after its end: %s", got)
			}
		})
	}
	t.Run("no answer in time", func(t *testing.T) {
		p := start(t, d, 9, launch("-slow"))
		eventually(t, "port", func() bool { return p.Port() != 0 })
		if got := p.Probe(t.Context(), nil, engine.Probe{Path: "/health", Timeout: 20 * time.Millisecond}); got != engine.AnswerFailed {
			t.Errorf("got %s", got)
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
}

// A stranger on the reserved port serves a model of the same name, and is still never taken for ours.
func TestProbe_neverTakesAStrangerForOurs(t *testing.T) {
	d := newDriver(t, t.TempDir())
	theirs := start(t, d, 0, launch())
	eventually(t, "port", func() bool { return theirs.Port() != 0 })
	l := launch("-listen=false")
	l.PortMode, l.Port = engine.PortReserved, theirs.Port()
	ours := start(t, d, 1, l)
	if ours.Port() != theirs.Port() {
		t.Fatalf("port %d", ours.Port())
	}
	if got := ours.Probe(t.Context(), nil, l.Ready); got != engine.AnswerStranger {
		t.Errorf("got %s", got)
	}
	if !Owns(theirs.PID(), theirs.Port()) || Owns(ours.PID(), ours.Port()) || Owns(theirs.PID(), 1) {
		t.Error("ownership of the port is wrong")
	}
	if got := Probe(t.Context(), nil, theirs.Port(), "model", l.Ready); got != engine.AnswerOK {
		t.Errorf("by name alone: %s", got)
	}
	if err := errors.Join(ours.Kill(), theirs.Kill()); err != nil {
		t.Error(err)
	}
}

// The engine that finds its port taken says so, in words that are understood.
func TestDiagnose_portInUse(t *testing.T) {
	d := newDriver(t, t.TempDir())
	theirs := start(t, d, 0, launch())
	eventually(t, "port", func() bool { return theirs.Port() != 0 })
	p := start(t, d, 1, launch("-port", strconv.Itoa(theirs.Port())))
	exit := waitDone(t, p)
	if f := engine.Diagnose("llamacpp", p.Tail(100), exit); f.Code != api.FailPortInUse {
		t.Errorf("got %+v", f)
	}
	if err := theirs.Kill(); err != nil {
		t.Error(err)
	}
}

func TestActivity_movesWithWork(t *testing.T) {
	p := start(t, newDriver(t, t.TempDir()), 0, launch("-ignore-term"))
	eventually(t, "port", func() bool { return p.Port() != 0 })
	last := p.Activity()
	eventually(t, "rest", func() bool { a := p.Activity(); same := a == last; last = a; return same })
	if u := p.Usage(); u.RSS < 1<<20 || u.LogBytes == 0 {
		t.Errorf("usage %+v", u)
	}
	if err := send(p.now().Engine, unix.SIGTERM); err != nil { // it writes a line
		t.Fatal(err)
	}
	eventually(t, "activity", func() bool { return p.Activity() != last })
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
}

// The last few ended runs keep their logs.
func TestRemove_keepsTheLastLogs(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	var last *Process
	for i := range 5 {
		last = start(t, d, 0, launch("-say", "run "+strconv.Itoa(i), "-code", "0"))
		waitDone(t, last)
		if err := last.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	logs := files(t, filepath.Join(dir, "model", "0", "*", "*"))
	if len(logs) != 3 || !strings.Contains(logText(last), "run 4") {
		t.Errorf("kept %v", logs)
	}
}
