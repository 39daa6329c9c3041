//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/test/llama"
	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// lostAfter is how long the rows' nodes may be away before their replicas get another place.
const lostAfter = 20 * time.Second

// fleet is a cluster on hosts of its own: servers with the store among them, nodes and a gateway. Machines talk to servers on the control
// network; gateways reach engines, and people reach servers and gateways, on the data network.
type fleet struct {
	name     string
	net      *netns.Net
	people   *netns.Host // where the clients are
	servers  []*server
	nodes    []*program
	gateways []*server
	broken   bool // a row has failed on it: the next one gets a new one
}

// shape says how large a fleet is.
type shape struct {
	servers, nodes, gateways int
	serverArgs, env          []string
}

// theFleet is the fleet that rows share; nil until one wants it. Its rows run one after the other, and each leaves it as it found it.
var theFleet *fleet

// shared returns the fleet of three servers, two nodes and one gateway, with model "m" ready on both nodes.
func shared(t *testing.T) *fleet {
	t.Helper()
	netns.Need(t)
	llama.Need(t)
	if theFleet != nil && theFleet.broken {
		ok(t, theFleet.close())
		theFleet = nil
	}
	if theFleet == nil {
		f := newFleet(t, "fleet", shape{servers: 3, nodes: 2, gateways: 1})
		theFleet = f
		lab.closes = append(lab.closes, func() error {
			if theFleet != f {
				return nil // closed already
			}
			return f.close()
		})
		f.servers[0].model(t, "m", 2)
		d, err := f.servers[0].client.Model(context.Background(), "m")
		ok(t, err)
		for _, e := range d.Endpoints {
			if len(e.GPUIndices) != 1 {
				t.Fatalf("replica %d has GPUs %v: without one the rows show nothing of GPUs", e.ReplicaID, e.GPUIndices)
			}
		}
	}
	theFleet.mend(t)
	return theFleet
}

// mend waits until the fleet is whole, and arranges that it is made whole after the row, or given up if the row failed.
func (f *fleet) mend(t *testing.T) {
	t.Helper()
	f.repair(t)
	t.Cleanup(func() {
		keepLogs(t, f.programs()...)
		if f.broken = t.Failed(); !f.broken {
			f.repair(t)
		}
	})
}

// own makes a fleet for one row alone.
func own(t *testing.T, s shape) *fleet {
	t.Helper()
	netns.Need(t)
	llama.Need(t)
	name := strings.ToLower(strings.SplitN(strings.TrimPrefix(t.Name(), "Test"), "_", 2)[0])
	f := newFleet(t, name, s)
	t.Cleanup(func() {
		keepLogs(t, f.programs()...)
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// newFleet starts a fleet and waits until all its parts know each other.
func newFleet(t *testing.T, name string, s shape) *fleet {
	t.Helper()
	n, err := netns.New()
	ok(t, err)
	f := &fleet{name: name, net: n}
	done := false
	defer func() {
		if !done {
			keepLogs(t, f.programs()...)
			_ = f.close()
		}
	}()
	f.people, err = n.Host("people")
	ok(t, err)
	for i := range s.servers {
		f.addServer(t, i, s)
	}
	for i := range s.nodes {
		f.addNode(t, fmt.Sprintf("n%d", i+1), s.env)
	}
	for i := range s.gateways {
		id := fmt.Sprintf("g%d", i+1)
		h, err := n.Host(id)
		ok(t, err)
		g := &server{program: newProgram(name+"-"+id, h, "gateway", "--node-id", id, "--listen", h.Addr(netns.Data)+":8080",
			"--server", f.fleetAddrs(), "--token", f.token(t, api.MachineGateway))}
		g.url = "http://" + h.Addr(netns.Data) + ":8080"
		g.env = s.env
		f.gateways = append(f.gateways, g)
		ok(t, g.start())
	}
	f.whole(t)
	done = true
	return f
}

func (f *fleet) addServer(t *testing.T, i int, s shape) {
	t.Helper()
	id := fmt.Sprintf("s%d", i+1)
	h, err := f.net.Host(id)
	ok(t, err)
	args := []string{
		"server", "--node-id", id, "--listen", h.Addr(netns.Data) + ":8081", "--fleet-listen", h.Addr(netns.Control) + ":8443", "--lost-after", lostAfter.String(),
	}
	switch {
	case s.servers == 1:
	case i == 0:
		args = append(args, "--cluster-init")
	default:
		args = append(args, "--join", "https://"+f.servers[0].host.Addr(netns.Control)+":8443", "--token", f.token(t, api.MachineServer))
	}
	srv := &server{program: newProgram(f.name+"-"+id, h, append(args, s.serverArgs...)...)}
	srv.url = "http://" + h.Addr(netns.Data) + ":8081"
	srv.env = s.env
	f.servers = append(f.servers, srv)
	ok(t, srv.start())
	f.serverReady(t, srv)
}

// addNode adds a node and starts it.
func (f *fleet) addNode(t *testing.T, id string, env []string) *program {
	t.Helper()
	h, err := f.net.Host(id)
	ok(t, err)
	p := newProgram(f.name+"-"+id, h, "node", "--node-id", id, "--listen", h.Addr(netns.Data)+":8083", "--llama-server", llama.Need(t),
		"--server", f.fleetAddrs(), "--token", f.token(t, api.MachineNode))
	path, err := fakeGPUs()
	ok(t, err)
	p.env = append([]string{path, "NEBULA_NODE=" + id}, env...)
	f.nodes = append(f.nodes, p)
	ok(t, p.start())
	return p
}

func (f *fleet) fleetAddrs() string {
	var out []string
	for _, s := range f.servers {
		out = append(out, "https://"+s.host.Addr(netns.Control)+":8443")
	}
	return strings.Join(out, ",")
}

func (f *fleet) token(t *testing.T, role api.MachineRole) string {
	t.Helper()
	made, err := f.servers[0].client.CreateToken(context.Background(), api.CreateJoinToken{For: role, TTLSeconds: 600})
	ok(t, err)
	return made.Token
}

// serverReady waits until a server takes requests.
func (f *fleet) serverReady(t *testing.T, s *server) time.Duration {
	t.Helper()
	return eventually(t, 2*time.Minute, func() error {
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		token, err := s.token()
		if err != nil {
			return err
		}
		s.client = client.New(s.url, token).WithHTTP(f.api())
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return s.client.Ready(ctx)
	})
}

// http is a client that connects from the people's host.
func (f *fleet) http() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: f.people.Dial, MaxIdleConnsPerHost: streamClients + plainClients, IdleConnTimeout: 20 * time.Second}}
}

