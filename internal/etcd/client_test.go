package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// namespaced opens clients that do not see each other's keys.
func namespaced(endpoint string) func(t *testing.T) store.KV {
	return func(t *testing.T) store.KV { return dial(t, endpoint, "("+t.Name()+")") }
}

func TestClient_conformsInProcess(t *testing.T) {
	t.Parallel()
	endpoint := inProcess(t, t.TempDir())
	t.Run("suite", func(t *testing.T) { storetest.Conformance(t, namespaced(endpoint)) })
	t.Run("compacting", func(t *testing.T) { storetest.ConformanceCompacting(t, namespaced(endpoint)) })
	t.Run("maintenance", func(t *testing.T) { testMaintenance(t, dial(t, endpoint, "")) })
}

func TestClient_conformsChild(t *testing.T) {
	t.Parallel()
	s, _ := supervise(t, t.TempDir())
	t.Run("suite", func(t *testing.T) { storetest.Conformance(t, namespaced(s.Endpoint())) })
	t.Run("compacting", func(t *testing.T) { storetest.ConformanceCompacting(t, namespaced(s.Endpoint())) })
}

func testMaintenance(t *testing.T, c *Client) {
	rev := mustPut(t, c, "/k", "v")
	if err := c.Health(t.Context()); err != nil {
		t.Errorf("health: %v", err)
	}
	if err := c.Defragment(t.Context()); err != nil {
		t.Errorf("defragment: %v", err)
	}
	s, err := c.Status(t.Context())
	if err != nil || s.Revision < rev || s.Bytes < s.InUse || s.InUse == 0 || s.Full || !s.Leader || s.Version == "" {
		t.Errorf("status: %+v, %v", s, err)
	}
	if s.QuotaBytes != defaultQuota {
		t.Errorf("quota %d, want %d", s.QuotaBytes, int64(defaultQuota))
	}
	if err := c.Compact(t.Context(), rev+1000); err == nil {
		t.Error("compacted the future")
	}
}

func TestDial_nobodyThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	deaf, err := net.Listen("unix", filepath.Join(dir, "deaf.sock")) // connects, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = deaf.Close() }()
	for _, endpoint := range []string{"unix://" + dir + "/absent.sock", "unix://" + dir + "/deaf.sock", "http://127.0.0.1:1"} {
		c, err := Dial(t.Context(), Config{Endpoints: []string{endpoint}, DialTimeout: 200 * time.Millisecond})
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: got %v, %v, want ErrUnavailable", endpoint, c, err)
		}
	}
	if _, err := Dial(t.Context(), Config{}); err == nil {
		t.Error("no endpoint at all: no error")
	}
}

// A first call has its own time, however little one request has: here the store is silent for longer than that.
func TestDial_slowAtFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { served <- Serve(ctx, ServeConfig{Dir: dir}) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	if err := dialWhenUp(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	socket, err := SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("unix", filepath.Join(dir, "front.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = front.Close() }()
	go relayLate(front, socket, 20*requestTime)
	c, err := Dial(t.Context(), Config{Endpoints: []string{"unix://" + front.Addr().String()}, DialTimeout: time.Minute, RequestTimeout: requestTime})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

const requestTime = 50 * time.Millisecond

// relayLate connects what comes to a socket with another one, after a while.
func relayLate(front net.Listener, socket string, after time.Duration) {
	for {
		in, err := front.Accept()
		if err != nil {
			return
		}
		time.AfterFunc(after, func() {
			out, err := net.Dial("unix", socket)
			if err != nil {
				_ = in.Close()
				return
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			_, _ = io.Copy(in, out)
			_ = in.Close()
		})
	}
}

// TestClient_full fills a small etcd: writes say so, deletions still work.
func TestClient_full(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { done <- Serve(ctx, ServeConfig{Dir: dir, QuotaBytes: 1 << 20}) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	c := dialWhenUp(t, dir)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = c.Txn(t.Context(), nil, []store.Op{put(fmt.Sprintf("/k/%d", i), string(make([]byte, 100_000)))})
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if s, err := c.Status(t.Context()); err != nil || !s.Full || s.QuotaBytes != 1<<20 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, err := c.Txn(t.Context(), nil, []store.Op{{Key: "/k/0", Delete: true}}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func dialWhenUp(t *testing.T, dir string) *Client {
	t.Helper()
	socket, err := SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), Config{Endpoints: []string{"unix://" + socket}, DialTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
