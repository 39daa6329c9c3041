package gateway

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// The ways in which a try fails before a client has anything, and what a client gets when there is no other replica.
var earlyFailures = map[string]struct {
	answer func(c *call)
	status int
	code   string
}{
	"crashes at once":        {func(c *call) { c.reset() }, 502, codeEngineFailed},
	"closes at once":         {func(c *call) { c.hangUp() }, 502, codeEngineFailed},
	"crashes in the head":    {func(c *call) { c.raw("HTTP/1.1 200 OK\r\nConte"); c.hangUp() }, 502, codeEngineFailed},
	"closes behind the head": {func(c *call) { c.stream(); c.hangUp() }, 502, codeEngineFailed},
	"ends behind the head":   {func(c *call) { c.stream(); c.end() }, 502, codeEngineFailed},
	"half an event":          {func(c *call) { c.stream(); c.chunk("data: {\"a"); c.hangUp() }, 502, codeEngineFailed},
	"truncates":              {func(c *call) { c.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":"); c.hangUp() }, 502, codeEngineFailed},
	"500":                    {func(c *call) { c.json(500, canary) }, 502, codeEngineFailed},
	"502":                    {func(c *call) { c.json(502, canary) }, 502, codeEngineFailed},
	"503":                    {func(c *call) { c.json(503, canary) }, 503, codeEngineFailed},
	"504":                    {func(c *call) { c.json(504, canary) }, 504, codeEngineFailed},
	"its key is refused":     {func(c *call) { c.json(401, canary) }, 502, codeEngineFailed},
	"loading": {func(c *call) {
		c.json(503, `{"error":{"type":"unavailable_error","message":"Loading model","code":503}}`)
	}, 503, codeModelNotReady},
	"error as an event":        {func(c *call) { c.stream(); c.event(canary); c.event("[DONE]"); c.end() }, 502, codeEngineFailed},
	"error as a field":         {func(c *call) { c.stream(); c.chunk("error: " + canary + "\n\n"); c.end() }, 502, codeEngineFailed},
	"speaks another protocol":  {func(c *call) { c.raw("SSH-2.0-x\r\n\r\n"); c.hangUp() }, 502, codeEngineFailed},
	"sends what was not asked": {func(c *call) { c.raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx") }, 502, codeEngineFailed},
}

// canary is what must never reach a client.
const canary = `{"error":{"message":"Traceback: /opt/secret/engine.py at 0xdeadbeef10 on 10.1.2.3:4567","type":"InternalServerError","code":500}}`

func noCanary(t *testing.T, a answer) {
	t.Helper()
	for _, secret := range []string{"secret", "deadbeef", "10.1.2.3", "4567", "Traceback"} {
		if strings.Contains(a.body+fmt.Sprint(a.header), secret) {
			t.Errorf("the client got to see %q: %s", secret, a.body)
		}
	}
}

const goodStream = `{"id":"c","model":"m","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"good"},"finish_reason":"stop"}]}`

// answerGood answers as an engine of its kind does.
func answerGood(c *call) {
	if !strings.Contains(c.body, `"stream":true`) {
		c.json(200, `{"choices":[{"message":{"content":"good"}}]}`)
		return
	}
	c.stream()
	c.event(goodStream)
	c.event("[DONE]")
	c.end()
}

func eachWay(t *testing.T, run func(t *testing.T, engine, body string)) {
	for _, c := range []struct{ name, engine, body string }{
		{"plain", api.EngineVLLM, plainChat}, {"stream", api.EngineVLLM, streamed1}, {"collected", api.EngineLlamaCPP, plainChat},
	} {
		t.Run(c.name, func(t *testing.T) { run(t, c.engine, c.body) })
	}
}

// Whatever happens to the first replica, a client that has nothing yet gets its answer from the second.
func TestRetry_anotherReplicaAnswers(t *testing.T) {
	for name, c := range earlyFailures {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, engine, body string) {
				bad, good := startEngine(t, c.answer), startEngine(t, answerGood)
				f := single(t, quick, engine, bad, good)
				for bad.count() == 0 {
					got := f.chat(body)
					got.wants(t, 200, "good")
					noCanary(t, got)
				}
				if bad.count() != 1 || f.metric("nebula_gateway_retry_total") != 1 || f.metric("nebula_gateway_retry_success_total") != 1 {
					t.Errorf("%d bad tries, %v retries", bad.count(), f.metric("nebula_gateway_retry_total"))
				}
			})
		})
	}
}

// With one replica the client learns what happened, once, and never that there is "no endpoint".
func TestRetry_onlyReplicaFails(t *testing.T) {
	for name, c := range earlyFailures {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, engine, body string) {
				bad := startEngine(t, c.answer)
				got := single(t, quick, engine, bad).chat(body)
				got.wants(t, c.status, `"code":"`+c.code+`"`, `"type":"server_error"`)
				noCanary(t, got)
				if bad.count() != 1 {
					t.Errorf("the engine was asked %d times", bad.count())
				}
			})
		})
	}
}

