package traffic

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	reply  = "Hello there."
	event1 = `data: {"choices":[{"delta":{"content":"Hello "}}]}` + "\n\n"
	event2 = `data: {"choices":[{"delta":{"content":"there."},"finish_reason":"stop"}]}` + "\n\n"
	fault  = `data: {"error":{"message":"the engine is gone"}}` + "\n\n"
	done   = "data: [DONE]\n\n"
	whole  = `{"choices":[{"message":{"content":"Hello there."},"finish_reason":"stop"}]}`
	denied = `{"error":{"message":"come back later"}}`
)

// server answers every request by handle.
func server(t *testing.T, handle func(w http.ResponseWriter, body string)) Gateway {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("X-Request-Id") == "" || r.Header.Get("Authorization") != "Bearer key" {
			t.Errorf("request %v %s: %v", r.Header, b, err)
		}
		handle(w, string(b))
	}))
	t.Cleanup(s.Close)
	return Gateway{Name: "g", URL: s.URL, Token: "key", Client: s.Client()}
}

func say(w http.ResponseWriter, parts ...string) {
	for _, p := range parts {
		_, _ = io.WriteString(w, p)
		_ = http.NewResponseController(w).Flush()
	}
}

// hang says nothing until the client has left.
func hang(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Read(make([]byte, 1))
}

// drop breaks the connection as a killed process does.
func drop(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream bool
		handle func(w http.ResponseWriter, body string)
		want   Outcome
	}{
		{"stream", true, func(w http.ResponseWriter, _ string) { say(w, event1, ": still here\n\n", event2, done) }, OK},
		{"stream without DONE", true, func(w http.ResponseWriter, _ string) { say(w, event1, event2) }, SilentCut},
		{"stream cut in between", true, func(w http.ResponseWriter, _ string) { say(w, event1) }, SilentCut},
		{"empty stream", true, func(http.ResponseWriter, string) {}, SilentCut},
		{"stream with an error event", true, func(w http.ResponseWriter, _ string) { say(w, event1, fault) }, ErrorEvent},
		{"error event, then the connection breaks", true, func(w http.ResponseWriter, _ string) { say(w, event1, fault); drop(w) }, ErrorEvent},
		{"error event and DONE", true, func(w http.ResponseWriter, _ string) { say(w, event1, fault, done) }, Wrong},
		{"text after DONE", true, func(w http.ResponseWriter, _ string) { say(w, event1, event2, done, event2) }, Wrong},
		{"another text", true, func(w http.ResponseWriter, _ string) { say(w, event2, done) }, Wrong},
		{"half an event", true, func(w http.ResponseWriter, _ string) { say(w, event1, event2[:30]) }, Wrong},
		{"stream that breaks", true, func(w http.ResponseWriter, _ string) { say(w, event1); drop(w) }, Lost},
		{"stream that hangs", true, func(w http.ResponseWriter, _ string) { say(w, event1); hang(w) }, Hang},
		{"refused stream", true, func(w http.ResponseWriter, _ string) { w.WriteHeader(503); say(w, denied) }, Refused},
		{"plain", false, func(w http.ResponseWriter, _ string) { say(w, whole) }, OK},
		{"half an answer", false, func(w http.ResponseWriter, _ string) { say(w, whole[:20]) }, SilentCut},
		{"an answer that breaks", false, func(w http.ResponseWriter, _ string) { say(w, whole[:20]); drop(w) }, Lost},
		{"another answer", false, func(w http.ResponseWriter, _ string) { say(w, strings.Replace(whole, "Hello", "Bye", 1)) }, Wrong},
		{"refused", false, func(w http.ResponseWriter, _ string) { w.WriteHeader(400); say(w, denied) }, Refused},
		{"error without a message", false, func(w http.ResponseWriter, _ string) { w.WriteHeader(502); say(w, "<html>") }, Wrong},
		{"no answer", false, func(w http.ResponseWriter, _ string) { drop(w) }, Lost},
		{"silence", false, func(w http.ResponseWriter, _ string) { hang(w) }, Hang},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := server(t, c.handle)
			limit := time.Minute
			if c.want == Hang {
				limit = 100 * time.Millisecond
			}
			s := Spec{Model: "m", Reply: reply, Hang: limit}
			if a := s.try(t.Context(), g, "id", c.stream); a.outcome != c.want {
				t.Errorf("%s (%s), want %s", a.outcome, a.detail, c.want)
			}
		})
	}
}

