package nodeapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

func TestMain(m *testing.M) {
	if setting := os.Getenv(benchNode); setting != "" {
		if err := runNode(setting); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen. It is never a measure.
const patience = 20 * time.Second

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// realm is a cluster's authority and its clock.
type realm struct {
	t     testing.TB
	ca    *pki.CA
	clock *pki.Clock
}

func newRealm(t testing.TB) *realm {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &realm{t, ca, pki.NewClock(time.Now)}
}

const clusterID = "c1"

// credential of a machine of the cluster.
func (r *realm) credential(role api.MachineRole, id string) *pki.Credential {
	return r.credentialIn(clusterID, role, id)
}

func (r *realm) credentialIn(cluster string, role api.MachineRole, id string) *pki.Credential {
	r.t.Helper()
	fatal := func(err error) {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	key, err := pki.NewKey()
	fatal(err)
	csr, err := pki.Request(key)
	fatal(err)
	cert, err := r.ca.Issue(csr, pki.Identity{Cluster: cluster, Role: role, ID: id}, nil, time.Now())
	fatal(err)
	c, err := pki.NewCredential("", key, cert.Raw, r.ca.Cert.Raw)
	fatal(err)
	return c
}

// reaching is the TLS configuration by which a machine reaches nodes.
func (r *realm) reaching(c *pki.Credential) func(string) *tls.Config {
	return func(node string) *tls.Config { return c.ClientTLS(r.clock, api.MachineNode, node) }
}

// node is a node's port on a real socket.
type node struct {
	*API
	id, addr string
	stop     func() // as a process that ends in order
}

func (r *realm) node(id string, cfg Config) *node {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	return r.nodeAt(ln, id, cfg)
}

func (r *realm) nodeAt(ln net.Listener, id string, cfg Config) *node {
	cfg.Cluster = clusterID
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	n := &node{API: New(cfg), id: id, addr: ln.Addr().String()}
	secure := r.credential(api.MachineNode, id).ServerTLS(r.clock)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := n.Serve(ctx, ln, secure, 0); err != nil {
			r.t.Error(err)
		}
	})
	n.stop = sync.OnceFunc(func() { cancel(); serving.Wait() })
	r.t.Cleanup(n.stop)
	return n
}

// endpoint of a replica on this node, whose engine listens at base.
func (n *node) endpoint(uid string, replica uint32, base string) api.EndpointInfo {
	return api.EndpointInfo{
		ModelUID: uid, ReplicaID: replica, NodeID: n.id, NodeAddr: n.addr, Status: api.EndpointReady, BaseURL: &base,
		EngineType: api.EngineVLLM, ServedName: uid,
	}
}

// caller is an HTTP client of a machine.
type caller struct {
	t    testing.TB
	http *http.Client
	addr string
}

func (r *realm) caller(c *pki.Credential, n *node) *caller {
	tr := &http.Transport{TLSClientConfig: c.ClientTLS(r.clock, api.MachineNode, n.id)}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &caller{r.t, &http.Client{Transport: tr}, n.addr}
}

func (c *caller) do(ctx context.Context, method, path, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+c.addr+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.http.Do(req)
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (c *caller) ask(method, path, body string, header ...string) answer {
	c.t.Helper()
	res, err := c.do(c.t.Context(), method, path, body, header...)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b), err}
}

const chat = "/engines/m/0/v1/chat/completions"

// engine is a stub on loopback that does what a test says, down to the byte.
type engine struct {
	url string
	ln  net.Listener

	mu    sync.Mutex
	seen  []*http.Request // their bodies have been read into Header["Body"]
	conns []net.Conn
}

func startEngine(t testing.TB, answer func(c net.Conn, r *http.Request) bool) *engine {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{url: "http://" + ln.Addr().String(), ln: ln}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.conns = append(e.conns, c)
			e.mu.Unlock()
			all.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					body, err := io.ReadAll(r.Body)
					if err != nil {
						return
					}
					e.mu.Lock()
					r.Header["Body"] = []string{string(body)}
					e.seen = append(e.seen, r)
					e.mu.Unlock()
					if !answer(c, r) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { e.kill(); all.Wait() })
	return e
}

func (e *engine) kill() {
	_ = e.ln.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		_ = c.Close()
	}
}

func (e *engine) requests() []*http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*http.Request(nil), e.seen...)
}

func say(c net.Conn, text string) bool { _, err := io.WriteString(c, text); return err == nil }

func sayJSON(c net.Conn, status int, body string) bool {
	return say(c, fmt.Sprintf("HTTP/1.1 %d X\r\nServer: secret/1\r\nSet-Cookie: a=b\r\nNebula-Fault: refused: forged\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n%s", status, len(body), body))
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

func event(c net.Conn, text string) bool {
	text = "data: " + text + "\n\n"
	return say(c, fmt.Sprintf("%x\r\n%s\r\n", len(text), text))
}

func endStream(c net.Conn) bool { return event(c, "[DONE]") && say(c, "0\r\n\r\n") }

const token = `{"choices":[{"index":0,"delta":{"content":"x"}}]}`