// api is a client for calls that end soon, or not at all.
func (f *fleet) api() *http.Client {
	h := f.http()
	h.Timeout = 10 * time.Second
	return h
}

// whole waits until every server answers and sees every node, and every gateway serves.
func (f *fleet) whole(t *testing.T) {
	t.Helper()
	for _, s := range f.servers {
		f.serverReady(t, s)
		eventually(t, 2*time.Minute, func() error {
			nodes, err := s.client.Nodes(context.Background())
			if err != nil {
				return err
			}
			ready := 0
			for i := range nodes {
				if nodes[i].State == api.NodeReady {
					ready++
				}
			}
			if ready != len(f.nodes) {
				return fmt.Errorf("%s sees %d of %d nodes", s.name, ready, len(f.nodes))
			}
			return nil
		})
	}
	token, err := f.servers[0].token()
	ok(t, err)
	for _, g := range f.gateways {
		g.client = client.New(g.url, token).WithHTTP(f.api())
		eventually(t, time.Minute, func() error {
			if err := g.check(); err != nil {
				t.Fatal(err)
			}
			res, err := g.client.Do(context.Background(), http.MethodGet, "/v1/models", nil, nil)
			if err != nil {
				return err
			}
			return res.Body.Close()
		})
	}
}

// repair ends all faults, starts what does not run, and waits until all is as it was.
func (f *fleet) repair(t *testing.T) {
	t.Helper()
	ok(t, f.net.Heal())
	for _, p := range f.programs() {
		if p.runs() {
			_ = p.Resume()
			for _, child := range p.of(procs.KindEtcd) {
				_ = child.Signal(18)
			}
			continue
		}
		ok(t, p.start())
	}
	f.whole(t)
	for _, s := range f.servers {
		s.settled(t, "m")
	}
}

func (f *fleet) programs() []*program {
	var out []*program
	for _, s := range f.servers {
		out = append(out, s.program)
	}
	out = append(out, f.nodes...)
	for _, g := range f.gateways {
		out = append(out, g.program)
	}
	return out
}

// close ends everything and removes the hosts.
func (f *fleet) close() error {
	var all error
	for _, p := range f.programs() {
		all = errors.Join(all, end(p.dir+"/"))
		if err := os.RemoveAll(p.dir); !errors.Is(err, syscall.EBUSY) { // a row has mounted a disk there, and unmounts it
			all = errors.Join(all, err)
		}
		if p.Running != nil {
			all = errors.Join(all, p.Kill())
		}
	}
	return errors.Join(all, f.net.Close())
}

// kill kills a server and its store at once, as when its machine fails.
func (f *fleet) kill(t *testing.T, s *server) {
	t.Helper()
	ok(t, s.Pause()) // else it starts its store anew, and a store whose server has gone resigns before it ends
	for _, c := range s.of(procs.KindEtcd) {
		ok(t, c.Kill())
	}
	ok(t, s.Kill())
}

// gateway is the dedicated gateway as the load's clients reach it.
func (f *fleet) gateway(t *testing.T, g *server) traffic.Gateway {
	t.Helper()
	token, err := f.servers[0].token()
	ok(t, err)
	return traffic.Gateway{Name: g.name, URL: g.url, Token: token, Client: f.http()}
}

