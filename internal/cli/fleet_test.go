package cli_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cli"
)

// text is an output that several goroutines may look at.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *text) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *text) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// terminal is a command line in front of a server that the test plays.
func terminal(ctx context.Context, t *testing.T, server http.Handler, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	s := httptest.NewServer(server)
	defer s.Close()
	var out, errs text
	dir := t.TempDir()
	env := cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string {
		return map[string]string{"NEBULA_SERVER": s.URL, "NEBULA_TOKEN": strings.Repeat("t", 40), "NEBULA_DATA_DIR": dir}[name]
	}}
	code = cli.Run(ctx, env, args)
	return code, out.String(), errs.String()
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the caller may have left
	}
}

// draining is a server with one node that is drained in the given steps; the last one stays.
func draining(steps ...api.NodeView) http.Handler {
	var mu sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/nodes/n1/drain", answer(api.Member{ID: "n1"}))
	mux.HandleFunc("GET /api/v2/nodes/n1", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer(steps[0])(w, r)
		if len(steps) > 1 {
			steps = steps[1:]
		}
	})
	return mux
}

func node(replicas int, edit func(*api.NodeView)) api.NodeView {
	n := api.NodeView{NodeStatus: api.NodeStatus{NodeID: "n1"}, State: api.NodeReady, Cordoned: true, Draining: true, Replicas: make([]api.NodeReplica, replicas)}
	if edit != nil {
		edit(&n)
	}
	return n
}

func TestNodeDrain_showsProgress(t *testing.T) {
	t.Parallel()
	away := node(1, func(n *api.NodeView) { n.State, n.AbsentSeconds = api.NodeCutOff, 42 })
	done := node(0, func(n *api.NodeView) { n.Drained = true })
	code, out, errs := terminal(t.Context(), t, draining(node(2, nil), away, done), "node", "drain", "n1", "--wait")
	if code != 0 || out != "Node n1 is drained\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	if want := "n1 2 replicas left\nn1 1 replica left; the node is cut off for 42s, draining\n"; errs != want {
		t.Errorf("progress %q, want %q", errs, want)
	}
}

func TestNodeDrain_ends(t *testing.T) {
	t.Parallel()
	ended := node(1, func(n *api.NodeView) { n.Draining, n.Cordoned = false, false })
	if code, out, errs := terminal(t.Context(), t, draining(ended), "node", "drain", "n1", "--wait"); code != 4 || out != "" || !strings.Contains(errs, "somebody has ended it") {
		t.Errorf("ended by somebody: exit %d, %q, %q", code, out, errs)
	}
	if code, _, errs := terminal(t.Context(), t, draining(node(3, nil)), "node", "drain", "n1", "--wait", "--timeout", "50ms"); code != 5 || !strings.Contains(errs, "3 replicas left") {
		t.Errorf("time is over: exit %d, %q", code, errs)
	}
	// Ctrl-C ends the waiting and says so.
	ctx, cancel := context.WithCancel(t.Context())
	steps := draining(node(3, nil))
	code, out, errs := terminal(ctx, t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		steps.ServeHTTP(w, r)
		if r.Method == http.MethodGet {
			cancel()
		}
	}), "node", "drain", "n1", "--wait")
	if code != 130 || out != "" || !strings.Contains(errs, "The drain goes on") || strings.Contains(errs, "Error") {
		t.Errorf("Ctrl-C: exit %d, %q, %q", code, out, errs)
	}
}

func TestNodeList_states(t *testing.T) {
	t.Parallel()
	views := []api.NodeView{
		node(1, func(n *api.NodeView) { n.Cordoned, n.Draining = false, false }),
		node(1, func(n *api.NodeView) { n.Draining = false }),
		node(1, nil),
		node(0, func(n *api.NodeView) { n.Drained = true }),
		node(1, func(n *api.NodeView) {
			n.State, n.AbsentSeconds, n.Cordoned, n.Draining = api.NodeCutOff, 95, false, false
		}),
		node(1, func(n *api.NodeView) { n.State, n.AbsentSeconds, n.Draining = api.NodeLost, 3700, false }),
	}
	_, out, _ := terminal(t.Context(), t, answer(views), "node", "list")
	for i, want := range []string{"ready  ", "ready, cordoned", "ready, draining", "ready, drained", "cut off for 1m35s", "lost for 1h1m40s, cordoned"} {
		if line := strings.Split(out, "\n")[i+1]; !strings.Contains(line, want) {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
	}
}

// TestTokenCreate_saysWhatToType: the token alone on stdout, the whole command on stderr.
func TestTokenCreate_saysWhatToType(t *testing.T) {
	t.Parallel()
	token := "nbj_aaaaaaaaaaaa_" + strings.Repeat("b", 52) + "_" + strings.Repeat("0", 64)
	server := func(view api.ClusterView) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("POST /api/v2/tokens", func(w http.ResponseWriter, r *http.Request) {
			var req api.CreateJoinToken
			if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.TTLSeconds != 7200 {
				t.Errorf("asked for %+v, %v", req, err)
			}
			answer(api.JoinTokenCreated{Token: token, ID: "aaaaaaaaaaaa", For: req.For, Name: req.Name, ExpiresAtMS: 1_900_000_000_000})(w, r)
		})
		mux.HandleFunc("GET /api/v2/cluster", answer(view))
		return mux
	}
	known := api.ClusterView{Servers: []api.ServerView{{ID: "s0"}, {ID: "s1", Addr: "10.0.0.1:8443"}}}
	for name, c := range map[string]struct {
		view api.ClusterView
		args []string
		want string
	}{
		"node":       {known, []string{"--for", "node"}, "  nebula node --server https://10.0.0.1:8443 --token " + token + "\n"},
		"named node": {known, []string{"--for", "node", "--name", "gpu-7"}, "  nebula node --server https://10.0.0.1:8443 --node-id gpu-7 --token " + token + "\n"},
		"gateway":    {known, []string{"--for", "gateway"}, "  nebula gateway --server https://10.0.0.1:8443 --token " + token + "\n"},
		"server":     {known, []string{"--for", "server"}, "  nebula server --join https://10.0.0.1:8443 --token " + token + "\n"},
		"no address": {api.ClusterView{}, []string{"--for", "node"}, "HOST:PORT is the --fleet-listen address"},
	} {
		code, out, errs := terminal(t.Context(), t, server(c.view), append([]string{"token", "create", "--ttl", "2h"}, c.args...)...)
		if code != 0 || out != token+"\n" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q, %q; want %q", name, code, out, errs, c.want)
		}
	}
	// A whole token names itself to be taken back, and its secret stays here.
	code, out, _ := terminal(t.Context(), t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodDelete || r.URL.Path != "/api/v2/tokens/aaaaaaaaaaaa" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		answer(api.JoinTokenRevoked{ID: "aaaaaaaaaaaa"})(w, r)
	}), "token", "revoke", token)
	if code != 0 || out != "Token aaaaaaaaaaaa is taken back\n" {
		t.Errorf("revoke: exit %d, %q", code, out)
	}
}
