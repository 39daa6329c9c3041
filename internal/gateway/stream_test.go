package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

// brief are limits under which silence is noticed soon.
var brief = Limits{Upstream: upstream.Limits{FirstByte: 300 * time.Millisecond, Idle: 60 * time.Millisecond}}

// parseStream reads a client's stream as a strict client does: whole events, JSON in each.
func parseStream(t *testing.T, body string) (events []string, failure *api.OpenAIError, done bool) {
	t.Helper()
	if !strings.HasSuffix(body, "\n\n") {
		t.Errorf("the stream ends inside an event: %q", body)
	}
	for e := range strings.SplitSeq(strings.ReplaceAll(strings.TrimRight(body, "\r\n"), "\r\n", "\n"), "\n\n") {
		data, ok := strings.CutPrefix(e, "data: ")
		switch {
		case strings.HasPrefix(e, ":"):
			continue
		case !ok || failure != nil || done:
			t.Fatalf("%q in the stream %q", e, body)
		case data == "[DONE]":
			done = true
			continue
		}
		var v struct {
			Error *api.OpenAIError `json:"error"`
		}
		if err := json.Unmarshal([]byte(data), &v); err != nil && strings.HasPrefix(data, "{") {
			t.Fatalf("%q is not JSON: %v", data, err)
		}
		failure = v.Error
		if failure == nil {
			events = append(events, data)
		}
	}
	return events, failure, done
}

func TestStream_isRelayedUnchanged(t *testing.T) {
	const sent = ": ping\n\ndata: {\"a\":\"é\"}\n\ndata: {\"b\":2}\r\n\r\ndata: [DONE]\n\n"
	for cut := 1; cut < len(sent); cut += 7 {
		e := startEngine(t, func(c *call) {
			c.stream()
			c.chunk(sent[:cut])
			c.chunk(sent[cut:])
			c.end()
		})
		f := single(t, quick, api.EngineLlamaCPP, e)
		got := f.chat(streamed1)
		got.wants(t, 200)
		if got.body != sent {
			t.Errorf("cut at %d: got %q", cut, got.body)
		}
		if want := `{"stream":true,"model":"served-m","messages":[]}`; e.last().body != want {
			t.Errorf("the engine got %s, want %s", e.last().body, want)
		}
		if ct := got.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") || got.header.Get("Server") != "" {
			t.Errorf("header %v", got.header)
		}
		f.chat(streamed1).wants(t, 200)
		if n := e.connections(); n != 1 {
			t.Errorf("%d connections: the end of a stream must leave a connection for the next", n)
		}
	}
}

// Each event is with the client before the engine makes the next one.
func TestStream_isNotHeldBack(t *testing.T) {
	next := make(chan struct{})
	e := startEngine(t, func(c *call) {
		c.stream()
		for i := range 5 {
			c.event(fmt.Sprint(i))
			<-next
		}
		c.event("[DONE]")
		c.end()
	})
	f := single(t, quick, api.EngineVLLM, e)
	res := f.open(t.Context(), streamed1)
	defer res.Body.Close()
	br := bufio.NewReader(res.Body)
	for i := range 5 {
		line, err := br.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		_, _ = br.ReadString('\n')
		next <- struct{}{}
	}
	if rest, err := io.ReadAll(br); err != nil || string(rest) != "data: [DONE]\n\n" {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if f.metric("nebula_route_ttft_seconds", "model_uid", "m") != 1 {
		t.Error("the time to the first token is not measured")
	}
}

// open sends a request and leaves its answer to the caller.
func (f *fixture) open(ctx context.Context, body string) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", f.url+chatPath, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := f.http.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	return res
}