func TestRetry_refusedConnection(t *testing.T) {
	dead, good := startEngine(t, answerGood), startEngine(t, answerGood)
	f := single(t, quick, api.EngineVLLM, dead, good)
	dead.kill()
	for range 6 {
		f.chat(plainChat).wants(t, 200, "good")
	}
	good.kill()
	got := f.chat(plainChat)
	got.wants(t, 502, "does not take connections", codeEngineFailed)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// An engine that closes kept connections does not fail a request, even the only engine.
func TestRetry_staleConnection(t *testing.T) {
	e := startEngine(t, func(c *call) {
		answerGood(c)
		c.hangUp()
	})
	f := single(t, quick, api.EngineVLLM, e)
	for range 20 {
		f.chat(plainChat).wants(t, 200, "good")
	}
	if n := f.metric("nebula_gateway_upstream_error_total"); n != 0 {
		t.Errorf("%v failures are counted", n)
	}
}

// A request over which two engines died is not given a third to kill.
func TestRetry_notEveryEngineDies(t *testing.T) {
	var calls atomic.Int32
	deadly := func(c *call) { calls.Add(1); c.reset() }
	f := single(t, quick, api.EngineVLLM, startEngine(t, deadly), startEngine(t, deadly), startEngine(t, deadly), startEngine(t, deadly))
	f.chat(plainChat).wants(t, 502)
	if n := calls.Load(); n != 2 {
		t.Errorf("%d engines died over one request", n)
	}
}

// What the client did wrong is not tried on the next replica, and no replica is blamed for it.
func TestRetry_notForTheClientsMistakes(t *testing.T) {
	var calls atomic.Int32
	refuse := func(c *call) {
		calls.Add(1)
		c.json(400, `{"error":{"message":"max_tokens must be positive","type":"BadRequestError","param":"max_tokens","code":400}}`)
	}
	eachWay(t, func(t *testing.T, engine, body string) {
		calls.Store(0)
		f := single(t, quick, engine, startEngine(t, refuse), startEngine(t, refuse))
		for range 10 {
			f.chat(body).wants(t, 400, "max_tokens must be positive", `"param":"max_tokens"`, `"type":"invalid_request_error"`)
		}
		if calls.Load() != 10 || f.metric("nebula_gateway_circuit_open_total") != 0 {
			t.Errorf("%d tries, %v ejections", calls.Load(), f.metric("nebula_gateway_circuit_open_total"))
		}
	})
}

// An engine that hangs costs its requests no more than the time until its node notices: they go to another replica then.
func TestRetry_whenItsNodeFindsTheReplicaSilent(t *testing.T) {
	hung := startEngine(t, func(c *call) { c.untilGone() })
	good := startEngine(t, answerGood)
	f := newFixture(t, quick, func(s *cluster.State) {
		addModel(s, "m", "m")
		addEndpoint(s, hung.endpoint("m", 0, api.EngineVLLM))
	})
	answers := make(chan answer, 4)
	for i := range 4 {
		body := []string{plainChat, streamed1}[i%2]
		go func() { a, _ := f.try("POST", chatPath, body); answers <- a }()
	}
	f.until("the requests to hang", func() bool { return hung.count() == 4 })
	silent := hung.endpoint("m", 0, api.EngineVLLM)
	silent.Status = api.EndpointUnhealthy
	f.view.update(func(s *cluster.State) { addEndpoint(s, silent) })
	f.settled()
	select { // nobody else could answer: they go on waiting
	case a := <-answers:
		t.Fatalf("a request was given up for nothing: %d %s", a.status, a.body)
	default:
	}
	f.view.update(func(s *cluster.State) { addEndpoint(s, good.endpoint("m", 1, api.EngineVLLM)) })
	for range 4 {
		a := <-answers
		a.wants(t, 200, "good")
	}
}

// P1: engines are killed under load. Not one plain request fails, and every stream ends with [DONE] or with an error.
func TestRetry_killsUnderLoad(t *testing.T) {
	eachWay(t, func(t *testing.T, engine, body string) {
		serve := func(c *call) {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			if !strings.Contains(c.body, `"stream":true`) {
				c.json(200, `{"choices":[{"message":{"content":"good"}}]}`)
				return
			}
			c.stream()
			for range 3 {
				c.event(goodStream)
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
			c.event("[DONE]")
			c.end()
		}
		engines := []*fakeEngine{startEngine(t, serve), startEngine(t, serve)}
		f := single(t, quick, engine, engines...)
		var (
			wg   sync.WaitGroup
			stop atomic.Bool
			sent atomic.Int64
		)
		for range 24 {
			wg.Go(func() {
				for !stop.Load() {
					a, err := f.try("POST", chatPath, body)
					sent.Add(1)
					switch {
					case err != nil || a.status != 200 || !strings.Contains(a.body, "good"):
						t.Errorf("a request failed: %v %d %s", err, a.status, a.body)
					case strings.HasPrefix(a.body, "data:") && !strings.Contains(a.body, "[DONE]") && !strings.Contains(a.body, `data: {"error"`):
						t.Errorf("a stream was cut silently: %s", a.body)
					}
				}
			})
		}
		for i := range 4 {
			from := sent.Load()
			f.until("some load", func() bool { return sent.Load() > from+100 })
			victim := i % 2
			engines[victim].kill()
			from = sent.Load()
			f.until("some load", func() bool { return sent.Load() > from+100 })
			// Its node starts it anew, on another port and under another pid.
			engines[victim] = startEngine(t, serve)
			next := engines[victim].endpoint("m", uint32(victim), engine)
			next.PID += 1000 * (i + 1)
			f.view.update(func(s *cluster.State) { addEndpoint(s, next) })
			f.settled()
		}
		stop.Store(true)
		wg.Wait()
		t.Logf("%d requests, %v retries", sent.Load(), f.metric("nebula_gateway_retry_total"))
		if n := f.metric("nebula_gateway_requests_total"); n != f.metric("nebula_gateway_requests_total", "code", "200") {
			t.Errorf("of %v requests some failed", n)
		}
	})
}

// F11: an engine whose health check is fine while every completion fails gets next to no requests.
func TestEjection_badReplicaRests(t *testing.T) {
	bad := startEngine(t, func(c *call) { c.json(500, `{}`) })
	good := startEngine(t, answerGood)
	f := single(t, quick, api.EngineVLLM, bad, good)
	for range 200 {
		f.chat(plainChat).wants(t, 200, "good")
	}
	if n := bad.count(); n != ejectAfter {
		t.Errorf("the bad engine got %d requests, want %d", n, ejectAfter)
	}
	if n := f.metric("nebula_gateway_circuit_open_total"); n != 1 {
		t.Errorf("%v ejections are counted", n)
	}
	if n := f.metric("nebula_gateway_circuit_skipped_total"); n < 180 || n >= 200 {
		t.Errorf("of 200 requests %v passed over the one that rests", n)
	}
}

// F53: engines that all fail are not asked much more often for it.
func TestRetry_stormIsBounded(t *testing.T) {
	var (
		calls   atomic.Int64
		waiting sync.WaitGroup
		open    = make(chan struct{})
	)
	const clients = 60
	waiting.Add(clients)
	bad := func(c *call) {
		if calls.Add(1) <= clients {
			waiting.Done()
			<-open // all of them are in flight when the first answer comes
		}
		c.json(500, `{}`)
	}
	f := single(t, quick, api.EngineVLLM, startEngine(t, bad), startEngine(t, bad), startEngine(t, bad))
	began := time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if a, err := f.try("POST", chatPath, plainChat); err != nil || a.status != 502 {
				t.Errorf("%v %d", err, a.status)
			}
		})
	}
	waiting.Wait()
	close(open)
	wg.Wait()
	allowed := triesPerRequest*clients + triesPerSecond*(1+time.Since(began).Seconds())
	if n := calls.Load() - clients; float64(n) > allowed {
		t.Errorf("%d further tries over %d requests, more than %v", n, clients, allowed)
	}
}

