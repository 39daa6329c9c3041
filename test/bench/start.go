package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/test/figures"
)

// measureStart starts Nebula with a model on a real engine, again and again, and then lets it rest.
func measureStart(ctx context.Context, o options, out figures.Report) error {
	model, err := demoModel(ctx, o)
	if err != nil {
		return err
	}
	data := filepath.Join(o.dir, "start")
	if err := declareOnce(ctx, o, data, model); err != nil {
		return err
	}
	var took []float64
	for i := range o.rounds() {
		n, err := startNebula(o, data, o.dir, o.llamaServer)
		if err != nil {
			return err
		}
		err = firstToken(ctx, n, data, &took)
		if err == nil && i == o.rounds()-1 {
			out.Add(figures.Figure{Name: "first_token", Value: figures.Median(took), Unit: "s"})
			err = measureIdle(ctx, o, out, n)
		}
		n.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// declareOnce leaves a data directory in which the model is to run, and nothing running.
func declareOnce(ctx context.Context, o options, data, model string) error {
	n, err := startNebula(o, data, o.dir, o.llamaServer)
	if err != nil {
		return err
	}
	defer n.stop()
	if err := n.ready(ctx, data); err != nil {
		return err
	}
	_, err = n.declare(ctx, "demo", "llamacpp", model)
	return err
}

// firstToken adds the time from the start of the process to the first token that a client gets. The engine was not running before.
func firstToken(ctx context.Context, n *nebula, data string, took *[]float64) error {
	began := time.Now()
	if err := n.ready(ctx, data); err != nil {
		return err
	}
	request := chatRequest(n.addr, n.token, `{"model":"demo","stream":true,"max_tokens":4,"messages":[{"role":"user","content":"Hi"}]}`)
	err := n.await(ctx, "the first token", runningLimit, func(ctx context.Context) error { return askToken(ctx, n.addr, request) })
	*took = append(*took, time.Since(began).Seconds())
	return err
}

// askToken sends one request and returns when the first token of its answer is there.
func askToken(ctx context.Context, addr string, request []byte) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write(request); err != nil {
		return err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 200") {
			return errors.New(line)
		}
		if _, token, ok := strings.Cut(line, `"content":"`); ok && !strings.HasPrefix(token, `"`) {
			return nil
		}
	}
	return errors.Join(errors.New("the stream ended without a token"), lines.Err())
}

// The names that Nebula's own child processes have on their command lines.
const (
	etcdCommand = "__etcd"
	shimCommand = "__shim"
)

// measureIdle measures what Nebula costs when nobody asks it anything, with one engine running.
func measureIdle(ctx context.Context, o options, out figures.Report, n *nebula) error {
	const settle = 3 * time.Second // what a start leaves to do, and the first garbage collections
	window := time.Duration(o.pick(30, 10)) * time.Second
	for _, wait := range []time.Duration{settle, window} {
		before, err := nebulaFamily(n)
		if err != nil {
			return err
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if wait == settle {
			continue
		}
		after, err := nebulaFamily(n)
		if err != nil {
			return err
		}
		share := func(role string) float64 {
			return (after[role].cpu - before[role].cpu).Seconds() / time.Since(began).Seconds() * 100
		}
		rss := func(role string) float64 { return after[role].rss }
		out.Add(figures.Figure{Name: "idle_rss", Value: rss("up") + rss(etcdCommand), Unit: "MiB", Op: "<", Target: 150})
		out.Add(figures.Figure{Name: "idle_rss_up", Value: rss("up"), Unit: "MiB"})
		out.Add(figures.Figure{Name: "idle_rss_store", Value: rss(etcdCommand), Unit: "MiB"})
		out.Add(figures.Figure{Name: "idle_rss_shim", Value: rss(shimCommand), Unit: "MiB"})
		out.Add(figures.Figure{Name: "idle_cpu", Value: share("up") + share(etcdCommand) + share(shimCommand), Unit: "%", Op: "<", Target: 2})
	}
	return nil
}

// nebulaFamily returns Nebula's processes, engines left out, by their role.
func nebulaFamily(n *nebula) (map[string]member, error) {
	family := map[string]member{"up": identify(n.pid())}
	for _, m := range descendants(n.pid()) {
		if len(m.args) > 1 && (m.args[1] == etcdCommand || m.args[1] == shimCommand) {
			family[m.args[1]] = m
		}
	}
	if len(family) != 3 {
		return nil, fmt.Errorf("nebula up should have a store and a shim below it; found %d of the 3 processes", len(family))
	}
	return family, nil
}
