package nodeapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
	"github.com/nebula-serve/nebula/internal/pki"
)

func TestServe_passesOnWhatItMay(t *testing.T) {
	r := newRealm(t)
	e := startEngine(t, func(c net.Conn, q *http.Request) bool { return sayJSON(c, 418, `{"a":"`+q.URL.Path+`"}`) })
	n := r.node("n1", Config{})
	n.SetEndpoints([]api.EndpointInfo{n.endpoint("m", 0, e.url+"/base/")})
	gw := r.caller(r.credential(api.MachineGateway, "g1"), n)
	big := strings.Repeat("x", 1<<20)
	got := gw.ask("POST", chat, big, "Content-Type", "application/json", "X-Request-Id", "req_1", "Traceparent", "00-x", "Authorization", "Bearer secret",
		"Cookie", "a=b", "X-Evil", "1")
	if got.status != 418 || got.body != `{"a":"/base/v1/chat/completions"}` || got.err != nil {
		t.Errorf("got %+v", got)
	}
	for _, h := range []string{"Server", "Set-Cookie", upstream.FaultHeader} {
		if got.header.Get(h) != "" {
			t.Errorf("the engine's header %s is passed on: %v", h, got.header)
		}
	}
	q := e.requests()[0]
	if q.Header.Get("Body") != big || q.Header.Get("X-Request-Id") != "req_1" || q.Header.Get("Traceparent") != "00-x" || q.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the engine got %v with %d bytes", q.Header, len(q.Header.Get("Body")))
	}
	for _, h := range []string{"Authorization", "Cookie", "X-Evil", "User-Agent", "Accept-Encoding"} {
		if q.Header.Get(h) != "" {
			t.Errorf("the engine got %s: %v", h, q.Header.Get(h))
		}
	}
	if got := gw.ask("GET", "/engines/m/0/v1/models", ""); got.body != `{"a":"/base/v1/models"}` || e.requests()[1].Method != "GET" {
		t.Errorf("got %+v", got)
	}
}

// Everything that is not on the list, in any spelling, is 404 and reaches no engine.
func TestServe_otherPathsAreNotThere(t *testing.T) {
	r := newRealm(t)
	e := startEngine(t, func(c net.Conn, _ *http.Request) bool { return sayJSON(c, 200, "{}") })
	n := r.node("n1", Config{Blobs: func(w http.ResponseWriter, r *http.Request, _, _ string, _ api.BlobCaller) {
		t.Errorf("a blob is asked for by %s", r.URL)
	}})
	n.SetEndpoints([]api.EndpointInfo{n.endpoint("m", 0, e.url)})
	cfg := r.credential(api.MachineServer, "s1").ClientTLS(r.clock, api.MachineNode, "n1")
	for _, line := range []string{
		"GET /", "GET /metrics", "GET /engines", "GET /engines/", "GET /engines/m/0", "GET /engines/m/0/", "GET /engines/m/0/v1",
		"POST /engines/m/0/v1/models", "GET " + chat, "PUT " + chat, "DELETE " + chat, "OPTIONS *", "HEAD /healthz", "POST /healthz", "GET /healthz?x",
		"GET /healthz/", "POST /engines/m/0/slots", "GET /engines/m/0/props", "POST /engines/m/0/metrics", "GET /engines/m/0/metrics?x=1", "POST /engines/m/0/v1/load_lora_adapter",
		"POST " + chat + "?x=1", "POST " + chat + "?", "POST " + chat + "/", "POST //engines/m/0/v1/chat/completions", "POST /engines//m/0/v1/chat/completions",
		"POST /engines/m/0/v1/../v1/chat/completions", "POST /engines/m/0/v1/./chat/completions", "POST /engines/m/0/v1//chat/completions",
		"POST /engines/m/0/%761/chat/completions", "POST /engines/m/0/v1%2fchat%2fcompletions", "POST /engines/m%2f0/v1/chat/completions",
		"POST /engines/m/00/v1/chat/completions", "POST /engines/m/+0/v1/chat/completions", "POST /engines/m/-1/v1/chat/completions",
		"POST /engines/m/4294967296/v1/chat/completions", "POST /engines/../engines/m/0/v1/chat/completions", "POST /engines/m/0/V1/chat/completions",
		"POST /Engines/m/0/v1/chat/completions", "POST /engines/m/0/v1/chat/completions;x", "POST https://n1" + chat, "GET /engines/../log", "GET /engines/m/0/log/x",
		"GET /blobs", "GET /blobs/", "GET /blobs/sha256/", "GET " + blob + "/", "GET " + blob + "?x=1", "GET " + blob + "0", "GET " + blob[:len(blob)-1],
		"POST " + blob, "PUT " + blob, "DELETE " + blob, "GET /blobs/sha1/" + strings.Repeat("a", 40), "GET /blobs/git-sha1/" + strings.Repeat("a", 64),
		"GET /blobs/sha256/" + strings.Repeat("A", 64), "GET /blobs/sha256/" + strings.Repeat("/", 64), "GET /blobs/sha256/" + strings.Repeat("../", 21) + "x",
		"GET /cache/prune", "POST /cache/prune?x=1", "POST /cache/prune/", "POST /cache", "POST /cache/", "POST /cache/../cache/prune", "GET /cache/verify",
		"PUT /cache/verify", "POST /cache/verify/x", "POST /cache%2fverify", "POST /Cache/verify",
		"GET /blobs/sha256/%61" + strings.Repeat("a", 63), "GET /blobs/../" + blob[1:], "GET /" + blob,
	} {
		c, err := tls.Dial("tcp", n.addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: n1\r\nContent-Length: 0\r\n\r\n", line)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		want := 404
		if line == "OPTIONS *" { // net/http answers that one itself, with nothing
			want = 200
		}
		c.Close() // first, because the answer to a HEAD announces a body that does not come
		if res.Body.Close(); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", line, res.StatusCode, want)
		}
	}
	if got := e.requests(); len(got) != 0 {
		t.Errorf("an engine was asked %s", got[0].URL)
	}
}

