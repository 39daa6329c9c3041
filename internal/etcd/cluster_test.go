package etcd

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// testCluster is members on loopback addresses, each a supervised child process, and the authority of their certificates.
type testCluster struct {
	t       *testing.T
	ca      *pki.CA
	members []*testMember
}

type testMember struct {
	name string
	dir  string
	conf ClusterConfig
	sup  *Supervisor
}

func newCluster(t *testing.T) *testCluster {
	t.Helper()
	ca, err := pki.NewCA("etcd-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &testCluster{t: t, ca: ca}
}

// add makes a member that has not started.
func (tc *testCluster) add() *testMember {
	tc.t.Helper()
	name := fmt.Sprintf("s%d", len(tc.members)+1)
	m := &testMember{name: name, dir: filepath.Join(tc.t.TempDir(), name)}
	ca, cert, key := writeCerts(tc.t, tc.ca, name)
	peer, client := freeAddr(tc.t), freeAddr(tc.t)
	m.conf = ClusterConfig{
		Name: name, PeerListen: peer, PeerURL: "https://" + peer, ClientListen: client, ClientURL: "https://" + client,
		CAFile: ca, CertFile: cert, KeyFile: key,
	}
	tc.members = append(tc.members, m)
	return m
}

// writeCerts issues a certificate and returns the files of the authority's, its own and its key.
func writeCerts(t *testing.T, ca *pki.CA, name string) (caFile, certFile, keyFile string) {
	t.Helper()
	cert, key, err := ca.IssueKey(name, []string{"127.0.0.1", "localhost"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("ca.crt", "CERTIFICATE", ca.Cert.Raw), write("member.crt", "CERTIFICATE", cert), write("member.key", "PRIVATE KEY", key)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func (m *testMember) start(t *testing.T) {
	t.Helper()
	log, _ := newLog(t)
	conf := childConfig(m.dir, log)
	conf.Cluster = &m.conf
	s, err := Supervise(t.Context(), conf)
	if err != nil {
		t.Fatalf("member %s: %v", m.name, err)
	}
	m.sup = s
	t.Cleanup(s.Stop)
}

// client is that of the server on the member's machine: its own socket first, the others learned from it or from the given members.
func (tc *testCluster) client(m *testMember, others ...*testMember) *Client {
	tc.t.Helper()
	conf := Config{Endpoints: []string{m.sup.Endpoint()}, Members: true, TLS: tc.tls(m), DialTimeout: 30 * time.Second}
	for _, o := range others {
		conf.Endpoints = append(conf.Endpoints, o.conf.ClientURL)
	}
	conf.Log, _ = newLog(tc.t)
	c, err := Dial(tc.t.Context(), conf)
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); { // a disk that stands still for seconds stops consensus, too
		c, err = Dial(tc.t.Context(), conf)
	}
	if err != nil {
		tc.t.Fatal(err)
	}
	tc.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			tc.t.Errorf("close: %v", err)
		}
	})
	return c
}

func (tc *testCluster) tls(m *testMember) *tls.Config {
	tc.t.Helper()
	conf, err := ClientTLS(m.conf.CAFile, m.conf.CertFile, m.conf.KeyFile)
	if err != nil {
		tc.t.Fatal(err)
	}
	return conf
}

// three is a cluster that began with one member and grew as a fleet does, and a client of each member's machine.
func three(t *testing.T) (*testCluster, []*Client) {
	t.Helper()
	tc := newCluster(t)
	first := tc.add()
	first.conf.Init = true
	first.start(t)
	clients := []*Client{tc.client(first)}
	for range 2 {
		m := tc.add()
		tc.join(clients[0], m)
		clients = append(clients, tc.client(m, first))
	}
	return tc, clients
}

// join takes a member in and waits until it votes.
func (tc *testCluster) join(through *Client, m *testMember) {
	tc.t.Helper()
	var err error
	if m.conf.Initial, err = through.AddLearner(tc.t.Context(), m.name, m.conf.PeerURL); err != nil {
		tc.t.Fatal(err)
	}
	m.start(tc.t)
	eventually(tc.t, "vote of "+m.name, func() bool {
		members, err := through.Members(tc.t.Context())
		return err == nil && slices.ContainsFunc(members, func(o Member) bool { return o.Name == m.name && !o.Learner })
	})
}

// leader returns the member that leads now.
func (tc *testCluster) leader() *testMember {
	tc.t.Helper()
	var found *testMember
	eventually(tc.t, "leader", func() bool {
		for _, m := range tc.members {
			ctx, cancel := context.WithTimeout(tc.t.Context(), time.Second)
			c, err := Dial(ctx, Config{Endpoints: []string{m.sup.Endpoint()}})
			if err == nil {
				if s, err := c.Status(ctx); err == nil && s.Leader {
					found = m
				}
				_ = c.Close()
			}
			cancel()
			if found != nil {
				return true
			}
		}
		return false
	})
	return found
}

func (tc *testCluster) clientOf(m *testMember, clients []*Client) *Client {
	return clients[slices.Index(tc.members, m)]
}

