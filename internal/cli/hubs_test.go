package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/nebula-serve/nebula/internal/app"
)

// TestReadHubs: what the environment of the hubs' own tools means to a node.
func TestReadHubs(t *testing.T) {
	dir := t.TempDir()
	for name, token := range map[string]string{"token": "kept\n", "other": " named "} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const face, scope = "https://huggingface.co", "https://modelscope.cn"
	nothing := app.NodeOptions{HFEndpoint: face, ScopeEndpoint: scope, Connections: 16}
	with := func(change func(*app.NodeOptions)) app.NodeOptions {
		o := nothing
		change(&o)
		return o
	}
	cases := []struct {
		name string
		args []string
		env  map[string]string
		want app.NodeOptions
	}{
		{"nothing", nil, nil, nothing},
		{"a mirror", nil, map[string]string{"HF_ENDPOINT": "https://mirror/hf"}, with(func(o *app.NodeOptions) { o.HFEndpoint = "https://mirror/hf" })},
		{"a flag wins", []string{"--hf-endpoint=https://mine"}, map[string]string{"HF_ENDPOINT": "https://mirror"}, with(func(o *app.NodeOptions) { o.HFEndpoint = "https://mine" })},
		{"HF_TOKEN", nil, map[string]string{"HF_TOKEN": " a\n", "HUGGING_FACE_HUB_TOKEN": "b", "HF_HOME": dir}, with(func(o *app.NodeOptions) { o.HFToken, o.AdoptFrom = "a", []string{dir + "/hub"} })},
		{"its older name", nil, map[string]string{"HUGGING_FACE_HUB_TOKEN": "b"}, with(func(o *app.NodeOptions) { o.HFToken = "b" })},
		{"HF_TOKEN_PATH", nil, map[string]string{"HF_TOKEN_PATH": dir + "/other"}, with(func(o *app.NodeOptions) { o.HFToken = "named" })},
		{"HF_TOKEN_PATH leads nowhere", nil, map[string]string{"HF_TOKEN_PATH": dir + "/none"}, nothing},
		{"the file in HF_HOME", nil, map[string]string{"HF_HOME": dir}, with(func(o *app.NodeOptions) { o.HFToken, o.AdoptFrom = "kept", []string{dir + "/hub"} })},
		{"no implicit token", nil, map[string]string{"HF_TOKEN": "a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "YES"}, nothing},
		{"an explicit one all the same", []string{"--hf-token-file=" + dir + "/other"}, map[string]string{"HF_TOKEN": "a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, with(func(o *app.NodeOptions) { o.HFToken = "named" })},
		{"offline", nil, map[string]string{"HF_HUB_OFFLINE": "on"}, with(func(o *app.NodeOptions) { o.Offline = true })},
		{"offline by transformers", nil, map[string]string{"TRANSFORMERS_OFFLINE": "1", "HF_HUB_OFFLINE": "0"}, with(func(o *app.NodeOptions) { o.Offline = true })},
		{"not offline after all", []string{"--offline=false"}, map[string]string{"HF_HUB_OFFLINE": "1"}, nothing},
		{"a cache", nil, map[string]string{"HF_HUB_CACHE": "/a/", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, with(func(o *app.NodeOptions) { o.AdoptFrom = []string{"/a"} })},
		{"a cache by its older name", nil, map[string]string{"HUGGINGFACE_HUB_CACHE": "/b"}, with(func(o *app.NodeOptions) { o.AdoptFrom = []string{"/b"} })},
		{"the usual cache", nil, map[string]string{"XDG_CACHE_HOME": "/x", "HOME": "/h"}, with(func(o *app.NodeOptions) { o.AdoptFrom = []string{"/x/huggingface/hub", "/h/.cache/modelscope"} })},
		{"ModelScope's cache", nil, map[string]string{"MODELSCOPE_CACHE": "/m/", "HOME": "/h"}, with(func(o *app.NodeOptions) { o.AdoptFrom = []string{"/h/.cache/huggingface/hub", "/m"} })},
		{"ModelScope", nil, map[string]string{"MODELSCOPE_ENDPOINT": "https://ms", "MODELSCOPE_API_TOKEN": "m"}, with(func(o *app.NodeOptions) { o.ScopeEndpoint, o.ScopeToken = "https://ms", "m" })},
		{"ModelScope's domain", nil, map[string]string{"MODELSCOPE_DOMAIN": "www.modelscope.ai"}, with(func(o *app.NodeOptions) { o.ScopeEndpoint = "https://www.modelscope.ai" })},
		{"a rate", []string{"--download-rate=2.5MiB/s", "--download-connections=32"}, nil, with(func(o *app.NodeOptions) { o.BytesPerSecond, o.Connections = 2621440, 32 })},
		{"a rate in other words", nil, map[string]string{"NEBULA_DOWNLOAD_RATE": "800k"}, with(func(o *app.NodeOptions) { o.BytesPerSecond = 800_000 })},
		{"local roots", []string{"--local-root=/a", "--local-root=/b"}, nil, with(func(o *app.NodeOptions) { o.LocalRoots = []string{"/a", "/b"} })},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := readHubsOf(c.args, c.env)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestReadHubs_server: a server only searches a hub, and takes nothing else from their tools' environment.
func TestReadHubs_server(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want app.NodeOptions
	}{
		{nil, map[string]string{"HF_TOKEN": "a", "HOME": "/h"}, app.NodeOptions{HFEndpoint: "https://huggingface.co", ScopeEndpoint: "https://modelscope.cn"}},
		{nil, map[string]string{"HF_ENDPOINT": "https://mirror"}, app.NodeOptions{HFEndpoint: "https://mirror", ScopeEndpoint: "https://modelscope.cn"}},
		{[]string{"--hf-endpoint=https://mine"}, map[string]string{"HF_HUB_OFFLINE": "1"}, app.NodeOptions{HFEndpoint: "https://mine", ScopeEndpoint: "https://modelscope.cn", Offline: true}},
		{[]string{"--offline=false"}, map[string]string{"HF_HUB_OFFLINE": "1"}, app.NodeOptions{HFEndpoint: "https://huggingface.co", ScopeEndpoint: "https://modelscope.cn"}},
		{nil, map[string]string{"MODELSCOPE_DOMAIN": "scope.example"}, app.NodeOptions{HFEndpoint: "https://huggingface.co", ScopeEndpoint: "https://scope.example"}},
		{[]string{"--modelscope-endpoint=https://s"}, nil, app.NodeOptions{HFEndpoint: "https://huggingface.co", ScopeEndpoint: "https://s"}},
	} {
		got, err := optionsOf((*runner).searches, c.args, c.env)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v %v: %s", c.args, c.env, d)
		}
	}
}

func readHubsOf(args []string, env map[string]string) (app.NodeOptions, error) {
	return optionsOf((*runner).downloads, args, env)
}

func optionsOf(flags func(*runner, *pflag.FlagSet), args []string, env map[string]string) (app.NodeOptions, error) {
	r := &runner{}
	f := pflag.NewFlagSet("x", pflag.ContinueOnError)
	flags(r, f)
	getenv := func(k string) string { return env[k] }
	if err := f.Parse(args); err != nil {
		return app.NodeOptions{}, err
	}
	if err := applyOptions(f, getenv); err != nil {
		return app.NodeOptions{}, err
	}
	err := r.readHubs(f, getenv)
	return r.o.Running, err
}

func TestReadHubs_refuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		says string
	}{
		{[]string{"--local-root=models"}, nil, "absolute"},
		{[]string{"--download-rate=fast"}, nil, "no rate"},
		{[]string{"--download-rate=-5MB"}, nil, "no rate"},
		{[]string{"--download-connections=33"}, nil, "1 to 32"},
		{[]string{"--hf-token-file=/nowhere/token"}, nil, "read the token"},
		{[]string{"--modelscope-token-file=/nowhere/token"}, nil, "read the token"},
		{nil, map[string]string{"HF_TOKEN_PATH": "/"}, "HF_HUB_DISABLE_IMPLICIT_TOKEN"},
		{nil, map[string]string{"NEBULA_OFFLINE": "perhaps"}, "offline"},
	} {
		if _, err := readHubsOf(c.args, c.env); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v %v: %v", c.args, c.env, err)
		}
	}
}
