package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/test/figures"
)

// How much is asked for in one round.
const (
	inFlight     = 16
	latencyRate  = 500 // requests a second in the latency rounds, a load that every way carries
	answerTokens = 16  // of an answer that the gateway puts together
	streams      = 8
	streamTokens = 2000
)

// way is a way to the engine.
type way struct {
	name    string
	addr    string
	request func(body string) []byte
	pid     int // whose processor time counts; 0 = nobody's

	cpu     []float64 // one value a round: microseconds a request
	perSec  []float64
	p50     []float64 // milliseconds
	p99     []float64
	streams []float64 // seconds for 100,000 tokens
	model   string
}

// measureGateway sends the same requests to an engine that answers at once: directly, through nginx and through Nebula.
func measureGateway(ctx context.Context, o options, out figures.Report) error {
	data := filepath.Join(o.dir, "gateway")
	for _, name := range []string{"vllm", "llama-server"} {
		if err := writeEngine(o.dir, name, o.self); err != nil {
			return err
		}
	}
	gguf, err := demoModel(ctx, o)
	if err != nil {
		return err
	}
	tensors, err := tensorModel(o.dir)
	if err != nil {
		return err
	}
	n, err := startNebula(o, data, o.dir, filepath.Join(o.dir, "llama-server"))
	if err != nil {
		return err
	}
	defer n.stop()
	if err := n.ready(ctx, data); err != nil {
		return err
	}
	engine, err := n.declare(ctx, "plain", "vllm", tensors)
	if err != nil {
		return err
	}
	if _, err := n.declare(ctx, "collected", "llamacpp", gguf); err != nil {
		return err
	}
	through := func(addr, token string) func(string) []byte {
		return func(body string) []byte { return chatRequest(addr, token, body) }
	}
	direct := &way{name: "direct", model: "plain", addr: engine, request: through(engine, "")}
	gateway := &way{name: "gateway", model: "plain", addr: n.addr, request: through(n.addr, n.token), pid: n.pid()}
	collected := &way{name: "gateway_llamacpp", model: "collected", addr: n.addr, request: through(n.addr, n.token), pid: n.pid()}
	ways := []*way{direct, gateway, collected}
	var nginx *way
	if o.nginx == "" {
		out.Note("no nginx on this machine: the figures that compare with it are left out; with Debian: apt-get install nginx-light")
	} else {
		p, addr, err := startNginx(ctx, o, engine)
		if err != nil {
			return err
		}
		defer p.stop()
		nginx = &way{name: "nginx", model: "plain", addr: addr, request: through(addr, ""), pid: p.pid()}
		ways = append(ways, nginx)
	}
	if err := measureRounds(ctx, o, ways); err != nil {
		return err
	}
	tellGateway(out, direct, nginx, gateway, collected)
	return nil
}

// measureRounds measures all ways in turn, so that what else the machine does hits all of them.
func measureRounds(ctx context.Context, o options, ways []*way) error {
	for _, w := range ways { // connections, caches, the heap: not counted
		if _, err := w.load(o.pick(3000, 1000), inFlight, 0).run(ctx); err != nil {
			return fmt.Errorf("warm up %s: %w", w.name, err)
		}
	}
	for round := range o.rounds() {
		for i := range ways {
			w := ways[(i+round)%len(ways)] // nobody is always the first
			if err := errors.Join(w.closed(ctx, o), w.paced(ctx, o)); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if w.model != "plain" {
				continue // a stream goes through as it is: the same for every engine
			}
			if err := w.streamed(ctx, o); err != nil {
				return fmt.Errorf("%s, streams: %w", w.name, err)
			}
		}
	}
	return nil
}

// load is a number of 1 kB requests.
func (w *way) load(count, inFlight, rate int) load {
	text := strings.Repeat("word ", 180)
	body := fmt.Sprintf(`{"model":"%s","max_tokens":%d,"messages":[{"role":"user","content":"%s"}]}`, w.model, answerTokens, text)
	return load{addr: w.addr, request: w.request(body), count: count, inFlight: inFlight, rate: rate}
}

