package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine accepts connections and answers each request with what handle writes. It counts what it sees.
type engine struct {
	addr string

	mu       sync.Mutex
	accepted int
	requests []string // bodies
}

func (e *engine) counts() (accepted, requests int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accepted, len(e.requests)
}

// start runs an engine whose handle answers the nth request of a connection, from 0; false ends the connection.
func start(t *testing.T, handle func(c net.Conn, nth int, r *http.Request) bool) *engine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			e.accepted++
			e.mu.Unlock()
			wg.Go(func() { e.serve(c, handle) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return e
}

func (e *engine) serve(c net.Conn, handle func(net.Conn, int, *http.Request) bool) {
	defer c.Close()
	br := bufio.NewReader(c)
	for nth := 0; ; nth++ {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.requests = append(e.requests, string(body))
		e.mu.Unlock()
		if !handle(c, nth, r) {
			return
		}
	}
}

func say(c net.Conn, text string) bool {
	_, err := io.WriteString(c, text)
	return err == nil
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

func newClient(t *testing.T, l Limits) *Client {
	c := New(l, nil)
	t.Cleanup(c.Close)
	return c
}

func post(ctx context.Context, c *Client, addr string, body ...string) (*Response, error) {
	req := &Request{Addr: addr, Path: "/v1/x", Header: []byte("X-Test: 1\r\n")}
	for _, p := range body {
		req.Body = append(req.Body, []byte(p))
	}
	call := new(Call)
	context.AfterFunc(ctx, func() { call.Abort(context.Cause(ctx)) })
	return c.Do(ctx, call, req)
}

func readAll(r *Response) (string, error) {
	var b strings.Builder
	for {
		p, err := r.Next()
		b.Write(p)
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
	}
}

func kindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

func TestDo_sendsBodyInPiecesAndKeepsTheConnection(t *testing.T) {
	heads := make(chan *http.Request, 10)
	e := start(t, func(c net.Conn, _ int, r *http.Request) bool { heads <- r; return say(c, ok) })
	c := newClient(t, Limits{})
	big := strings.Repeat("x", 3*bufSize) // does not fit the buffer: the vectored write
	for _, body := range [][]string{{"a", "b", "c"}, {big, "y", big}, {}} {
		res, err := post(t.Context(), c, e.addr, body...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(res); got != "{}" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		res.Close()
		res.Close()
		r := <-heads
		if r.Method != "POST" || r.URL.Path != "/v1/x" || r.Host != e.addr || r.Header.Get("X-Test") != "1" || len(r.Header) != 2 {
			t.Errorf("the engine saw %s %s %s %v", r.Method, r.Host, r.URL, r.Header)
		}
	}
	if e.requests[0] != "abc" || e.requests[1] != big+"y"+big || e.requests[2] != "" {
		t.Error("a body did not arrive as it was sent")
	}
	if accepted, _ := e.counts(); accepted != 1 {
		t.Errorf("%d connections for three requests in a row", accepted)
	}
}

// An engine that closes a kept connection costs nothing, whether that is seen before the request or only after it.
func TestDo_replacesAStaleConnection(t *testing.T) {
	for _, seen := range []bool{true, false} {
		closed := make(chan struct{}, 1)
		e := start(t, func(c net.Conn, nth int, _ *http.Request) bool {
			if nth > 0 {
				return false // takes the second request and says nothing
			}
			say(c, ok)
			if seen {
				_ = c.Close()
				closed <- struct{}{}
			}
			return !seen
		})
		c := newClient(t, Limits{})
		for range 2 {
			res, err := post(t.Context(), c, e.addr, "{}")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(res); err != nil {
				t.Fatal(err)
			}
			res.Close()
			if seen {
				<-closed
				for alive := true; alive; { // the FIN needs a moment to arrive
					cn := c.pop(place{addr: e.addr})
					alive = cn != nil && cn.alive()
					c.mu.Lock()
					c.idle[place{addr: e.addr}] = append(c.idle[place{addr: e.addr}], cn)
					c.mu.Unlock()
				}
			}
		}
		want := 3 // the second request arrived twice
		if seen {
			want = 2
		}
		if _, n := e.counts(); n != want {
			t.Errorf("seen=%v: the engine got %d requests, want %d", seen, n, want)
		}
	}
}

// A connection that is fresh and ends without an answer is the engine's death, not staleness: no second try here.
func TestDo_doesNotRepeatOnAFreshConnection(t *testing.T) {
	e := start(t, func(net.Conn, int, *http.Request) bool { return false })
	c := newClient(t, Limits{})
	_, err := post(t.Context(), c, e.addr, "{}")
	if _, n := e.counts(); kindOf(err) != Lost || n != 1 {
		t.Errorf("got %v after %d requests, want Lost after 1", err, n)
	}
}

func TestDo_refused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	if _, err := post(t.Context(), newClient(t, Limits{}), addr, "{}"); kindOf(err) != Refused {
		t.Errorf("got %v, want Refused", err)
	}
}

func TestDo_timesOut(t *testing.T) {
	for name, script := range map[string]string{
		"no head":        "",
		"half a head":    "HTTP/1.1 200 OK\r\nContent-",
		"no body":        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
		"half a body":    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
		"between chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, func(c net.Conn, _ int, _ *http.Request) bool {
				say(c, script)
				_, _ = c.Read(make([]byte, 1)) // until the client gives up
				return false
			})
			c := newClient(t, Limits{FirstByte: 60 * time.Millisecond, Idle: 30 * time.Millisecond})
			res, err := post(t.Context(), c, e.addr, "{}")
			if err == nil {
				_, err = readAll(res)
				res.Close()
			}
			if kindOf(err) != Timeout {
				t.Errorf("got %v, want Timeout", err)
			}
		})
	}
}

