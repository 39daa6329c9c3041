package engine

import (
	"strconv"
	"time"
)

// planVLLM plans a "vllm serve". It cannot take a free port itself. Its host is loopback, also for the sockets between
// its own processes (VLLM_HOST_IP), because those accept pickled objects from anybody who reaches them.
func planVLLM(in Input, extra []arg) (Launch, error) {
	port, err := needPort(in)
	if err != nil {
		return Launch{}, err
	}
	loras, err := adapters(in.Config.LoRAModules)
	if err != nil {
		return Launch{}, err
	}
	b := argv{extra: extra, out: []string{
		in.Binary, "serve", in.Path, "--served-model-name", in.ServedName, "--host", "127.0.0.1", "--port", port,
		"--tensor-parallel-size", strconv.Itoa(tensorParallel(in)),
	}}
	if len(in.GPUs) > 0 {
		b.out = append(b.out, "--gpu-memory-utilization", utilization(in, 0.9))
	}
	if n := in.Config.MaxModelLen; n != nil {
		b.out = append(b.out, "--max-model-len", strconv.FormatUint(uint64(*n), 10))
	}
	b.out = append(b.out, "--enable-prompt-tokens-details") // cached tokens appear in usage
	if atLeast(in.Version, 0, 16) {
		b.out = append(b.out, "--disable-access-log-for-endpoints", "/health,/metrics")
	}
	if in.Embedding {
		b.set("--runner", "pooling")
	}
	if len(loras) > 0 {
		b.out = append(b.out, "--enable-lora", "--lora-modules")
		for _, l := range loras { // one argument each
			b.out = append(b.out, l.name+"="+l.path)
		}
	}
	own := append(pythonEnv(in), "VLLM_NO_USAGE_STATS=1", "VLLM_HOST_IP=127.0.0.1")
	return Launch{
		Argv:      b.done(),
		Env:       withBinaryDir(environ(in, own...), in.Binary),
		PortMode:  PortReserved,
		Port:      in.Port,
		Ready:     Probe{Path: "/health", Every: 500 * time.Millisecond, Timeout: 2 * time.Second, Failures: 2},
		Live:      Probe{Path: "/health", Every: time.Second, Timeout: 2 * time.Second, Failures: 2},
		Stop:      []TimedSignal{{"TERM", 0}},
		KillAfter: 15 * time.Second,
		OKExit:    []int{0, statusTERM},
	}, nil
}
