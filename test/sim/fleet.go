package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/agent"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/pki"
)

// fleet is all hollow nodes.
type fleet struct {
	o      options
	s      *server
	dir    string
	tokens []string
	ended  chan struct{} // closed by stop: the agents end
	agents sync.WaitGroup
	log    *slog.Logger

	mu    sync.Mutex
	await map[string]chan time.Time // by model uid: told when a node is shown it first
}

// newFleet makes the join tokens, which is not part of joining.
func newFleet(ctx context.Context, o options, s *server, dir string) (*fleet, error) {
	f := &fleet{o: o, s: s, dir: dir, ended: make(chan struct{}), tokens: make([]string, o.nodes), await: map[string]chan time.Time{}, log: slog.New(slog.DiscardHandler)}
	err := each(ctx, o.nodes, 16, func(ctx context.Context, i int) error {
		t, err := s.client.CreateToken(ctx, api.CreateJoinToken{For: api.MachineNode, TTLSeconds: 3600})
		f.tokens[i] = t.Token
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make join tokens: %w", err)
	}
	return f, nil
}

// join lets all nodes join and returns how long it took until the server showed every one of them.
func (f *fleet) join(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := each(ctx, f.o.nodes, 64, func(ctx context.Context, i int) error {
		id := fmt.Sprintf("sim-%04d", i)
		dir := filepath.Join(f.dir, id)
		clock := pki.NewClock(time.Now)
		cred, _, err := link.Join(ctx, link.JoinConfig{
			Clock: clock, Server: f.s.fleet, Token: f.tokens[i], Role: api.MachineNode, ID: id, Dir: filepath.Join(dir, "pki"),
		})
		if err != nil {
			return fmt.Errorf("node %s: %w", id, err)
		}
		return f.start(dir, id, cred, clock)
	})
	if err != nil {
		return 0, err
	}
	err = f.s.until(ctx, 2*time.Minute, "all nodes are ready", func(ctx context.Context) (bool, error) {
		nodes, err := f.s.client.Nodes(ctx)
		ready := 0
		for i := range nodes {
			if nodes[i].State == api.NodeReady {
				ready++
			}
		}
		return ready == f.o.nodes, err
	})
	return time.Since(began), err
}

// start runs one node's link and agent.
func (f *fleet) start(dir, id string, cred *pki.Credential, clock *pki.Clock) error {
	servers := link.NewServers(link.ServersConfig{Addrs: []string{f.s.fleet}, Credential: cred, Clock: clock, Log: f.log})
	l, err := link.New(link.Config{Dir: dir, NodeID: id, Credential: cred, Servers: servers, Log: f.log})
	if err != nil {
		return err
	}
	h := &hollow{id: id, cpus: 64, seen: f.seen}
	ctx, cancel := context.WithCancel(context.Background())
	f.agents.Go(func() { <-f.ended; cancel() })
	f.agents.Go(func() { _ = l.Run(ctx) })
	f.agents.Go(func() { _ = agent.Run(ctx, h.config(watched{l, h}, f.log)) })
	return nil
}

func (f *fleet) stop() {
	close(f.ended)
	f.agents.Wait()
}

// seen tells whoever waits for a model that a node has been shown it.
func (f *fleet) seen(_ string, d api.NodeDesired) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.await) == 0 {
		return
	}
	for i := range d.Replicas {
		if c := f.await[d.Replicas[i].Spec.ModelUID]; c != nil {
			c <- time.Now()
			delete(f.await, d.Replicas[i].Spec.ModelUID)
		}
	}
}

func (f *fleet) declare(ctx context.Context, uid string, replicas uint32) error {
	_, err := f.s.client.CreateModel(ctx, api.CreateModel{
		ModelUID: uid, ModelName: "sim/" + uid, ModelSource: api.SourceLocal, ModelPath: "/models/stub.gguf", EngineType: api.EngineLlamaCPP,
		AutoStart: true, Replicas: &replicas,
	})
	return err
}

// deploy declares all models and returns how long it took until the server showed every replica ready.
func (f *fleet) deploy(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := each(ctx, f.o.models, 128, func(ctx context.Context, i int) error {
		return f.declare(ctx, fmt.Sprintf("m-%05d", i), uint32(f.o.replicas))
	})
	if err != nil {
		return 0, fmt.Errorf("declare models: %w", err)
	}
	say("declare_%d_models", time.Since(began).Seconds(), "s", "", 0, f.o.models)
	var end time.Time
	err = f.s.until(ctx, 5*time.Minute, "all models run", func(ctx context.Context) (bool, error) {
		end = time.Now()
		for _, state := range []api.ModelState{api.StateStarting, api.StateDegraded, api.StateFailed} {
			left, err := f.s.some(ctx, state)
			if err != nil || left {
				return false, err
			}
		}
		return true, nil
	})
	return end.Sub(began), err
}

// change declares models one after the other on the full cluster, and returns how long each took from the call to the node that is to run it.
func (f *fleet) change(ctx context.Context) (sample, error) {
	var took sample
	for i := range f.o.changes {
		uid := fmt.Sprintf("late-%05d", i)
		c := make(chan time.Time, 1)
		f.mu.Lock()
		f.await[uid] = c
		f.mu.Unlock()
		began := time.Now()
		if err := f.declare(ctx, uid, 1); err != nil {
			return nil, err
		}
		select {
		case at := <-c:
			took = append(took, at.Sub(began))
		case <-time.After(time.Minute):
			return nil, errors.New("a change did not reach a node within a minute")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return took, nil
}

// each calls fn for 0 … n-1, at most width at a time, and returns the first error.
func each(ctx context.Context, n, width int, fn func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	slots := make(chan struct{}, width)
	for i := range n {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			if err := fn(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}
