// Package etcdtest runs a real etcd inside a test, for packages whose promises hang on its details.
package etcdtest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/etcd"
)

// Server is one etcd with one member, which ends with its test.
type Server struct {
	*etcd.Client
	Endpoint string // as etcd.Config takes it

	stop func()
}

// Stop ends it, in order and at once; its data stays where it is. Stopping again does nothing.
func (s *Server) Stop() { s.stop() }

// Serve runs a real etcd in this process until the test ends.
func Serve(tb testing.TB) *Server {
	tb.Helper()
	return ServeIn(tb, tb.TempDir(), 0)
}

// ServeIn is Serve on a directory that may hold data already, with room for quota bytes; 0 is etcd's default.
func ServeIn(tb testing.TB, dir string, quota int64) *Server {
	tb.Helper()
	quiet := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background()) // not the test's, which ends before its clean-up
	out, report := io.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := etcd.Serve(ctx, etcd.ServeConfig{Dir: dir, Report: report, Log: quiet, QuotaBytes: quota}); err != nil {
			tb.Errorf("serve etcd: %v", err)
		}
		_ = report.CloseWithError(io.EOF)
	})
	s := &Server{}
	s.stop = sync.OnceFunc(func() {
		if s.Client != nil {
			if err := s.Close(); err != nil {
				tb.Error(err)
			}
		}
		cancel()
		serving.Wait()
	})
	tb.Cleanup(s.stop)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		tb.Fatalf("etcd did not start: %v", err)
	}
	var ready struct{ Endpoint string }
	if err := json.Unmarshal(line, &ready); err != nil {
		tb.Fatal(err)
	}
	s.Endpoint = ready.Endpoint
	// A disk that stands still for seconds is none of a test's business.
	s.Client, err = etcd.Dial(tb.Context(), etcd.Config{Endpoints: []string{ready.Endpoint}, Log: quiet, DialTimeout: time.Minute})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
