package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/llama"
)

// TestDrain_oneReplica: one replica is drained, as old clients ask for it, while streams come one after the other: another engine takes its place first, and
// not one stream is broken or refused.
func TestDrain_oneReplica(t *testing.T) {
	s := up(t, "--llama-server", llama.Need(t))
	s.running("demo", strings.Repeat("One after the other. ", 20))
	first := s.pids("demo")
	ctx, stop := context.WithCancel(t.Context())
	type tally struct {
		whole int
		err   error
	}
	done := make(chan tally, 4)
	for range cap(done) {
		go func() {
			var n tally
			for ctx.Err() == nil && n.err == nil {
				status, body, _, err := s.tryCall("POST", "/v1/chat/completions", `{"model":"demo","stream":true,"messages":[{"role":"user","content":"S"}]}`)
				if err != nil || status != 200 || !strings.Contains(body, "[DONE]") || strings.Contains(body, `"error"`) {
					n.err = fmt.Errorf("%d %s %w", status, body, err)
				}
				n.whole++
			}
			done <- n
		}()
	}
	ask := `{"model_uid":"demo","replica_id":0}`
	for _, want := range []string{`{"model_uid":"demo","replica_id":0,"status":"draining"}`, `{"status":"already_draining"}`} {
		if status, body, _ := s.call("POST", "/v1/admin/endpoints/drain", ask); status != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%d %s, want %s", status, body, want)
		}
	}
	eventually(t, 90*time.Second, func() error {
		m := s.model("demo")
		if len(m.Endpoints) != 1 || m.Endpoints[0].ReplicaID == 0 || m.Endpoints[0].Status != api.EndpointReady || m.State != api.StateRunning {
			return fmt.Errorf("%s with %+v", m.State, m.Endpoints)
		}
		return nil
	})
	stop()
	whole := 0
	for range cap(done) {
		n := <-done
		if whole += n.whole; n.err != nil {
			t.Errorf("a stream failed: %v", n.err)
		}
	}
	t.Logf("%d streams, all whole", whole)
	if alive(first[0]) {
		t.Error("the engine of the drained replica is still there")
	}
	if status, body, _ := s.call("POST", "/v1/admin/endpoints/drain", ask); status != 404 {
		t.Errorf("of a replica that has gone: %d %s", status, body)
	}
}
