package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// machine is a server with TLS, and how it is reached.
type machine struct {
	addr string
	cfg  func(string) *tls.Config
	new  *atomic.Int64 // connections
}

func startMachine(t *testing.T, h http.HandlerFunc) *machine {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "n1"}, DNSNames: []string{"n1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{new: new(atomic.Int64)}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{SessionTicketsDisabled: true, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			m.new.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	m.addr = srv.Listener.Addr().String()
	m.cfg = func(peer string) *tls.Config { return &tls.Config{RootCAs: pool, ServerName: peer} }
	return m
}

func (m *machine) post(t *testing.T, c *Client, peer string, body ...string) (string, error) {
	t.Helper()
	req := &Request{Addr: m.addr, Peer: peer, Path: "/x", Body: [][]byte{}}
	for _, p := range body {
		req.Body = append(req.Body, []byte(p))
	}
	res, err := c.Do(t.Context(), new(Call), req)
	if err != nil {
		return "", err
	}
	defer res.Close()
	return readAll(res)
}

// Bodies of every size, in pieces, come whole and over one connection.
func TestTLS_keepsTheConnection(t *testing.T) {
	m := startMachine(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	c := New(Limits{}, m.cfg)
	defer c.Close()
	for _, size := range []int{0, 1, bufSize - 100, bufSize, bufSize + 1, 3*bufSize + 7, 1 << 20} {
		body := strings.Repeat("x", size)
		got, err := m.post(t, c, "n1", body, `","`, body)
		if err != nil || got != body+`","`+body {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if n := m.new.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// A kept connection that the machine has closed is seen to be dead before anything is written to it.
func TestTLS_seesDeadConnections(t *testing.T) {
	m := startMachine(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	c := New(Limits{}, m.cfg)
	defer c.Close()
	if got, err := m.post(t, c, "n1"); got != "ok" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	at := place{m.addr, "n1"}
	cn := c.pop(at)
	if !cn.alive() {
		t.Fatal("an open connection is taken for dead")
	}
	secure := cn.Conn.(*tls.Conn)
	c.keep(withBuffer(cn))
	_ = secure.CloseWrite() // the machine answers with its own farewell
	for deadline := time.Now().Add(20 * time.Second); cn.alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection that the machine has closed is taken for open")
		}
	}
	if got, err := m.post(t, c, "n1"); got != "ok" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	c.Drop(m.addr, "n1")
	if c.pop(at) != nil {
		t.Error("a connection is left")
	}
}

func withBuffer(cn *conn) *conn { cn.buf = new(buffer); return cn }

func TestTLS_refusesOthers(t *testing.T) {
	m := startMachine(t, func(http.ResponseWriter, *http.Request) { t.Error("a request went out") })
	for name, c := range map[string]*Client{"another machine": New(Limits{}, m.cfg), "no credential": New(Limits{}, nil)} {
		if _, err := m.post(t, c, "n2"); kindOf(err) != Refused {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}

// A machine that takes the connection and then says nothing is given up in time, and at once by whoever aborts.
func TestTLS_handshakeHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m := startMachine(t, nil)
	m.addr = ln.Addr().String()
	c := New(Limits{Dial: 20 * time.Millisecond}, m.cfg)
	defer c.Close()
	if _, err := m.post(t, c, "n1"); kindOf(err) != Refused {
		t.Errorf("got %v", err)
	}
	patient := New(Limits{Dial: time.Hour}, m.cfg)
	defer patient.Close()
	why := errors.New("why")
	call := new(Call)
	go func() {
		for { // until it dials
			call.mu.Lock()
			dialing := call.dial != nil
			call.mu.Unlock()
			if dialing {
				break
			}
			time.Sleep(time.Millisecond)
		}
		call.Abort(why)
	}()
	if _, err := patient.Do(t.Context(), call, &Request{Addr: m.addr, Peer: "n1", Path: "/x"}); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

// The machine's word for a failure is the failure; an engine's own header of that name is nothing.
func TestDo_faults(t *testing.T) {
	for value, want := range map[string]Kind{
		"refused: x": Refused, "lost: x": Lost, "timeout: x": Timeout, "malformed: x": Malformed, "declined: x: y": Declined, "new-word: x": Malformed, ": x": Malformed,
	} {
		m := startMachine(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(FaultHeader, value); w.WriteHeader(503) })
		c := New(Limits{}, m.cfg)
		for range 2 {
			if _, err := m.post(t, c, "n1"); kindOf(err) != want {
				t.Errorf("%s: %v", value, err)
			}
		}
		if n := m.new.Load(); n != 1 {
			t.Errorf("%s: %d connections, want one", value, n)
		}
		c.Close()
	}
	e := start(t, func(c net.Conn, _ int, _ *http.Request) bool {
		return say(c, "HTTP/1.1 503 X\r\nNebula-Fault: refused: x\r\nContent-Length: 0\r\n\r\n")
	})
	res, err := post(t.Context(), newClient(t, Limits{}), e.addr)
	if err != nil || res.Status() != 503 {
		t.Fatalf("got %v", err)
	}
	res.Close()
}
