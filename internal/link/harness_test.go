package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const clusterID = "c1"

var discard = slog.New(slog.DiscardHandler)

// patience is how long a condition may take that is only late when the machine is.
const patience = 60 * time.Second

// fleet is a store with any number of servers and nodes around it.
type fleet struct {
	t  *testing.T
	ca *pki.CA
	kv store.KV
	st *store.Store // a view of the store of the test's own

	logged []*logged
}

func newFleet(t *testing.T, kv store.KV) *fleet {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, ca: ca, kv: kv}
	f.st = f.open()
	f.info(api.ClusterInfo{ID: clusterID, History: "h1", HistoryAccepted: true})
	return f
}

// open returns a store that runs until the test ends.
func (f *fleet) open() *store.Store {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, f.kv, discard)
	if err != nil {
		f.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	f.t.Cleanup(func() { cancel(); <-done })
	return st
}

func (f *fleet) update(owner store.Owner, fn func(*store.Tx) error) {
	f.t.Helper()
	if _, err := f.st.Update(context.Background(), owner, fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) info(i api.ClusterInfo) {
	f.t.Helper()
	f.update(store.OwnerControl, func(tx *store.Tx) error { return store.Info.Put(tx, api.ClusterInfoID, i) })
}

func (f *fleet) credential(role api.MachineRole, id string) *pki.Credential {
	f.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		f.t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := f.ca.Issue(csr, pki.Identity{Cluster: clusterID, Role: role, ID: id}, nil, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	cred, err := pki.NewCredential("", key, cert.Raw, f.ca.Cert.Raw)
	if err != nil {
		f.t.Fatal(err)
	}
	return cred
}

// join makes a machine a member.
func (f *fleet) join(role api.MachineRole, id string) *pki.Credential {
	f.t.Helper()
	cred := f.credential(role, id)
	f.update(store.OwnerControl, func(tx *store.Tx) error {
		m := api.Member{Role: role, ID: id, KeyHash: cred.KeyHash()}
		return store.Members.Put(tx, m.Key(), m)
	})
	return cred
}

// place makes a model that runs as one replica on each of the nodes.
func (f *fleet) place(uid string, version uint64, nodes ...string) {
	f.t.Helper()
	f.update(store.OwnerControl, func(tx *store.Tx) error {
		if err := store.Models.Put(tx, uid, api.ModelSpec{ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal}); err != nil {
			return err
		}
		return store.Deployments.Put(tx, uid, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: 1, Version: 1})
	})
	f.update(store.OwnerScheduler, func(tx *store.Tx) error {
		plan := api.PlacementPlan{ModelUID: uid, Version: version, Assignments: []api.PlacementAssignment{}}
		for i, n := range nodes {
			plan.Assignments = append(plan.Assignments, api.PlacementAssignment{ReplicaID: uint32(i), NodeID: n})
		}
		return store.Placements.Put(tx, uid, plan)
	})
}

func (f *fleet) unplace(uid string) {
	f.t.Helper()
	f.update(store.OwnerScheduler, func(tx *store.Tx) error { return store.Placements.Delete(tx, uid) })
}

// nodes stands between the routes and the registry of a server, so that tests can hold a server up or count what it is asked.
type nodes struct {
	httpapi.Nodes
	mu         sync.Mutex
	heartbeats int
	reports    int
	hold       chan struct{} // reports wait until it is closed; nil = they do not
	held       chan struct{} // gets a value for each report that waits
	late       chan error    // what became of each report that has waited
}

func (n *nodes) Heartbeat(ctx context.Context, id string, hb api.NodeHeartbeat) error {
	n.mu.Lock()
	n.heartbeats++
	n.mu.Unlock()
	return n.Nodes.Heartbeat(ctx, id, hb)
}

func (n *nodes) Report(ctx context.Context, id string, o api.NodeObserved) error {
	n.mu.Lock()
	n.reports++
	hold, held, late := n.hold, n.held, n.late
	n.mu.Unlock()
	if hold != nil {
		held <- struct{}{}
		<-hold
		err := n.Nodes.Report(context.WithoutCancel(ctx), id, o) // a server that was paused does not know that the caller has gone
		late <- err
		return err
	}
	return n.Nodes.Report(ctx, id, o)
}

func (n *nodes) pause() (resume func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hold := make(chan struct{})
	n.hold, n.held, n.late = hold, make(chan struct{}, 16), make(chan error, 16)
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.hold = nil
		close(hold)
	})
}

func (n *nodes) counts() (reports, heartbeats int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reports, n.heartbeats
}

// server is one server of the fleet, on a real socket.
type server struct {
	t        *testing.T
	addr     string
	registry *registry.Registry
	nodes    *nodes
	net      *meter
	stop     func()
}

// serve starts a server, on addr unless that is empty.
func (f *fleet) serve(id, addr string, st *store.Store) *server {
	f.t.Helper()
	if st == nil {
		st = f.open()
	}
	cred := f.join(api.MachineServer, id)
	r := registry.New(registry.Config{Store: st, Leases: f.kv, Log: discard, Open: func(api.Secret) (api.Token, error) { return planted, nil }})
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	go func() { defer close(running); _ = r.Run(ctx) }()
	n := &nodes{Nodes: r}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var ln net.Listener
	f.await("the port", func() bool {
		var err error
		ln, err = net.Listen("tcp", addr)
		return err == nil
	})
	s := &server{t: f.t, addr: ln.Addr().String(), registry: r, nodes: n, net: &meter{Listener: ln, conns: map[net.Conn]bool{}}}
	srv := &http.Server{
		Handler:   httpapi.New(httpapi.Config{View: st, Control: control.New(st, time.Now), Keys: auth.Keyring{}, Nodes: n, Closing: ctx.Done(), Now: time.Now, Log: discard}),
		TLSConfig: cred.ServerTLS(pki.NewClock(time.Now)), ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(s.net, "", "") }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			f.t.Error(err)
		}
		<-running
	})
	f.t.Cleanup(s.stop)
	return s
}

