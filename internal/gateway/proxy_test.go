package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

func TestProxy_passesBytesThrough(t *testing.T) {
	const reply = `{"id":"x","choices":[ {"message":{"content":"hé\u0000"}} ],"big":12345678901234567890}`
	e := startEngine(t, func(c *call) { c.json(200, reply) })
	f := single(t, quick, api.EngineVLLM, e)
	const before, after = "{ \"z\":1.0e2,\"dup\":1,\"dup\":2, \"model\" : ", " ,\"messages\":[{\"model\":\"m\"}],\"big\":12345678901234567890}\r\n"
	for _, path := range []string{chatPath, "/v1/completions", "/v1/embeddings"} {
		got := f.do("POST", path, before+`"org\/m"`+after, "X-Request-Id", "abc")
		got.wants(t, 200)
		if got.body != reply {
			t.Errorf("the answer changed: %s", got.body)
		}
		c := e.last()
		if want := before + `"served-m"` + after; c.body != want || c.URL.Path != path {
			t.Errorf("the engine got %s %s, want %s", c.URL.Path, c.body, want)
		}
	}
	if n := e.connections(); n != 1 {
		t.Errorf("%d connections for requests in a row", n)
	}
}

// Nothing of who is asking reaches an engine, and nothing of the engine reaches the client.
func TestProxy_keepsHeadersApart(t *testing.T) {
	e := startEngine(t, func(c *call) { c.json(200, `{}`) })
	f := single(t, quick, api.EngineVLLM, e)
	got := f.do("POST", chatPath, plainChat, "X-Request-Id", "id-1", "Authorization", "Bearer canary", "X-Api-Key", "canary",
		"Cookie", "canary=1", "X-Nebula-User", "canary", "Proxy-Authorization", "canary", "Keep-Alive", "canary", "Te", "trailers",
		"Connection", "x-mine, Tracestate", "X-Mine", "canary", "Tracestate", "canary=1", "Traceparent", "00-1-2-01", "X-Forwarded-For", "canary")
	got.wants(t, 200)
	seen := e.last().Header
	want := http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(e.last().body))},
		"X-Request-Id": {"id-1"}, "Traceparent": {"00-1-2-01"},
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("the engine saw %v\nwant %v", seen, want)
	}
	for name := range got.header {
		switch name {
		case "Content-Type", "Content-Length", "Date", "X-Request-Id":
		default:
			t.Errorf("the client got %s: %s", name, got.header.Get(name))
		}
	}
	if id := got.header.Get("X-Request-Id"); id != "id-1" {
		t.Errorf("the request id is %q", id)
	}
	if id := f.do("POST", chatPath, plainChat).header.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") || e.last().Header.Get("X-Request-Id") != id {
		t.Errorf("the engine does not know the request as %q", id)
	}
}

func TestProxy_refusesBadRequests(t *testing.T) {
	e := startEngine(t, func(c *call) { c.json(200, `{}`) })
	f := single(t, Limits{MaxBody: 1000}, api.EngineVLLM, e)
	large := `{"model":"m","a":"` + strings.Repeat("x", 1000) + `"}`
	for name, c := range map[string]struct {
		status int
		got    answer
		want   string
	}{
		"malformed":      {400, f.chat(`{"model":`), "not valid JSON"},
		"no object":      {400, f.chat(`[1]`), "must be a JSON object"},
		"case twin":      {400, f.chat(`{"model":"m","MODEL":"x"}`), "it is spelled"},
		"deep":           {400, f.chat(`{"model":"m","a":` + strings.Repeat("[", 500)), "nests too deep"},
		"form":           {415, f.do("POST", chatPath, `{"model":"m"}`, "Content-Type", "application/x-www-form-urlencoded"), "must be application/json"},
		"odd type":       {415, f.do("POST", chatPath, `{"model":"m"}`, "Content-Type", "application/json; ="), "must be application/json"},
		"compressed":     {415, f.do("POST", chatPath, `{"model":"m"}`, "Content-Encoding", "gzip"), "Content-Encoding"},
		"too large":      {413, f.chat(large), "larger than 1000 bytes"},
		"too large, cut": {413, f.chunked(large), "larger than 1000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c.got.wants(t, c.status, c.want, `"type":"invalid_request_error"`)
			var envelope api.OpenAIEnvelope
			if err := json.Unmarshal([]byte(c.got.body), &envelope); err != nil || envelope.Error.Code == nil {
				t.Errorf("not OpenAI's shape: %s", c.got.body)
			}
		})
	}
	f.do("POST", chatPath, `{"model":"m"}`, "Content-Type", "application/json; charset=utf-8").wants(t, 200)
	if e.count() != 1 {
		t.Errorf("%d requests reached the engine, want the good one only", e.count())
	}
	if n := f.metric("nebula_gateway_request_too_large_total"); n != 2 {
		t.Errorf("%v requests are counted as too large", n)
	}
}