// Ending the context closes the connection wherever the request stands, and the engine sees that.
func TestDo_cancelReachesTheEngine(t *testing.T) {
	gone := errors.New("the client has left")
	for name, script := range map[string]string{
		"before the head": "",
		"in the body":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			arrived, ended := make(chan struct{}), make(chan struct{})
			e := start(t, func(c net.Conn, _ int, _ *http.Request) bool {
				say(c, script)
				close(arrived)
				_, _ = c.Read(make([]byte, 1))
				close(ended)
				return false
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-arrived; cancel(gone) }()
			res, err := post(ctx, newClient(t, Limits{}), e.addr, "{}")
			if res != nil {
				_, err = readAll(res)
				defer res.Close()
			} else if !errors.Is(err, gone) {
				t.Errorf("got %v, want the cause", err)
			}
			if err == nil {
				t.Error("the request succeeded")
			}
			<-ended
		})
	}
}

func TestDo_cancelledConnectionIsNotKept(t *testing.T) {
	e := start(t, func(c net.Conn, _ int, _ *http.Request) bool { return say(c, ok) })
	c := newClient(t, Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := post(ctx, c, e.addr, "{}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(res); err != nil {
		t.Fatal(err)
	}
	cancel()
	for res.call.Err() == nil {
		runtime.Gosched()
	}
	res.Close()
	if cn := c.pop(place{addr: e.addr}); cn != nil {
		t.Error("a connection that its context has closed is kept")
	}
}

// What must not be reused: an unread rest, a connection the engine ends, bytes that nobody asked for.
func TestClose_keepsOnlyCleanConnections(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		read   bool
		kept   bool
	}{
		"complete":       {ok, true, true},
		"unread":         {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", false, false},
		"close":          {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", true, false},
		"1.0":            {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", true, false},
		"1.0 keep-alive": {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}", true, true},
		"extra bytes":    {ok + "HTTP/1.1 200 OK\r\n", true, false},
		"no content":     {"HTTP/1.1 204 No Content\r\n\r\n", true, true},
		"chunked":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, func(n net.Conn, _ int, _ *http.Request) bool { return say(n, c.answer) })
			cl := newClient(t, Limits{})
			res, err := post(t.Context(), cl, e.addr, "{}")
			if err != nil {
				t.Fatal(err)
			}
			if c.read {
				if _, err := readAll(res); err != nil {
					t.Fatal(err)
				}
			}
			res.Close()
			cn := cl.pop(place{addr: e.addr})
			if (cn != nil) != c.kept {
				t.Errorf("kept: %v, want %v", cn != nil, c.kept)
			}
			if cn != nil {
				cn.abort()
			}
		})
	}
}

func TestClient_prunesAndBounds(t *testing.T) {
	e := start(t, func(c net.Conn, _ int, _ *http.Request) bool { return say(c, ok) })
	c := newClient(t, Limits{MaxIdle: 2, Keep: time.Hour})
	var open []*Response
	for range 4 {
		res, err := post(t.Context(), c, e.addr, "{}")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(res); err != nil {
			t.Fatal(err)
		}
		open = append(open, res)
	}
	for _, res := range open {
		res.Close()
	}
	if n := len(c.idle[place{addr: e.addr}]); n != 2 {
		t.Fatalf("%d unused connections are kept, want 2", n)
	}
	c.idle[place{addr: e.addr}][0].kept = time.Now().Add(-2 * time.Hour)
	c.Prune(time.Now())
	if n := len(c.idle[place{addr: e.addr}]); n != 1 {
		t.Errorf("%d connections after pruning, want 1", n)
	}
	c.idle[place{addr: e.addr}][0].kept = time.Now().Add(-2 * time.Hour)
	if cn := c.take(place{addr: e.addr}); cn != nil {
		t.Error("a connection that is too old is used")
	}
	c.Prune(time.Now())
	if len(c.idle) != 0 {
		t.Error("an address without connections is kept")
	}
}
