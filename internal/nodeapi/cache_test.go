package nodeapi

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

func TestServe_cacheIsForServers(t *testing.T) {
	r := newRealm(t)
	var asked []api.CachePrune
	n := r.node("n1", Config{
		Prune: func(_ context.Context, req api.CachePrune) (api.CachePruned, error) {
			asked = append(asked, req)
			return api.CachePruned{NodeID: "n1", DryRun: req.DryRun, FreedBytes: 7}, nil
		},
		Evict: func(_ context.Context, req api.CacheEvict) (api.CachePruned, error) {
			if req.ModelName == "a/pinned" {
				return api.CachePruned{}, api.Errorf(api.CodeConflict, "they are pinned")
			}
			return api.CachePruned{NodeID: "n1", FreedBytes: 8}, nil
		},
		Verify: func(_ context.Context, req api.CacheVerify, tell func(api.VerifyEvent) error) error {
			if req.ModelName == "a/none" {
				return api.Errorf(api.CodeNotFound, "there is no such model")
			}
			return errors.Join(tell(api.VerifyEvent{Type: api.VerifyDamaged, File: "x"}), errors.New("the disk went away"))
		},
	})
	none := r.node("n2", Config{})
	server := r.credential(api.MachineServer, "s1")
	for _, who := range []*pki.Credential{r.credential(api.MachineGateway, "g1"), r.credential(api.MachineNode, "n1"), r.credential(api.MachineNode, "n3")} {
		for _, path := range []string{"/cache/prune", "/cache/evict", "/cache/verify"} {
			if got := r.caller(who, n).ask("POST", path, "{}"); got.status != 403 {
				t.Errorf("%v at %s: %+v", who.Identity(), path, got)
			}
		}
	}
	if got := r.caller(r.credentialIn("other", api.MachineServer, "s1"), n).ask("POST", "/cache/prune", "{}"); got.status != 401 {
		t.Errorf("a server of another cluster: %+v", got)
	}
	if len(asked) > 0 {
		t.Fatalf("the cache was touched: %+v", asked)
	}
	by := r.caller(server, n)
	if got := by.ask("POST", "/cache/prune", `{"dry_run":true}`); got.status != 200 || !strings.Contains(got.body, `"freed_bytes":7`) || len(asked) != 1 || !asked[0].DryRun {
		t.Errorf("prune: %+v, asked %+v", got, asked)
	}
	if got := by.ask("POST", "/cache/prune", `{"dry_run":`); got.status != 400 || len(asked) != 1 {
		t.Errorf("a broken question: %+v", got)
	}
	if got := by.ask("POST", "/cache/evict", `{"model_name":"a/b"}`); got.status != 200 || !strings.Contains(got.body, `"freed_bytes":8`) {
		t.Errorf("evict: %+v", got)
	}
	if got := by.ask("POST", "/cache/evict", `{"model_name":"a/pinned"}`); got.status != 409 || !strings.Contains(got.body, "they are pinned") {
		t.Errorf("evict of what is pinned: %+v", got)
	}
	if got := by.ask("POST", "/cache/verify", `{"model_name":"a/none"}`); got.status != 404 {
		t.Errorf("verify of what is not there: %+v", got)
	}
	got := by.ask("POST", "/cache/verify", "{}")
	lines := strings.Split(strings.TrimSpace(got.body), "\n")
	if got.status != 200 || len(lines) != 2 || !strings.Contains(lines[0], `"file":"x"`) || !strings.Contains(lines[1], "the disk went away") {
		t.Errorf("verify: %+v", got)
	}
	for _, path := range []string{"/cache/prune", "/cache/evict"} {
		if got := r.caller(server, none).ask("POST", path, "{}"); got.status != 404 {
			t.Errorf("a node without a cache: %+v", got)
		}
	}
}
