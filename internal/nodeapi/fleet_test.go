package nodeapi

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/gateway"
)

// view is a State that a test changes. No State here has nodes: no server sees them, and the gateway routes all the same.
type view struct {
	mu      sync.Mutex
	state   *cluster.State
	changed chan struct{}
}

func (v *view) Current() (*cluster.State, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.changed
}

// shows makes these the endpoints of the model m.
func (v *view) shows(endpoints ...api.EndpointInfo) {
	s := &cluster.State{}
	m := s.Models.Edit()
	m.Put(cluster.Entry[api.ModelSpec]{ID: "m", Rev: 1, Value: api.ModelSpec{ModelUID: "m", ModelName: "m"}})
	s.Models = m.Done()
	e := s.Endpoints.Edit()
	for _, i := range endpoints {
		e.Put(cluster.Entry[api.EndpointInfo]{ID: i.Key(), Rev: 1, Value: i})
	}
	s.Endpoints = e.Done()
	v.mu.Lock()
	defer v.mu.Unlock()
	s.Revision = v.state.Revision + 1
	v.state = s
	close(v.changed)
	v.changed = make(chan struct{})
}

// fleet is a gateway in front of nodes.
type fleet struct {
	*realm
	*view
	gw   *gateway.Gateway
	url  string
	http *http.Client
}

func newFleet(t testing.TB) *fleet {
	v := &view{state: &cluster.State{}, changed: make(chan struct{})}
	r := newRealm(t)
	return r.gateway(v, v)
}

func (r *realm) gateway(from gateway.View, v *view) *fleet {
	f := &fleet{realm: r, view: v, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	f.gw = gateway.New(gateway.Config{
		View: from, Log: slog.New(slog.DiscardHandler), NodeTLS: r.reaching(r.credential(api.MachineGateway, "g1")),
	})
	mux := http.NewServeMux()
	for _, route := range f.gw.Routes() {
		mux.Handle(route.Method+" "+route.Path, route.Handler)
	}
	srv := httptest.NewServer(mux)
	f.url = srv.URL
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.gw.Run(ctx) })
	r.t.Cleanup(func() {
		f.http.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
		cancel()
		running.Wait()
	})
	return f
}

// routes waits until the gateway follows the newest State.
func (f *fleet) routes(uid string, replica uint32, inFlight int) {
	f.t.Helper()
	until(f.t, "the gateway to follow", func() bool { return f.gw.InFlight(uid, replica) == inFlight })
}

const (
	plain  = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	stream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
)

func (f *fleet) post(ctx context.Context, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", f.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return f.http.Do(req)
}

func (f *fleet) chat(body string) answer {
	res, err := f.post(f.t.Context(), body)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b), err}
}

func (f *fleet) wants(a answer, status int, part string) {
	f.t.Helper()
	if a.status != status || a.err != nil || !strings.Contains(a.body, part) {
		f.t.Errorf("got %d %s (%v), want %d with %s", a.status, a.body, a.err, status, part)
	}
}

// cable is a network between gateway and node that can be cut: bytes then go nowhere, and nobody is told.
type cable struct {
	addr string
	to   string

	mu   sync.Mutex
	held chan struct{} // closed while the cable is whole
}

func layCable(t testing.TB, to string) *cable {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: ln.Addr().String(), to: to, held: make(chan struct{})}
	close(c.held)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			here, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.carry(ctx, here) })
		}
	})
	t.Cleanup(func() { cancel(); _ = ln.Close(); all.Wait() })
	return c
}