// load is the background load through the dedicated gateways.
func (f *fleet) load(t *testing.T) *traffic.Load {
	t.Helper()
	return f.loadOf(t, traffic.Spec{Model: "m"})
}

// loadOf is another load through the dedicated gateways.
func (f *fleet) loadOf(t *testing.T, s traffic.Spec) *traffic.Load {
	t.Helper()
	for _, g := range f.gateways {
		s.Gateways = append(s.Gateways, f.gateway(t, g))
	}
	return load(t, s)
}

// up is a server that answers.
func (f *fleet) up(t *testing.T) *server {
	t.Helper()
	var found *server
	eventually(t, time.Minute, func() error {
		var all error
		for _, s := range f.servers {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			err := s.client.Ready(ctx)
			if cancel(); err == nil && !s.Paused() {
				found = s
				return nil
			}
			all = errors.Join(all, err)
		}
		return all
	})
	return found
}

// storeLeader is the server whose store leads the others, and the servers that follow.
func (f *fleet) storeLeader(t *testing.T) (leader *server, followers []*server) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		leader, followers = nil, nil
		status, err := f.up(t).client.StoreStatus(context.Background())
		if err != nil {
			return err
		}
		for _, m := range status.Members {
			for _, s := range f.servers {
				switch {
				case !strings.HasSuffix(s.name, "-"+m.Name):
				case m.Role == api.StoreLeader:
					leader = s
				default:
					followers = append(followers, s)
				}
			}
		}
		if leader == nil || len(followers) != len(f.servers)-1 {
			return fmt.Errorf("members %+v", status.Members)
		}
		return nil
	})
	return leader, followers
}

// planner is the server that leads the scheduling, and the revision at which it began.
func (f *fleet) planner(t *testing.T, kv *etcd.Client) (*server, int64) {
	t.Helper()
	var found *server
	var since int64
	eventually(t, time.Minute, func() error {
		keys, _, err := kv.List(context.Background(), "/leader/scheduler")
		if err != nil {
			return err
		}
		for _, k := range keys {
			for _, s := range f.servers {
				if strings.HasSuffix(s.name, "-"+string(k.Value)) {
					found, since = s, k.ModRev
					return nil
				}
			}
		}
		return fmt.Errorf("nobody leads: %v", keys)
	})
	return found, since
}

// store opens the store through a server's socket.
func (s *server) store(t *testing.T) *etcd.Client {
	t.Helper()
	socket, err := etcd.SocketPath(filepath.Join(s.dir, "etcd"))
	ok(t, err)
	var kv *etcd.Client
	eventually(t, time.Minute, func() (err error) { // it may have just lost its leader
		kv, err = etcd.Dial(context.Background(), etcd.Config{Endpoints: []string{"unix://" + socket}})
		return err
	})
	t.Cleanup(func() { _ = kv.Close() })
	return kv
}

// others returns the servers but those.
func (f *fleet) others(but ...*server) []*server {
	return slices.DeleteFunc(slices.Clone(f.servers), func(s *server) bool { return slices.Contains(but, s) })
}

// nodeState waits until every server that answers shows a node in a state, and returns how long that took.
func (f *fleet) nodeState(t *testing.T, id string, want api.NodeState) time.Duration {
	t.Helper()
	return eventually(t, 2*time.Minute, func() error {
		for _, s := range f.servers {
			if !s.runs() || s.Paused() {
				continue
			}
			n, err := s.client.Node(context.Background(), id)
			if err != nil {
				return err
			}
			if n.State != want {
				return fmt.Errorf("%s shows %s as %s, absent for %d s", s.name, id, n.State, n.AbsentSeconds)
			}
		}
		return nil
	})
}

// sameEverywhere returns an error when an engine has ended or another one has been added for the model.
func (f *fleet) sameEverywhere(t *testing.T, before map[uint32]procs.ID) error {
	t.Helper()
	for replica, id := range before {
		if !id.Alive() {
			return fmt.Errorf("engine %v of replica %d has ended", id, replica)
		}
	}
	if n := engines(f.nodes); n != len(before) {
		return fmt.Errorf("%d engines run instead of %d", n, len(before))
	}
	return nil
}

// gpus is how many GPUs each node believes to have: enough for all replicas of all rows, so that two that get the same one are a fault.
const gpus = 8

// fakeGPUs makes a directory with an nvidia-smi that tells of GPUs, for the PATH of nodes, and returns the PATH.
func fakeGPUs() (string, error) {
	dir := filepath.Join(lab.dir, "gpus")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	script := fmt.Sprintf("#!/bin/sh\nfor i in $(seq 0 %d); do echo \"$i, GPU-$NEBULA_NODE-$i, Test GPU, 8192, 1, 40, 0\"; done\n", gpus-1)
	return "PATH=" + dir + ":" + os.Getenv("PATH"), os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o700)
}
