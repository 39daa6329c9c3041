package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/llama"
	"github.com/nebula-serve/nebula/test/procs"
)

// machine is a node or a gateway: a data directory and the process that works on it.
type machine struct {
	t    *testing.T
	dir  string
	args []string
	proc *procs.Running
	log  *procs.Log

	token string // with which it has joined
}

// join starts a machine that joins the server's cluster, and ends it with all it started when the test does.
func join(t *testing.T, server *nebula, role, id string, args ...string) *machine {
	t.Helper()
	made, err := server.client.CreateToken(context.Background(), api.CreateJoinToken{For: api.MachineRole(role), Name: id})
	if err != nil {
		t.Fatal(err)
	}
	view, err := server.client.Cluster(context.Background())
	if err != nil || len(view.Servers) == 0 {
		t.Fatalf("cluster %+v, %v", view, err)
	}
	dir, err := os.MkdirTemp("", "nebula-machine")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, token: made.Token, args: append([]string{
		role, "--data-dir", dir, "--node-id", id, "--server", "https://" + view.Servers[0].Addr, "--log-level", "debug",
	}, args...)}
	t.Cleanup(func() {
		m.kill9()
		m.endEngines()
		if t.Failed() {
			t.Logf("log of %s %s:\n%s", role, id, m.log.Tail(40))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	m.start("NEBULA_TOKEN=" + made.Token)
	return m
}

func (m *machine) start(env ...string) {
	m.t.Helper()
	m.log = &procs.Log{}
	var err error
	if m.proc, err = procs.Start(procs.Program{Name: m.args[0], Path: binary, Args: m.args, Env: env, Log: m.log}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) kill9() {
	if err := m.proc.Kill(); err != nil {
		m.t.Log(err)
	}
	<-m.proc.Exited()
}

// engines returns the engines of this machine by process.
func (m *machine) engines() []procs.ID {
	m.t.Helper()
	all, err := procs.Of(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	var out []procs.ID
	for _, p := range all {
		if p.Kind() == procs.KindEngine {
			out = append(out, p.ID)
		}
	}
	return out
}

func (m *machine) endEngines() {
	for _, id := range m.engines() {
		_ = id.Signal(syscall.SIGKILL) // it may have ended
	}
}

// port returns a free port on loopback, for what must be the same after a restart.
func port(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// TestFleet_walk is a fleet from start to end: a server, two nodes and a gateway, each a process of its own; a chat that crosses three of
// them; everything that can be away is away for a while, and serving goes on.
func TestFleet_walk(t *testing.T) {
	engine := llama.Need(t)
	const reply = "The fleet answers."
	front := port(t)
	s := begin(t, "server", "--fleet-listen", port(t), "--node-id", "server1")
	nodes := map[string]*machine{}
	for _, id := range []string{"node1", "node2"} {
		nodes[id] = join(t, s, "node", id, "--listen", port(t), "--llama-server", engine)
	}
	gateway := join(t, s, "gateway", "gateway1", "--listen", front)
	g := &nebula{t: t, dir: s.dir, url: "http://" + front, client: checkedClient(t, "http://"+front, s.token())}
	eventually(t, 30*time.Second, func() error { return g.client.Ready(context.Background()) })

	s.nodesReady(2)
	s.running("demo", reply, "--replicas", "2")
	where := map[string]bool{}
	for _, e := range s.model("demo").Endpoints {
		where[e.NodeID] = true
	}
	if len(where) != 2 {
		t.Fatalf("two replicas on %v, not on two nodes", where)
	}
	answers := func(what string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			got, err := g.ask("demo")
			if err == nil && got != reply {
				err = fmt.Errorf("answer %q", got)
			}
			return err
		})
		for range 10 {
			if got, err := g.ask("demo"); err != nil || got != reply {
				t.Errorf("%s: %q, %v", what, got, err)
			}
		}
	}
	answers("through the gateway")
	if got, err := s.ask("demo"); err != nil || got != reply {
		t.Errorf("through the server: %q, %v", got, err)
	}
	if out := s.must("model", "logs", "demo", "--tail", "500"); !strings.Contains(out, "listening") {
		t.Errorf("the log of an engine on another machine: %q", out)
	}

	// The server is away, and everybody else starts anew meanwhile: no engine does.
	before := append(nodes["node1"].engines(), nodes["node2"].engines()...)
	if len(before) != 2 {
		t.Fatalf("engines %v", before)
	}
	written(t, filepath.Join(gateway.dir, "state.snapshot"), time.Now())
	s.kill9()
	answers("without the server")
	for _, m := range []*machine{nodes["node1"], nodes["node2"], gateway} {
		m.kill9()
		m.start()
	}
	answers("everything restarted without the server")
	s.start()
	s.until("demo", 60*time.Second, api.StateRunning)
	for _, id := range before {
		if !id.Alive() {
			t.Errorf("engine %s did not survive", id)
		}
	}

	// A node that is drained gives its replica away before it stops.
	s.must("node", "drain", "node1", "--wait", "--timeout", "90s")
	for _, e := range s.model("demo").Endpoints {
		if e.NodeID == "node1" {
			t.Errorf("drained, and still there: %+v", e)
		}
	}
	if left := nodes["node1"].engines(); len(left) > 0 {
		t.Errorf("engines on the drained node: %v", left)
	}
	answers("after the drain")

	// A node that is removed is nobody any more.
	s.must("node", "delete", "node1")
	eventually(t, 30*time.Second, func() error {
		if !strings.Contains(nodes["node1"].log.String(), "not a member") {
			return errors.New("the removed node has not been told")
		}
		return nil
	})
	eventually(t, 60*time.Second, func() error { // until the lease of its last report has run out
		list, err := s.client.Nodes(context.Background())
		if err == nil && (len(list) != 1 || list[0].NodeID != "node2") {
			err = fmt.Errorf("%d nodes", len(list))
		}
		return err
	})
	s.must("model", "delete", "demo")
	eventually(t, 30*time.Second, func() error {
		if left := nodes["node2"].engines(); len(left) > 0 {
			return fmt.Errorf("engines %v", left)
		}
		return nil
	})
}

// TestFleet_upTakesNodesIn: a workstation grows into a fleet by one flag.
func TestFleet_upTakesNodesIn(t *testing.T) {
	engine := llama.Need(t)
	s := begin(t, "up", "--fleet-listen", port(t), "--node-listen", "127.0.0.1:0", "--node-id", "desk", "--llama-server", engine)
	join(t, s, "node", "shelf", "--listen", "127.0.0.1:0", "--llama-server", engine)
	s.nodesReady(2)
	s.running("there", "From the shelf.", "--node", "shelf")
	s.running("here", "From the desk.", "--node", "desk")
	for uid, want := range map[string]string{"there": "From the shelf.", "here": "From the desk."} {
		if got, err := s.ask(uid); err != nil || got != want {
			t.Errorf("%s: %q, %v", uid, got, err)
		}
	}
}

// TestFleet_wrongBeginnings: what people get wrong is said, with what to do, and leaves nothing behind.
func TestFleet_wrongBeginnings(t *testing.T) {
	s := begin(t, "server", "--fleet-listen", port(t))
	view, err := s.client.Cluster(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.client.CreateToken(context.Background(), api.CreateJoinToken{For: api.MachineGateway})
	if err != nil {
		t.Fatal(err)
	}
	at := "https://" + view.Servers[0].Addr
	for name, c := range map[string]struct {
		args []string
		says []string
		code int
	}{
		"no server":        {[]string{"node"}, []string{"--server"}, 2},
		"no token":         {[]string{"node", "--server", at}, []string{"nebula token create"}, 1},
		"no token at all":  {[]string{"node", "--server", at, "--token", "abc"}, []string{"nbj_"}, 2},
		"for another role": {[]string{"node", "--server", at, "--token", made.Token}, []string{"of no use here", "--for node"}, 1},
		"nobody there":     {[]string{"node", "--server", "https://" + port(t), "--token", made.Token}, []string{"--server"}, 1},
		"unknown flag":     {[]string{"server", "--cluster-unit"}, []string{"unknown flag"}, 2},
		"two beginnings":   {[]string{"server", "--cluster-init", "--join", at}, []string{"cluster-init"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := nebula{t: t, dir: t.TempDir()}
			_, errs, code := m.cli(append(c.args, "--listen", "127.0.0.1:0", "--node-id", "wrong")...)
			if code != c.code {
				t.Errorf("exit %d, want %d: %s", code, c.code, errs)
			}
			for _, want := range c.says {
				if !strings.Contains(errs, want) {
					t.Errorf("%q does not say %q", errs, want)
				}
			}
			if strings.Contains(errs, made.Token) {
				t.Error("the token is in the error")
			}
		})
	}
}

// TestFleet_anotherAuthority: a server that has lost its keys, or was pointed at another cluster's store, does not pretend to be one of it.
func TestFleet_anotherAuthority(t *testing.T) {
	s := begin(t, "server", "--fleet-listen", port(t))
	s.interrupt()
	if err := os.RemoveAll(filepath.Join(s.dir, "pki")); err != nil {
		t.Fatal(err)
	}
	_, errs, code := s.cli("server", "--fleet-listen", port(t), "--listen", "127.0.0.1:0")
	if code != 4 || !strings.Contains(errs, "--join") || !strings.Contains(errs, filepath.Join(s.dir, "pki")) {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// nodesReady waits until so many nodes report.
func (n *nebula) nodesReady(want int) {
	n.t.Helper()
	eventually(n.t, 30*time.Second, func() error {
		list, err := n.client.Nodes(context.Background())
		ready := 0
		for i := range list {
			if list[i].State == api.NodeReady {
				ready++
			}
		}
		if err == nil && ready != want {
			err = fmt.Errorf("%d of %d nodes are ready", ready, want)
		}
		return err
	})
}

// written waits until the snapshot of a gateway holds what it knows now: it writes at most once a second, and nothing when nothing changes.
func written(t *testing.T, path string, now time.Time) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.ModTime().After(now) || time.Since(now) > 3*time.Second {
			return nil
		}
		return errors.New("it may be about to be written again")
	})
}
