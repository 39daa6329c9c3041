package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// The rows M1 to M25 of the contract's table of spellings that live in the command line.

// raw is a server with documents as text.
func raw(docs map[string]string) http.Handler {
	mux := http.NewServeMux()
	for pattern, doc := range docs {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, doc) // the command may have left
		})
	}
	return mux
}

// printed runs a command that must end well, and holds that it prints all of want.
func printed(t *testing.T, server http.Handler, line string, want ...string) {
	t.Helper()
	code, out, errs := terminal(t.Context(), t, server, strings.Fields(line)...)
	for _, w := range want {
		if code != 0 || !strings.Contains(out, w) {
			t.Errorf("%s: exit %d without %q:\n%s%s", line, code, w, out, errs)
		}
	}
}

func TestM7_templateList(t *testing.T) {
	t.Parallel()
	printed(t, raw(map[string]string{"GET /api/v2/templates": `[{"template_id":"tpl-1","name":"Mine","model_name":"acme/m","source":"user"}]`}), "template list", "tpl-1")
}

func TestM8_modelDetail(t *testing.T) {
	t.Parallel()
	doc := `{"model_uid":"m","model_name":"acme/m","state":"stopped","spec":{"model_uid":"m","model_name":"acme/m","model_source":"model_scope"},
		"cache_status":{"cached_on_nodes":["n1","n2"],"total_size_bytes":2147483648}}`
	printed(t, raw(map[string]string{"GET /api/v2/models/m": doc}), "model get m", "model_scope", "2.0 GiB on n1, n2")
}

const cached = `[{"node_id":"n1","model_name":"acme/m","size_bytes":1024,"complete":true}]`

func TestM9_nodeCache(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{cached, `{"cached_models":` + cached + `}`} {
		printed(t, raw(map[string]string{"GET /api/v2/nodes/n1/cache": doc}), "cache list --node n1", "acme/m", "1.0 KiB")
	}
}

func TestM10_cacheSummary(t *testing.T) {
	t.Parallel()
	inside := strings.Replace(cached, `"node_id":"n1",`, "", 1)
	for _, doc := range []string{
		`{"total_cached_models":1,"nodes":[{"node_id":"n1"}],"caches":` + cached + `}`, `{"nodes":[{"node_id":"n1","cached_models":` + inside + `},{"node_id":"n2"}]}`,
	} {
		printed(t, raw(map[string]string{"GET /api/v2/cache/summary": doc}), "cache list", "n1", "acme/m", "1.0 KiB")
	}
}

func TestM11_diskStatus(t *testing.T) {
	t.Parallel()
	printed(t, raw(map[string]string{
		"GET /api/v2/cache/summary": `{"nodes":[{"node_id":"n1","model_dir":"/models","total_bytes":1024}],"caches":[]}`,
		"GET /api/v2/alerts":        `[{"node_id":"n1","alert_type":"disk_warning","message":"nearly full","model_dir":"/models"}]`,
	}), "disk status", "n1", "/models", "disk_warning: nearly full")
}

func TestM12_scale(t *testing.T) {
	t.Parallel()
	server := raw(map[string]string{"PUT /api/v2/models/m/scale": `{"model_uid":"m","desired_state":"running","replicas":2}`})
	for _, line := range []string{"model scale m --replicas 2", "model scale-model m --replicas 2", "scale --id m --replicas 2"} {
		printed(t, server, line, "m is to run with 2 replicas")
	}
}

// request is what an old client sees of a request.
const request = `{"id":"0b5d4b0e-7d0f-4c5e-9f6c-6f1b2d3a4e5f","request":{"model_name":"acme/m","model_uid":"m","replicas":1},"status":"Scheduled","created_at_ms":1}`

