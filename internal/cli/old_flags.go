package cli

import (
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
)

// oldFlags knows flags by the names that the existing Nebula and its documents have for them.
func oldFlags(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if now, ok := renamed[name]; ok {
		name = now
	}
	return pflag.NormalizedName(name)
}

// renamed are the flags of the existing Nebula that have another name here, and the same meaning.
var renamed = map[string]string{
	"gateway-url": "server", "listen-addr": "listen", "etcd-endpoint": "etcd-endpoints", "tensor-parallel-size": "tensor-parallel",
	"vllm-model-dir": "model-dir", "sglang-model-dir": "model-dir", "vllm-hf-endpoint": "hf-endpoint",
}

// Daemons of the existing Nebula, by whose command lines ours are started.
const (
	oldBFF       = "bff"
	oldGateway   = "gateway"
	oldRouter    = "router"
	oldScheduler = "scheduler"
	oldNode      = "node"
	oldApart     = "apart" // from the servers: any of them
)

// oldOption is a flag, or a variable, of the existing Nebula that has no effect here, so that a command line or a unit that has it still starts.
type oldOption struct {
	flag string   // "" = there is only a variable
	env  []string // beside NEBULA_ and the flag's name
	of   string   // the daemons that had it
	now  string   // what to do instead
}

// What many old options come to.
const (
	nowOneProcess = "API, gateway, router and scheduler are one process here, and find each other by themselves"
	nowNoTraces   = "metrics are at /metrics and the audit log in the store; no other product is asked"
	nowUsers      = "users and sessions are kept in the store; no database is needed"
	nowServers    = "only servers talk to etcd: name them with --server"
	nowPorts      = "an engine takes a free port by itself, and only its own machine reaches it there"
	nowHealth     = "a node and its engines are watched by limits that need no setting; see nebula model explain"
	nowConfig     = "engines are configured with the model: nebula model create --help"
	nowEngines    = "engines are found on the PATH; see nebula node --help"
	nowLimits     = "the limit is fixed"
)

func oldOptions() []oldOption {
	return []oldOption{
		{"router-url", nil, "bff gateway", nowOneProcess},
		{"bff-url", nil, "gateway", nowOneProcess},
		{"database-url", []string{"BFF_DATABASE_URL"}, "bff", nowUsers},
		{"session-ttl-hours", []string{"BFF_SESSION_TTL_HOURS"}, "bff", "a session lasts 12 hours"},
		{"xtrace-url", []string{"OBSERVE_URL", "XTRACE_URL"}, "bff gateway router scheduler node", nowNoTraces},
		{"xtrace-token", []string{"OBSERVE_TOKEN", "XTRACE_TOKEN"}, "bff gateway router scheduler node", nowNoTraces},
		{"xtrace-auth-mode", []string{"OBSERVE_AUTH_MODE"}, "bff", nowNoTraces},
		{"log-path", []string{"NEBULA_GATEWAY_LOG_PATH"}, "gateway", "the log goes to standard error"},
		{"engine-model", nil, "gateway", "each request names its model"},
		{"model-uid", nil, "router", "each request names its model"},
		{"routing-strategy", nil, "router", "the replica with the fewest requests in flight is chosen"},
		{"default-node-id", nil, "scheduler", "the scheduler looks at all nodes"},
		{"default-port", nil, "scheduler", nowPorts},
		{"", []string{"NEBULA_AUTH_RATE_LIMIT_PER_MINUTE"}, "gateway router", nowLimits},
		{"", []string{"NEBULA_GATEWAY_MAX_REQUEST_BODY_BYTES", "NEBULA_ROUTER_MAX_REQUEST_BODY_BYTES"}, "gateway router", nowLimits},
		{"", []string{"NEBULA_ROUTER_RETRY_MAX", "NEBULA_ROUTER_RETRY_BACKOFF_MS", "NEBULA_ROUTE_CIRCUIT_FAILURE_THRESHOLD", "NEBULA_ROUTE_CIRCUIT_OPEN_MS"}, "router", nowLimits},
		{"", []string{"NEBULA_ROUTE_STATS_MAX_AGE_MS", "NEBULA_XTRACE_METRIC_MAX_AGE_MS"}, "router scheduler", nowNoTraces},
		{"etcd-endpoints", nil, "apart", nowServers},
		{"heartbeat-ttl-ms", nil, "node", nowHealth},
		{"heartbeat-interval-ms", nil, "node", nowHealth},
		{"ready-timeout-secs", nil, "node", nowHealth},
		{"api-port", nil, "node", "gateways reach the node at --listen"},
		{"engine-env-path", nil, "node", nowConfig},
		{"vllm-bin", nil, "node", nowEngines},
		{"vllm-cwd", nil, "node", nowEngines},
		{"vllm-host", nil, "node", nowPorts},
		{"vllm-port", nil, "node", nowPorts},
		{"vllm-config", nil, "node", nowConfig},
		{"vllm-docker-image", nil, "node", nowEngines},
		{"vllm-use-modelscope", nil, "node", "each model has its source: nebula model create --source"},
		{"vllm-gpu-memory-utilization", nil, "node", nowConfig},
		{"vllm-swap-space", nil, "node", nowConfig},
		{"vllm-max-model-len", nil, "node", nowConfig},
		{"vllm-max-num-batched-tokens", nil, "node", nowConfig},
		{"vllm-max-num-seqs", nil, "node", nowConfig},
		{"vllm-tensor-parallel-size", nil, "node", nowConfig},
		{"sglang-bin", nil, "node", nowEngines},
		{"sglang-cwd", nil, "node", nowEngines},
		{"sglang-host", nil, "node", nowPorts},
		{"sglang-docker-image", nil, "node", nowEngines},
		{"sglang-tensor-parallel-size", nil, "node", nowConfig},
		{"sglang-data-parallel-size", nil, "node", nowConfig},
		{"sglang-mem-fraction", nil, "node", nowConfig},
		{"sglang-max-running-requests", nil, "node", nowConfig},
		{"", []string{"VIRTUAL_ENGINE_TARGET", "VIRTUAL_ENGINE_KEY"}, "node", "models of other providers are not passed on"},
	}
}

