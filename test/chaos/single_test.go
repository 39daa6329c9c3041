//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// TestF07_agentKilled: kill -9 of the agent restarts no engine; the next agent adopts them all. Here agent and gateway are one process, so
// clients meet nobody for a while, and those in flight lose their connection.
func TestF07_agentKilled(t *testing.T) {
	s := solo(t)
	s.model(t, "m", 2)
	before := s.replicas(t, "m")
	shims := s.of(procs.KindShim)
	if len(before) != 2 || len(shims) != 2 {
		t.Fatalf("engines %v under shims %v", before, shims)
	}
	l := load(t, traffic.Spec{Gateways: []traffic.Gateway{s.gateway(t)}, Model: "m", Tries: 100})
	kills := 3
	if !testing.Short() {
		kills = 50
	}
	var slowest time.Duration
	for range kills {
		said := s.die(t)
		for _, p := range append(shims, s.of(procs.KindEngine)...) {
			if !p.Alive() {
				t.Fatalf("%s died with the agent", p)
			}
		}
		slowest = max(slowest, s.again(t, said)+s.settled(t, "m"))
		flow(t, l, 20)
	}
	t.Logf("adopted within %s of being ready, over %d kills", slowest.Round(time.Millisecond), kills)
	finish(t, l, traffic.Lost)
	s.sameEngines(t, "m", before)
	owned(t, s.client, s.program)
}

// TestF08_engineGoneAndPidReused: while no agent runs, engine and shim die and the engine's pid goes to a stranger. The next agent sees that its
// engine is gone, starts another one, and leaves the stranger alone.
func TestF08_engineGoneAndPidReused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("choosing a pid needs root")
	}
	s := solo(t)
	s.model(t, "m", 1)
	s.model(t, "other", 1)
	victim, other := s.replicas(t, "m")[0], s.replicas(t, "other")
	said := s.die(t)
	for _, shim := range s.of(procs.KindShim) {
		if slices.Contains(children(shim.PID), victim.PID) { // first the shim, so that nobody writes down how the engine ended
			ok(t, shim.Kill())
		}
	}
	ok(t, victim.Kill())
	stranger := takePID(t, victim.PID)

	s.again(t, said)
	s.settled(t, "m")
	if now := s.replicas(t, "m")[0]; now == victim || now.PID == 0 || now.PID == stranger.PID {
		t.Errorf("the replica's engine is %v, was %v, and the stranger is %v", now, victim, stranger.ID)
	}
	s.sameEngines(t, "other", other)
	ok(t, s.client.DeleteModel(t.Context(), "m"))
	owned(t, s.client, s.program)
	if !stranger.Alive() {
		t.Error("the stranger with the engine's old pid was killed")
	}
}

// takePID starts a program that gets a certain pid.
func takePID(t *testing.T, pid int) *procs.Running {
	t.Helper()
	var got *procs.Running
	eventually(t, time.Minute, func() error { // others start programs meanwhile
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			return fmt.Errorf("pid %d is not free yet", pid)
		}
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0); err != nil {
			t.Skipf("this kernel lets nobody choose a pid: %v", err)
		}
		r, err := procs.Start(procs.Program{Name: "stranger", Path: "sleep", Args: []string{"600"}})
		if err != nil {
			return err
		}
		if r.PID != pid {
			return errors.Join(fmt.Errorf("got pid %d instead of %d", r.PID, pid), r.Kill())
		}
		got = r
		return nil
	})
	t.Cleanup(func() { _ = got.Kill() })
	return got
}

// children returns the pids of a process's children.
func children(pid int) []int {
	var out []int
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for n, rest := 0, string(raw); ; {
		if k, _ := fmt.Sscanf(rest, "%d", &n); k != 1 {
			return out
		}
		out = append(out, n)
		rest = rest[len(fmt.Sprint(n))+1:]
	}
}