// A client that does not send what it announced is not waited for.
func TestProxy_bodyThatNeverComes(t *testing.T) {
	e := startEngine(t, func(c *call) { c.json(200, `{}`) })
	limits := quick
	limits.BodyRead = 50 * time.Millisecond
	f := single(t, limits, api.EngineVLLM, e)
	c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST "+chatPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"model\":"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c) // until the gateway closes the connection
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 408") || !strings.Contains(string(got), "the body took longer than 50ms") {
		t.Errorf("%v: %s", err, got)
	}
	if e.count() != 0 {
		t.Error("half a body reached the engine")
	}
}

// chunked sends a body whose length is not told.
func (f *fixture) chunked(body string) answer {
	req, err := http.NewRequestWithContext(f.t.Context(), "POST", f.url+chatPath, struct{ *bytes.Reader }{bytes.NewReader([]byte(body))})
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := f.http.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(res.Body)
	return answer{res.StatusCode, res.Header, b.String()}
}

func TestProxy_findsTheModel(t *testing.T) {
	e := startEngine(t, func(c *call) { c.json(200, `{}`) })
	f := newFixture(t, quick, func(s *cluster.State) {
		for _, uid := range []string{"one", "twin-a", "twin-b", "vectors", "stopped", "starting"} {
			addModel(s, uid, "org/"+strings.TrimSuffix(strings.TrimSuffix(uid, "-a"), "-b"))
			addEndpoint(s, e.endpoint(uid, 0, api.EngineVLLM))
		}
		vectors := e.endpoint("vectors", 0, api.EngineLlamaCPP)
		vectors.Capabilities = []string{"embeddings"}
		addEndpoint(s, vectors)
		put(&s.Deployments, "stopped", api.ModelDeployment{ModelUID: "stopped", DesiredState: api.DesiredStopped})
		remove(&s.Endpoints, "stopped/0")
		starting := e.endpoint("starting", 0, api.EngineVLLM)
		starting.Status = api.EndpointStarting
		addEndpoint(s, starting)
		put(&s.Bad, "/models/damaged/spec", cluster.BadValue{Key: "/models/damaged/spec", Err: "invalid character"})
	})
	ask := func(path, model string) answer {
		t.Helper()
		return f.do("POST", path, fmt.Sprintf(`{"model":%q}`, model))
	}
	ask(chatPath, "one").wants(t, 200)
	ask(chatPath, "org/one").wants(t, 200)
	ask(chatPath, "twin-a").wants(t, 200)
	ask(chatPath, "org/twin").wants(t, 404, "2 models are named", "twin-a, twin-b", `"code":"model_not_found"`)
	ask(chatPath, "nope").wants(t, 404, `the model \"nope\" does not exist`, "damaged, one, starting, stopped, twin-a, twin-b, vectors",
		`"code":"model_not_found"`, `"param":"model"`)

	ask("/v1/embeddings", "vectors").wants(t, 200)
	n := e.count()
	ask(chatPath, "vectors").wants(t, 400, "does embeddings, not chat", `"code":"unsupported_by_model"`)
	if e.count() != n {
		t.Error("a request that the engine may crash on has reached it")
	}
	stopped := ask(chatPath, "stopped")
	stopped.wants(t, 503, "nebula model start stopped", `"code":"model_not_ready"`)
	if stopped.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	ask(chatPath, "starting").wants(t, 503, "is starting")
	ask(chatPath, "damaged").wants(t, 503, "cannot be read")

	list := f.do("GET", "/v1/models", "")
	list.wants(t, 200, `"object":"list"`, `{"id":"one","object":"model","created":5,"owned_by":"nebula","root":"org/one"}`, `"twin-a"`, `"vectors"`)
	for _, absent := range []string{"stopped", "starting", "damaged"} {
		if strings.Contains(list.body, absent) {
			t.Errorf("%s is listed: %s", absent, list.body)
		}
	}
	f.do("GET", "/v1/models/org/one", "").wants(t, 200, `"id":"one"`)
	f.do("GET", "/v1/models/nope", "").wants(t, 404, "model_not_found")
	f.do("GET", "/v1/models/stopped", "").wants(t, 503, "model_not_ready")
}