// unused takes any value, and keeps none: it may be a secret.
type unused struct{}

func (unused) String() string   { return "" }
func (unused) Set(string) error { return nil }
func (unused) Type() string     { return "value" }

// old adds the flags of old daemons that a command stands for, and that have no effect, where it has none of that name.
func (r *runner) old(f *pflag.FlagSet, daemons ...string) {
	r.stands = daemons
	for _, o := range oldOptions() {
		if o.flag == "" || !o.isOf(daemons) || f.Lookup(o.flag) != nil {
			continue
		}
		flag := f.VarPF(unused{}, o.flag, "", o.now)
		flag.Hidden = true
		if o.flag == "vllm-use-modelscope" {
			flag.NoOptDefVal = "true"
		}
		_ = f.SetAnnotation(o.flag, alsoEnv, o.env) // it was just made: it cannot fail
	}
}

func (o *oldOption) isOf(daemons []string) bool {
	for _, d := range daemons {
		for of := range strings.FieldsSeq(o.of) {
			if of == d {
				return true
			}
		}
	}
	return false
}

// sayOld tells, once for each, which options have no effect, and what has taken their place. It says nothing of their values.
func (r *runner) sayOld(f *pflag.FlagSet, getenv func(string) string, log *slog.Logger) {
	for _, o := range oldOptions() {
		if !o.isOf(r.stands) {
			continue
		}
		name := ""
		for _, env := range o.env {
			if name == "" && getenv(env) != "" {
				name = env
			}
		}
		if flag := f.Lookup(o.flag); name == "" && flag != nil && flag.Changed && flag.Hidden {
			name = "--" + o.flag
		}
		if name != "" {
			log.Warn("an option of the existing nebula has no effect", "option", name, "instead", o.now)
		}
	}
}

// oldTokens are the static tokens of the existing Nebula: those of NEBULA_AUTH_TOKENS or, without it, the three that its console knew before.
func oldTokens(getenv func(string) string) string {
	if all := getenv("NEBULA_AUTH_TOKENS"); all != "" {
		return all
	}
	var out []string
	for _, role := range []string{"admin", "operator", "viewer"} {
		if token := getenv("BFF_" + strings.ToUpper(role) + "_TOKEN"); token != "" {
			out = append(out, token+":"+role)
		}
	}
	return strings.Join(out, ",")
}
