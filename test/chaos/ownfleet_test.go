//go:build chaos

package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// TestF34_nodeExpires: a node's agent is killed and stays away, with its engines running. The node is cut off when its lease ends, its placements stay
// until lost_after, then its replica gets another place. When the agent returns the original is kept, and the replacement goes: never both, never
// neither.
func TestF34_nodeExpires(t *testing.T) {
	full(t)
	f := shared(t)
	s, n := f.servers[0], f.nodes[0]
	before := s.replicas(t, "m")
	l := f.load(t)
	ok(t, n.Kill())
	began := time.Now()
	f.nodeState(t, "n1", api.NodeCutOff)
	t.Logf("cut off after %s", time.Since(began).Round(100*time.Millisecond))
	hold(t, lostAfter/2, func() error { return f.sameEverywhere(t, before) })
	f.nodeState(t, "n1", api.NodeLost)
	eventually(t, time.Minute, func() error {
		if len(f.nodes[1].of(procs.KindEngine)) != 2 {
			return errors.New("the lost node's replica has no other place yet")
		}
		return nil
	})
	t.Logf("lost and replaced after %s", time.Since(began).Round(100*time.Millisecond))
	flow(t, l, 50)
	ok(t, n.start())
	f.nodeState(t, "n1", api.NodeReady)
	eventually(t, time.Minute, func() error { return f.sameEverywhere(t, before) })
	onlyStarted(t, finish(t, l, traffic.ErrorEvent)) // the way to the engines led through the agent
	s.settled(t, "m")
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}

// TestF35_allNodesExpire: all twenty nodes vanish at once. That is taken for a fault of our own: nothing is moved, an alert says so, the API answers;
// and when they return all is as before.
func TestF35_allNodesExpire(t *testing.T) {
	full(t)
	f := own(t, shape{servers: 1})
	const count = 20
	for i := range count {
		f.addNode(t, fmt.Sprintf("n%d", i+1), nil)
	}
	f.whole(t)
	s := f.servers[0]
	for i := range count {
		uid, one := fmt.Sprintf("p%d", i), uint32(1)
		_, err := s.client.CreateModel(t.Context(), api.CreateModel{
			ModelName: uid, ModelUID: uid, ModelSource: api.SourceLocal, ModelPath: "/nowhere.gguf", AutoStart: true, Replicas: &one,
		})
		ok(t, err)
	}
	placed := func() (map[string]string, error) {
		all, err := models(s.client)
		if err != nil {
			return nil, err
		}
		out := map[string]string{}
		for _, m := range all {
			d, err := s.client.Model(t.Context(), m.ModelUID)
			if err != nil {
				return nil, err
			}
			if d.Placement == nil || len(d.Placement.Assignments) != 1 {
				return nil, fmt.Errorf("%s has placement %+v", m.ModelUID, d.Placement)
			}
			out[m.ModelUID] = d.Placement.Assignments[0].NodeID
		}
		return out, nil
	}
	var before map[string]string
	eventually(t, time.Minute, func() (err error) { before, err = placed(); return err })
	ok(t, together(f.nodes, func(p *program) error { return p.Kill() }))
	for i := range count {
		f.nodeState(t, fmt.Sprintf("n%d", i+1), api.NodeLost)
	}
	var slowest time.Duration
	hold(t, 5*time.Second, func() error {
		began := time.Now()
		now, err := placed()
		slowest = max(slowest, time.Since(began)/(count+1))
		for uid, node := range before {
			if now[uid] != node {
				err = errors.Join(err, fmt.Errorf("%s was moved from %s to %s", uid, node, now[uid]))
			}
		}
		return err
	})
	t.Logf("slowest answer of the API: about %s", slowest.Round(time.Millisecond))
	alerts, err := s.client.Alerts(t.Context())
	ok(t, err)
	if len(alerts) == 0 {
		t.Error("no alert says that all nodes are absent")
	}
	ok(t, together(f.nodes, func(p *program) error { return p.start() }))
	f.whole(t)
	now, err := placed()
	ok(t, err)
	for uid, node := range before {
		if now[uid] != node {
			t.Errorf("%s was moved from %s to %s", uid, node, now[uid])
		}
	}
}

