package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen. It is never a measure.
const patience = 20 * time.Second

// fakeEngine is an engine on a real socket that does what a test says, down to the byte.
type fakeEngine struct {
	t      testing.TB
	l      net.Listener
	answer func(c *call)

	mu    sync.Mutex
	conns map[net.Conn]bool
	dead  bool
	calls []*call
	wg    sync.WaitGroup

	accepted int
}

// call is one request that an engine got.
type call struct {
	*http.Request
	conn net.Conn
	body string
	gone chan struct{} // closed when the gateway has closed the connection
	hung bool
}

func startEngine(t testing.TB, answer func(c *call)) *fakeEngine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &fakeEngine{t: t, l: l, answer: answer, conns: map[net.Conn]bool{}}
	e.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.mu.Lock()
			if e.dead {
				_ = c.Close()
			} else {
				e.conns[c] = true
				e.accepted++
				e.wg.Go(func() { e.serve(c) })
			}
			e.mu.Unlock()
		}
	})
	t.Cleanup(func() { e.kill(); e.wg.Wait() })
	return e
}

// kill is what SIGKILL does to a process: the listener and every connection end at once, with a reset.
func (e *fakeEngine) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = true
	_ = e.l.Close()
	for c := range e.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func (e *fakeEngine) serve(c net.Conn) {
	defer func() {
		e.mu.Lock()
		delete(e.conns, c)
		e.mu.Unlock()
		_ = c.Close()
	}()
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
		call := &call{Request: r, conn: c, body: string(body), gone: make(chan struct{})}
		e.mu.Lock()
		e.calls = append(e.calls, call)
		e.mu.Unlock()
		e.answer(call)
		if call.hung {
			return
		}
	}
}

func (e *fakeEngine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.calls)
}

// connections counts those that were ever accepted.
func (e *fakeEngine) connections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accepted
}

func (e *fakeEngine) last() *call {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.calls) == 0 {
		e.t.Fatal("the engine got no request")
	}
	return e.calls[len(e.calls)-1]
}

// raw writes bytes as they are.
func (c *call) raw(text string) { _, _ = io.WriteString(c.conn, text) } // a gateway that has left is what some tests want

func (c *call) json(status int, body string) {
	c.raw(fmt.Sprintf("HTTP/1.1 %d X\r\nServer: secret-engine/1.0\r\nSet-Cookie: a=b\r\nX-Internal: 10.0.0.1\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body))
}

// stream begins a stream of events.
func (c *call) stream() {
	c.raw("HTTP/1.1 200 OK\r\nServer: secret-engine/1.0\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
}

func (c *call) chunk(text string) { c.raw(fmt.Sprintf("%x\r\n%s\r\n", len(text), text)) }
func (c *call) write(text string) error {
	_, err := fmt.Fprintf(c.conn, "%x\r\n%s\r\n", len(text), text)
	return err
}
func (c *call) event(text string) { c.chunk("data: " + text + "\n\n") }
func (c *call) end()              { c.chunk("") }

// hangUp closes the connection, cleanly.
func (c *call) hangUp() { c.hung = true; _ = c.conn.Close() }

// reset closes the connection as a crash does.
func (c *call) reset() { _ = c.conn.(*net.TCPConn).SetLinger(0); c.hangUp() }

// untilGone waits until the gateway closes the connection.
func (c *call) untilGone() {
	_, _ = c.conn.Read(make([]byte, 1))
	close(c.gone)
	c.hangUp()
}

// view is a state that a test changes.
type view struct {
	mu      sync.Mutex
	state   *cluster.State
	changed chan struct{}
}

func newView() *view { return &view{state: &cluster.State{}, changed: make(chan struct{})} }

func (v *view) Current() (*cluster.State, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.changed
}

func (v *view) update(change func(*cluster.State)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := *v.state
	next.Revision++
	change(&next)
	v.state = &next
	close(v.changed)
	v.changed = make(chan struct{})
}

func put[T any](set *cluster.Set[T], id string, v T) {
	e := set.Edit()
	e.Put(cluster.Entry[T]{ID: id, Rev: 1, Value: v})
	*set = e.Done()
}

func remove[T any](set *cluster.Set[T], id string) {
	e := set.Edit()
	e.Delete(id)
	*set = e.Done()
}

func addModel(s *cluster.State, uid, name string) {
	put(&s.Models, uid, api.ModelSpec{ModelUID: uid, ModelName: name, CreatedAtMS: 5000})
	put(&s.Deployments, uid, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: 1})
}

func addEndpoint(s *cluster.State, e api.EndpointInfo) { put(&s.Endpoints, e.Key(), e) }

// endpoint describes a ready replica of a model on an engine.
func (e *fakeEngine) endpoint(uid string, replica uint32, engine string) api.EndpointInfo {
	base := "http://" + e.l.Addr().String()
	return api.EndpointInfo{
		ModelUID: uid, ReplicaID: replica, NodeID: "n1", Status: api.EndpointReady, BaseURL: &base,
		EngineType: engine, ServedName: "served-" + uid, PID: 100 + int(replica),
	}
}

// fixture is a gateway on a real socket in front of fake engines.
type fixture struct {
	*Gateway
	t    testing.TB
	view *view
	url  string
	reg  *prometheus.Registry
	http *http.Client
}

// quick are limits for tests: what must time out does so soon.
var quick = Limits{Upstream: upstream.Limits{Dial: patience, FirstByte: patience, Idle: patience}}

func newFixture(t testing.TB, limits Limits, setup func(*cluster.State)) *fixture {
	t.Helper()
	f := &fixture{t: t, view: newView(), reg: prometheus.NewRegistry()}
	if setup != nil {
		f.view.update(setup)
	}
	f.Gateway = New(Config{View: f.view, LocalNode: "n1", Log: slog.New(slog.DiscardHandler), Registry: f.reg, Limits: limits})
	mux := http.NewServeMux()
	for _, r := range f.Routes() {
		mux.Handle(r.Method+" "+r.Path, r.Handler)
	}
	srv := httptest.NewServer(mux)
	f.url = srv.URL
	f.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		f.http.CloseIdleConnections()
		srv.Close()
		cancel()
		wg.Wait()
	})
	return f
}

// single is a fixture with one model "m" on the given engines.
func single(t testing.TB, limits Limits, engine string, engines ...*fakeEngine) *fixture {
	return newFixture(t, limits, func(s *cluster.State) {
		addModel(s, "m", "org/m")
		for i, e := range engines {
			addEndpoint(s, e.endpoint("m", uint32(i), engine))
		}
	})
}

// settled waits until the table is that of the newest state.
func (f *fixture) settled() {
	f.t.Helper()
	f.until("the table to follow the state", func() bool {
		state, _ := f.view.Current()
		return f.table.Load().state == state
	})
}

func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited too long for %s", what)
		}
	}
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) do(method, path, body string, header ...string) answer {
	f.t.Helper()
	a, err := f.try(method, path, body, header...)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f *fixture) try(method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := f.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b)}, err
}

const (
	chatPath  = "/v1/chat/completions"
	plainChat = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	streamed1 = `{"stream":true,"model":"m","messages":[]}`
)

func (f *fixture) chat(body string) answer {
	f.t.Helper()
	return f.do(http.MethodPost, chatPath, body)
}

// wants checks status and parts of the body.
func (a answer) wants(t testing.TB, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			t.Errorf("%q is not in the answer %s", p, a.body)
		}
	}
}

// metric sums a counter over the series that have all these label values.
func (f *fixture) metric(name string, labels ...string) float64 {
	f.t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			for i := 0; i+1 < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !found {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}