// blob is a path that is on the list.
const blob = "/blobs/sha256/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestServe_blobsAreForOtherNodes(t *testing.T) {
	r := newRealm(t)
	n := r.node("n1", Config{Blobs: func(w http.ResponseWriter, _ *http.Request, algo, hash string, who api.BlobCaller) {
		_, _ = io.WriteString(w, who.NodeID+" gets "+algo+" "+hash+" by its key "+who.KeyHash)
	}})
	none := r.node("n2", Config{})
	n3 := r.credential(api.MachineNode, "n3")
	got := r.caller(n3, n).ask("GET", blob, "")
	if got.status != 200 || got.body != "n3 gets sha256 "+strings.Repeat("a", 64)+" by its key "+n3.KeyHash() {
		t.Errorf("got %+v", got)
	}
	if got := r.caller(r.credential(api.MachineNode, "n3"), n).ask("HEAD", blob, ""); got.status != 200 {
		t.Errorf("HEAD: %+v", got)
	}
	for _, role := range []api.MachineRole{api.MachineGateway, api.MachineServer} {
		if got := r.caller(r.credential(role, "x1"), n).ask("GET", blob, ""); got.status != 403 {
			t.Errorf("a %s gets %+v", role, got)
		}
	}
	if got := r.caller(r.credentialIn("other", api.MachineNode, "n3"), n).ask("GET", blob, ""); got.status != 401 {
		t.Errorf("a node of another cluster gets %+v", got)
	}
	if got := r.caller(r.credential(api.MachineNode, "n3"), none).ask("GET", blob, ""); got.status != 404 {
		t.Errorf("a node that gives no files answers %+v", got)
	}
}

func TestServe_rolesOfMachines(t *testing.T) {
	r := newRealm(t)
	e := startEngine(t, func(c net.Conn, _ *http.Request) bool { return sayJSON(c, 200, "{}") })
	n := r.node("n1", Config{OpenLog: func(context.Context, string, uint32, LogOptions) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("a line\n")), nil
	}})
	n.SetEndpoints([]api.EndpointInfo{n.endpoint("m", 0, e.url)})
	for _, c := range []struct {
		who               *pki.Credential
		health, chat, log int // what an engine counts is for those who may have its log
	}{
		{r.credential(api.MachineGateway, "g1"), 200, 200, 403},
		{r.credential(api.MachineServer, "s1"), 200, 200, 200},
		{r.credential(api.MachineNode, "n2"), 200, 403, 403},
		{r.credential(api.MachineNode, "n1"), 200, 403, 403},
		{r.credentialIn("other", api.MachineServer, "s1"), 401, 401, 401},
	} {
		by := r.caller(c.who, n)
		got := [3]int{by.ask("GET", "/healthz", "").status, by.ask("POST", chat, "{}").status, by.ask("GET", "/engines/m/0/log", "").status}
		if figures := by.ask("GET", "/engines/m/0/metrics", "").status; figures != c.log {
			t.Errorf("%v: what the engine counts: %d, want %d", c.who.Identity(), figures, c.log)
		}
		if want := [3]int{c.health, c.chat, c.log}; got != want {
			t.Errorf("%v: health, chat, log %v, want %v", c.who.Identity(), got, want)
		}
	}
	t.Run("without a certificate of this cluster", func(t *testing.T) {
		stranger := newRealm(t).credential(api.MachineServer, "s1").ClientTLS(r.clock, api.MachineNode, "n1")
		for name, cfg := range map[string]*tls.Config{"none": {InsecureSkipVerify: true}, "foreign": stranger, "plain": nil} {
			if cfg != nil {
				cfg.InsecureSkipVerify, cfg.VerifyConnection = true, nil
			}
			c := &caller{t, &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}, n.addr}
			if res, err := c.do(t.Context(), "GET", "/healthz", ""); err == nil {
				t.Errorf("%s: status %d", name, res.StatusCode)
				res.Body.Close()
			}
		}
	})
}

