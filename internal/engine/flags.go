package engine

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// A model may pass an engine only flags that are listed here, because a flag can open a port, read any file of the node or
// run code from the model's folder. The list names what tunes and nothing that takes a path or an address; what Nebula
// sets itself is not on it, so no spelling of it gets through.

// valueKind is what may follow a flag.
type valueKind int

const (
	none   valueKind = iota // a switch
	number                  // may be negative
	word                    // no slash and no space: never a path
	object                  // a JSON object
)

// flagRule is one flag with all its spellings; the first is the name under which the planner knows it.
type flagRule struct {
	names []string
	kind  valueKind
}

func flagRules(kind valueKind, lines ...string) []flagRule {
	var out []flagRule
	for _, l := range lines {
		out = append(out, flagRule{strings.Fields(l), kind})
	}
	return out
}

// allowed returns the flags that a model may set for an engine.
func allowed(engine string) []flagRule {
	switch engine {
	case api.EngineLlamaCPP:
		return slices.Concat(
			flagRules(none, "--swa-full", "--jinja --no-jinja", "--rerank --reranking", "--no-warmup --warmup", "--no-mmap", "--mlock",
				"-kvu --kv-unified -no-kvu --no-kv-unified", "-nkvo --no-kv-offload", "-nr --no-repack", "-cmoe --cpu-moe",
				"--context-shift --no-context-shift", "--cache-prompt --no-cache-prompt", "--no-mmproj-offload"),
			flagRules(number, "-np --parallel", "-b --batch-size", "-ub --ubatch-size", "-tb --threads-batch", "--poll", "--keep",
				"-n --predict --n-predict", "-cram --cache-ram", "-mg --main-gpu", "-ncmoe --n-cpu-moe", "--rope-scale", "--rope-freq-base",
				"--rope-freq-scale", "--yarn-orig-ctx", "--yarn-ext-factor", "--yarn-attn-factor", "--yarn-beta-slow", "--yarn-beta-fast",
				"--cache-reuse", "--reasoning-budget", "--temp --temperature", "--top-k", "--top-p", "--min-p", "--repeat-penalty",
				"--presence-penalty", "--frequency-penalty", "-s --seed", "--embd-normalize", "--image-min-tokens", "--image-max-tokens",
				"-ctxcp --ctx-checkpoints", "-sps --slot-prompt-similarity"),
			flagRules(word, "-fa --flash-attn", "-ctk --cache-type-k", "-ctv --cache-type-v", "-ngl --gpu-layers --n-gpu-layers", "-sm --split-mode",
				"-ts --tensor-split", "--rope-scaling", "--pooling", "--reasoning-format", "--chat-template", "--numa", "-lm --load-mode",
				"--fit -fit"),
		)
	case api.EngineVLLM:
		return slices.Concat(
			flagRules(none, "--enable-prefix-caching --no-enable-prefix-caching", "--enable-chunked-prefill --no-enable-chunked-prefill",
				"--enforce-eager", "--enable-expert-parallel", "--enable-auto-tool-choice", "--disable-log-requests", "--disable-custom-all-reduce",
				"--async-scheduling", "--disable-sliding-window"),
			flagRules(number, "--max-num-seqs", "--max-num-batched-tokens", "--swap-space", "--cpu-offload-gb", "--block-size", "--seed",
				"--pipeline-parallel-size -pp", "--max-loras", "--max-lora-rank", "--max-cpu-loras", "--rope-theta", "--max-logprobs"),
			flagRules(word, "--dtype", "--quantization -q", "--kv-cache-dtype", "--kv-cache-memory-bytes", "--tool-call-parser", "--reasoning-parser",
				"--chat-template-content-format", "--runner", "--convert", "--task", "--tokenizer-mode", "--config-format", "--generation-config",
				"--guided-decoding-backend"),
			flagRules(object, "--limit-mm-per-prompt", "--override-generation-config", "--rope-scaling"),
		)
	case api.EngineSGLang:
		return slices.Concat(
			flagRules(none, "--disable-cuda-graph", "--disable-radix-cache", "--enable-torch-compile", "--enable-mixed-chunk", "--enable-p2p-check",
				"--disable-custom-all-reduce", "--enable-dp-attention"),
			flagRules(number, "--max-running-requests", "--max-total-tokens", "--chunked-prefill-size", "--max-prefill-tokens",
				"--schedule-conservativeness", "--cuda-graph-max-bs", "--pp-size", "--ep-size", "--dp-size", "--random-seed", "--stream-interval",
				"--max-loras-per-batch", "--max-lora-rank", "--watchdog-timeout", "--page-size"),
			flagRules(word, "--dtype", "--quantization", "--kv-cache-dtype", "--schedule-policy", "--attention-backend", "--sampling-backend",
				"--grammar-backend", "--tool-call-parser", "--reasoning-parser"),
		)
	}
	return nil
}

// typedFlags are settings of the model's configuration that the existing Nebula's planner also wrote as vLLM flags, for
// every engine. They are taken from the configuration and dropped here, with their values.
var typedFlags = map[string]string{
	"--tensor-parallel-size": "tensor_parallel_size", "--gpu-memory-utilization": "gpu_memory_utilization",
	"--max-model-len": "max_model_len", "--lora-modules": "lora_modules", "--enable-lora": "",
}