// However a stream breaks, its client sees the whole events before that, then one error, and neither half an event nor [DONE].
func TestStream_thatBreaksEndsInOneError(t *testing.T) {
	const first = "data: {\"n\":1}\n\n"
	long := `data: {"n":"` + strings.Repeat("x", 2*maxHeld) + `"`
	for name, c := range map[string]struct {
		limits Limits
		then   func(c *call)
		code   string
		torn   bool
	}{
		"ends without done":       {quick, func(c *call) { c.end() }, codeEngineFailed, false},
		"closes":                  {quick, func(c *call) { c.hangUp() }, codeEngineFailed, false},
		"crashes":                 {quick, func(c *call) { c.reset() }, codeEngineFailed, false},
		"crashes inside an event": {quick, func(c *call) { c.chunk(`data: {"n`); c.reset() }, codeEngineFailed, false},
		"crashes inside [DONE]":   {quick, func(c *call) { c.chunk("data: [DO"); c.reset() }, codeEngineFailed, false},
		"crashes inside a chunk":  {quick, func(c *call) { c.raw("40\r\ndata: {\"n"); c.reset() }, codeEngineFailed, false},
		"breaks HTTP":             {quick, func(c *call) { c.raw("zz\r\n"); c.untilGone() }, codeEngineFailed, false},
		"falls silent":            {brief, func(c *call) { c.untilGone() }, codeEngineTimeout, false},
		"talks of done":           {quick, func(c *call) { c.chunk("data: \"data: [DONE]\"\n\n"); c.end() }, codeEngineFailed, false},
		"in a very long event":    {quick, func(c *call) { c.chunk(long); c.hangUp() }, codeEngineFailed, true},
	} {
		t.Run(name, func(t *testing.T) {
			var f *fixture
			e := startEngine(t, func(c2 *call) {
				c2.stream()
				c2.chunk(first)
				f.until("the first event to be relayed", func() bool { return f.metric("nebula_route_ttft_seconds") == 1 })
				c.then(c2)
			})
			f = single(t, c.limits, api.EngineVLLM, e)
			got := f.chat(streamed1)
			body := got.body
			if c.torn { // half an event has gone out; all that is left is to end it
				at := strings.LastIndex(body, "data: {\"error\"")
				if at < 0 || !strings.HasSuffix(body[:at], "\n\n") || !strings.HasPrefix(body, first+"data: {\"n\":\"xxx") {
					t.Fatalf("the half event is not ended: %.100q … %q", body, body[max(0, len(body)-300):])
				}
				body = first + body[at:]
			}
			events, failure, done := parseStream(t, body)
			if len(events) < 1 || events[0] != `{"n":1}` || done {
				t.Errorf("got events %q, done %v", events, done)
			}
			if failure == nil || failure.Code == nil || *failure.Code != c.code || failure.Type != "server_error" {
				t.Errorf("the stream ended with %+v", failure)
			}
			if e.count() != 1 {
				t.Error("a stream that had begun was tried again")
			}
			if f.metric("nebula_gateway_streams_broken_total") != 1 {
				t.Error("the broken stream is not counted")
			}
		})
	}
}

func TestStream_withoutFinalBlankLineIsComplete(t *testing.T) {
	e := startEngine(t, func(c *call) {
		c.stream()
		c.chunk("data: 1\n\n")
		c.chunk("data: [DONE]\n")
		c.end()
	})
	got := single(t, quick, api.EngineVLLM, e).chat(streamed1)
	if _, failure, done := parseStream(t, strings.ReplaceAll(got.body, "\n\n\n", "\n\n")); !done || failure != nil {
		t.Errorf("got %q", got.body)
	}
}

// An engine that keeps its connection open after [DONE] does not keep the client.
func TestStream_endsAtDone(t *testing.T) {
	e := startEngine(t, func(c *call) {
		c.stream()
		c.event("[DONE]")
		c.untilGone()
	})
	got := single(t, quick, api.EngineVLLM, e).chat(streamed1)
	if got.body != "data: [DONE]\n\n" {
		t.Errorf("got %q", got.body)
	}
	<-e.last().gone
}

