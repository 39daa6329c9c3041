package cli

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
)

// TestRequestNamed is the rule for what may be a request's id or a uid.
func TestRequestNamed(t *testing.T) {
	t.Parallel()
	const id = "0b5d4b0e-7d0f-4c5e-9f6c-6f1b2d3a4e5f"
	requests := []api.ModelRequest{{ID: "written-by-hand"}, {ID: id, Request: api.ModelLoadRequest{ModelUID: "m"}}}
	for name, want := range map[string]bool{
		id: true, "00000000-0000-4000-8000-000000000001": false, "m": false, "written-by-hand": false, "": false, strings.ToUpper(id): false,
		"urn:uuid:" + id: false, "{" + id + "}": false, strings.ReplaceAll(id, "-", ""): false, id + " ": false,
	} {
		if r, ok := requestNamed(requests, name); ok != want || ok && r.Request.ModelUID != "m" {
			t.Errorf("%q is a request: %v, %+v", name, ok, r)
		}
	}
	if _, ok := requestNamed(nil, id); ok {
		t.Error("a request that there is not")
	}
}

// daemon parses a command line of a command that runs for long, in an environment, and starts nothing.
func daemon(t *testing.T, env map[string]string, args ...string) (*cobra.Command, error) {
	t.Helper()
	c := &command{env: Env{Getenv: func(name string) string { return env[name] }}}
	root := newRoot(c)
	cmd, rest, err := root.Find(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return cmd, err
	}
	return cmd, applyOptions(cmd.Flags(), c.env.Getenv)
}

func value(cmd *cobra.Command, flag string) string { return cmd.Flags().Lookup(flag).Value.String() }

// TestM14_flags: the flags of the daemons and those of their documents.
func TestM14_flags(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"server --listen-addr 0.0.0.0:9 --etcd-endpoint http://e:2379", "server --listen 0.0.0.0:9 --etcd-endpoints http://e:2379",
		"server --listen-addr=0.0.0.0:9 --etcd-endpoints=http://e:2379",
	} {
		cmd, err := daemon(t, nil, strings.Fields(args)...)
		if err != nil || value(cmd, "listen") != "0.0.0.0:9" || value(cmd, "etcd-endpoints") != "[http://e:2379]" {
			t.Errorf("%s: %v, %s %s", args, err, value(cmd, "listen"), value(cmd, "etcd-endpoints"))
		}
	}
	cmd, err := daemon(t, nil, "gateway", "--listen-addr", "0.0.0.0:9")
	if err != nil || value(cmd, "listen") != "0.0.0.0:9" {
		t.Errorf("gateway: %v, %s", err, value(cmd, "listen"))
	}
	if _, err := daemon(t, nil, "up", "--etcd-endpoint", "http://e:2379"); err == nil {
		t.Error("nebula up takes the address of an etcd that it does not use")
	}
}

// TestM13_tracesEnv: the two names of each variable are understood, and told to have no effect; so is everything else of the daemons.
func TestM13_tracesEnv(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{{"OBSERVE_URL", "XTRACE_URL"}, {"OBSERVE_TOKEN", "XTRACE_TOKEN"}} {
		for _, name := range names {
			told := said(t, map[string]string{name: "secret-value"}, oldBFF, "server")
			if strings.Count(told, "no effect") != 1 || !strings.Contains(told, name) || strings.Contains(told, "secret-value") {
				t.Errorf("%s: %s", name, told)
			}
		}
		both := said(t, map[string]string{names[0]: "a", names[1]: "b"}, oldBFF, "server")
		if strings.Count(both, "no effect") != 1 {
			t.Errorf("both of %v: %s", names, both)
		}
	}
}