func TestCluster_grows(t *testing.T) {
	t.Parallel()
	tc := newCluster(t)
	first := tc.add()
	first.conf.Init = true
	first.start(t)
	c := tc.client(first)
	rev := mustPut(t, c, "/k", "before")

	second := tc.add()
	initial, err := c.AddLearner(t.Context(), second.name, second.conf.PeerURL)
	if err != nil || initial != "s1="+first.conf.PeerURL+",s2="+second.conf.PeerURL {
		t.Fatalf("got %q, %v", initial, err)
	}
	if again, err := c.AddLearner(t.Context(), second.name, second.conf.PeerURL); err != nil || again != initial {
		t.Errorf("asked again: %q, %v", again, err)
	}
	third := tc.add()
	if _, err := c.AddLearner(t.Context(), third.name, third.conf.PeerURL); !errors.Is(err, ErrJoining) {
		t.Errorf("two at once: %v, want ErrJoining", err)
	}
	if _, err := c.AddLearner(t.Context(), third.name, first.conf.PeerURL); err == nil || !strings.Contains(err.Error(), "another address") {
		t.Errorf("a taken address: %v", err)
	}
	if _, err := c.AddLearner(t.Context(), first.name, third.conf.PeerURL); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Errorf("a taken name: %v", err)
	}
	mustPut(t, c, "/k2", "a member that has not come takes nobody's majority")

	tc.join(c, second)
	tc.join(c, third)
	own := tc.client(third)
	kvs, at, err := own.List(t.Context(), "/k")
	if err != nil || len(kvs) != 2 || kvs[0].ModRev != rev || at <= rev {
		t.Errorf("got %v, %d, %v", kvs, at, err)
	}

	if err := c.RemoveMember(t.Context(), "nobody"); !errors.Is(err, ErrNoMember) {
		t.Errorf("got %v", err)
	}
	if err := c.RemoveMember(t.Context(), third.name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two members", func() bool {
		members, err := c.Members(t.Context())
		return err == nil && len(members) == 2
	})
	mustPut(t, c, "/k", "after")
	third.sup.Stop()
	conf := childConfig(third.dir, nil)
	conf.Cluster = &third.conf
	if s, err := Supervise(t.Context(), conf); err == nil { // it learns of its removal from the others
		s.Stop()
	} else if !errors.Is(err, ErrRemoved) {
		t.Errorf("started after its removal: %v", err)
	}
}