// arg is one accepted flag.
type arg struct {
	name  string // the flag's first spelling in the table
	given string // as it is passed on
	value string
	has   bool // a value follows
}

// parseExtra reads extra arguments by the engine's table. "--a_b" and "--a=b" are read as "--a-b" and "--a b".
func parseExtra(engine string, extra []string) ([]arg, error) {
	rules := allowed(engine)
	var out []arg
	for i := 0; i < len(extra); i++ {
		name, value, joined := spell(extra[i])
		if !strings.HasPrefix(name, "-") {
			return nil, invalid("extra argument %q is not a flag: write each flag and each value as an item of its own", clip(extra[i]))
		}
		if field, ok := typedFlags[name]; ok {
			if field != "" && !joined {
				i++
			}
			continue
		}
		r := slices.IndexFunc(rules, func(r flagRule) bool { return slices.Contains(r.names, name) })
		if r < 0 {
			return nil, refuse(engine, name, rules)
		}
		a := arg{name: rules[r].names[0], given: name, has: rules[r].kind != none}
		switch {
		case a.has && joined:
			a.value = value
		case a.has:
			if i++; i == len(extra) {
				return nil, invalid("extra argument %q needs a value", name)
			}
			a.value = extra[i]
		case joined:
			return nil, invalid("extra argument %q takes no value", name)
		}
		if a.has && !fits(rules[r].kind, a.value) {
			return nil, invalid("the value %q of extra argument %q is not %s", clip(a.value), name, kindNames[rules[r].kind])
		}
		if slices.ContainsFunc(out, func(o arg) bool { return o.name == a.name }) {
			return nil, invalid("extra argument %q is given twice", name)
		}
		out = append(out, a)
	}
	return out, nil
}

// spell splits "--name=value" and writes the name as the tables do.
func spell(s string) (name, value string, joined bool) {
	name, value, joined = strings.Cut(s, "=")
	if strings.HasPrefix(name, "--") {
		name = strings.ReplaceAll(name, "_", "-")
	}
	return name, value, joined
}

var kindNames = map[valueKind]string{
	number: "a number", object: "a JSON object",
	word: "a plain word (letters, digits and . _ , : + -, not starting with \"-\")",
}

var (
	numberForm = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$`)
	wordForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.,:+-]*$`)
)

func fits(kind valueKind, v string) bool {
	if len(v) > 4096 {
		return false
	}
	switch kind {
	case number:
		return numberForm.MatchString(v)
	case word:
		return wordForm.MatchString(v)
	case object:
		var m map[string]any
		return json.Unmarshal([]byte(v), &m) == nil && m != nil && !hasControl(v)
	}
	return false
}

// refuse says why a flag is not accepted, and which are.
func refuse(engine, name string, rules []flagRule) error {
	for _, own := range ownFlags(engine) {
		if name == own || strings.HasPrefix(name, "--") && len(name) > 3 && strings.HasPrefix(own, name) {
			return invalid("extra argument %q is set by Nebula itself: leave it out", clip(name))
		}
	}
	var names []string
	for _, r := range rules {
		names = append(names, r.names[0])
	}
	slices.Sort(names)
	return invalid("extra argument %q is not one that a model may set for %s; these are: %s", clip(name), engine, strings.Join(names, " "))
}

// ownFlags are the flags that Nebula sets, for a better message; what is refused is everything that is not allowed.
func ownFlags(engine string) []string {
	shared := []string{"--host", "--port", "--api-key", "--served-model-name", "--root-path", "--model", "--config", "--load-format", "--middleware"}
	switch engine {
	case api.EngineLlamaCPP:
		return append(shared, "-m", "-a", "--alias", "-c", "--ctx-size", "-t", "--threads", "-lv", "--verbosity", "--log-verbosity",
			"--metrics", "--offline", "--no-webui", "--sse-ping-interval", "--embeddings", "--embedding", "--mmproj", "-mm", "--lora")
	case api.EngineSGLang:
		return append(shared, "--model-path", "--tp-size", "--tp", "--mem-fraction-static", "--context-length", "--enable-metrics",
			"--enable-cache-report", "--is-embedding", "--lora-paths", "--device")
	}
	return append(shared, "--enable-prompt-tokens-details", "--disable-access-log-for-endpoints")
}

// argv builds a command line in which each flag stands once: an extra argument takes the place of Nebula's default.
type argv struct {
	out   []string
	extra []arg
}

// set adds a default, unless an extra argument sets the flag. An empty value makes a switch.
func (b *argv) set(name, value string) {
	if slices.ContainsFunc(b.extra, func(a arg) bool { return a.name == name }) {
		return
	}
	b.out = append(b.out, name)
	if value != "" {
		b.out = append(b.out, value)
	}
}

func (b *argv) done() []string {
	for _, a := range b.extra {
		b.out = append(b.out, a.given)
		if a.has {
			b.out = append(b.out, a.value)
		}
	}
	return b.out
}

// clip shortens hostile input for a message.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
