package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// machine is one program of a fleet, with its data directory.
type machine struct {
	name, dir string
	o         options
	args      []string
	addr      string      // where it listens for machines
	url       string      // where it listens for people; empty: nowhere
	host      *netns.Host // nil: this machine
	client    *client.Client

	*procs.Running // of its present or last life
}

// start starts a program that does not run.
func (m *machine) start() error {
	f, err := os.OpenFile(m.dir+".log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	p := procs.Program{Name: m.name, Path: m.o.nebula, Args: append(slices.Clone(m.args), "--data-dir", m.dir, "--log-format", "json"), Log: f}
	if m.host != nil {
		p.Start = m.host.Start
	}
	m.Running, err = procs.Start(p)
	return err
}

// again kills the program and starts it anew.
func (m *machine) again() error {
	if err := m.Kill(); err != nil {
		return err
	}
	return m.start()
}

// check returns an error with the end of the log when the program has ended.
func (m *machine) check() error {
	if m.Running != nil && m.Alive() {
		return nil
	}
	return fmt.Errorf("%s has ended:\n%s", m.name, procs.TailFile(m.dir+".log", 10))
}

// of returns the processes of a kind that work for the machine.
func (m *machine) of(kind procs.Kind) ([]procs.Process, error) {
	all, err := procs.Of(m.dir + "/")
	return slices.DeleteFunc(all, func(p procs.Process) bool { return p.Kind() != kind }), err
}

// store is the process of the server's member of the store.
func (m *machine) store() (procs.ID, error) {
	found, err := m.of(procs.KindEtcd)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s has %d processes of the store", m.name, len(found))
	}
	if err != nil {
		return procs.ID{}, err
	}
	return found[0].ID, nil
}

// die kills a server and its store at once, as when its machine fails.
func (m *machine) die() error {
	store, err := m.of(procs.KindEtcd)
	err = errors.Join(err, m.Kill())
	for _, p := range store {
		err = errors.Join(err, p.Kill())
	}
	return err
}

// lab is a fleet under test.
type lab struct {
	o                        options
	net                      *netns.Net  // nil: all machines are addresses of the loopback network
	people                   *netns.Host // where clients are; nil: here
	token                    string
	servers, nodes, gateways []*machine
	machines                 []*machine
}

// shape says how large a fleet is.
type shape struct {
	servers, nodes, gateways int
	hosts                    bool // machines are hosts of their own, where that is possible
	// before runs when there is a network and nobody on it yet; it returns more arguments for nodes. May be nil.
	before func(*lab) ([]string, error)
}

// newLab starts a fleet and waits until all its parts know each other. The caller closes it, also after an error.
func newLab(ctx context.Context, o options, s shape) (*lab, error) {
	l := &lab{o: o}
	if s.hosts && os.Geteuid() == 0 {
		var err error
		if l.net, err = netns.New(); err == nil {
			l.people, err = l.net.Host("people")
		}
		if err != nil { // no namespaces here
			l.net, l.people = nil, nil
		}
	}
	var more []string
	if s.before != nil {
		var err error
		if more, err = s.before(l); err != nil {
			return l, err
		}
	}
	for i := range s.servers {
		if err := l.addServer(ctx, i, s.servers); err != nil {
			return l, fmt.Errorf("server %d: %w", i+1, err)
		}
	}
	for i := range s.nodes {
		m, err := l.add(fmt.Sprintf("n%d", i+1), 8083)
		if err != nil {
			return l, err
		}
		l.nodes = append(l.nodes, m)
		if err := l.join(ctx, m, api.MachineNode, append([]string{"node", "--listen", m.addr, "--llama-server", o.llama}, more...)...); err != nil {
			return l, err
		}
	}
	for i := range s.gateways {
		m, err := l.add(fmt.Sprintf("g%d", i+1), 8080)
		if err != nil {
			return l, err
		}
		m.url = "http://" + m.addr
		l.gateways = append(l.gateways, m)
		if err := l.join(ctx, m, api.MachineGateway, "gateway", "--listen", m.addr); err != nil {
			return l, err
		}
	}
	return l, l.whole(ctx)
}

// add makes a machine, which is not started, with an address on the network of machines and one on that of people.
func (l *lab) add(name string, port int) (*machine, error) {
	m := &machine{name: name, dir: filepath.Join(l.o.dir, name), o: l.o}
	number := len(l.machines) + 1
	m.addr = fmt.Sprintf("%s:%d", loopback(number), port)
	l.machines = append(l.machines, m)
	if l.net == nil {
		return m, nil
	}
	var err error
	if m.host, err = l.net.Host(name); err == nil {
		m.addr = fmt.Sprintf("%s:%d", m.host.Addr(netns.Control), port)
	}
	return m, err
}

// loopback is an address for a machine of this process alone, so that fleets beside each other do not meet and every machine has its usual ports.
func loopback(number int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 64+pid/200%128, 1+pid%200, number)
}

func (l *lab) addServer(ctx context.Context, i, of int) error {
	m, err := l.add(fmt.Sprintf("s%d", i+1), 8443)
	if err != nil {
		return err
	}
	listen := strings.Replace(m.addr, ":8443", ":8081", 1)
	if m.host != nil {
		listen = m.host.Addr(netns.Data) + ":8081"
	}
	m.url = "http://" + listen
	m.args = []string{"server", "--node-id", m.name, "--listen", listen, "--fleet-listen", m.addr}
	switch {
	case of == 1:
	case i == 0:
		m.args = append(m.args, "--cluster-init")
	default:
		token, err := l.joinToken(ctx, api.MachineServer)
		if err != nil {
			return err
		}
		m.args = append(m.args, "--join", "https://"+l.servers[0].addr, "--token", token)
	}
	l.servers = append(l.servers, m)
	if err := m.start(); err != nil {
		return err
	}
	return l.ready(ctx, m)
}

