package link_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/pki"
)

// handler starts a server of the cluster that answers with h, and returns its address.
func (f *fleet) handler(h http.HandlerFunc) string {
	f.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: f.credential(api.MachineServer, "s").ServerTLS(pki.NewClock(time.Now)), ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.ServeTLS(ln, "", "") }()
	f.t.Cleanup(func() { _ = srv.Close(); <-served })
	return ln.Addr().String()
}

func (f *fleet) servers(addrs ...string) *link.Servers {
	s := link.NewServers(link.ServersConfig{
		Addrs: addrs, Credential: f.credential(api.MachineNode, "n1"), Clock: pki.NewClock(time.Now), Log: discard,
	})
	f.t.Cleanup(s.Close)
	return s
}

func refuse(status int, code api.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(api.Envelope{Error: api.Error{Code: code, Message: "no"}})
	}
}

// closed returns an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func TestServers_goOnToOneThatAnswers(t *testing.T) {
	f := newFleet(t, mem(t))
	good := f.handler(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("spoken over %s, want HTTP/2", r.Proto)
		}
		_, _ = io.WriteString(w, `{"seq":7}`)
	})
	bad := []string{
		closed(t), f.handler(refuse(503, api.CodeUnavailable)), f.handler(refuse(500, api.CodeInternal)),
		f.handler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }),
		f.handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "not JSON") }),
	}
	for _, addr := range bad {
		s := f.servers(addr, good)
		for range 3 {
			var hb api.NodeHeartbeat
			if err := s.JSON(t.Context(), "GET", "/x", nil, &hb); err != nil || hb.Seq != 7 {
				t.Errorf("beside %s: %v, %v", addr, hb, err)
			}
		}
		if s.Addrs()[0] != good {
			t.Errorf("beside %s: not the current one", addr)
		}
	}
	err := f.servers(bad[:2]...).JSON(t.Context(), "GET", "/x", nil, nil)
	if !api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), bad[0]) || !strings.Contains(err.Error(), bad[1]) {
		t.Errorf("without a good one: %v", err)
	}
}

// TestServers_anAnswerIsAnAnswer: what one server refuses, all would. Whether it knows the machine is another matter.
func TestServers_anAnswerIsAnAnswer(t *testing.T) {
	f := newFleet(t, mem(t))
	for _, code := range []api.Code{api.CodeConflict, api.CodeForbidden, api.CodeNotFound, api.CodeInvalidRequest} {
		calls := 0
		count := func(w http.ResponseWriter, r *http.Request) { calls++; refuse(code.HTTPStatus(), code)(w, r) }
		if err := f.servers(f.handler(count), f.handler(count)).JSON(t.Context(), "GET", "/x", nil, nil); !api.HasCode(err, code) || calls != 1 {
			t.Errorf("%s: %v after %d calls", code, err, calls)
		}
	}
}

// TestServers_oneThatLagsKnowsNobody: a server that has not seen yet that this machine has joined is not the cluster's word about it.
func TestServers_oneThatLagsKnowsNobody(t *testing.T) {
	f := newFleet(t, mem(t))
	lags := f.handler(refuse(401, api.CodeUnauthorized))
	good := f.handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	s := f.servers(lags, good)
	for range 3 {
		if err := s.JSON(t.Context(), "GET", "/x", nil, nil); err != nil {
			t.Error(err)
		}
	}
	if s.Addrs()[0] != good {
		t.Error("it keeps to the one that lags")
	}
	if err := f.servers(lags, closed(t)).JSON(t.Context(), "GET", "/x", nil, nil); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("while the others are away: %v", err)
	}
	if err := f.servers(lags, f.handler(refuse(401, api.CodeUnauthorized))).JSON(t.Context(), "GET", "/x", nil, nil); !api.HasCode(err, api.CodeUnauthorized) {
		t.Errorf("when all say so: %v", err)
	}
}

