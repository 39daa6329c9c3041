package engine

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/nebula-serve/nebula/api"
)

// Binaries lists the executables by which an engine is found on a node's PATH, the best first. A Python interpreter
// alone proves nothing, so an SGLang without its own command must be named by its path.
func Binaries(kind string) []string {
	switch kind {
	case api.EngineLlamaCPP:
		return []string{"llama-server"}
	case api.EngineVLLM:
		return []string{"vllm"}
	case api.EngineSGLang:
		return []string{"sglang"}
	}
	return nil
}

// Install says in one sentence how a node gets an engine.
func Install(kind string) string {
	switch kind {
	case api.EngineLlamaCPP:
		return "Install llama.cpp so that llama-server is on the PATH of that node (apt install llama.cpp-tools, brew install llama.cpp, or a release from github.com/ggml-org/llama.cpp)."
	case api.EngineVLLM:
		return "Install vLLM on that node (uv pip install vllm, in a virtual environment whose bin folder is on the PATH); it needs a supported GPU."
	case api.EngineSGLang:
		return "Install SGLang on that node (uv pip install sglang, in a virtual environment whose bin folder is on the PATH); it needs a supported GPU."
	}
	return "Use one of the engines that Nebula runs."
}

// Gauge is what Nebula calls a figure that engines export under names of their own.
type Gauge string

// The figures. An engine that does not export one has none: it is absent, never 0.
const (
	RequestsRunning Gauge = "requests_running"
	RequestsWaiting Gauge = "requests_waiting"
	KVUsedRatio     Gauge = "kv_used_ratio" // 0 to 1
	PromptTokens    Gauge = "prompt_tokens_total"
	CachedTokens    Gauge = "prompt_tokens_cached_total"
	OutputTokens    Gauge = "generation_tokens_total"
	Preemptions     Gauge = "preemptions_total"
	// Heartbeat moves while the engine computes, also before a request has ended.
	Heartbeat Gauge = "heartbeat_total"
)

// Metrics maps each figure to the engine's own metric names on /metrics; where there are several, the first that is
// exported counts, because names change between versions. Values are summed over label sets.
func Metrics(kind string) map[Gauge][]string {
	switch kind {
	case api.EngineLlamaCPP: // prompt_tokens_total leaves cached tokens out; no figure for the KV cache
		return map[Gauge][]string{
			RequestsRunning: {"llamacpp:requests_processing"}, RequestsWaiting: {"llamacpp:requests_deferred"},
			PromptTokens: {"llamacpp:prompt_tokens_total"}, CachedTokens: {"llamacpp:prompt_tokens_cached_total"},
			OutputTokens: {"llamacpp:tokens_predicted_total"}, Heartbeat: {"llamacpp:n_decode_total"},
			KVUsedRatio: {"llamacpp:kv_cache_usage_ratio"},
		}
	case api.EngineVLLM:
		return map[Gauge][]string{
			RequestsRunning: {"vllm:num_requests_running"}, RequestsWaiting: {"vllm:num_requests_waiting"},
			KVUsedRatio:  {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"},
			PromptTokens: {"vllm:prompt_tokens_total"}, CachedTokens: {"vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"},
			OutputTokens: {"vllm:generation_tokens_total"}, Preemptions: {"vllm:num_preemptions_total"},
			Heartbeat: {"vllm:generation_tokens_total"},
		}
	case api.EngineSGLang:
		return map[Gauge][]string{
			RequestsRunning: {"sglang:num_running_reqs"}, RequestsWaiting: {"sglang:num_queue_reqs"}, KVUsedRatio: {"sglang:token_usage"},
			PromptTokens: {"sglang:prompt_tokens_total"}, CachedTokens: {"sglang:cached_tokens_total"},
			OutputTokens: {"sglang:generation_tokens_total"}, Preemptions: {"sglang:num_retracted_requests"},
			Heartbeat: {"sglang:generation_tokens_total"},
		}
	}
	return nil
}

var shards = regexp.MustCompile(`Loading .*checkpoint shards:\s+(\d+)% Completed`)

// Progress returns how much of the model is loaded, in percent, as the newest line that tells. llama-server does not.
func Progress(tail []string) (float64, bool) {
	for _, line := range slices.Backward(tail) {
		if m := shards.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			return float64(min(n, 100)), err == nil
		}
	}
	return 0, false
}