// A host that answers nothing at all, not even a refusal, costs a connect time-out and no more.
func TestRetry_connectTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens: what matters is that the dialer's error is one that is tried elsewhere
	base := "http://" + l.Addr().String()
	good := startEngine(t, answerGood)
	f := single(t, quick, api.EngineVLLM, good)
	f.view.update(func(s *cluster.State) {
		e := good.endpoint("m", 1, api.EngineVLLM)
		e.BaseURL = &base
		addEndpoint(s, e)
	})
	f.settled()
	for range 10 {
		f.chat(plainChat).wants(t, 200, "good")
	}
}

func TestRetry_slowEngineIsNotAskedAgain(t *testing.T) {
	eachWay(t, func(t *testing.T, engine, body string) {
		slow := func(c *call) { c.untilGone() }
		a, b := startEngine(t, slow), startEngine(t, slow)
		got := single(t, brief, engine, a, b).chat(body)
		got.wants(t, 504, codeEngineTimeout)
		if n := a.count() + b.count(); n != 1 {
			t.Errorf("%d tries", n)
		}
	})
}

func TestAnswer_tooLong(t *testing.T) {
	limits := quick
	limits.MaxAnswer = 10_000
	eachWay(t, func(t *testing.T, engine, body string) {
		e := startEngine(t, func(c *call) {
			text := strings.Repeat("x", 3000)
			if engine == api.EngineVLLM {
				c.json(200, `{"a":"`+strings.Repeat(text, 4)+`"}`)
				return
			}
			c.stream()
			for range 4 {
				c.event(`{"choices":[{"index":0,"delta":{"content":"` + text + `"}}]}`)
			}
			c.untilGone()
		})
		single(t, limits, engine, e).chat(body).wants(t, 502, "larger than 10000 bytes")
	})
}

func TestAnswer_large(t *testing.T) {
	reply := `{"data":"` + strings.Repeat("0123456789", 200_000) + `"}`
	e := startEngine(t, func(c *call) { c.json(200, reply) })
	if got := single(t, quick, api.EngineVLLM, e).do("POST", "/v1/embeddings", plainChat); got.body != reply {
		t.Errorf("%d of %d bytes arrived", len(got.body), len(reply))
	}
}