func (c *cable) carry(ctx context.Context, here net.Conn) {
	defer here.Close()
	if !c.whole(ctx) {
		return
	}
	there, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer there.Close()
	stop := context.AfterFunc(ctx, func() { _ = here.Close(); _ = there.Close() })
	defer stop()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
		ways.Go(func() {
			defer way[1].Close()
			b := make([]byte, 64<<10)
			for {
				n, err := way[0].Read(b)
				if !c.whole(ctx) {
					return
				}
				if n > 0 {
					if _, err := way[1].Write(b[:n]); err != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		})
	}
	ways.Wait()
}

// whole waits until bytes get through.
func (c *cable) whole(ctx context.Context) bool {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	select {
	case <-held:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *cable) cut()  { c.mu.Lock(); defer c.mu.Unlock(); c.held = make(chan struct{}) }
func (c *cable) mend() { c.mu.Lock(); defer c.mu.Unlock(); close(c.held) }

// via is an endpoint that is reached over a cable.
func via(c *cable, e api.EndpointInfo) api.EndpointInfo { e.NodeAddr = c.addr; return e }

func named(name string) func(net.Conn, *http.Request) bool {
	return func(c net.Conn, _ *http.Request) bool { return sayJSON(c, 200, `{"from":"`+name+`"}`) }
}

func TestFleet_nodeDiesMidStream(t *testing.T) {
	f := newFleet(t)
	e := startEngine(t, func(c net.Conn, _ *http.Request) bool {
		say(c, streamHead)
		event(c, token)
		_, _ = c.Read(make([]byte, 1))
		return false
	})
	n := f.node("n1", Config{})
	ready := n.endpoint("m", 0, e.url)
	n.SetEndpoints([]api.EndpointInfo{ready})
	f.shows(ready)
	f.routes("m", 0, 1)
	res, err := f.post(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	br := bufio.NewReader(res.Body)
	if line, err := br.ReadString('\n'); line != "data: "+token+"\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	n.stop()
	rest, err := io.ReadAll(br)
	if err != nil || strings.Count(string(rest), `data: {"error":`) != 1 || strings.Contains(string(rest), "[DONE]") {
		t.Errorf("got %q, %v; want one error event", rest, err)
	}
}

// A node that nobody hears of any more: whoever waits there is answered by another, and it is left alone until it is back.
func TestFleet_cutNode(t *testing.T) {
	f := newFleet(t)
	hold := make(chan bool, 100) // one for each request that the first node may answer
	first := startEngine(t, func(c net.Conn, q *http.Request) bool { <-hold; return named("first")(c, q) })
	second := startEngine(t, named("second"))
	n1, n2 := f.node("n1", Config{}), f.node("n2", Config{})
	line := layCable(t, n1.addr)
	e1, e2 := via(line, n1.endpoint("m", 0, first.url)), n2.endpoint("m", 1, second.url)
	n1.SetEndpoints([]api.EndpointInfo{e1})
	n2.SetEndpoints([]api.EndpointInfo{e2})
	f.shows(e1)
	f.routes("m", 0, 1)
	waiting := make(chan answer)
	go func() { waiting <- f.chat(plain) }()
	until(t, "the request to be at the first node", func() bool { return len(first.requests()) == 1 })
	f.shows(e1, e2)
	f.routes("m", 1, 1)
	line.cut()
	f.wants(<-waiting, 200, "second")
	for range 10 { // the first has fewer requests in flight or as many, but is not asked
		f.wants(f.chat(plain), 200, "second")
	}
	line.mend()
	close(hold)
	until(t, "the first node to be used again", func() bool { return strings.Contains(f.chat(plain).body, "first") })
}

// The only node of a model is cut: requests that wait there get an answer when it is back, for the network may have lost nothing.
func TestFleet_onlyNodeIsCutForAWhile(t *testing.T) {
	f := newFleet(t)
	hold := make(chan bool)
	e := startEngine(t, func(c net.Conn, q *http.Request) bool { <-hold; return named("only")(c, q) })
	n := f.node("n1", Config{})
	line := layCable(t, n.addr)
	ready := via(line, n.endpoint("m", 0, e.url))
	n.SetEndpoints([]api.EndpointInfo{ready})
	f.shows(ready)
	f.routes("m", 0, 1)
	waiting := make(chan answer)
	go func() { waiting <- f.chat(plain) }()
	until(t, "the request to arrive", func() bool { return len(e.requests()) == 1 })
	line.cut()
	close(hold)
	line.mend()
	f.wants(<-waiting, 200, "only")
}

// An agent is restarted: its port is gone for a moment, the engine is not. Nobody notices.
func TestFleet_nodeRestarts(t *testing.T) {
	f := newFleet(t)
	e := startEngine(t, named("only"))
	n := f.node("n1", Config{})
	ready := n.endpoint("m", 0, e.url)
	n.SetEndpoints([]api.EndpointInfo{ready})
	f.shows(ready)
	f.routes("m", 0, 1)
	f.wants(f.chat(plain), 200, "only")
	n.stop()
	waiting := make(chan answer)
	go func() { waiting <- f.chat(plain) }()
	f.routes("m", 0, 2) // it waits
	ln, err := net.Listen("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	again := f.nodeAt(ln, "n1", Config{}) // first without replicas: the agent has not adopted them yet
	again.SetEndpoints([]api.EndpointInfo{ready})
	f.wants(<-waiting, 200, "only")
}

// Streams finish where they are, and what comes goes elsewhere, also while the gateway does not know yet.
func TestFleet_drains(t *testing.T) {
	f := newFleet(t)
	more := make(chan bool)
	first := startEngine(t, func(c net.Conn, _ *http.Request) bool {
		say(c, streamHead)
		event(c, token)
		<-more
		return endStream(c)
	})
	second := startEngine(t, named("second"))
	n1, n2 := f.node("n1", Config{}), f.node("n2", Config{})
	e1, e2 := n1.endpoint("m", 0, first.url), n2.endpoint("m", 1, second.url)
	n1.SetEndpoints([]api.EndpointInfo{e1})
	n2.SetEndpoints([]api.EndpointInfo{e2})
	f.shows(e1)
	f.routes("m", 0, 1)
	res, err := f.post(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	f.shows(e1, e2)
	f.routes("m", 1, 1)
	draining := e1
	draining.Status = api.EndpointDraining
	n1.SetEndpoints([]api.EndpointInfo{draining}) // the gateway still takes it for ready
	for range 10 {
		f.wants(f.chat(plain), 200, "second")
	}
	if got := n1.InFlight("m", 0); got != 1 {
		t.Errorf("in flight %d, want the stream", got)
	}
	close(more)
	b, err := io.ReadAll(res.Body)
	if err != nil || string(b) != "data: "+token+"\n\ndata: [DONE]\n\n" {
		t.Errorf("got %q, %v", b, err)
	}
	until(t, "nothing to be in flight", func() bool { return n1.InFlight("m", 0) == 0 })
}

// What is at the address is not the node: nothing of a request is sent there.
func TestFleet_strangerAtTheAddress(t *testing.T) {
	f := newFleet(t)
	e := startEngine(t, named("stranger"))
	other := f.node("n2", Config{})
	wrong := other.endpoint("m", 0, e.url)
	other.SetEndpoints([]api.EndpointInfo{wrong})
	wrong.NodeID = "n1"
	good := startEngine(t, named("good"))
	n3 := f.node("n3", Config{})
	right := n3.endpoint("m", 1, good.url)
	n3.SetEndpoints([]api.EndpointInfo{right})
	f.shows(wrong, right)
	f.routes("m", 1, 1)
	for range 4 {
		f.wants(f.chat(plain), 200, "good")
	}
	if got := len(e.requests()); got != 0 {
		t.Errorf("the stranger got %d requests", got)
	}
}

// Kept connections that the other side has closed meanwhile cost nobody an answer.
func TestFleet_staleConnections(t *testing.T) {
	f := newFleet(t)
	e := startEngine(t, named("only"))
	n := f.node("n1", Config{})
	ready := n.endpoint("m", 0, e.url)
	f.shows(ready)
	f.routes("m", 0, 1)
	for range 5 {
		n.SetEndpoints([]api.EndpointInfo{ready})
		f.wants(f.chat(plain), 200, "only")
		n.stop()
		ln, err := net.Listen("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		n = f.nodeAt(ln, "n1", Config{})
	}
}

// The state a gateway would have of a node of another cluster's authority: it is refused on both sides.
func TestFleet_gatewayOfAnotherCluster(t *testing.T) {
	f := newFleet(t)
	e := startEngine(t, named("only"))
	n := newRealm(t).node("n1", Config{})
	ready := n.endpoint("m", 0, e.url)
	n.SetEndpoints([]api.EndpointInfo{ready})
	f.shows(ready)
	f.routes("m", 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan answer, 1)
	go func() {
		res, err := f.post(ctx, plain)
		if err != nil {
			ended <- answer{err: err}
			return
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		ended <- answer{res.StatusCode, res.Header, string(b), err}
	}()
	f.wants(<-ended, 502, "engine_failed")
	if got := len(e.requests()); got != 0 {
		t.Errorf("the engine got %d requests", got)
	}
}
