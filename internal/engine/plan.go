package engine

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Limits that every engine shares.
const (
	stallTimeout = 5 * time.Minute
	startTimeout = time.Hour
	statusTERM   = 128 + 15 // [Exit.Status] of a process that SIGTERM ended
	statusKILL   = 128 + 9
)

// Plan returns the process that serves in.Path with the engine kind, or an *api.Error that says what is wrong with the
// input. Nebula's own flags come first and are never overridden by the extra arguments.
func Plan(kind string, in Input) (Launch, error) {
	if err := check(in); err != nil {
		return Launch{}, err
	}
	extra, err := parseExtra(kind, in.ExtraArgs)
	if err != nil {
		return Launch{}, err
	}
	var l Launch
	switch kind {
	case api.EngineLlamaCPP:
		l, err = planLlamaCPP(in, extra)
	case api.EngineVLLM:
		l, err = planVLLM(in, extra)
	case api.EngineSGLang:
		l, err = planSGLang(in, extra)
	default:
		err = invalid("engine %q is unknown: use one of %s", kind, strings.Join(api.Engines(), ", "))
	}
	if err != nil {
		return Launch{}, err
	}
	l.Engine, l.ServedName = kind, in.ServedName
	l.StallTimeout, l.StartTimeout = stallTimeout, startTimeout
	return l, nil
}

func invalid(format string, args ...any) error {
	return api.Errorf(api.CodeInvalidRequest, format, args...)
}

// check refuses what would change the meaning of a command line.
func check(in Input) error {
	for _, f := range []struct{ what, path string }{{"the engine's executable", in.Binary}, {"the model's path", in.Path}, {"the projector's path", in.MMProj}} {
		if f.path == "" && f.what == "the projector's path" {
			continue
		}
		if !path.IsAbs(f.path) || hasControl(f.path) {
			return invalid("%s must be an absolute path, not %q", f.what, f.path)
		}
	}
	if !api.KnownUID(in.ServedName) {
		return invalid("%q cannot be the served name of a model: use letters, digits, \".\", \"_\" and \"-\"", in.ServedName)
	}
	if tp := in.Config.TensorParallelSize; tp != nil && len(in.GPUs) > 0 && int(*tp) > len(in.GPUs) {
		return invalid("tensor_parallel_size is %d, but the replica has %d GPU(s): lower it or give the model more GPUs", *tp, len(in.GPUs))
	}
	if !slices.Contains([]string{"", "none", "mean", "cls", "last", "rank"}, in.Pooling) {
		return invalid("pooling %q is unknown: use mean, cls or last", in.Pooling)
	}
	return nil
}

// adapter is a LoRA adapter: "name=/path" or "/path", whose name is then the file's.
type adapter struct{ name, path string }

func adapters(modules []string) ([]adapter, error) {
	var out []adapter
	for _, m := range modules {
		name, file, named := strings.Cut(m, "=")
		if !named {
			name, file = strings.TrimSuffix(path.Base(m), ".gguf"), m
		}
		if !path.IsAbs(file) || hasControl(file) || strings.Contains(file, ",") {
			return nil, invalid("LoRA adapter %q must be NAME=/absolute/path or /absolute/path on the node, without a comma", m)
		}
		if !api.KnownUID(name) {
			return nil, invalid("LoRA adapter %q needs a name of letters, digits, \".\", \"_\" and \"-\": write NAME=%s", m, file)
		}
		out = append(out, adapter{name, file})
	}
	return out, nil
}

// tensorParallel is over how many GPUs a layer is split: what the model says, else all of the replica's GPUs.
func tensorParallel(in Input) int {
	if tp := in.Config.TensorParallelSize; tp != nil {
		return int(*tp)
	}
	return max(1, len(in.GPUs))
}

// utilization is the share of a GPU's memory that an engine takes, whatever the model needs. It is always passed, so that
// what a replica reserves is known.
func utilization(in Input, standard float32) string {
	u := standard
	if v := in.Config.GPUMemoryUtilization; v != nil {
		u = *v
	}
	return strconv.FormatFloat(float64(u), 'g', -1, 32)
}

