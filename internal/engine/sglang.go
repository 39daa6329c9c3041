package engine

import (
	"path"
	"strconv"
	"strings"
	"time"
)

// planSGLang plans an SGLang server. It is started by its own command, or as a module where in.Binary is a Python
// interpreter. Every option has SGLang's own spelling: it ends at once when it meets one of vLLM's.
func planSGLang(in Input, extra []arg) (Launch, error) {
	port, err := needPort(in)
	if err != nil {
		return Launch{}, err
	}
	loras, err := adapters(in.Config.LoRAModules)
	if err != nil {
		return Launch{}, err
	}
	start := []string{in.Binary, "serve"}
	if strings.HasPrefix(path.Base(in.Binary), "python") {
		start = []string{in.Binary, "-m", "sglang.launch_server"}
	}
	b := argv{extra: extra, out: append(start,
		"--model-path", in.Path, "--served-model-name", in.ServedName, "--host", "127.0.0.1", "--port", port,
		"--tp-size", strconv.Itoa(tensorParallel(in)),
	)}
	if len(in.GPUs) > 0 {
		b.out = append(b.out, "--mem-fraction-static", utilization(in, 0.85))
	} else {
		b.out = append(b.out, "--device", "cpu")
	}
	if n := in.Config.MaxModelLen; n != nil {
		b.out = append(b.out, "--context-length", strconv.FormatUint(uint64(*n), 10))
	}
	b.out = append(b.out, "--enable-metrics", "--enable-cache-report")
	if in.Embedding {
		b.out = append(b.out, "--is-embedding")
	}
	if len(loras) > 0 {
		b.out = append(b.out, "--lora-paths")
		for _, l := range loras {
			b.out = append(b.out, l.name+"="+l.path)
		}
	}
	return Launch{
		Argv:     b.done(),
		Env:      withBinaryDir(environ(in, pythonEnv(in)...), in.Binary),
		PortMode: PortReserved,
		Port:     in.Port,
		// Ready only when it has generated a token; that check may take 20 s inside the engine.
		Ready: Probe{Path: "/health_generate", Every: time.Second, Timeout: 25 * time.Second, Failures: 2},
		Live:  Probe{Path: "/health", Every: time.Second, Timeout: 2 * time.Second, Failures: 2},
		// The main process alone may get the signal: a signal to the group cuts every stream. It ends by killing its
		// own tree, so an end by KILL is normal.
		Stop:      []TimedSignal{{"TERM", 0}},
		KillAfter: 10 * time.Second,
		OKExit:    []int{0, statusTERM, statusKILL},
	}, nil
}
