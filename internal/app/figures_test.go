package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// llamaMetrics is what llama-server b6k prints on /metrics, in part.
const llamaMetrics = `# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
# HELP llamacpp:tokens_predicted_total Number of generation tokens processed.
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 34
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
# HELP llamacpp:requests_deferred Number of requests deferred.
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 0
`

const vllmMetrics = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1e+06
`

// TestFigures_ofEngines: what an engine exports is taken, and what it does not is absent.
func TestFigures_ofEngines(t *testing.T) {
	t.Parallel()
	show := func(f api.ReplicaFigures) string {
		var out []string
		for _, v := range []*float64{f.RequestsRunning, f.RequestsWaiting, f.KVUsedRatio, f.PromptTokensTotal, f.PromptTokensCachedTotal, f.OutputTokensTotal} {
			if v == nil {
				out = append(out, "-")
			} else {
				out = append(out, fmt.Sprint(*v))
			}
		}
		return strings.Join(out, " ")
	}
	for name, tt := range map[string]struct {
		kind, page string
		status     int
		want, why  string
	}{
		"llama.cpp":       {api.EngineLlamaCPP, llamaMetrics, 200, "1 0 - 12 - 34", ""},
		"vLLM, two ranks": {api.EngineVLLM, vllmMetrics, 200, "5 - 0.5 1e+06 - -", ""},
		"of another kind": {api.EngineSGLang, vllmMetrics, 200, "- - - - - -", ""},
		"unknown kind":    {"other", llamaMetrics, 200, "- - - - - -", ""},
		"nothing":         {api.EngineVLLM, "", 200, "- - - - - -", ""},
		"no numbers":      {api.EngineVLLM, "vllm:num_requests_running NaN\nvllm:num_requests_waiting -1\nvllm:kv_cache_usage_perc +Inf\n", 200, "- - - - - -", ""},
		"no metrics":      {api.EngineVLLM, "<html>", 200, "- - - - - -", "cannot be read"},
		"an error":        {api.EngineVLLM, vllmMetrics, 503, "- - - - - -", "status 503"},
		"far too much":    {api.EngineVLLM, vllmMetrics + strings.Repeat("# HELP x y\n", maxFigureBytes/10) + "x", 200, "- - - - - -", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/base/metrics" {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(tt.status)
				_, _ = fmt.Fprint(w, tt.page) // the reader may have had enough
			}))
			defer engine.Close()
			base := engine.URL + "/base/"
			f := newFigures(&server{localNode: "n1"})
			got := f.askOne(t.Context(), f.way("n1"), &api.EndpointInfo{ModelUID: "m", NodeID: "n1", EngineType: tt.kind, BaseURL: &base})
			if show(got) != tt.want || !strings.Contains(got.Failure, tt.why) || (tt.why == "") != (got.Failure == "") {
				t.Errorf("%s, %q", show(got), got.Failure)
			}
		})
	}
}

// TestFigures_address: nothing but an engine of this machine is asked directly.
func TestFigures_address(t *testing.T) {
	t.Parallel()
	f := newFigures(&server{localNode: "n1"})
	for base, ok := range map[string]bool{
		"http://127.0.0.1:9": true, "http://[::1]:9/x": true, "http://10.0.0.1:9": false, "https://127.0.0.1:9": false, "http://u:p@127.0.0.1:9": false,
		"http://example.com": false, "": false, "::": false,
	} {
		if _, err := f.address(&api.EndpointInfo{NodeID: "n1", BaseURL: &base}); (err == nil) != ok {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := f.address(&api.EndpointInfo{NodeID: "n1"}); err == nil {
		t.Error("an engine without an address is asked")
	}
	if got := f.askOne(context.Background(), f.way("n2"), &api.EndpointInfo{NodeID: "n2"}); !strings.Contains(got.Failure, "no address") {
		t.Errorf("a node without an address: %+v", got)
	}
}
