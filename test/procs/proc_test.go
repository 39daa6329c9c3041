package procs

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sleeper(t *testing.T, mark string) *Running {
	t.Helper()
	r, err := Start(Program{Name: "sleeper", Path: "sleep", Args: []string{"60"}, Env: []string{"PROCS_TEST=" + mark}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

func TestLife(t *testing.T) {
	dir := t.TempDir()
	r := sleeper(t, dir)
	found, err := Of(dir)
	if err != nil || len(found) != 1 || found[0].ID != r.ID || found[0].Lookup("PROCS_TEST") != dir {
		t.Fatalf("Of = %v, %v; want process %d alone", found, err, r.PID)
	}
	if err := r.Pause(); err != nil || !r.Paused() || !r.Alive() {
		t.Fatalf("paused %v, alive %v: %v", r.Paused(), r.Alive(), err)
	}
	if err := r.Interrupt(10 * time.Second); err != nil { // a paused one goes on first
		t.Fatal(err)
	}
	if r.Alive() || r.ExitCode() != -1 {
		t.Errorf("after an interrupt: alive %v, exit code %d", r.Alive(), r.ExitCode())
	}
	if found, err := Of(dir); err != nil || len(found) != 0 {
		t.Errorf("Of = %v, %v after the end", found, err)
	}
}

// TestStranger: a pid with another start time is another process, and no signal reaches it.
func TestStranger(t *testing.T) {
	r := sleeper(t, "stranger")
	other := ID{r.PID, r.Ticks + 1}
	if other.Alive() {
		t.Error("a process with another start time counts as the same")
	}
	if err := other.Signal(syscall.SIGKILL); err == nil {
		t.Error("the signal was sent")
	}
	if !r.Alive() {
		t.Error("the stranger was killed")
	}
}

func TestParse(t *testing.T) {
	if id, ok := Parse(Self().String()); !ok || id != Self() || !id.Alive() || id.PID != os.Getpid() {
		t.Errorf("Parse(%s) = %v, %v", Self(), id, ok)
	}
	for _, bad := range []string{"", "-", "1", "a-1", "1-b", "1-2-3"} {
		if id, ok := Parse(bad); ok {
			t.Errorf("Parse(%q) = %v", bad, id)
		}
	}
}

func TestKind(t *testing.T) {
	for want, p := range map[Kind]Process{
		KindNebula: {Argv: []string{"/bin/nebula", "up"}},
		KindEtcd:   {Argv: []string{"/bin/nebula", "__etcd", "/d"}},
		KindShim:   {Argv: []string{"/bin/nebula", "__shim"}, Env: []string{"NEBULA_RUN=1"}},
		KindEngine: {Argv: []string{"llama-server"}, Env: []string{"A=b", "NEBULA_RUN=1"}},
	} {
		if got := p.Kind(); got != want {
			t.Errorf("%v is %q, want %q", p.Argv, got, want)
		}
	}
}

func TestLog(t *testing.T) {
	var l Log
	r, err := Start(Program{Name: "echo", Path: "sh", Args: []string{"-c", "printf 'a\nb\nc\n'; exit 3"}, Log: &l})
	if err != nil {
		t.Fatal(err)
	}
	if code := r.ExitCode(); code != 3 || l.Tail(2) != "b\nc" || !strings.HasPrefix(l.String(), "a\n") {
		t.Errorf("exit code %d, log %q", code, l.String())
	}
}

func TestEnd_everyProcessOfADirectory(t *testing.T) {
	dir := t.TempDir()
	a, b, other := sleeper(t, dir), sleeper(t, dir+"/below"), sleeper(t, t.TempDir())
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := End(dir); err != nil {
		t.Fatal(err)
	}
	if a.Alive() || b.Alive() || !other.Alive() {
		t.Errorf("alive: %v, %v, and another directory's: %v", a.Alive(), b.Alive(), other.Alive())
	}
}

func TestCPU(t *testing.T) {
	r := sleeper(t, "cpu")
	if used, err := r.CPU(); err != nil || used < 0 || used > time.Second {
		t.Errorf("a process that sleeps used %s: %v", used, err)
	}
	if _, err := (ID{r.PID, r.Ticks + 1}).CPU(); err == nil {
		t.Error("a stranger's time was told")
	}
}