func TestServe_streamsAndCancels(t *testing.T) {
	r := newRealm(t)
	more, gone := make(chan bool), make(chan bool)
	e := startEngine(t, func(c net.Conn, _ *http.Request) bool {
		say(c, streamHead)
		event(c, "1")
		<-more
		event(c, "2")
		_, _ = c.Read(make([]byte, 1)) // until the node hangs up
		close(gone)
		return false
	})
	n := r.node("n1", Config{})
	n.SetEndpoints([]api.EndpointInfo{n.endpoint("m", 0, e.url)})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := r.caller(r.credential(api.MachineGateway, "g1"), n).do(ctx, "POST", chat, "{}")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	br := bufio.NewReader(res.Body)
	read := func(want string) {
		t.Helper()
		if line, err := br.ReadString('\n'); line != "data: "+want+"\n" {
			t.Fatalf("got %q, %v, want %s", line, err, want)
		}
		_, _ = br.ReadString('\n')
	}
	read("1") // before the engine has said more
	close(more)
	read("2")
	if got := n.InFlight("m", 0); got != 2 {
		t.Errorf("in flight %d, want the request and the offer", got)
	}
	cancel()
	<-gone
	until(t, "the request to end", func() bool { return n.InFlight("m", 0) == 1 })
}

func TestServe_drains(t *testing.T) {
	r := newRealm(t)
	more := make(chan bool)
	e := startEngine(t, func(c net.Conn, _ *http.Request) bool { say(c, streamHead); event(c, "1"); <-more; return endStream(c) })
	n := r.node("n1", Config{})
	ready := n.endpoint("m", 0, e.url)
	n.SetEndpoints([]api.EndpointInfo{ready})
	gw := r.caller(r.credential(api.MachineGateway, "g1"), n)
	res, err := gw.do(t.Context(), "POST", chat, "{}")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	draining := ready
	draining.Status = api.EndpointDraining
	n.SetEndpoints([]api.EndpointInfo{draining})
	if got := gw.ask("POST", chat, "{}"); got.status != 503 || !strings.HasPrefix(got.header.Get(upstream.FaultHeader), "declined: ") || got.body != "" {
		t.Errorf("got %+v", got)
	}
	if got := n.InFlight("m", 0); got != 1 {
		t.Errorf("in flight %d, want the stream", got)
	}
	n.SetEndpoints(nil) // what is in flight is counted on
	if got := n.InFlight("m", 0); got != 1 {
		t.Errorf("in flight %d, want the stream", got)
	}
	close(more)
	b, err := io.ReadAll(res.Body)
	if err != nil || string(b) != "data: 1\n\ndata: [DONE]\n\n" {
		t.Errorf("got %q, %v", b, err)
	}
	until(t, "the stream to be over", func() bool { return n.InFlight("m", 0) == 0 })
	if got := gw.ask("POST", "/engines/m/7/v1/completions", "{}"); got.status != 503 || !strings.HasPrefix(got.header.Get(upstream.FaultHeader), "declined: ") {
		t.Errorf("got %+v", got)
	}
}

