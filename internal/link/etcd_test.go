package link_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/internal/etcd"
)

// TestLink_onEtcd is the plain life of a node with a real etcd behind the server.
func TestLink_onEtcd(t *testing.T) {
	f := newFleet(t, serveEtcd(t))
	s := f.serve("s1", "", nil)
	walk(f, s)
	// A heartbeat renews the lease and is no entry of etcd's log.
	n := f.node("n2", "", nil, s.addr)
	f.sees(n)
	n.mustReport(t)
	_, before, err := f.kv.List(t.Context(), "/nodes/")
	if err != nil {
		t.Fatal(err)
	}
	f.await("heartbeat", func() bool {
		n.mustReport(t)
		_, beats := s.nodes.counts()
		return beats > 0
	})
	if _, after, err := f.kv.List(t.Context(), "/nodes/"); err != nil || after != before {
		t.Errorf("revision %d after the heartbeat, %d before: %v", after, before, err)
	}
}

// serveEtcd runs a real etcd in this process until the test ends, and returns a client.
func serveEtcd(t *testing.T) *etcd.Client {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, report := io.Pipe()
	dir := t.TempDir()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := etcd.Serve(ctx, etcd.ServeConfig{Dir: dir, Report: report, Log: discard}); err != nil {
			t.Errorf("serve: %v", err)
		}
		_ = report.CloseWithError(io.EOF)
	})
	t.Cleanup(func() {
		stop()
		serving.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("etcd did not start: %v", err)
	}
	var ready struct{ Endpoint string }
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	c, err := etcd.Dial(context.Background(), etcd.Config{Endpoints: []string{ready.Endpoint}, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
