package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nebula-serve/nebula/test/figures"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// measurePath compares the processor time of requests that go through a gateway to an engine on another machine, which its node serves over TLS, with
// those to an engine of the gateway's own machine. The engines are real, and the model next to nothing: with a larger one the share is smaller. There
// are two, so that none has several threads on a small machine: threads that wait for each other there use more than the work itself.
func measurePath(ctx context.Context, o options) error {
	l, err := newLab(ctx, o, shape{servers: 1, nodes: 1, gateways: 1})
	defer l.close()
	if err != nil {
		return err
	}
	s, n, g := l.servers[0], l.nodes[0], l.gateways[0]
	if err := l.model(ctx, s, "m", 2); err != nil {
		return err
	}
	far, err := l.engines(ctx, s, "m")
	if err != nil {
		return err
	}
	// A machine with all in one: a cluster of its own.
	own := &lab{o: o}
	up, err := l.add("up", 8081)
	if err != nil {
		return err
	}
	up.url = "http://" + up.addr
	up.args = []string{"up", "--node-id", up.name, "--listen", up.addr, "--llama-server", o.llama}
	if err := up.start(); err != nil {
		return err
	}
	if err := own.ready(ctx, up); err != nil {
		return err
	}
	if err := own.model(ctx, up, "m", 2); err != nil {
		return err
	}
	near, err := own.engines(ctx, up, "m")
	if err != nil {
		return err
	}
	ways := []*way{
		{name: "local", gateway: up, token: own.token, procs: [][]procs.ID{{up.ID}, {near[0], near[1]}}},
		{name: "remote", gateway: g, token: l.token, procs: [][]procs.ID{{g.ID}, {far[0], far[1]}, {n.ID}}},
	}
	for _, stream := range []bool{false, true} {
		if err := measureWays(ctx, o, ways, stream); err != nil {
			return err
		}
	}
	return nil
}

// way is a way to engines. Its processes are first the gateway, then the engines, then the node.
type way struct {
	name    string
	gateway *machine
	token   string
	procs   [][]procs.ID

	used [][]float64 // by kind of process, one value a round: milliseconds of processor time for a request
}

// measureWays takes the figures of both ways in turns, so that a busy machine disturbs both alike.
func measureWays(ctx context.Context, o options, ways []*way, stream bool) error {
	for _, w := range ways {
		w.used = make([][]float64, len(w.procs))
	}
	for range pick(o, 7, 3) {
		for _, w := range ways {
			if err := w.round(ctx, pick(o, 5*time.Second, time.Second), stream); err != nil {
				return fmt.Errorf("%s way: %w", w.name, err)
			}
		}
	}
	kind := "plain"
	if stream {
		kind = "stream"
	}
	local, remote := ways[0], ways[1]
	var shares []float64
	for i := range local.used[0] {
		shares = append(shares, 100*remote.used[2][i]/(local.used[0][i]+local.used[1][i]))
	}
	o.plain("path_"+kind+"_local_gateway_cpu", figures.Median(local.used[0]), "ms per request")
	o.plain("path_"+kind+"_local_engine_cpu", figures.Median(local.used[1]), "ms per request")
	o.plain("path_"+kind+"_remote_gateway_cpu", figures.Median(remote.used[0]), "ms per request")
	o.plain("path_"+kind+"_remote_engine_cpu", figures.Median(remote.used[1]), "ms per request")
	o.plain("path_"+kind+"_remote_node_cpu", figures.Median(remote.used[2]), "ms per request")
	o.out.Add(figures.Figure{Name: "path_" + kind + "_node_cpu_of_local_call", Value: figures.Median(shares), Unit: "%", Op: "<", Target: 15})
	return nil
}

// round sends requests one after the other on a few connections and notes what its processes used for one of them.
func (w *way) round(ctx context.Context, d time.Duration, stream bool) error {
	spec := traffic.Spec{
		Gateways: []traffic.Gateway{{Name: w.name, URL: w.gateway.url, Token: w.token}}, Model: "m", Reply: reply, Pause: time.Millisecond,
	}
	if stream {
		spec.Streams = 2
	} else {
		spec.Plain = 2
	}
	before, err := w.cpu()
	if err != nil {
		return err
	}
	load := traffic.Start(spec)
	err = wait(ctx, d)
	report := load.Stop()
	if err != nil {
		return err
	}
	after, err := w.cpu()
	if err != nil {
		return err
	}
	if bad := report.Other(); len(bad) > 0 || report.Good() < 20 {
		return fmt.Errorf("this round says nothing: %s\n%s", report, traffic.Show(bad))
	}
	for i := range after {
		w.used[i] = append(w.used[i], float64((after[i]-before[i]).Microseconds())/1000/float64(report.Good()))
	}
	return nil
}

func (w *way) cpu() ([]time.Duration, error) {
	var all []time.Duration
	for _, group := range w.procs {
		sum := time.Duration(0)
		for _, id := range group {
			used, err := id.CPU()
			if err != nil {
				return nil, err
			}
			sum += used
		}
		all = append(all, sum)
	}
	return all, nil
}
