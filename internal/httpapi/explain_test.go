package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// seed puts documents into the store and waits until the server shows them.
func (s *server) seed(docs map[string]string) {
	s.t.Helper()
	for key, doc := range docs {
		if _, err := s.kv.Txn(s.t.Context(), nil, []store.Op{{Key: key, Value: []byte(doc)}}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.settle(docs)
}

// smallFleet is two nodes, of which neither has room for a large model.
func smallFleet() map[string]string {
	return map[string]string{
		"/nodes/cpu/status":   `{"node_id":"cpu","engines":[{"name":"vllm"}]}`,
		"/nodes/small/status": `{"node_id":"small","engines":[{"name":"vllm"}],"gpus":[{"index":0,"memory_total_mb":24000,"memory_used_mb":4000}]}`,
	}
}

const largeModel = `{"model_uid":"large","model_name":"acme/large","engine_type":"vllm","config":{"required_vram_mb":40000},"auto_start":true`

func TestExplain_saysWhatIsMissing(t *testing.T) {
	s := serve(t)
	s.seed(smallFleet())
	s.must(http.StatusCreated, "POST", "/api/v2/models", largeModel+`}`)
	var x api.Explanation
	if err := json.Unmarshal([]byte(s.must(http.StatusOK, "GET", "/api/v2/models/large/explain", "")), &x); err != nil {
		t.Fatal(err)
	}
	if x.Unplaced == nil || x.Unplaced.Code != api.ReasonUnschedulable || len(x.Nodes) != 2 || len(x.Help) == 0 {
		t.Fatalf("explained %+v", x)
	}
	small := x.Nodes[0]
	if small.NodeID != "small" || small.Code != api.FitNoRoom || small.VRAMShortMB != 20000 || small.GPUsShort != 1 || small.GPUs[0].ShortMB != 20000 {
		t.Errorf("the nearest node is %+v", small)
	}
	if cpu := x.Nodes[1]; cpu.NodeID != "cpu" || cpu.Code != api.FitNoGPUs {
		t.Errorf("the other node is %+v", cpu)
	}
}

func TestExplain_unknownModel(t *testing.T) {
	s := serve(t)
	for _, uid := range []string{"nobody", "..%2fetc", strings.Repeat("a", 300)} {
		body := s.must(http.StatusNotFound, "GET", "/api/v2/models/"+uid+"/explain", "")
		if !strings.Contains(body, "nebula model list") {
			t.Errorf("%s: %s", uid, body)
		}
	}
}

// TestExplain_dryRun foretells where a model would go, and leaves nothing behind.
func TestExplain_dryRun(t *testing.T) {
	s := serve(t)
	s.seed(smallFleet())
	foretold := func(path, body string) *api.Explanation {
		t.Helper()
		var made api.ModelCreated
		if err := json.Unmarshal([]byte(s.must(http.StatusCreated, "POST", path, body)), &made); err != nil {
			t.Fatal(err)
		}
		return made.Explanation
	}
	if x := foretold("/api/v2/models?dry_run=1", largeModel+`}`); x == nil || x.Unplaced == nil || x.Unplaced.Code != api.ReasonUnschedulable {
		t.Errorf("of a model that has no room: %+v", x)
	}
	x := foretold("/api/v2/models?validate=1", `{"model_name":"acme/tiny","engine_type":"vllm","auto_start":true}`)
	if x == nil || x.Unplaced != nil || len(x.Places) != 1 || x.Places[0].NodeID != "small" || x.Places[0].Planned {
		t.Errorf("of a model that has room: %+v", x)
	}
	if x := foretold("/api/v2/templates/bge-m3/deploy?dry_run=1", `{"model_uid":"embed"}`); x == nil || x.Need == nil {
		t.Errorf("of a template: %+v", x)
	}
	if body := s.must(http.StatusOK, "GET", "/api/v2/models", ""); body != "[]\n" {
		t.Errorf("after dry runs there are %s", body)
	}
	if x := foretold("/api/v2/models", `{"model_name":"acme/tiny","engine_type":"vllm"}`); x != nil {
		t.Errorf("what was carried out foretells %+v", x)
	}
}

// TestExplain_dryRunOfEveryWrite: whatever moves replicas says in a dry run where they would be or by how much they do not fit, and writes nothing.
func TestExplain_dryRunOfEveryWrite(t *testing.T) {
	const large = `{"required_vram_mb":40000}`
	tests := []struct {
		name, method, path, body string
		status                   int
		places                   int    // how many replicas would have one
		short                    uint64 // MiB that the nearest node lacks; 0: all replicas fit
	}{
		{"create, fits", "POST", "/api/v2/models", `{"model_name":"acme/new","engine_type":"vllm","auto_start":true}`, 201, 1, 0},
		{"create, does not", "POST", "/api/v2/models", `{"model_name":"acme/new","engine_type":"vllm","auto_start":true,"config":` + large + `}`, 201, 0, 20000},
		{"start, fits", "POST", "/api/v2/models/tiny/start", ``, 200, 1, 0},
		{"start, does not", "POST", "/api/v2/models/tiny/start", `{"config_overrides":` + large + `}`, 200, 0, 20000},
		{"start elsewhere", "POST", "/api/v2/models/tiny/start", `{"node_id":"small"}`, 200, 1, 0},
		{"scale, fits", "PUT", "/api/v2/models/wide/scale", `{"replicas":2}`, 200, 2, 0},
		{"scale, does not", "PUT", "/api/v2/models/wide/scale", `{"replicas":3}`, 200, 2, 0},
		{"put, fits", "PUT", "/api/v2/models/wide", `{"config":{"required_vram_mb":10000}}`, 200, 1, 0},
		{"put, does not", "PUT", "/api/v2/models/wide", `{"config":` + large + `}`, 200, 0, 20000},
		{"patch, fits", "PATCH", "/api/v2/models/wide", `{"config":{"required_vram_mb":10000}}`, 200, 1, 0},
		{"patch, does not", "PATCH", "/api/v2/models/wide", `{"config":` + large + `}`, 200, 0, 20000},
		{"deployment, fits", "PUT", "/api/v2/models/tiny/deployment", `{"desired_state":"running"}`, 200, 1, 0},
		{"deployment, does not", "PUT", "/api/v2/models/tiny/deployment", `{"desired_state":"running","config_overrides":` + large + `}`, 200, 0, 20000},
		{"deploy, fits", "POST", "/api/v2/templates/mine/deploy", ``, 201, 1, 0},
		{"deploy, does not", "POST", "/api/v2/templates/mine/deploy", `{"config_overrides":` + large + `}`, 201, 0, 20000},
		{"stop", "POST", "/api/v2/models/wide/stop", ``, 200, 0, 0},
	}
	s := serve(t)
	s.seed(map[string]string{
		"/nodes/cpu/status":   `{"node_id":"cpu","engines":[{"name":"vllm"}]}`,
		"/nodes/small/status": `{"node_id":"small","engines":[{"name":"vllm"}],"gpus":[{"index":0,"memory_total_mb":24000,"memory_used_mb":4000},{"index":1,"memory_total_mb":24000,"memory_used_mb":4000}]}`,
	})
	s.must(http.StatusCreated, "POST", "/api/v2/models", `{"model_uid":"tiny","model_name":"acme/tiny","engine_type":"vllm"}`)
	s.must(http.StatusCreated, "POST", "/api/v2/models", `{"model_uid":"wide","model_name":"acme/wide","engine_type":"vllm","config":{"required_vram_mb":1000},"auto_start":true}`)
	s.must(http.StatusCreated, "POST", "/api/v2/templates", `{"template_id":"mine","name":"Mine","model_name":"acme/mine","engine_type":"vllm"}`)
	written := func() string {
		all, _, err := s.kv.List(t.Context(), "/")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(all)
	}
	before := written()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out struct {
				Explanation *api.Explanation `json:"explanation"`
			}
			if err := json.Unmarshal([]byte(s.must(tt.status, tt.method, tt.path+"?dry_run=1", tt.body)), &out); err != nil {
				t.Fatal(err)
			}
			x := out.Explanation
			if x == nil {
				t.Fatal("no verdict")
			}
			if len(x.Places) != tt.places {
				t.Errorf("%d places: %+v", len(x.Places), x.Places)
			}
			if fits := x.State == api.StateStopped || x.State == api.StateStopping || len(x.Places) == int(x.Replicas.Desired); fits != (x.Unplaced == nil) {
				t.Errorf("%d replicas wanted, %d placed, unplaced: %+v", x.Replicas.Desired, len(x.Places), x.Unplaced)
			}
			if tt.short > 0 && (x.Unplaced == nil || x.Nodes[0].NodeID != "small" || x.Nodes[0].VRAMShortMB != tt.short || len(x.Help) == 0) {
				t.Errorf("the nearest node is %+v, unplaced %+v, help %q", x.Nodes[0], x.Unplaced, x.Help)
			}
			if after := written(); after != before {
				t.Errorf("written:\n%s\nwas\n%s", after, before)
			}
		})
	}
	if body := s.must(http.StatusOK, "POST", "/api/v2/models/tiny/start", ""); strings.Contains(body, "explanation") {
		t.Errorf("what was carried out foretells: %s", body)
	}
}

func TestEndpoints_filters(t *testing.T) {
	s := serve(t)
	s.seed(map[string]string{
		"/endpoints/a/0":   `{"model_uid":"a","replica_id":0,"node_id":"n1","status":"ready"}`,
		"/endpoints/a/1":   `{"model_uid":"a","replica_id":1,"node_id":"n2","status":"starting"}`,
		"/endpoints/a-b/0": `{"model_uid":"a-b","replica_id":0,"node_id":"n1","status":"ready"}`,
	})
	for query, want := range map[string]string{
		"":                          "a-b/0 a/0 a/1",
		"?model=a":                  "a/0 a/1",
		"?node=n1":                  "a-b/0 a/0",
		"?status=starting":          "a/1",
		"?node=n1&model=a":          "a/0",
		"?model=nobody":             "",
		"?model=a&status=unhealthy": "",
	} {
		var list []api.EndpointInfo
		if err := json.Unmarshal([]byte(s.must(http.StatusOK, "GET", "/api/v2/endpoints"+query, "")), &list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range list {
			got = append(got, list[i].Key())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", query, got, want)
		}
	}
	s.must(http.StatusBadRequest, "GET", "/api/v2/endpoints?status=asleep", "")
}