// join starts a machine that joins the fleet.
func (l *lab) join(ctx context.Context, m *machine, role api.MachineRole, args ...string) error {
	token, err := l.joinToken(ctx, role)
	if err != nil {
		return err
	}
	m.args = append(args, "--node-id", m.name, "--server", "https://"+strings.Join(l.fleetAddrs(), ",https://"), "--token", token)
	return m.start()
}

func (l *lab) joinToken(ctx context.Context, role api.MachineRole) (string, error) {
	made, err := l.servers[0].client.CreateToken(ctx, api.CreateJoinToken{For: role, TTLSeconds: 600})
	return made.Token, err
}

func (l *lab) fleetAddrs() []string {
	var out []string
	for _, s := range l.servers {
		out = append(out, s.addr)
	}
	return out
}

// ready waits until a server takes requests.
func (l *lab) ready(ctx context.Context, m *machine) error {
	_, err := until(ctx, time.Minute, m.name+" is ready", func(ctx context.Context) error {
		if err := m.check(); err != nil {
			return err
		}
		if l.token == "" {
			b, err := os.ReadFile(filepath.Join(m.dir, "admin.token"))
			if err != nil {
				return err
			}
			l.token = strings.TrimSpace(string(b))
		}
		m.client = client.New(m.url, l.token).WithHTTP(l.http())
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return m.client.Ready(ctx)
	})
	return err
}

// http is a client that connects from where people are. What it is answered is kept, and held against the API's document when the part is over.
func (l *lab) http() *http.Client {
	t := transport()
	if l.people != nil {
		t.DialContext = l.people.Dial
	}
	return &http.Client{Transport: openapitest.Through(t, openapitest.ToFolder(answersIn(l.o.dir)))}
}

func transport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 20 * time.Second}
}

// whole waits until every server answers and sees every node, and every gateway routes.
func (l *lab) whole(ctx context.Context) error {
	for _, s := range l.servers {
		if err := l.ready(ctx, s); err != nil {
			return err
		}
		_, err := until(ctx, time.Minute, s.name+" sees all nodes", func(ctx context.Context) error {
			nodes, err := s.client.Nodes(ctx)
			nodes = slices.DeleteFunc(nodes, func(n api.NodeView) bool { return n.State != api.NodeReady })
			if err == nil && len(nodes) != len(l.nodes) {
				err = fmt.Errorf("%d of %d nodes are ready", len(nodes), len(l.nodes))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, g := range l.gateways {
		if err := l.routes(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// routes waits until a gateway answers.
func (l *lab) routes(ctx context.Context, g *machine) error {
	c := client.New(g.url, l.token).WithHTTP(l.http())
	_, err := until(ctx, time.Minute, g.name+" routes", func(ctx context.Context) error {
		if err := g.check(); err != nil {
			return err
		}
		res, err := c.Do(ctx, http.MethodGet, "/v1/models", nil, nil)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	return err
}

// close ends everything and removes the hosts.
func (l *lab) close() {
	err := procs.End(l.o.dir + "/")
	for _, m := range l.machines {
		if m.Running != nil {
			err = errors.Join(err, m.Kill())
		}
	}
	if l.net != nil {
		err = errors.Join(err, l.net.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet: clean up:", err)
	}
}

// reply is what the demo models answer: long enough for a fault to find streams under way.
var reply = strings.Repeat("All is well here. ", 12) + "The end."

// model declares a demo model and waits until all its replicas are ready.
func (l *lab) model(ctx context.Context, s *machine, uid string, replicas uint32) error {
	path, err := l.demo()
	if err != nil {
		return err
	}
	_, err = s.client.CreateModel(ctx, api.CreateModel{
		ModelName: uid, ModelUID: uid, ModelSource: api.SourceLocal, ModelPath: path, AutoStart: true, Replicas: &replicas,
	})
	if err != nil {
		return err
	}
	return l.settled(ctx, s, uid)
}

// demo is the path of the demo model's file.
func (l *lab) demo() (string, error) {
	path := filepath.Join(l.o.dir, "demo.gguf")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, demomodel.WriteFile(path, demomodel.Options{Reply: reply})
}

// settled waits until a model runs with all its replicas ready.
func (l *lab) settled(ctx context.Context, s *machine, uid string) error {
	_, err := until(ctx, 2*time.Minute, uid+" runs", func(ctx context.Context) error {
		d, err := s.client.Model(ctx, uid)
		if err == nil && (d.State != api.StateRunning || d.Replicas.Ready != d.Replicas.Desired || len(d.Endpoints) != int(d.Replicas.Desired)) {
			err = fmt.Errorf("it is %s with %+v, %d endpoints: %+v", d.State, d.Replicas, len(d.Endpoints), d.Reason)
		}
		return err
	})
	return err
}

// asGateways are machines as a load's clients reach them. Each client knows all of them, as one behind a name with several addresses does: a
// connection that one refuses is made to the next. Nothing else is tried again.
func (l *lab) asGateways(machines ...*machine) []traffic.Gateway {
	var out []traffic.Gateway
	for i, m := range machines {
		order := append(slices.Clone(machines[i:]), machines[:i]...)
		t := transport()
		t.DialContext = dialFirst(order)
		out = append(out, traffic.Gateway{Name: m.name, URL: m.url, Token: l.token, Client: &http.Client{Transport: t}})
	}
	return out
}