// TestF09_engineKilled: kill -9 of one of two engines. No plain request fails and no stream that had sent nothing; a stream under way ends in an
// error event. The engine comes back by itself.
func TestF09_engineKilled(t *testing.T) {
	s := solo(t)
	s.model(t, "m", 2)
	l := load(t, traffic.Spec{Gateways: []traffic.Gateway{s.gateway(t)}, Model: "m"})
	for round := range 3 {
		victim := s.replicas(t, "m")[uint32(round%2)]
		ok(t, victim.Signal(9))
		flow(t, l, 50)
		eventually(t, 2*time.Minute, func() error {
			now := s.replicas(t, "m")
			if len(now) != 2 || now[uint32(round%2)] == victim {
				return fmt.Errorf("killed %v, running %v", victim, now)
			}
			return nil
		})
		passed(t, l)
	}
	onlyStarted(t, finish(t, l, traffic.ErrorEvent))
	owned(t, s.client, s.program)
}

// onlyStarted checks that what ended in an error event was a stream whose client had something already.
func onlyStarted(t *testing.T, r traffic.Report) {
	t.Helper()
	for _, rec := range r.Where(func(rec traffic.Record) bool { return rec.Outcome == traffic.ErrorEvent }) {
		if !rec.Stream || rec.FirstByte == 0 {
			t.Errorf("failed though it could have been moved to the other engine: %s", rec)
		}
	}
}

// TestF09_crashLoop: an engine that dies again and again is tried after 1, 2, 4 ... seconds, and after five deaths the model says so.
func TestF09_crashLoop(t *testing.T) {
	full(t)
	s := solo(t)
	s.model(t, "m", 1)
	var pauses []int64
	for range 5 {
		victim := s.replicas(t, "m")[0]
		ok(t, victim.Signal(9))
		eventually(t, time.Minute, func() error {
			d, err := s.client.Model(t.Context(), "m")
			if err != nil {
				return err
			}
			if len(d.Endpoints) != 1 || d.Endpoints[0].Failure == nil {
				return fmt.Errorf("no failure shown: %+v", d.Endpoints)
			}
			f := d.Endpoints[0].Failure
			pauses = append(pauses, (f.RetryAtMS-f.AtMS)/1000)
			if looping := f.Code == api.FailCrashLoop; looping != (len(pauses) == 5) {
				t.Errorf("failure %d is %s: %s", len(pauses), f.Code, f.Message)
			}
			return nil
		})
		s.settled(t, "m")
	}
	if want := []int64{1, 2, 4, 8, 16}; !slices.Equal(pauses, want) {
		t.Errorf("pauses of %v s, want %v", pauses, want)
	}
}

// TestF10_engineHangs: an engine accepts connections and says nothing (SIGSTOP). Plain requests that wait there are answered by the other engine; it
// takes no new ones, and serves again, the same process, once it goes on.
func TestF10_engineHangs(t *testing.T) {
	s := solo(t)
	s.model(t, "m", 2)
	before := s.replicas(t, "m")
	l := load(t, traffic.Spec{Gateways: []traffic.Gateway{s.gateway(t)}, Model: "m"})
	ok(t, before[0].Signal(19))
	noticed := eventually(t, time.Minute, func() error {
		if now := s.replicas(t, "m"); len(now) != 1 {
			return fmt.Errorf("ready: %v", now)
		}
		return nil
	})
	flow(t, l, 100) // by the other one alone
	ok(t, before[0].Signal(18))
	s.settled(t, "m")
	t.Logf("out of rotation after %s", noticed.Round(time.Millisecond))
	finish(t, l)
	s.sameEngines(t, "m", before)
	owned(t, s.client, s.program)
}

// TestF10_engineHangsForGood: an engine that stays silent is restarted; streams that it had begun end in an error event.
func TestF10_engineHangsForGood(t *testing.T) {
	full(t)
	s := solo(t)
	s.model(t, "m", 2)
	before := s.replicas(t, "m")
	l := load(t, traffic.Spec{Gateways: []traffic.Gateway{s.gateway(t)}, Model: "m", Hang: 2 * time.Minute})
	ok(t, before[0].Signal(19))
	took := eventually(t, 2*time.Minute, func() error {
		now := s.replicas(t, "m")
		if len(now) != 2 || now[0] == before[0] || now[1] != before[1] {
			return fmt.Errorf("before %v, now %v", before, now)
		}
		return nil
	})
	t.Logf("replaced after %s", took.Round(time.Millisecond))
	onlyStarted(t, finish(t, l, traffic.ErrorEvent))
	owned(t, s.client, s.program)
}