// What the gateway is told when the engine does not answer: the same as if it had called the engine itself.
func TestServe_engineFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(c net.Conn) bool
		want   upstream.Kind
	}{
		"hangs up":   {func(net.Conn) bool { return false }, upstream.Lost},
		"nonsense":   {func(c net.Conn) bool { return say(c, "SSH-2.0-x\r\n\r\n") && false }, upstream.Malformed},
		"no answer":  {func(c net.Conn) bool { _, _ = c.Read(make([]byte, 1)); return false }, upstream.Timeout},
		"not there":  {nil, upstream.Refused},
		"elsewhere":  {func(net.Conn) bool { return false }, upstream.Declined},
		"dies later": {func(c net.Conn) bool { say(c, streamHead); event(c, "1"); return false }, 0},
		"cut short":  {func(c net.Conn) bool { say(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx"); return false }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRealm(t)
			e := startEngine(t, func(conn net.Conn, _ *http.Request) bool { return c.answer(conn) })
			if c.answer == nil {
				e.kill()
			}
			limits := upstream.Limits{FirstByte: patience}
			if c.want == upstream.Timeout {
				limits.FirstByte = 10 * time.Millisecond
			}
			n := r.node("n1", Config{Engines: limits})
			base := e.url
			if c.want == upstream.Declined {
				base = "http://192.0.2.1:80" // nothing but loopback is ever dialed
			}
			n.SetEndpoints([]api.EndpointInfo{n.endpoint("m", 0, base)})
			client := upstream.New(upstream.Limits{}, r.reaching(r.credential(api.MachineGateway, "g1")))
			defer client.Close()
			for range 2 { // over a kept connection too
				res, err := client.Do(t.Context(), new(upstream.Call), &upstream.Request{Addr: n.addr, Peer: "n1", Path: chat, Body: [][]byte{[]byte("{}")}})
				if c.want == 0 {
					for err == nil {
						_, err = res.Next()
					}
					res.Close()
				}
				want := c.want
				if want == 0 {
					want = upstream.Lost // the answer does not look complete
				}
				if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Kind != want {
					t.Errorf("got %T %v, want %s", err, err, want)
				}
			}
		})
	}
}

func TestServe_boundsBodies(t *testing.T) {
	r := newRealm(t)
	e := startEngine(t, func(c net.Conn, _ *http.Request) bool { return sayJSON(c, 200, "{}") })
	n := r.node("n1", Config{MaxBody: 10, BodyRead: 50 * time.Millisecond})
	n.SetEndpoints([]api.EndpointInfo{n.endpoint("m", 0, e.url)})
	gw := r.caller(r.credential(api.MachineGateway, "g1"), n)
	if got := gw.ask("POST", chat, "0123456789a"); got.status != 413 {
		t.Errorf("too long: %+v", got)
	}
	c, err := tls.Dial("tcp", n.addr, r.credential(api.MachineGateway, "g1").ClientTLS(r.clock, api.MachineNode, "n1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: n1\r\nContent-Length: 5\r\n\r\nabc", chat)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != 504 && res.StatusCode != 408 {
		t.Errorf("a body that does not come: %d", res.StatusCode)
	}
	if got := len(e.requests()); got != 0 {
		t.Errorf("the engine got %d requests", got)
	}
	if got := n.InFlight("m", 0); got != 1 {
		t.Errorf("in flight %d, want the offer alone", got)
	}
}

func TestServe_log(t *testing.T) {
	r := newRealm(t)
	lines, writer := io.Pipe()
	var asked LogOptions
	n := r.node("n1", Config{OpenLog: func(_ context.Context, uid string, replica uint32, o LogOptions) (io.ReadCloser, error) {
		if uid != "m" || replica != 3 {
			return nil, api.Errorf(api.CodeNotFound, "there is no log of %s/%d here", uid, replica)
		}
		asked = o
		return lines, nil
	}})
	server := r.caller(r.credential(api.MachineServer, "s1"), n)
	if got := server.ask("GET", "/engines/x/3/log", ""); got.status != 404 || !strings.Contains(got.body, "no log of x/3") {
		t.Errorf("got %+v", got)
	}
	for _, query := range []string{"tail=x", "tail=-1", "tail=1000001", "follow=maybe", "tail=1&tail=2", "what=1"} {
		if got := server.ask("GET", "/engines/m/3/log?"+query, ""); got.status != 400 {
			t.Errorf("%s: %+v", query, got)
		}
	}
	res, err := server.do(t.Context(), "GET", "/engines/m/3/log?tail=5&follow=true&previous=1", "")
	if err != nil {
		t.Fatal(err)
	}
	if want := (LogOptions{5, true, true}); asked != want {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	br := bufio.NewReader(res.Body)
	for _, line := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(writer, line)
		if got, err := br.ReadString('\n'); got != line {
			t.Errorf("got %q, %v", got, err)
		}
	}
	res.Body.Close()
	until(t, "the log to be closed", func() bool { _, err := io.WriteString(writer, "x"); return err != nil })
}
