package app

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// abroad makes connections of this machine look as if they came from an address, which the test sets before each.
type abroad struct {
	net.Listener
	from chan string
}

type foreign struct {
	*net.TCPConn
	from net.Addr
}

func (f foreign) RemoteAddr() net.Addr { return f.from }

func (a abroad) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return foreign{conn.(*net.TCPConn), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(<-a.from))}, nil
}

// hall is a server behind a limit of two connections for each address.
type hall struct {
	t     *testing.T
	ln    abroad
	crowd *crowd
}

func newHall(t *testing.T, secure bool) *hall {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{t: t, ln: abroad{ln, make(chan string, 1)}}
	h.crowd = limited(h.ln, 2, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, secure).(*crowd)
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(h.crowd) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return h
}

// call opens a connection from an address, asks once, and returns the connection and the answer; the status is 0 when there is none.
func (h *hall) call(from string) (net.Conn, int, string) {
	h.t.Helper()
	h.ln.from <- from
	var d net.Dialer
	conn, err := d.DialContext(h.t.Context(), "tcp", h.ln.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn, 0, ""
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode == 429 && (res.Header.Get("Retry-After") == "" || !res.Close) {
		h.t.Errorf("the refusal has the headers %v", res.Header)
	}
	return conn, res.StatusCode, string(body)
}

// emptyAgain waits until nobody is counted.
func (h *hall) emptyAgain() {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		h.crowd.mu.Lock()
		n := len(h.crowd.open)
		h.crowd.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%d addresses are counted, and all connections are closed", n)
		}
	}
}

// TestCrowd_eachAddressHasItsShare: two for each, on real sockets; then a refusal in words, for that address alone, until one is closed.
func TestCrowd_eachAddressHasItsShare(t *testing.T) {
	h := newHall(t, false)
	for name, c := range map[string]struct {
		from  []string
		third int
	}{
		"IPv4":                    {[]string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"}, 429},
		"IPv4 as IPv6":            {[]string{"192.0.2.7:1", "[::ffff:192.0.2.7]:2", "192.0.2.7:3"}, 429},
		"neighbours":              {[]string{"192.0.2.11:1", "192.0.2.12:1", "192.0.2.13:1"}, 200},
		"IPv6 of one customer":    {[]string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"}, 429},
		"IPv6 of three customers": {[]string{"[2001:db8:1::1]:1", "[2001:db8:2::1]:1", "[2001:db8:3::1]:1"}, 200},
		"a zone":                  {[]string{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", "[fe80::1%eth2]:1"}, 429},
		"this machine":            {[]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, 200},
		"this machine, IPv6":      {[]string{"[::1]:1", "[::1]:2", "[::1]:3"}, 200},
		"a trusted proxy":         {[]string{"10.1.2.3:1", "10.1.2.3:2", "10.1.2.3:3"}, 200},
		"no trusted proxy":        {[]string{"10.2.2.3:1", "10.2.2.3:2", "10.2.2.3:3"}, 429},
	} {
		var conns []net.Conn
		for i, from := range c.from {
			conn, status, body := h.call(from)
			conns = append(conns, conn)
			want := 200
			if i == 2 {
				want = c.third
			}
			if status != want || status == 429 && !strings.Contains(body, `"code":"too_many_requests","message":"this address holds 2 connections already`) {
				t.Errorf("%s: connection %d is answered %d %s, want %d", name, i+1, status, body, want)
			}
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		h.emptyAgain()
		conn, status, _ := h.call(c.from[0])
		if status != 200 {
			t.Errorf("%s: after all were closed: %d", name, status)
		}
		_ = conn.Close()
	}
}

// TestCrowd_silentUnderTLS: words in clear would be no answer to a client that speaks TLS.
func TestCrowd_silentUnderTLS(t *testing.T) {
	h := newHall(t, true)
	for i, want := range []int{200, 200, 0} {
		if _, status, _ := h.call("192.0.2.1:1"); status != want {
			t.Errorf("connection %d: %d, want %d", i+1, status, want)
		}
	}
}

// TestCrowd_manyRefusals: a flood of connections beyond the limit costs a bounded number of goroutines, and leaves nothing counted.
func TestCrowd_manyRefusals(t *testing.T) {
	h := newHall(t, false)
	var conns []net.Conn
	for i := range 2 + 3*mostRefusals {
		h.ln.from <- "192.0.2.1:1"
		var d net.Dialer
		conn, err := d.DialContext(context.Background(), "tcp", h.ln.Addr().String())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, conn)
	}
	h.crowd.mu.Lock()
	for who, n := range h.crowd.open {
		if n > 2 {
			t.Errorf("%s holds %d", who, n)
		}
	}
	h.crowd.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
	h.emptyAgain()
}

func TestLimited_off(t *testing.T) {
	ln := abroad{}
	if got := limited(ln, 0, nil, false); got != net.Listener(ln) {
		t.Errorf("no limit is asked for, and there is %T", got)
	}
}

// TestServe_headerLimit: whoever sends more header than any client needs is told so, and is not read to the end.
func TestServe_headerLimit(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(slog.New(slog.DiscardHandler))
	serve(l, "http", ln, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
	defer l.stop()
	for size, want := range map[int]int{32 << 10: 200, 128 << 10: 431} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Much", strings.Repeat("x", size))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("a header of %d bytes: %v", size, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("a header of %d bytes: %d, want %d", size, res.StatusCode, want)
		}
	}
}