// needPort checks the port of an engine that cannot choose one itself.
func needPort(in Input) (string, error) {
	if in.Port < 1 || in.Port > 65535 {
		return "", invalid("port %d is not a port: this engine needs a reserved one", in.Port)
	}
	return strconv.Itoa(in.Port), nil
}

// InheritedEnv lists the environment variables that an engine may inherit from the node. All others stay behind: they
// may carry secrets or change what an engine loads (LD_PRELOAD, PYTHONPATH, HF_TOKEN).
func InheritedEnv() []string {
	return []string{
		"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME",
		"LD_LIBRARY_PATH", "CUDA_HOME", "ROCM_PATH", "HSA_OVERRIDE_GFX_VERSION",
	}
}

// Inherited returns what of the node's environment an engine may inherit.
func Inherited(base []string) []string {
	var env []string
	for _, key := range InheritedEnv() {
		i := slices.IndexFunc(base, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
		if i >= 0 && !strings.ContainsRune(base[i], 0) {
			env = append(env, base[i])
		}
	}
	return env
}

// environ returns the complete environment: what may be inherited, the GPUs, and the engine's own.
func environ(in Input, own ...string) []string {
	env := Inherited(in.BaseEnv)
	if cache, _, found := strings.Cut(in.Path, "/models--"); found { // what else a model refers to may be there too
		env = append(env, "HF_HUB_CACHE="+cache)
	}
	return append(append(env, gpuEnv(in.GPUs)...), own...)
}

// gpuEnv shows an engine its own GPUs and no other. Without GPUs it sees none, else some builds would use them for
// prompts even with no layer on them.
func gpuEnv(gpus []GPU) []string {
	order := "CUDA_DEVICE_ORDER=PCI_BUS_ID"
	if len(gpus) == 0 {
		return []string{order, "CUDA_VISIBLE_DEVICES=", "HIP_VISIBLE_DEVICES=", "GGML_VK_VISIBLE_DEVICES="}
	}
	byUUID := !slices.ContainsFunc(gpus, func(g GPU) bool { return g.UUID == "" || g.Vendor == "amd" })
	var names []string
	for _, g := range gpus {
		if byUUID {
			names = append(names, g.UUID)
		} else {
			names = append(names, strconv.FormatUint(uint64(g.Index), 10))
		}
	}
	list := strings.Join(names, ",")
	if gpus[0].Vendor == "amd" {
		return []string{"HIP_VISIBLE_DEVICES=" + list}
	}
	return []string{order, "CUDA_VISIBLE_DEVICES=" + list}
}

// pythonEnv is what the engines written in Python share: no network, no telemetry, output at once, and an environment
// that stays readable under /proc, because adoption goes by it (SPT_NOENV keeps setproctitle from overwriting it).
func pythonEnv(in Input) []string {
	env := []string{
		"HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "HF_HUB_DISABLE_TELEMETRY=1", "DO_NOT_TRACK=1",
		"PYTHONUNBUFFERED=1", "NO_COLOR=1", "SPT_NOENV=1",
	}
	if in.Cores > 0 {
		env = append(env, "OMP_NUM_THREADS="+strconv.Itoa(in.Cores))
	}
	return env
}

// withBinaryDir puts the folder of the executable in front of PATH: engines in a virtual environment look there for the
// tools they compile kernels with.
func withBinaryDir(env []string, binary string) []string {
	dir := path.Dir(binary)
	for i, kv := range env {
		if rest, ok := strings.CutPrefix(kv, "PATH="); ok {
			env[i] = "PATH=" + dir + ":" + rest
			return env
		}
	}
	return append(env, "PATH="+dir)
}

// atLeast tells whether a version like "0.18.1" or "v0.18.0rc1" is known and not older than major.minor.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(strings.TrimPrefix(strings.TrimSpace(version), "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor)) >= 0)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