func TestServers_learn(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.servers("a:1", "b:1", "c:1")
	current := s.Addrs()[0]
	s.Learn(nil)
	s.Learn([]string{""})
	if len(s.Addrs()) != 3 {
		t.Errorf("learning nothing left %v", s.Addrs())
	}
	s.Learn([]string{"x:1", current, "x:1", "y:1"})
	if got := s.Addrs(); got[0] != current || len(got) != 3 || !slices.Contains(got, "x:1") || !slices.Contains(got, "y:1") {
		t.Errorf("%v, want %s first, then x:1 and y:1", got, current)
	}
	s.Learn([]string{"z:1"})
	if got := s.Addrs(); !slices.Equal(got, []string{"z:1"}) {
		t.Errorf("%v, want z:1 alone", got)
	}
}

// TestServers_refuseAStranger: a server of another cluster, and a machine of ours that is no server.
func TestServers_refuseAStranger(t *testing.T) {
	f, foreign := newFleet(t, mem(t)), newFleet(t, mem(t))
	addr := foreign.handler(func(http.ResponseWriter, *http.Request) { t.Error("asked a stranger") })
	if err := f.servers(addr).JSON(t.Context(), "GET", "/x", nil, nil); !api.HasCode(err, api.CodeUnavailable) {
		t.Errorf("another cluster's server: %v", err)
	}
}

func TestServers_streamEnds(t *testing.T) {
	f := newFleet(t, mem(t))
	silent := f.handler(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	s := f.servers(silent)
	body, err := s.Stream(t.Context(), "/x")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if string(got) != "one\n" || err == nil || !strings.Contains(err.Error(), "silent") {
		t.Errorf("%q, then %v; want one line, then word of the silence", got, err)
	}
	_ = body.Close()

	ctx, cancel := context.WithCancel(t.Context())
	if body, err = s.Stream(ctx, "/x"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err = io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("a stream whose caller has gone: %v", err)
	}
	_ = body.Close()
}

// TestReport_badBodies is what the server makes of bodies that no agent sends.
func TestReport_badBodies(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	n := f.node("n1", "", nil, s.addr)
	tr := &http.Transport{TLSClientConfig: n.cred.ClientTLS(pki.NewClock(time.Now), api.MachineServer, ""), ForceAttemptHTTP2: true, DisableCompression: true}
	defer tr.CloseIdleConnections()
	pack := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
		return out.Bytes()
	}
	good, err := json.Marshal(n.observed("a"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, packing string
		body          []byte
		status        int
	}{
		"plain":             {"observed", "", good, 204},
		"packed":            {"observed", "gzip", pack(good), 204},
		"bomb":              {"observed", "gzip", pack(append([]byte(`{"x":"`), bytes.Repeat([]byte("a"), 40<<20)...)), 413},
		"large":             {"observed", "", bytes.Repeat([]byte(" "), 9<<20), 413},
		"not gzip":          {"observed", "gzip", good, 400},
		"cut gzip":          {"observed", "gzip", pack(good)[:20], 400},
		"other packing":     {"observed", "br", good, 415},
		"empty":             {"observed", "", nil, 400},
		"no lists":          {"observed", "", []byte(`{"node":{"node_id":"n1"}}`), 400},
		"a list":            {"observed", "", []byte(`[]`), 400},
		"large heartbeat":   {"heartbeat", "", bytes.Repeat([]byte(" "), 2<<10), 413},
		"unknown heartbeat": {"heartbeat", "", []byte(`{"epoch":1,"seq":99}`), 409},
		"odd heartbeat":     {"heartbeat", "", []byte(`{"epoch":-1}`), 400},
	} {
		method := map[string]string{"observed": "PUT", "heartbeat": "POST"}[c.path]
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.addr+"/api/v2/nodes/n1/"+c.path, bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if c.packing != "" {
			r.Header.Set("Content-Encoding", c.packing)
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d: %s", name, res.StatusCode, c.status, b)
		}
	}
}
