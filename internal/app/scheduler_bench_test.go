package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/etcd/etcdtest"
	"github.com/nebula-serve/nebula/internal/scheduler"
	"github.com/nebula-serve/nebula/internal/store"
)

// BenchmarkScheduler_places10000Models declares 10,000 models of 2 replicas on 1,000 nodes in a real etcd, and measures how long the scheduler
// takes until the last plan is stored and seen.
func BenchmarkScheduler_places10000Models(b *testing.B) {
	const nodes, models = 1_000, 10_000
	kv := etcdtest.Serve(b)
	var ops []store.Op
	add := func(key string, v any) {
		value, err := json.Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		ops = append(ops, store.Op{Key: key, Value: value})
	}
	for i := range nodes {
		id := fmt.Sprintf("node-%04d", i)
		add("/members/node/"+id, api.Member{Role: api.MachineNode, ID: id})
		add("/nodes/"+id+"/status", api.NodeStatus{NodeID: id, MemoryFreeMB: 64_000, Engines: []api.NodeEngine{{Name: api.EngineLlamaCPP, Path: "/llama-server"}}})
	}
	for i := range models {
		uid := fmt.Sprintf("model-%05d", i)
		add("/models/"+uid+"/spec", api.ModelSpec{ModelUID: uid, ModelName: "org/" + uid, ModelSource: api.SourceLocal, EngineType: api.EngineLlamaCPP})
		add("/deployments/"+uid, api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: 2, Version: 1})
	}
	for len(ops) > 0 {
		n := min(100, len(ops))
		if _, err := kv.Txn(b.Context(), nil, ops[:n]); err != nil {
			b.Fatal(err)
		}
		ops = ops[n:]
	}
	for b.Loop() {
		b.ReportMetric(placeAll(b, kv, models).Seconds(), "s-to-place-all")
	}
}

func placeAll(b *testing.B, kv store.KV, models int) time.Duration {
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	st, err := store.Open(ctx, kv, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	running.Go(func() { _ = st.Run(ctx) })
	leader, err := store.Campaign(ctx, kv, store.Candidate{Name: "scheduler", ID: "bench", TTLSeconds: 30, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = leader.Resign(context.WithoutCancel(ctx)) }()
	began := time.Now()
	running.Go(func() {
		_ = scheduler.Run(ctx, scheduler.Config{Cluster: placements{st, leader.Fence()}, Log: slog.New(slog.DiscardHandler)})
	})
	for {
		var s *cluster.State
		s, changed := st.Current()
		if s.Placements.Len() == models {
			return time.Since(began)
		}
		<-changed
	}
}