// TestLoad: all clients work, each stream is a stream, and the report holds every request.
func TestLoad(t *testing.T) {
	var streams, plain atomic.Int64
	g := server(t, func(w http.ResponseWriter, body string) {
		if strings.Contains(body, `"stream":true`) {
			streams.Add(1)
			say(w, event1, event2, done)
			return
		}
		plain.Add(1)
		say(w, whole)
	})
	l := Start(Spec{Gateways: []Gateway{g}, Model: "m", Reply: reply, Streams: 3, Plain: 2, Pause: time.Millisecond})
	for deadline := time.Now().Add(time.Minute); l.Answered() < 50; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("too slow")
		}
	}
	r := l.Stop()
	if got := int64(len(r.Records)); got != streams.Load()+plain.Load() || r.Count(OK) != int(got) || len(r.Other()) > 0 || r.PerSecond() <= 0 {
		t.Errorf("report %s; the server saw %d streams and %d plain", r, streams.Load(), plain.Load())
	}
	if streams.Load() == 0 || plain.Load() == 0 || r.Latency(0) > r.Latency(1) {
		t.Errorf("%d streams, %d plain, %s", streams.Load(), plain.Load(), r)
	}
}

// TestOlder: a request counts as in flight from its start to its end, and not as one from before it.
func TestOlder(t *testing.T) {
	came, answer, over := make(chan bool), make(chan bool), make(chan bool)
	g := server(t, func(w http.ResponseWriter, _ string) {
		select {
		case came <- true:
			<-answer
		case <-over:
		}
		say(w, whole)
	})
	born := time.Now()
	l := Start(Spec{Gateways: []Gateway{g}, Model: "m", Reply: reply, Plain: 1})
	<-came
	first := time.Now()
	if before, now := l.Older(born), l.Older(first); before != 0 || now != 1 {
		t.Errorf("with one request in flight: %d from before the load, %d until now", before, now)
	}
	answer <- true
	<-came // the next one
	if old, now := l.Older(first), l.Older(time.Now()); old != 0 || now != 1 {
		t.Errorf("with the next one in flight: %d from before, %d until now", old, now)
	}
	close(answer)
	close(over)
	l.Stop()
	if n := l.Older(time.Now()); n != 0 {
		t.Errorf("after the load: %d in flight", n)
	}
}

// TestRetry: what was not taken on is tried at the next gateway, what may have been is not.
func TestRetry(t *testing.T) {
	busy := server(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(503); say(w, denied) })
	good := server(t, func(w http.ResponseWriter, _ string) { say(w, whole) })
	failing := server(t, func(w http.ResponseWriter, _ string) { drop(w) })
	gone := server(t, nil)
	gone.URL = "http://127.0.0.1:1"
	for i, c := range []struct {
		first Gateway
		tries int
		want  Outcome
		sent  int
	}{
		{busy, 2, Retried, 2}, {busy, 1, Refused, 1}, {gone, 2, Retried, 2}, {gone, 0, Unreached, 1}, {failing, 3, Lost, 1}, {good, 3, OK, 1},
	} {
		l := Start(Spec{Gateways: []Gateway{c.first, good}, Model: "m", Reply: reply, Tries: c.tries, RetryPause: time.Millisecond})
		if r := l.request(0, "id", false); r.Outcome != c.want || r.Tries != c.sent {
			t.Errorf("case %d: %v after %d tries; want %s after %d", i, r, r.Tries, c.want, c.sent)
		}
		l.Stop()
	}
}

func TestReport(t *testing.T) {
	r := Report{Took: 2 * time.Second}
	for i, o := range []Outcome{OK, OK, Retried, Refused, SilentCut} {
		r.Records = append(r.Records, Record{ID: fmt.Sprint(i), Stream: i%2 == 0, Outcome: o, Took: time.Duration(i+1) * time.Second})
	}
	if r.Good() != 3 || r.PerSecond() != 1.5 || r.Latency(1) != 3*time.Second || r.Latency(0.5) != 2*time.Second {
		t.Errorf("%d good, %v a second, latency %s and %s", r.Good(), r.PerSecond(), r.Latency(0.5), r.Latency(1))
	}
	if other := r.Other(Refused); len(other) != 1 || other[0].ID != "4" {
		t.Errorf("Other = %v", other)
	}
	const want = "5 requests (3 streams) in 2s: 2 ok, 1 retried, 1 refused, 1 silent cut; latency p50 2s, p99 2s, max 3s"
	if got := r.String(); got != want {
		t.Errorf("String = %q\nwant     %q", got, want)
	}
	if (Report{}).Latency(0.5) != 0 {
		t.Error("latency of nothing")
	}
}
