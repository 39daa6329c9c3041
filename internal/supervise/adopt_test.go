package supervise

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/internal/engine"
)

// kill -9 of the agent's whole process group: engines live on under the same pid, and an agent after it knows all of them,
// and how those ended that ended while there was no agent.
func TestAdopt_afterTheAgentIsKilled(t *testing.T) {
	dir := t.TempDir()
	l := launch()
	agent, pids := startAgent(t, dir, l, launch("-listen=false", "-ignore-term"))
	killAgent(agent)
	for _, pid := range pids {
		if id, err := idOf(pid); err != nil || !id.runs() {
			t.Fatalf("engine %d died with its agent", pid)
		}
	}
	id, err := idOf(pids[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := send(id, unix.SIGHUP); err != nil { // ends while nobody watches
		t.Fatal(err)
	}
	eventually(t, "exit status", func() bool { return len(files(t, filepath.Join(dir, "model", "1", "*", exitName))) == 1 })

	ps := adopt(t, dir)
	if len(ps) != 2 {
		t.Fatalf("adopted %d", len(ps))
	}
	live, ended := ps[0], ps[1]
	if live.PID() != pids[0] || live.Identity() != identity(0) || string(live.Meta()) != "memory" || live.StartedAt().IsZero() {
		t.Errorf("adopted %d %v %q", live.PID(), live.Identity(), live.Meta())
	}
	if diff := cmp.Diff(l, live.Launch(), cmpopts.IgnoreFields(engine.Launch{}, "PortLog")); diff != "" {
		t.Errorf("launch -want +got\n%s", diff)
	}
	eventually(t, "port", func() bool { return live.Port() != 0 })
	if got := live.Probe(t.Context(), nil, l.Ready); got != engine.AnswerOK {
		t.Errorf("probe: %s", got)
	}
	if e := waitDone(t, ended); e.Signal != int(unix.SIGHUP) || e.Unknown || e.Stopped {
		t.Errorf("exit status lost: %+v", e)
	}
	if err := send(live.now().Engine, unix.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	if e := waitDone(t, live); e.Unknown || e.Status() == 0 {
		t.Errorf("exit after adoption: %+v", e)
	}
	if err := errors.Join(live.Remove(), ended.Remove()); err != nil {
		t.Error(err)
	}
}

// Closing a driver leaves the engines alone, and a second one in the same process takes them over, and reaps their shims.
func TestAdopt_afterClose(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	first := start(t, d, 0, launch())
	eventually(t, "port", func() bool { return first.Port() != 0 })
	d.Close()
	p := adoptOne(t, dir)
	if p.PID() != first.PID() {
		t.Errorf("pid %d, was %d", p.PID(), first.PID())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := p.Exit(); e.Unknown || e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	select {
	case <-first.Done():
		t.Error("a closed driver still watches")
	default:
	}
}

// A stop that one agent began is a stop for the next one too.
func TestAdopt_remembersTheStop(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	p := start(t, d, 0, launch())
	p.begin()
	d.Close()
	if err := send(p.now().Engine, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := waitDone(t, adoptOne(t, dir)); !e.Stopped {
		t.Errorf("exit %+v", e)
	}
}

// kill -9 of the shim: the engine lives on, is watched and stopped; only its exit status is lost.
func TestShim_killed(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	p := start(t, d, 0, launch("-children", "2"))
	eventually(t, "port", func() bool { return p.Port() != 0 })
	if err := send(p.now().Shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss to be noticed", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.orphaned })
	if got := p.Probe(t.Context(), nil, p.Launch().Ready); got != engine.AnswerOK {
		t.Errorf("probe: %s", got)
	}
	d.Close()

	q := adoptOne(t, dir)
	if q.PID() != p.PID() || q.Port() != p.Port() {
		t.Errorf("adopted %d:%d, was %d:%d", q.PID(), q.Port(), p.PID(), p.Port())
	}
	if err := q.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := q.Exit(); !e.Unknown || e.Code != -1 {
		t.Errorf("exit %+v", e)
	}
	if left := group(q.PID()); len(left) > 0 {
		t.Errorf("children live on: %v", left)
	}
}

// The port is in the log, even where the shim did not live to note it.
func TestShim_killedBeforeThePortIsNoted(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	p := start(t, d, 0, launch())
	eventually(t, "port", func() bool { return p.Port() != 0 })
	if err := send(p.now().Shim, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss to be noticed", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.orphaned })
	d.Close()
	s := p.now()
	port := s.Port
	s.Port = 0
	if err := writeJSON(filepath.Join(p.dir, stateName), &s); err != nil {
		t.Fatal(err)
	}
	q := adoptOne(t, dir)
	eventually(t, "port out of the log", func() bool { return q.Port() == port })
	if err := q.Kill(); err != nil {
		t.Error(err)
	}
}

// bystander is a process that is none of ours, and must outlive every test.
func bystander(t *testing.T) procID {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := idOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !id.runs() {
			t.Error("a bystander was killed")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return id
}

// record writes a run as an earlier driver would have left it.
func record(t *testing.T, dir string, rec launchFile, s stateFile) string {
	t.Helper()
	run, err := nextRun(filepath.Join(dir, "model", "0"))
	if err != nil {
		t.Fatal(err)
	}
	rec.Identity, rec.Launch = identity(0), launch()
	if rec.Run == "" {
		rec.Run = "RECORDED"
	}
	if rec.BootID == "" {
		rec.BootID = bootID()
	}
	if err := errors.Join(writeJSON(filepath.Join(run, launchName), &rec), writeJSON(filepath.Join(run, stateName), &s)); err != nil {
		t.Fatal(err)
	}
	return run
}

// Whoever has a recorded pid now, and is not provably the recorded process, is left alone.
func TestAdopt_leavesStrangersAlone(t *testing.T) {
	other := bystander(t)
	reused := procID{other.PID, other.Ticks - 1}
	cases := map[string]struct {
		rec launchFile
		s   stateFile
	}{
		"pid reused":             {launchFile{}, stateFile{Shim: reused, Engine: reused}},
		"no mark in environment": {launchFile{}, stateFile{Shim: other, Engine: other}},
		"before a restart":       {launchFile{BootID: "another boot"}, stateFile{Shim: other, Engine: other}},
		"pid unused":             {launchFile{}, stateFile{Shim: procID{1 << 30, 1}, Engine: procID{1 << 30, 1}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			record(t, dir, c.rec, c.s)
			p := adoptOne(t, dir)
			if e := waitDone(t, p); !e.Unknown {
				t.Errorf("exit %+v", e)
			}
			for range 20 {
				if err := errors.Join(p.Stop(t.Context()), p.Kill()); err != nil {
					t.Error(err)
				}
			}
			if err := p.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The exit status counts even from before a restart of the machine.
func TestAdopt_keepsTheStatusOverARestart(t *testing.T) {
	dir := t.TempDir()
	run := record(t, dir, launchFile{BootID: "another boot"}, stateFile{Engine: procID{1 << 30, 1}})
	want := engine.Exit{Code: 4, At: time.Unix(1700000000, 0).UTC()}
	if err := writeJSON(filepath.Join(run, exitName), &want); err != nil {
		t.Fatal(err)
	}
	if got := adoptOne(t, dir).Exit(); got != want {
		t.Errorf("got %+v", got)
	}
}

// A run whose agent died before its shim had started anything never was, and one that cannot be read is no obstacle.
func TestAdopt_brokenRecords(t *testing.T) {
	dir := t.TempDir()
	unborn := record(t, dir, launchFile{}, stateFile{})
	bad := record(t, dir, launchFile{}, stateFile{})
	if err := os.WriteFile(filepath.Join(bad, launchName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "x", "y", "z"), 0o700); err != nil {
		t.Fatal(err)
	}
	if ps := adopt(t, dir); len(ps) != 0 {
		t.Errorf("adopted %d", len(ps))
	}
	if _, err := os.Stat(unborn); err == nil {
		t.Error("a run that never was is still there")
	}
}

// A start that failed while no agent was there is reported with its reason.
func TestAdopt_failedStart(t *testing.T) {
	dir := t.TempDir()
	run := record(t, dir, launchFile{}, stateFile{})
	if err := writeJSON(filepath.Join(run, exitName), &engine.Exit{Code: -1, Error: "no such file or directory"}); err != nil {
		t.Fatal(err)
	}
	if got := adoptOne(t, dir).Exit(); got.Error == "" {
		t.Errorf("got %+v", got)
	}
}

// Engines that no record names are found by their mark, reported, and ended on demand; those on record are refused.
func TestStrays(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	kept := start(t, d, 0, launch())
	lost := start(t, d, 1, launch("-ignore-term", "-children", "2"))
	eventually(t, "port", func() bool { return lost.Port() != 0 })
	elsewhere := start(t, newDriver(t, t.TempDir()), 0, launch())
	d.Close()
	if err := os.RemoveAll(filepath.Join(dir, "model", "1")); err != nil {
		t.Fatal(err)
	}

	next := newDriver(t, dir)
	ps, strays, err := next.Adopt(t.Context())
	if err != nil || len(ps) != 1 || ps[0].PID() != kept.PID() {
		t.Fatalf("adopted %v, %v", ps, err)
	}
	if len(strays) != 1 || strays[0].Identity != identity(1) || len(strays[0].PIDs) != 4 { // shim, engine, two children
		t.Fatalf("strays %+v", strays)
	}
	if err := next.Reap(t.Context(), strays[0], 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if again, err := next.Strays(); err != nil || len(again) != 0 {
		t.Errorf("strays after reaping: %v %v", again, err)
	}
	if err := next.Reap(t.Context(), Stray{Run: kept.rec.Run}, 0); err == nil || !strings.Contains(err.Error(), "on record") {
		t.Errorf("reaped one on record: %v", err)
	}
	for _, p := range []*Process{kept, elsewhere} {
		if !p.now().Engine.runs() {
			t.Errorf("engine %d was killed too", p.PID())
		}
	}
	if err := errors.Join(ps[0].Kill(), elsewhere.Kill()); err != nil {
		t.Error(err)
	}
	bury(lost.now().Shim) // its driver is closed, so nobody else takes its status
}

func TestRecord_roundTrip(t *testing.T) {
	in := launchFile{Run: "r", Supervisor: "/d", Identity: identity(1), Launch: launch("-x"), Meta: []byte{0, 1, 255}, LogMB: 1, LogFiles: 2, BootID: "b"}
	name := filepath.Join(t.TempDir(), launchName)
	if err := writeJSON(name, &in); err != nil {
		t.Fatal(err)
	}
	var out launchFile
	if err := readJSON(name, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out, cmpopts.IgnoreFields(engine.Launch{}, "PortLog")); diff != "" || out.Launch.PortLog.String() != in.Launch.PortLog.String() {
		t.Errorf("-want +got\n%s", diff)
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the record may hold what is nobody's business: %v %v", fi.Mode(), err)
	}
	if raw, err := json.Marshal(&in); err != nil || !json.Valid(raw) {
		t.Error(err)
	}
}

// The right pid with another start time is another process: it is not opened, not signalled and carries nothing.
func TestProcID_isMoreThanAPid(t *testing.T) {
	other := bystander(t)
	reused := procID{other.PID, other.Ticks - 1}
	if _, err := hold(reused); !errors.Is(err, errNoProcess) {
		t.Errorf("opened: %v", err)
	}
	if err := send(reused, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if reused.runs() || reused.carries("TMPDIR", os.Getenv("TMPDIR")) || !other.carries("TMPDIR", os.Getenv("TMPDIR")) {
		t.Error("taken for another")
	}
}