// used is the processor time of the process in the middle so far.
func (w *way) used() time.Duration {
	if w.pid == 0 {
		return 0
	}
	return identify(w.pid).cpu
}

// closed measures what a request costs when the next one follows at once.
func (w *way) closed(ctx context.Context, o options) error {
	count := o.pick(30_000, 10_000)
	before := w.used()
	res, err := w.load(count, inFlight, 0).run(ctx)
	if err != nil {
		return err
	}
	w.cpu = append(w.cpu, float64((w.used()-before).Microseconds())/float64(count))
	w.perSec = append(w.perSec, float64(count)/res.took.Seconds())
	return nil
}

// paced measures how long an answer takes when requests come at a steady rate.
func (w *way) paced(ctx context.Context, o options) error {
	res, err := w.load(o.pick(2*latencyRate, latencyRate), inFlight, latencyRate).run(ctx)
	if err != nil {
		return err
	}
	w.p50 = append(w.p50, figures.Quantile(res.latency, 0.50))
	w.p99 = append(w.p99, figures.Quantile(res.latency, 0.99))
	return nil
}

// streamed measures what the tokens of streams cost.
func (w *way) streamed(ctx context.Context, o options) error {
	body := fmt.Sprintf(`{"model":"%s","stream":true,"max_tokens":%d,"messages":[{"role":"user","content":"Hi"}]}`, w.model, streamTokens)
	count := o.pick(200, 100)
	before := w.used()
	if _, err := (load{addr: w.addr, request: w.request(body), count: count, inFlight: streams}).run(ctx); err != nil {
		return err
	}
	w.streams = append(w.streams, (w.used()-before).Seconds()*100_000/float64(count*streamTokens))
	return nil
}

// tellGateway prints the figures. nginx may be nil.
func tellGateway(out figures.Report, direct, nginx, gateway, collected *way) {
	ways := []*way{direct, nginx, gateway, collected}
	for _, w := range ways {
		if w == nil {
			continue
		}
		out.Add(figures.Figure{Name: w.name + "_requests_per_second", Value: figures.Median(w.perSec), Unit: "1/s"})
		if w.pid != 0 {
			out.Add(figures.Figure{Name: w.name + "_cpu_per_request", Value: figures.Median(w.cpu), Unit: "us"})
		}
		out.Add(figures.Figure{Name: w.name + "_p50", Value: figures.Median(w.p50), Unit: "ms"})
		out.Add(figures.Figure{Name: w.name + "_p99", Value: figures.Median(w.p99), Unit: "ms"})
		if w.pid != 0 && len(w.streams) > 0 {
			out.Add(figures.Figure{Name: w.name + "_stream_cpu_per_100k_chunks", Value: figures.Median(w.streams), Unit: "s"})
		}
	}
	for _, base := range ways[:2] {
		if base == nil {
			continue
		}
		out.Add(figures.Figure{Name: "gateway_added_p50_over_" + base.name, Value: figures.Median(each(gateway.p50, base.p50, minus)), Unit: "ms"})
		out.Add(figures.Figure{Name: "gateway_added_p99_over_" + base.name, Value: figures.Median(each(gateway.p99, base.p99, minus)), Unit: "ms"})
	}
	if nginx == nil {
		return
	}
	out.Add(figures.Figure{Name: "gateway_cpu_ratio", Value: figures.Median(each(gateway.cpu, nginx.cpu, over)), Unit: "x nginx", Op: "<=", Target: 4})
	out.Add(figures.Figure{Name: "gateway_cpu_ratio_llamacpp", Value: figures.Median(each(collected.cpu, nginx.cpu, over)), Unit: "x nginx"})
	out.Add(figures.Figure{Name: "gateway_stream_cpu_ratio", Value: figures.Median(each(gateway.streams, nginx.streams, over)), Unit: "x nginx"})
}

func minus(a, b float64) float64 { return a - b }
func over(a, b float64) float64  { return a / b }

// each combines two ways round by round: what happened to the machine in a round happened to both.
func each(a, b []float64, f func(a, b float64) float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		out = append(out, f(a[i], b[i]))
	}
	return out
}