// said is what the log has of a command's old options.
func said(t *testing.T, env map[string]string, stands string, args ...string) string {
	t.Helper()
	cmd, err := daemon(t, env, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	var log bytes.Buffer
	r := &runner{stands: strings.Fields(stands)}
	r.sayOld(cmd.Flags(), func(name string) string { return env[name] }, slog.New(slog.NewTextHandler(&log, nil)))
	return log.String()
}

// TestOld_daemons: the command lines of the existing Nebula's start script and documents.
func TestOld_daemons(t *testing.T) {
	t.Parallel()
	node := "node --node-id n1 --etcd-endpoint http://e:2379 --heartbeat-ttl-ms 60000 --heartbeat-interval-ms 3000 --ready-timeout-secs 1200 --api-port 9090 " +
		"--engine-env-path /tmp/e --vllm-bin vllm --vllm-cwd / --vllm-host 0.0.0.0 --vllm-docker-image v:1 --vllm-model-dir /DATA/Model --vllm-use-modelscope " +
		"--vllm-hf-endpoint https://mirror.example --vllm-gpu-memory-utilization 0.9 --vllm-swap-space 4 --vllm-max-num-batched-tokens 1 --vllm-max-num-seqs 1 " +
		"--vllm-tensor-parallel-size 1 --vllm-config c --vllm-port 1 --vllm-max-model-len 1 --sglang-bin s --sglang-cwd / --sglang-host h --sglang-docker-image s:1 " +
		"--sglang-tensor-parallel-size 1 --sglang-data-parallel-size 1 --sglang-mem-fraction 0.5 --sglang-max-running-requests 8 --log-format json"
	for _, c := range []struct {
		stands, line string
		told         int
	}{
		{oldBFF, "server --listen-addr 0.0.0.0:18090 --etcd-endpoint http://e:2379 --router-url http://r --database-url postgresql://u:p@h/d --session-ttl-hours 24 --xtrace-url http://x --xtrace-token t --xtrace-auth-mode service", 6},
		{oldGateway, "gateway --listen-addr 0.0.0.0:8081 --router-url http://r --log-path /tmp/g.log --engine-model m --xtrace-url x --xtrace-token t --log-format text --bff-url http://b", 6},
		{oldRouter, "gateway --listen-addr 0.0.0.0:18081 --model-uid m --routing-strategy least_pending", 2},
		{oldScheduler, "server --default-node-id n --default-port 10814 --listen-addr 0.0.0.0:18082 --xtrace-url x", 3},
		{oldNode + " " + oldApart, node, 27},
	} {
		told := said(t, nil, c.stands, strings.Fields(c.line)...)
		if strings.Count(told, "no effect") != c.told {
			t.Errorf("%s: %d told, want %d:\n%s", c.line, strings.Count(told, "no effect"), c.told, told)
		}
	}
	cmd, err := daemon(t, nil, strings.Fields(node)...)
	if err != nil || value(cmd, "model-dir") != "/DATA/Model" || value(cmd, "hf-endpoint") != "https://mirror.example" || value(cmd, "log-format") != "json" {
		t.Errorf("%v %s %s", err, value(cmd, "model-dir"), value(cmd, "hf-endpoint"))
	}
	if told := said(t, nil, "bff gateway router scheduler", "server"); told != "" {
		t.Errorf("without old options: %s", told)
	}
}

// TestOld_daemonsEnv: the variables of the daemons, and which of two holds.
func TestOld_daemonsEnv(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env        map[string]string
		line, flag string
		want       string
	}{
		"bff":           {map[string]string{"NEBULA_BFF_ADDR": "0.0.0.0:18090"}, "server", "listen", "0.0.0.0:18090"},
		"gateway":       {map[string]string{"NEBULA_GATEWAY_ADDR": "0.0.0.0:8081"}, "gateway", "listen", "0.0.0.0:8081"},
		"both in one":   {map[string]string{"NEBULA_GATEWAY_ADDR": "0.0.0.0:8081", "NEBULA_BFF_ADDR": "0.0.0.0:18090"}, "server", "listen", "0.0.0.0:8081"},
		"not its own":   {map[string]string{"NEBULA_BFF_ADDR": "0.0.0.0:18090"}, "gateway", "listen", "127.0.0.1:8080"},
		"ours holds":    {map[string]string{"NEBULA_GATEWAY_ADDR": "0.0.0.0:8081", "NEBULA_LISTEN": "127.0.0.1:1"}, "server", "listen", "127.0.0.1:1"},
		"the flag":      {map[string]string{"NEBULA_GATEWAY_ADDR": "0.0.0.0:8081"}, "server --listen-addr 127.0.0.1:2", "listen", "127.0.0.1:2"},
		"etcd":          {map[string]string{"ETCD_ENDPOINT": "http://e:2379"}, "server", "etcd-endpoints", "[http://e:2379]"},
		"the log":       {map[string]string{"NEBULA_LOG_FORMAT": "json"}, "server", "log-format", "json"},
		"a client's":    {map[string]string{"NEBULA_GATEWAY_URL": "http://g:1"}, "model list", "server", "http://g:1"},
		"its new name":  {map[string]string{"NEBULA_GATEWAY_URL": "http://g:1", "NEBULA_SERVER": "http://s:1"}, "model list", "server", "http://s:1"},
		"its old flag":  {map[string]string{"NEBULA_GATEWAY_URL": "http://g:1"}, "model list --gateway-url http://f:1", "server", "http://f:1"},
		"a credential":  {map[string]string{"NEBULA_GATEWAY_TOKEN": "t"}, "model list", "token", "t"},
		"not elsewhere": {map[string]string{"ETCD_ENDPOINT": "http://e:2379"}, "node", "node-id", ""},
	} {
		cmd, err := daemon(t, c.env, strings.Fields(c.line)...)
		if err != nil || value(cmd, c.flag) != c.want {
			t.Errorf("%s: %v, %s is %q, want %q", name, err, c.flag, value(cmd, c.flag), c.want)
		}
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"none":      {nil, ""},
		"all":       {map[string]string{"NEBULA_AUTH_TOKENS": "a:admin", "BFF_ADMIN_TOKEN": "b"}, "a:admin"},
		"the three": {map[string]string{"BFF_ADMIN_TOKEN": "b", "BFF_VIEWER_TOKEN": "v", "BFF_OPERATOR_TOKEN": "o"}, "b:admin,o:operator,v:viewer"},
		"one":       {map[string]string{"BFF_VIEWER_TOKEN": "v"}, "v:viewer"},
	} {
		if got := oldTokens(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	env := map[string]string{
		"NEBULA_AUTH_RATE_LIMIT_PER_MINUTE": "120", "NEBULA_ROUTER_RETRY_MAX": "1", "NEBULA_ROUTER_RETRY_BACKOFF_MS": "75", "BFF_DATABASE_URL": "postgresql://u:p@h/d",
		"NEBULA_ROUTER_URL": "http://r", "VIRTUAL_ENGINE_KEY": "k", "OBSERVE_AUTH_MODE": "internal",
	}
	told := said(t, env, "bff gateway router scheduler node", "up")
	for _, want := range []string{"NEBULA_AUTH_RATE_LIMIT_PER_MINUTE", "NEBULA_ROUTER_RETRY_MAX", "BFF_DATABASE_URL", "--router-url", "VIRTUAL_ENGINE_KEY", "OBSERVE_AUTH_MODE"} {
		if strings.Count(told, want) != 1 {
			t.Errorf("%s is not told once:\n%s", want, told)
		}
	}
	if strings.Contains(told, "postgresql") {
		t.Error("a secret is in the log")
	}
}

// TestOld_isInTheGuide: the guide names every old flag and variable.
func TestOld_isInTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guide/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for old := range renamed {
		if old != "tensor-parallel-size" { // of a command, not of a daemon
			names = append(names, "--"+old)
		}
	}
	for _, o := range oldOptions() {
		if names = append(names, o.env...); o.flag != "" {
			names = append(names, "--"+o.flag)
		}
	}
	for _, name := range names {
		if !strings.Contains(string(guide), "`"+name+"`") {
			t.Errorf("docs/guide/migrating.md does not name %s", name)
		}
	}
}