// TestOld_byRequest: the commands that knew models by their requests take both.
func TestOld_byRequest(t *testing.T) {
	t.Parallel()
	const id, other = "0b5d4b0e-7d0f-4c5e-9f6c-6f1b2d3a4e5f", "00000000-7d0f-4c5e-9f6c-6f1b2d3a4e5f"
	stopped := `{"model_uid":"m","desired_state":"stopped","replicas":1}`
	server := raw(map[string]string{
		"GET /api/requests": "[" + request + "]", "DELETE /api/models/requests/" + id: `{"status":"unloading_triggered"}`,
		"PUT /api/models/requests/" + id + "/scale": `{"request_id":"` + id + `","old_replicas":1,"new_replicas":3}`,
		"POST /api/v2/models/" + other + "/stop":    stopped, "POST /api/v2/models/m/stop": stopped,
		"PUT /api/v2/models/" + other + "/scale": strings.Replace(stopped, `"stopped","replicas":1`, `"running","replicas":3`, 1),
		"PUT /api/v2/models/m/scale":             strings.Replace(stopped, `"stopped","replicas":1`, `"running","replicas":3`, 1),
		"POST /api/models/load":                  `{"request_id":"` + id + `","status":"pending"}`,
	})
	printed(t, server, "model unload "+id, "Model m is to stop, and then request "+id+" is forgotten")
	printed(t, server, "model unload "+other, "Model "+other+" is to stop; remove it")
	printed(t, server, "model unload m", "Model m is to stop; remove it")
	printed(t, server, "model unload "+id+" -o json", `"status": "unloading_triggered"`)
	printed(t, server, "scale --id "+id+" --replicas 3", "Model m is to run with 3 replicas, and not 1")
	printed(t, server, "scale --id "+id+" --replicas 3 -o jsonpath=$.request_id", id)
	printed(t, server, "scale --id "+id+" --replicas 3 --dry-run", "Nothing is changed (dry run)")
	printed(t, server, "scale --id "+other+" --replicas 3", "Model "+other+" is to run with 3 replicas")
	printed(t, server, "model load --name acme/m --uid m", "Model m is to be loaded", `"request_id": "`+id+`"`, `"status": "pending"`)
	printed(t, server, "model load --name acme/m --uid m -o jsonpath=$.request_id", id)
	for line, want := range map[string]int{
		"model unload ffffffff-7d0f-4c5e-9f6c-6f1b2d3a4e5f": 3, "scale --id ffffffff-7d0f-4c5e-9f6c-6f1b2d3a4e5f --replicas 2": 3, "scale --id " + id: 2,
		"model load --name acme/m": 2, "model load --uid m": 2, "model load --name a --uid b --replicas -1": 2, "model unload": 2,
	} {
		if code, _, errs := terminal(t.Context(), t, server, strings.Fields(line)...); code != want {
			t.Errorf("%s: exit %d, want %d: %s", line, code, want, errs)
		}
	}
}

// TestOld_load: every flag of the old command is in what is sent.
func TestOld_load(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got map[string]any
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewDecoder(r.Body).Decode(&got) // what is wrong is not as wanted
		_, _ = io.WriteString(w, `{"request_id":"x","status":"pending"}`)
	})
	printed(t, server, "model load --name acme/m --uid m --replicas 2 --required-vram-mb 16000 --tensor-parallel-size 4 --gpu-memory-utilization 0.9 --max-model-len 8192 --lora a,b", "pending")
	mu.Lock()
	defer mu.Unlock()
	config, _ := got["config"].(map[string]any)
	if got["model_uid"] != "m" || got["replicas"] != 2. || config["tensor_parallel_size"] != 4. || config["required_vram_mb"] != 16000. || config["max_model_len"] != 8192. || len(config["lora_modules"].([]any)) != 2 {
		t.Errorf("%v", got)
	}
}

// TestOld_serverLog: without a uid it is the server's own log, and what is logged from then on.
func TestOld_serverLog(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/logs", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "old lines="+r.URL.Query().Get("lines")+"\n")
	})
	mux.HandleFunc("GET /v1/admin/logs/stream", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": alive\n\ndata: one\n\ndata: two \x1b[31m\n\n")
	})
	for line, want := range map[string]struct {
		code int
		out  string
	}{
		"logs": {0, "old lines=\n"}, "logs --lines 7": {0, "old lines=7\n"}, "logs --tail 7": {0, "old lines=7\n"},
		"logs -f": {1, "one\ntwo [31m\n"}, "logs --lines 7 --follow": {1, "old lines=7\none\ntwo [31m\n"}, // the stream ends, which a log never does
		"logs --lines 0": {2, ""}, "logs --lines -1": {2, ""}, "logs --lines x": {2, ""}, "logs --node n1": {2, ""}, "logs --replica 1": {2, ""}, "logs a b": {2, ""},
	} {
		code, out, errs := terminal(t.Context(), t, mux, strings.Fields(line)...)
		if code != want.code || out != want.out {
			t.Errorf("%s: exit %d, %q, %q; want %d, %q", line, code, out, errs, want.code, want.out)
		}
	}
}