// A client that leaves ends the engine's work, in every way a request can be under way.
func TestClientLeaves(t *testing.T) {
	hang := func(c *call) { c.untilGone() }
	tokens := func(c *call) { // a chatty engine: the gateway is seldom found waiting
		c.stream()
		for c.write("data: {\"choices\":[]}\n\n") == nil {
			time.Sleep(time.Millisecond)
		}
		close(c.gone)
		c.hangUp()
	}
	silent := func(c *call) {
		c.stream()
		c.event(`{"choices":[{"index":0,"delta":{"content":"a"}}]}`)
		c.untilGone()
	}
	for name, c := range map[string]struct {
		engine string
		body   string
		answer func(*call)
	}{
		"stream before its head":       {api.EngineVLLM, streamed1, hang},
		"stream between tokens":        {api.EngineVLLM, streamed1, silent},
		"stream of many tokens":        {api.EngineVLLM, streamed1, tokens},
		"llama.cpp, stream":            {api.EngineLlamaCPP, streamed1, silent},
		"llama.cpp, plain":             {api.EngineLlamaCPP, plainChat, silent},
		"llama.cpp, plain, many":       {api.EngineLlamaCPP, plainChat, tokens},
		"plain before its head":        {api.EngineVLLM, plainChat, hang},
		"plain in the middle of it":    {api.EngineVLLM, plainChat, func(c *call) { c.raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"); c.untilGone() }},
		"plain in the middle of error": {api.EngineVLLM, plainChat, func(c *call) { c.raw("HTTP/1.1 500 OK\r\nContent-Length: 9\r\n\r\n{"); c.untilGone() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEngine(t, c.answer)
			f := single(t, quick, c.engine, e)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				req, _ := http.NewRequestWithContext(ctx, "POST", f.url+chatPath, strings.NewReader(c.body))
				req.Header.Set("Content-Type", "application/json")
				res, err := f.http.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				ended <- err
			}()
			f.until("the engine to be at work", func() bool { return e.count() == 1 && f.InFlight("m", 0) == 2 })
			left := time.Now()
			cancel()
			<-e.last().gone
			t.Logf("the engine saw it after %v", time.Since(left))
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the client got %v", err)
			}
			f.until("the request to end", func() bool { return f.InFlight("m", 0) == 1 })
			f.until("it to be counted", func() bool { return f.metric("nebula_gateway_client_gone_total") == 1 })
			if e.count() != 1 {
				t.Error("a request whose client has left was tried again")
			}
			if n := f.metric("nebula_gateway_upstream_error_total"); n != 0 {
				t.Error("the engine is blamed for a client that left")
			}
		})
	}
}

// A client that takes nothing is cut, and what it was sent is not piled up meanwhile.
func TestStream_slowClientIsCut(t *testing.T) {
	e := startEngine(t, func(c *call) {
		c.stream()
		event := "data: " + strings.Repeat("x", 8<<10) + "\n\n"
		for c.write(event) == nil {
		}
		close(c.gone)
		c.hangUp()
	})
	limits := quick
	limits.ClientWrite = 50 * time.Millisecond
	f := single(t, limits, api.EngineVLLM, e)
	res := f.open(t.Context(), streamed1)
	defer res.Body.Close()
	<-e.last().gone // nobody reads res.Body
	f.until("the request to end", func() bool { return f.InFlight("m", 0) == 1 })
}

// Deadlines end with what they are for: neither an engine that takes its time nor the next request on the connection meets one.
func TestStream_deadlinesDoNotOutliveTheirUse(t *testing.T) {
	const deadline = 40 * time.Millisecond
	e := startEngine(t, func(c *call) {
		time.Sleep(3 * deadline)
		c.stream()
		c.event("[DONE]")
		c.end()
	})
	limits := quick
	limits.ClientWrite, limits.BodyRead = deadline, deadline
	f := single(t, limits, api.EngineVLLM, e)
	f.http.Transport.(*http.Transport).MaxConnsPerHost = 1
	for range 2 {
		f.chat(streamed1).wants(t, 200, "[DONE]")
		time.Sleep(3 * deadline)
		f.do("GET", "/v1/models", "").wants(t, 200)
	}
}