// await waits until a condition holds.
func (f *fleet) await(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("no %s after %s; the links say:\n%s", what, patience, f.logs())
		}
	}
}

// logs is what the nodes' links have logged.
func (f *fleet) logs() string {
	var out strings.Builder
	for _, l := range f.logged {
		l.mu.Lock()
		out.Write(l.b.Bytes())
		l.mu.Unlock()
	}
	return out.String()
}

// catchUp waits until the test's own view shows all that is in the store. Servers have views of their own.
func (f *fleet) catchUp() {
	f.t.Helper()
	_, revision, err := f.kv.List(context.Background(), "/nodes/")
	if err != nil {
		f.t.Fatal(err)
	}
	f.await("the newest state", func() bool { st, _ := f.st.Current(); return st.Revision >= revision })
}

// node is one node's link.
type node struct {
	*link.Link
	fleet   *fleet
	id      string
	dir     string
	cred    *pki.Credential
	servers *link.Servers
	log     *logged
	stop    func()
}

// node starts the link of a node that is a member, with what an earlier one has left in dir.
func (f *fleet) node(id, dir string, cred *pki.Credential, addrs ...string) *node {
	f.t.Helper()
	if dir == "" {
		dir = f.t.TempDir()
	}
	if cred == nil {
		cred = f.join(api.MachineNode, id)
	}
	out := &logged{}
	f.logged = append(f.logged, out)
	lg := slog.New(slog.NewTextHandler(out, nil))
	servers := link.NewServers(link.ServersConfig{Addrs: addrs, Credential: cred, Clock: pki.NewClock(time.Now), Log: lg})
	l, err := link.New(link.Config{Dir: dir, NodeID: id, Credential: cred, Servers: servers, Log: lg})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			f.t.Error(err)
		}
	}()
	n := &node{Link: l, fleet: f, id: id, dir: dir, cred: cred, servers: servers, log: out, stop: sync.OnceFunc(func() { cancel(); <-done })}
	f.t.Cleanup(func() { n.stop(); servers.Close() })
	return n
}

// sees waits until the node has been told exactly these replicas ("uid/replica").
func (f *fleet) sees(n *node, want ...string) api.NodeDesired {
	f.t.Helper()
	var d api.NodeDesired
	f.await(fmt.Sprintf("desired set %v on %s", want, n.id), func() bool {
		d, _ = n.Desired()
		return d.Revision > 0 && keys(d) == strings.Join(want, " ")
	})
	return d
}

func keys(d api.NodeDesired) string {
	var out []string
	for i := range d.Replicas {
		out = append(out, d.Replicas[i].Key())
	}
	return strings.Join(out, " ")
}

func (n *node) observed(endpoints ...string) api.NodeObserved {
	o := api.NodeObserved{
		Node: api.NodeStatus{NodeID: n.id, CPUs: 2, LastHeartbeatMS: time.Now().UnixMilli()}, Endpoints: []api.EndpointInfo{},
		Downloads: []api.DownloadProgress{}, Cache: []api.ModelCacheEntry{},
	}
	for _, uid := range endpoints {
		o.Endpoints = append(o.Endpoints, api.EndpointInfo{
			ModelUID: uid, NodeID: n.id, PlanVersion: 1, Status: api.EndpointReady, EndpointKind: "native_http", APIFlavor: "openai",
		})
	}
	return o
}

// mustReport returns when the test's own view shows the report, too.
func (n *node) mustReport(t *testing.T, endpoints ...string) {
	t.Helper()
	if err := n.Report(t.Context(), n.observed(endpoints...)); err != nil {
		t.Fatal(err)
	}
	n.fleet.catchUp()
}

// logged keeps a log to look at.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// meter counts the bytes of a listener's connections and can cut or freeze them.
type meter struct {
	net.Listener
	mu     sync.Mutex
	conns  map[net.Conn]bool
	bytes  int
	frozen chan struct{} // reads and writes wait until it is closed
}

func (m *meter) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns[c] = true
	return &metered{c, m}, nil
}

// cut breaks all connections.
func (m *meter) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		_ = c.Close()
	}
	clear(m.conns)
}

// freeze makes the server look paused: connections are accepted by the kernel and nothing moves on them.
func (m *meter) freeze() (thaw func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	frozen := make(chan struct{})
	m.frozen = frozen
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.frozen = nil
		close(frozen)
	})
}

func (m *meter) count(n int) {
	m.mu.Lock()
	m.bytes += n
	frozen := m.frozen
	m.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

func (m *meter) total() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

type metered struct {
	net.Conn
	m *meter
}

func (c *metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.count(n)
	return n, err
}

func (c *metered) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.m.count(n)
	return n, err
}

func mem(t *testing.T) *storetest.MemKV {
	kv := storetest.NewMem()
	t.Cleanup(func() { _ = kv.Close() })
	return kv
}