func TestProxy_noModelsAtAll(t *testing.T) {
	f := newFixture(t, quick, nil)
	f.chat(plainChat).wants(t, 404, "there are no models yet", "nebula model create")
	if got := f.do("GET", "/v1/models", ""); got.body != `{"object":"list","data":[]}` {
		t.Errorf("the list is %s", got.body)
	}
}

// A new endpoint is used as soon as the state shows it, and no longer once it drains, while its stream goes on.
func TestProxy_followsTheState(t *testing.T) {
	more := make(chan struct{})
	old := startEngine(t, func(c *call) {
		c.stream()
		c.event("1")
		<-more
		c.event("[DONE]")
		c.end()
	})
	young := startEngine(t, func(c *call) { c.json(200, `{"from":"young"}`) })
	f := single(t, quick, api.EngineVLLM, old)
	if n := f.InFlight("m", 0); n != 1 {
		t.Errorf("an idle replica that may be chosen counts %d, want 1", n)
	}
	streaming := make(chan answer)
	go func() { a, _ := f.try("POST", chatPath, streamed1); streaming <- a }()
	f.until("the stream to begin", func() bool { return f.InFlight("m", 0) == 2 })
	f.view.update(func(s *cluster.State) { addModel(s, "other", "x") })
	f.settled()
	if n := f.InFlight("m", 0); n != 2 {
		t.Errorf("%d in flight after another model came, want 2", n)
	}
	f.view.update(func(s *cluster.State) {
		d := old.endpoint("m", 0, api.EngineVLLM)
		d.Status = api.EndpointDraining
		addEndpoint(s, d)
		addEndpoint(s, young.endpoint("m", 1, api.EngineVLLM))
	})
	f.settled()
	for range 5 {
		f.chat(plainChat).wants(t, 200, "young")
	}
	if n := f.InFlight("m", 0); n != 1 {
		t.Errorf("%d in flight at the draining replica, want its stream alone", n)
	}
	f.view.update(func(s *cluster.State) { remove(&s.Endpoints, "m/0") })
	f.settled()
	if n := f.InFlight("m", 0); n != 1 {
		t.Errorf("%d in flight at a replica that has left the state, want its stream", n)
	}
	close(more)
	if a := <-streaming; !strings.Contains(a.body, "[DONE]") {
		t.Errorf("the stream was cut: %s", a.body)
	}
	f.until("the count to fall", func() bool { return f.InFlight("m", 0) == 0 })
}

// Series exist for models that exist, whatever names clients try.
func TestProxy_counts(t *testing.T) {
	e := startEngine(t, func(c *call) { c.json(200, `{}`) })
	f := single(t, quick, api.EngineVLLM, e)
	for i := range 20 {
		f.do("POST", chatPath, fmt.Sprintf(`{"model":"made-up-%d"}`, i)).wants(t, 404)
	}
	f.chat(plainChat).wants(t, 200)
	f.do("POST", chatPath, `{"model":"m"`).wants(t, 400)
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{20, "nebula_gateway_requests_total", []string{"model", "", "code", "404"}},
		{1, "nebula_gateway_requests_total", []string{"model", "m", "code", "200"}},
		{1, "nebula_gateway_requests_total", []string{"model", "", "code", "400"}},
		{22, "nebula_gateway_requests_total", nil},
		{1, "nebula_route_latency_seconds", []string{"model_uid", "m"}},
		{0, "nebula_gateway_requests_inflight", []string{"model", "m"}},
	} {
		if got := f.metric(c.name, c.labels...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	f.view.update(func(s *cluster.State) { remove(&s.Models, "m"); remove(&s.Endpoints, "m/0") })
	f.settled()
	if got := f.metric("nebula_gateway_requests_total", "model", "m"); got != 0 {
		t.Error("the series of a model that is gone stay")
	}
}
