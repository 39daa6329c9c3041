package main

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/test/netns"
)

const (
	subnet     = netns.Control
	peerPort   = 2380
	clientPort = 2379
)

// fleet is three servers.
type fleet struct {
	dir     string
	nebula  string
	ca      *pki.CA
	net     *netns.Net // nil: all members are on loopback
	members []*member
}

// member is one server with its member, and what it has said.
type member struct {
	name, dir string
	host      *netns.Host
	cmd       *exec.Cmd
	stdin     io.Closer
	kv        *etcd.Client // on the member's own socket, from outside
	read      sync.WaitGroup

	mu    sync.Mutex
	child int
	at    map[string][]time.Time // of "ack" and of "word"
	acked []string
}

// newFleet starts one member and lets two join it.
func newFleet(ctx context.Context, nebula string) (f *fleet, err error) {
	f = &fleet{}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	if f.nebula, err = filepath.Abs(nebula); err != nil {
		return f, err
	}
	if f.dir, err = os.MkdirTemp("", "etcdgap-"); err != nil {
		return f, err
	}
	if f.ca, err = pki.NewCA("etcd-ca", time.Now()); err != nil {
		return f, err
	}
	if os.Geteuid() == 0 {
		if f.net, err = netns.New(); err != nil {
			f.net = nil // no namespaces here
		}
	}
	for n := range 3 {
		if err := f.add(ctx, n+1); err != nil {
			return f, fmt.Errorf("member %d: %w", n+1, err)
		}
	}
	return f, nil
}

// add starts the member with a number, as the first or as one that joins.
func (f *fleet) add(ctx context.Context, n int) error {
	m := &member{name: fmt.Sprintf("s%d", n), at: map[string][]time.Time{}}
	m.dir = filepath.Join(f.dir, m.name)
	host, peer, client := "127.0.0.1", peerPort+10*n, clientPort+10*n
	if f.net != nil {
		var err error
		if m.host, err = f.net.Host(m.name); err != nil {
			return err
		}
		host = m.host.Addr(subnet)
	}
	addr := func(port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
	conf := etcd.ClusterConfig{
		Name: m.name, PeerListen: addr(peer), PeerURL: "https://" + addr(peer), ClientListen: addr(client), ClientURL: "https://" + addr(client),
		Init: n == 1,
	}
	if err := f.certificates(m, host, &conf); err != nil {
		return err
	}
	if n > 1 {
		var err error
		if conf.Initial, err = f.members[0].kv.AddLearner(ctx, m.name, conf.PeerURL); err != nil {
			return err
		}
	}
	f.members = append(f.members, m)
	if err := m.start(job{f.nebula, m.dir, conf}); err != nil {
		return err
	}
	if err := until(ctx, "first write", func() bool { return len(m.times("ack")) > 0 }); err != nil {
		return err
	}
	socket, err := etcd.SocketPath(m.dir)
	if err != nil {
		return err
	}
	err = until(ctx, "vote of "+m.name, func() bool {
		if m.kv == nil {
			m.kv, _ = etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + socket}, DialTimeout: time.Second, RequestTimeout: time.Second})
		}
		return m.kv != nil
	})
	return err
}

func (f *fleet) certificates(m *member, host string, conf *etcd.ClusterConfig) error {
	cert, key, err := f.ca.IssueKey(m.name, []string{host}, time.Now(), 24*time.Hour)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(m.dir, name)
		err = errors.Join(err, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	conf.CAFile, conf.CertFile, conf.KeyFile = write("ca.crt", "CERTIFICATE", f.ca.Cert.Raw), write("member.crt", "CERTIFICATE", cert), write("member.key", "PRIVATE KEY", key)
	return err
}

// start runs the server's process, on its host, and reads what it says.
func (m *member) start(j job) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	m.cmd = exec.Command(exe, serverArg, string(text))
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.cmd.Stderr = os.Stderr
	out, err1 := m.cmd.StdoutPipe()
	in, err2 := m.cmd.StdinPipe()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	m.stdin = in
	start := m.cmd.Start
	if m.host != nil {
		start = func() error { return m.host.Start(m.cmd) }
	}
	if err := start(); err != nil {
		return err
	}
	m.read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			m.hear(lines.Text())
		}
	})
	return nil
}

// hear takes one line of the server.
func (m *member) hear(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var what, key string
	var n int64
	if got, _ := fmt.Sscan(line, &what, &n, &key); got < 2 {
		return
	}
	switch what {
	case "pid":
		m.child = int(n)
	case "ack":
		m.acked = append(m.acked, key)
		fallthrough
	case "word":
		m.at[what] = append(m.at[what], time.Unix(0, n))
	}
}

// signal sends a signal to the member's process.
func (m *member) signal(sig syscall.Signal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.child <= 1 {
		return fmt.Errorf("%s has no process", m.name)
	}
	return syscall.Kill(m.child, sig)
}

func (m *member) times(what string) []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.at[what])
}

func (f *fleet) leader(ctx context.Context) (leader *member, err error) {
	err = until(ctx, "leader", func() bool {
		for _, m := range f.members {
			if s, err := m.kv.Status(ctx); err == nil && s.Leader {
				leader = m
				return true
			}
		}
		return false
	})
	return leader, err
}

// lost counts what was acknowledged and is not there.
func (f *fleet) lost(ctx context.Context) (lost, acked int, err error) {
	if err := wait(ctx, calm); err != nil {
		return 0, 0, err
	}
	var before []string // what was acknowledged before the list must be in it
	for _, m := range f.members {
		m.mu.Lock()
		before = append(before, m.acked...)
		m.mu.Unlock()
	}
	kvs, _, err := f.members[0].kv.List(ctx, "/gap/")
	if err != nil {
		return 0, 0, err
	}
	there := map[string]bool{}
	for _, kv := range kvs {
		there[kv.Key] = true
	}
	for _, key := range before {
		if !there[key] {
			lost++
		}
	}
	return lost, len(before), nil
}

// stop ends everything.
func (f *fleet) stop() {
	for _, m := range f.members {
		if m.kv != nil {
			_ = m.kv.Close()
		}
		if m.stdin != nil {
			_ = m.stdin.Close()
		}
	}
	for _, m := range f.members {
		if m.cmd != nil && m.cmd.Process != nil {
			m.read.Wait()
			_ = m.cmd.Wait()
		}
	}
	if f.net != nil {
		if err := f.net.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "etcdgap:", err)
		}
	}
	_ = os.RemoveAll(f.dir)
}

func until(ctx context.Context, what string, ok func() bool) error {
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s after %s", what, patience)
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// firstClientURL is where the first member listens for clients, from the list of peers that a new member gets.
func firstClientURL(initial string) string {
	first, _, _ := strings.Cut(initial, ",")
	_, peer, _ := strings.Cut(first, "=")
	colon := strings.LastIndex(peer, ":")
	var port int
	_, _ = fmt.Sscan(peer[colon+1:], &port)
	return fmt.Sprintf("%s:%d", peer[:colon], port-1)
}