// TestCluster_singleMemberMoves: a store that began alone on a socket becomes the first member of a cluster.
func TestCluster_singleMemberMoves(t *testing.T) {
	t.Parallel()
	tc := newCluster(t)
	first := tc.add()
	alone, _ := supervise(t, first.dir)
	func() {
		c, err := Dial(t.Context(), Config{Endpoints: []string{alone.Endpoint()}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		mustPut(t, c, "/k", "kept")
	}()
	alone.Stop()
	first.start(t)
	c := tc.client(first)
	eventually(t, "address in the list of members", func() bool {
		members, err := c.Members(t.Context())
		return err == nil && len(members) == 1 && slices.Equal(members[0].PeerURLs, []string{first.conf.PeerURL})
	})
	second := tc.add()
	tc.join(c, second)
	kvs, _, err := tc.client(second).List(t.Context(), "/k")
	if err != nil || len(kvs) != 1 || string(kvs[0].Value) != "kept" {
		t.Errorf("got %v, %v", kvs, err)
	}
}

func TestCluster_badConfig(t *testing.T) {
	t.Parallel()
	tc := newCluster(t)
	good := tc.add()
	for want, change := range map[string]func(*ClusterConfig){
		"usable name":               func(c *ClusterConfig) { c.Name = "a=b" },
		"address of the store's":    func(c *ClusterConfig) { c.PeerListen = "nowhere" },
		"https://10.0.0.1:2380":     func(c *ClusterConfig) { c.PeerURL = "http://127.0.0.1:1" },
		"no such file":              func(c *ClusterConfig) { c.KeyFile = "/no/such/file" },
		"join it again as a new":    func(*ClusterConfig) {},
		"cannot fetch cluster info": func(c *ClusterConfig) { c.Initial = "s1=" + c.PeerURL + ",s9=https://127.0.0.1:1" },
		"address already in use":    func(c *ClusterConfig) { c.Init, c.ClientListen = true, c.PeerListen },
	} {
		t.Run(want, func(t *testing.T) {
			conf := good.conf
			change(&conf)
			err := Serve(t.Context(), ServeConfig{Dir: t.TempDir(), Cluster: &conf})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestCluster_strangers: neither the cluster's own authority, of which nodes hold credentials, nor no certificate at all opens a
// member's ports.
func TestCluster_strangers(t *testing.T) {
	t.Parallel()
	tc := newCluster(t)
	m := tc.add()
	m.conf.Init = true
	m.start(t)
	mustPut(t, tc.client(m), "/k", "secret")

	others, err := pki.NewCA("cluster-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, cert, key := writeCerts(t, others, "node-1")
	node, err := ClientTLS(m.conf.CAFile, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := ClientTLS(m.conf.CAFile, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, conf := range map[string]*tls.Config{"a node's certificate": node, "no certificate": nobody} {
		for _, u := range []string{m.conf.ClientURL, m.conf.PeerURL} {
			if c, err := Dial(t.Context(), Config{Endpoints: []string{u}, TLS: conf, DialTimeout: time.Second}); err == nil {
				t.Errorf("%s opens %s", name, u)
				_ = c.Close()
			}
		}
	}
	ours := tc.tls(m)
	c, err := Dial(t.Context(), Config{Endpoints: []string{m.conf.ClientURL}, TLS: ours})
	if err != nil {
		t.Fatalf("a server's own certificate: %v", err)
	}
	_ = c.Close()
	ours.MaxVersion = tls.VersionTLS12
	if c, err := Dial(t.Context(), Config{Endpoints: []string{m.conf.ClientURL}, TLS: ours, DialTimeout: time.Second}); err == nil {
		t.Error("TLS 1.2 is taken")
		_ = c.Close()
	}
}

// writer writes rising numbers to a key of its own, as fast as they are acknowledged, and keeps the last that was.
type writer struct {
	key   string
	acked atomic.Int64
}

// write starts a writer for each client, until the test ends or stop is called.
func write(t *testing.T, clients []*Client) (writers []*writer, stop func()) {
	var over atomic.Bool
	var writing sync.WaitGroup
	for i, c := range clients {
		w := &writer{key: fmt.Sprintf("/n/%d", i)}
		writers = append(writers, w)
		writing.Go(func() {
			for n := int64(1); !over.Load(); n++ {
				_, err := c.Txn(t.Context(), nil, []store.Op{put(w.key, fmt.Sprint(n))})
				if err == nil {
					w.acked.Store(n)
				} else if !errors.Is(err, store.ErrAmbiguous) && !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("put: %v", err)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	stop = func() {
		over.Store(true)
		writing.Wait()
	}
	t.Cleanup(stop)
	return writers, stop
}

// progress waits until all writers have been acknowledged a few times more.
func progress(t *testing.T, writers []*writer) {
	t.Helper()
	for _, w := range writers {
		from := w.acked.Load()
		eventually(t, "writes to "+w.key, func() bool { return w.acked.Load() > from+3 })
	}
}

// kept checks that nothing that was acknowledged is lost, and that the watches have seen it.
func kept(t *testing.T, c *Client, writers []*writer, seen ...*follower) {
	t.Helper()
	kvs, rev, err := c.List(t.Context(), "/n/")
	if err != nil || len(kvs) != len(writers) {
		t.Fatalf("list: %v, %v", kvs, err)
	}
	for i, kv := range kvs {
		if stored := atoi(t, string(kv.Value)); int64(stored) < writers[i].acked.Load() {
			t.Errorf("%s: %d was acknowledged, %d is stored", kv.Key, writers[i].acked.Load(), stored)
		}
	}
	for _, f := range seen {
		f.caughtUp(t, kvs, rev)
	}
}

// TestCluster_faults takes the members away in every way: the leader killed, the leader paused, a majority, and all.
func TestCluster_faults(t *testing.T) {
	t.Parallel()
	tc, clients := three(t)
	_, from, err := clients[0].List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	var seen []*follower
	for _, c := range clients {
		seen = append(seen, follow(t, c, from))
	}
	writers, stop := write(t, clients)
	progress(t, writers)

	t.Run("leader killed", func(t *testing.T) {
		leader := tc.leader()
		pid := leader.sup.PID()
		kill(t, pid, syscall.SIGKILL)
		progress(t, writers)
		eventually(t, "next child", func() bool { return leader.sup.PID() != pid && leader.sup.PID() != 0 })
	})
	t.Run("leader paused", func(t *testing.T) {
		leader := tc.leader()
		pid := leader.sup.PID()
		freeze(t, pid)
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
		progress(t, writers) // also those of the paused member's own server: it uses another
		for _, f := range seen {
			at := f.at()
			eventually(t, "watch goes on", func() bool { return f.at() > at })
		}
		kill(t, pid, syscall.SIGCONT)
		c := tc.clientOf(leader, clients)
		eventually(t, "return to the own member", func() bool { return c.era.Load().endpoint == leader.sup.Endpoint() })
	})
	t.Run("majority lost", func(t *testing.T) {
		var pids []int
		for _, m := range tc.members[1:] {
			pids = append(pids, m.sup.PID())
			freeze(t, m.sup.PID())
			defer func() { _ = syscall.Kill(m.sup.PID(), syscall.SIGCONT) }()
		}
		eventually(t, "refusal", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return errors.Is(clients[0].Health(ctx), store.ErrUnavailable)
		})
		for _, pid := range pids {
			kill(t, pid, syscall.SIGCONT)
		}
		progress(t, writers)
	})
	t.Run("all killed", func(t *testing.T) {
		for _, m := range tc.members {
			kill(t, m.sup.PID(), syscall.SIGKILL)
		}
		progress(t, writers)
	})
	stop()
	for _, c := range clients {
		kept(t, c, writers, seen...)
	}
}
