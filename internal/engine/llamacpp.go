package engine

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How a llama-server is cut when the model does not say.
const (
	// defaultContext bounds the context of one slot: models are trained for 128k tokens and more, and their KV cache at
	// that length is larger than the model. It is lowered to the length that the model was trained for.
	defaultContext = 8192
	// maxSlots is how many requests run at once on GPUs; without one, it is bounded by the cores.
	maxSlots = 4
	// promptCacheMiB bounds the host memory for evicted prompts; the engine's own default is 8192 for each process.
	promptCacheMiB = 512
)

// portLine is what llama-server logs once it listens, after the model is loaded.
const portLine = `listening on http://127\.0\.0\.1:(\d+)`

// planLlamaCPP plans a llama-server. Its -c is the total over all slots, so one slot gets max_model_len. It takes a free
// port itself (--port 0) and logs it. --fit off: what to load and where is decided by the plan, not by the engine.
func planLlamaCPP(in Input, extra []arg) (Launch, error) {
	loras, err := adapters(in.Config.LoRAModules)
	if err != nil {
		return Launch{}, err
	}
	slots := llamaSlots(in, extra)
	each := llamaContext(in)
	b := argv{extra: extra, out: []string{
		in.Binary, "-m", in.Path, "--host", "127.0.0.1", "--port", "0", "-a", in.ServedName,
		"--metrics", "--offline", "--no-webui", "-lv", "4",
	}}
	b.set("-c", strconv.Itoa(each*slots))
	b.set("-np", strconv.Itoa(slots))
	if in.Cores > 0 {
		b.out = append(b.out, "-t", strconv.Itoa(in.Cores))
	}
	b.set("--poll", "0") // idle threads spin otherwise
	if len(in.GPUs) == 0 {
		b.out = append(b.out, "-ngl", "0")
	} else {
		b.set("-ngl", "999") // all layers; a number is understood by every version
	}
	b.set("--fit", "off")
	b.set("-cram", strconv.Itoa(promptCacheMiB))
	b.out = append(b.out, "--sse-ping-interval", "5") // also bounds how long an open stream delays a stop
	if in.Embedding {
		pooling := in.Pooling
		if pooling == "" || pooling == "none" { // without pooling a chat request ends the process
			pooling = "mean"
		}
		b.out = append(b.out, "--embeddings")
		b.set("--pooling", pooling)
		b.set("-b", strconv.Itoa(each)) // an input longer than the batch is refused
		b.set("-ub", strconv.Itoa(each))
	} else {
		b.set("--jinja", "")
	}
	if in.MMProj != "" {
		b.out = append(b.out, "--mmproj", in.MMProj)
	}
	if len(loras) > 0 {
		var paths []string
		for _, l := range loras {
			paths = append(paths, l.path)
		}
		b.out = append(b.out, "--lora", strings.Join(paths, ","))
	}
	return Launch{
		Argv: b.done(),
		// No debugger is attached to a crashing engine: it would delay the restart by minutes.
		Env:       environ(in, "GGML_NO_BACKTRACE=1", "LLAMA_ARG_OFFLINE=1"),
		PortMode:  PortFromLog,
		PortLog:   regexp.MustCompile(portLine),
		Ready:     Probe{Path: "/health", Every: 100 * time.Millisecond, Timeout: time.Second, Failures: 2},
		Live:      Probe{Path: "/health", Every: time.Second, Timeout: time.Second, Failures: 2},
		Stop:      []TimedSignal{{"TERM", 0}, {"TERM", 2 * time.Second}}, // the second one ends it at once
		KillAfter: 5 * time.Second,
		OKExit:    []int{0, 1, statusTERM}, // 1 after the second TERM; by the signal while it loads
	}, nil
}

func llamaSlots(in Input, extra []arg) int {
	if i := slices.IndexFunc(extra, func(a arg) bool { return a.name == "-np" }); i >= 0 {
		if n, err := strconv.Atoi(extra[i].value); err == nil && n > 0 {
			return min(n, 1024)
		}
	}
	if len(in.GPUs) == 0 && in.Cores > 0 {
		return min(maxSlots, in.Cores)
	}
	return maxSlots
}

// llamaContext is the context of one slot, in tokens.
func llamaContext(in Input) int {
	if n := in.Config.MaxModelLen; n != nil {
		return int(*n)
	}
	if in.TrainedContext > 0 {
		return min(in.TrainedContext, defaultContext)
	}
	return defaultContext
}