// TestF15_orphans: while no agent runs, one model's placement is deleted, and of another one the record of its run is lost. The next agent ends both
// engines, starts the second anew, leaves the third model's alone, and no zombie is left.
func TestF15_orphans(t *testing.T) {
	s := solo(t)
	for _, uid := range []string{"deleted", "lost", "kept"} {
		s.model(t, uid, 1)
	}
	deleted, lost, kept := s.replicas(t, "deleted")[0], s.replicas(t, "lost")[0], s.replicas(t, "kept")
	said := s.die(t)
	s.offline(t, func(kv store.KV) {
		_, err := kv.Txn(t.Context(), nil, []store.Op{
			{Key: "/models/deleted/spec", Delete: true}, {Key: "/deployments/deleted", Delete: true}, {Key: "/placements/deleted", Delete: true},
		})
		ok(t, err)
	})
	ok(t, os.RemoveAll(filepath.Join(s.dir, "replicas", "lost")))

	s.again(t, said)
	s.settled(t, "kept")
	s.settled(t, "lost")
	owned(t, s.client, s.program)
	for name, id := range map[string]procs.ID{"deleted": deleted, "lost": lost} {
		if id.Alive() {
			t.Errorf("the engine of %s, %v, has no owner and still runs", name, id)
		}
	}
	if now := s.replicas(t, "lost")[0]; now == lost || now.PID == 0 {
		t.Errorf("engine of lost: %v, was %v", now, lost)
	}
	s.sameEngines(t, "kept", kept)
	ok(t, s.replicas(t, "kept")[0].Kill())
	eventually(t, time.Minute, func() error {
		if now := s.replicas(t, "kept"); len(now) == 0 || maps.Equal(now, kept) {
			return fmt.Errorf("engines %v", now)
		}
		return nil
	})
	for _, pid := range children(s.PID) {
		if _, runs := procs.Find(pid); !runs {
			t.Errorf("child %d of nebula is a zombie", pid)
		}
	}
}

// offline opens the store of a program that does not run.
func (s *server) offline(t *testing.T, fn func(store.KV)) {
	t.Helper()
	dir := filepath.Join(s.dir, "etcd")
	sup, err := etcd.Supervise(t.Context(), etcd.SuperviseConfig{Command: []string{s.binary, "__etcd", dir}, Dir: dir})
	ok(t, err)
	defer sup.Stop()
	kv, err := etcd.Dial(t.Context(), etcd.Config{Endpoints: []string{sup.Endpoint()}})
	ok(t, err)
	defer func() { ok(t, kv.Close()) }()
	fn(kv)
}

// TestF59_poison: documents that cannot be decoded stop nothing. The models that they belong to serve on, others are created and run, nobody
// overwrites them, and so it is after a restart with them in place.
func TestF59_poison(t *testing.T) {
	s := solo(t)
	s.model(t, "m", 2)
	before := s.replicas(t, "m")
	l := load(t, traffic.Spec{Gateways: []traffic.Gateway{s.gateway(t)}, Model: "m", Tries: 100})
	poison := map[string]string{
		"/models/stray/spec": "{not json", "/deployments/stray": "[]", "/placements/m": `{"assignments":`, "/nodes/ghost/status": "\x00\xff",
		"/endpoints/m/7": "null,", "/models/a/b/c": "{}", "/unknown/table": "?",
	}
	kv := s.store(t)
	var ops []store.Op
	for key, value := range poison {
		ops = append(ops, store.Op{Key: key, Value: []byte(value)})
	}
	_, err := kv.Txn(t.Context(), nil, ops)
	ok(t, err)

	s.model(t, "after", 1)
	s.sameEngines(t, "m", before)
	flow(t, l, 50)
	said := s.die(t)
	s.again(t, said)
	s.settled(t, "after")
	s.model(t, "later", 1)
	flow(t, l, 50)
	finish(t, l, traffic.Lost)
	for _, id := range before {
		if !id.Alive() {
			t.Errorf("engine %v of the model with the unreadable placement was ended", id)
		}
	}
	stored, _, err := s.store(t).List(context.Background(), "/")
	ok(t, err)
	for _, e := range stored {
		if want, ok := poison[e.Key]; ok && want != string(e.Value) {
			t.Errorf("%s was overwritten: %q", e.Key, e.Value)
		}
		delete(poison, e.Key)
	}
	if len(poison) > 0 {
		left, _ := json.Marshal(poison)
		t.Errorf("removed: %s", left)
	}
}
