package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/test/figures"
)

// measureMigrate has a real "nebula up" with its embedded etcd take over an old cluster: requests of version 1, written to its store past the API, as
// the existing Nebula's clients did.
func measureMigrate(ctx context.Context, o options, out figures.Report) error {
	data, requests := filepath.Join(o.dir, "migrate"), o.pick(10_000, 1_000)
	n, err := startNebula(o, data, o.dir, o.llamaServer)
	if err != nil {
		return err
	}
	defer n.stop()
	if err := n.ready(ctx, data); err != nil {
		return err
	}
	if err := writeRequests(ctx, data, requests); err != nil {
		return err
	}
	err = n.await(ctx, "the server sees all requests", readyLimit, func(ctx context.Context) error {
		m, err := n.client.On(client.Write{DryRun: true}).Migrate(ctx)
		if err == nil && m.Total != requests {
			err = fmt.Errorf("%d of %d are there", m.Total, requests)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, again := range []bool{false, true} {
		began := time.Now()
		m, err := n.client.Migrate(ctx)
		took := time.Since(began)
		f := figures.Figure{Name: fmt.Sprintf("migrate_%d", requests), Value: took.Seconds(), Unit: "s"}
		if !again && requests == 10_000 {
			f.Op, f.Target = "<", 30
		}
		want := api.Migration{Total: requests, Migrated: requests}
		if again { // all is done
			f.Name += "_again"
			want = api.Migration{Total: requests, Skipped: requests}
		}
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if m.Total != want.Total || m.Migrated != want.Migrated || m.Skipped != want.Skipped || m.Failed != 0 {
			return fmt.Errorf("migrated %d, skipped %d and failed %d of %d; it should have been %d, %d and 0 of %d", m.Migrated, m.Skipped, m.Failed, m.Total,
				want.Migrated, want.Skipped, want.Total)
		}
		out.Add(f)
	}
	return nil
}

// writeRequests puts requests as the existing Nebula's BFF and scheduler leave them: of five one failed, one is pending, and the others run.
func writeRequests(ctx context.Context, data string, count int) error {
	sockets, err := filepath.Glob(filepath.Join(data, "etcd", "*.sock*"))
	if err != nil || len(sockets) == 0 {
		return fmt.Errorf("no socket of the store below %s: %w", data, err)
	}
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + sockets[0]}})
	if err != nil {
		return err
	}
	defer kv.Close()
	ops := make([]store.Op, count)
	for i := range ops {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		status := []string{`"Running"`, `"Scheduled"`, `{"Failed":"image missing"}`, `"Pending"`, `"Running"`}[i%5]
		ops[i] = store.Op{Key: "/model_requests/" + id, Value: fmt.Appendf(nil,
			`{"id":%q,"request":{"model_name":"acme/old-%d","model_uid":"old_%06d","replicas":1,"config":{"tensor_parallel_size":1,"max_model_len":4096},`+
				`"node_id":"old-node-%d","gpu_index":null,"gpu_indices":[%d]},"status":%s,"created_at_ms":%d}`,
			id, i, i, i%200, i%8, status, 1_750_000_000_000+i)}
	}
	for part := range slices.Chunk(ops, store.MaxTxnOps) {
		if _, err := kv.Txn(ctx, nil, part); err != nil {
			return fmt.Errorf("write the old requests: %w", err)
		}
	}
	return nil
}