// TestF26_storeDiskFull: the disk of a server's store is full. The store's process may end, the server stays, requests go on; with space again
// changes are taken again, and none that was acknowledged is lost.
func TestF26_storeDiskFull(t *testing.T) {
	full(t)
	netns.Need(t)
	dir := filepath.Join(lab.dir, "f26-s1")
	ok(t, os.MkdirAll(dir, 0o700))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=400m", "nebula-chaos", dir).CombinedOutput(); err != nil {
		t.Skipf("this machine mounts no tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() { ok(t, clearAway(dir)) })
	f := own(t, shape{servers: 1, nodes: 1, gateways: 1})
	s := f.servers[0]
	s.model(t, "m", 2)
	before := s.replicas(t, "m")
	l, w := f.load(t), f.write(t)
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	// Small changes fit into what the store has laid out ahead: it is made to want more.
	big := strings.Repeat("x", 50)
	patient := s.client.WithHTTP(f.http()) // the refusal is to be the server's own
	eventually(t, 3*time.Minute, func() error {
		for i := range 200 {
			labels := map[string]string{}
			for k := range 30 {
				labels[fmt.Sprintf("k%d", k)] = fmt.Sprintf("%s%d", big, i)
			}
			began := time.Now()
			if _, err := patient.UpdateModel(t.Context(), "m", api.UpdateModel{Labels: labels}); err != nil {
				t.Logf("on a full disk a change is refused after %s: %v", time.Since(began).Round(10*time.Millisecond), err)
				return nil
			}
		}
		return errors.New("all changes are taken")
	})
	flow(t, l, 100)
	ok(t, s.check())
	ok(t, f.sameEverywhere(t, before))
	ok(t, os.Remove(filler))
	w.finish(t)
	finish(t, l)
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	ok(t, err)
	defer file.Close()
	block := make([]byte, 1<<20)
	for {
		if _, err := file.Write(block); err != nil {
			return
		}
	}
}

// TestF37_restore: the store is put back to an older backup, in which a model that runs now does not exist. No engine stops; the model's goes when a
// person has said that the restored state is right.
func TestF37_restore(t *testing.T) {
	f := own(t, shape{servers: 1, nodes: 1, gateways: 1})
	s := f.servers[0]
	s.model(t, "m", 2)
	backup := filepath.Join(lab.dir, "f37.backup")
	_, err := s.cli("admin", "backup", backup)
	ok(t, err)
	s.model(t, "newer", 1)
	before, newer := s.replicas(t, "m"), s.replicas(t, "newer")[0]
	l := f.load(t)
	ok(t, s.Interrupt(time.Minute))
	out, err := s.cli("admin", "restore", backup)
	ok(t, err)
	t.Log(strings.TrimSpace(out))
	ok(t, s.start())
	f.serverReady(t, s)
	f.nodeState(t, "n1", api.NodeReady)
	stays := func() error {
		if !newer.Alive() {
			return errors.New("the engine of the model that the backup does not know was ended")
		}
		return nil
	}
	hold(t, 10*time.Second, stays)
	s.settled(t, "m")
	finish(t, l)
	s.sameEngines(t, "m", before)
	_, err = s.client.AcceptHistory(t.Context())
	ok(t, err)
	eventually(t, time.Minute, func() error {
		if newer.Alive() {
			return errors.New("the engine of the model that is no more still runs")
		}
		return nil
	})
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}

// TestF48_clocksDiffer: one node's clock falls back by a day, and the server's jumps two hours ahead, while all runs. Nothing is moved, no engine ends,
// no request fails. A machine whose clock is that wrong when it wants to join is told so.
func TestF48_clocksDiffer(t *testing.T) {
	full(t)
	netns.Need(t)
	skewed := skewedBuild(t)
	f := own(t, shape{servers: 1, nodes: 1, gateways: 1})
	s := f.servers[0]
	s.model(t, "m", 1)
	joined := time.Now()
	slow := newSkewed(t, f, skewed, "n2", "-86400@30")
	f.whole(t)
	two := uint32(2)
	_, err := s.client.ScaleModel(t.Context(), "m", two)
	ok(t, err)
	s.settled(t, "m")
	before := s.replicas(t, "m")
	if len(slow.of(procs.KindEngine)) != 1 {
		t.Fatal("the second replica is not on the node with the wrong clock")
	}
	l := f.load(t)
	ok(t, s.Interrupt(time.Minute))
	s.binary, s.env = skewed, append(s.env, "TEST_CLOCK_SKEW=7200@5")
	ok(t, s.start())
	f.serverReady(t, s)
	hold(t, time.Until(joined.Add(65*time.Second)), func() error { return f.sameEverywhere(t, before) }) // the jumps, and two leases after them
	f.whole(t)
	wrong := newSkewed(t, f, skewed, "n3", "-86400")
	<-wrong.Exited()
	if said := procs.TailFile(wrong.log, 5); wrong.ExitCode() == 0 || !strings.Contains(said, "set the clock") {
		t.Errorf("a machine whose clock is a day behind ended with %d and said:\n%s", wrong.ExitCode(), said)
	}
	f.nodes = f.nodes[:2]
	finish(t, l)
	s.sameEngines(t, "m", before)
	owned(t, s.client, f.nodes...)
}

// newSkewed adds a node whose wall clock is wrong.
func newSkewed(t *testing.T, f *fleet, binary, id, skew string) *program {
	t.Helper()
	ordinary := lab.nebula
	lab.nebula = binary
	defer func() { lab.nebula = ordinary }()
	return f.addNode(t, id, []string{"TEST_CLOCK_SKEW=" + skew})
}

// skewSource is added to package time: Now is late or early by TEST_CLOCK_SKEW, "SECONDS" or "SECONDS@AFTER": from AFTER seconds after the start on.
// The monotonic clock is left alone, as it is when a real clock is set.
const skewSource = `package time

import "syscall"

var skewBy, skewAfter = readSkew()

func readSkew() (by, after int64) {
	s, _ := syscall.Getenv("TEST_CLOCK_SKEW")
	number := func() (n int64) {
		minus := len(s) > 0 && s[0] == '-'
		if minus {
			s = s[1:]
		}
		for len(s) > 0 && s[0] >= '0' && s[0] <= '9' {
			n, s = n*10+int64(s[0]-'0'), s[1:]
		}
		if minus {
			n = -n
		}
		return n
	}
	by = number()
	if len(s) > 0 {
		s = s[1:]
		after = number()
	}
	return by, after
}

// Now returns the current local time, skewed.
func Now() Time {
	t := trueNow()
	if skewBy != 0 && runtimeNano()-startNano >= skewAfter*1e9 {
		t.addSec(skewBy)
	}
	return t
}
`

// skewedBuild builds nebula with a package time whose clock can be set wrong.
func skewedBuild(t *testing.T) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	ok(t, err)
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	src, err := os.ReadFile(original)
	ok(t, err)
	renamed := regexp.MustCompile(`(?m)^func Now\(\) Time \{`).ReplaceAll(src, []byte("func trueNow() Time {"))
	renamed = []byte(strings.Replace(string(renamed), "//go:linkname Now\n", "", 1))
	dir := filepath.Join(lab.dir, "skew")
	ok(t, os.MkdirAll(dir, 0o700))
	patched, added, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "skew.go"), filepath.Join(dir, "overlay.json")
	ok(t, os.WriteFile(patched, renamed, 0o600))
	ok(t, os.WriteFile(added, []byte(skewSource), 0o600))
	ok(t, os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q, %q: %q}}`, original, patched, filepath.Join(filepath.Dir(original), "skew.go"), added), 0o600))
	binary, err := procs.Build(t.Context(), dir, "-overlay", overlay)
	ok(t, err)
	return binary
}
