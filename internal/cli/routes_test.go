package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/internal/cli"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/test/answers"
)

// commandOf is, for each route of the API for people, a command line that asks it. DIR is a folder with documents.
var commandOf = map[string]string{
	"GET /api/v2/version": "version --remote",
	"GET /api/v2/whoami":  "whoami", "PUT /api/v2/profile": "profile --email a@example.com", "PUT /api/v2/password": "password",
	"POST /api/v2/auth/token": "login URL --username ann --password-stdin", "POST /api/v2/setup": "setup --name ann",
	"GET /api/v2/sessions": "session list", "DELETE /api/v2/sessions/{id}": "session delete s",
	"GET /api/v2/users": "user list", "POST /api/v2/users": "user create ann --no-password", "GET /api/v2/users/{name}": "user get ann",
	"PUT /api/v2/users/{name}": "user update ann --role viewer", "PUT /api/v2/users/{name}/password": "user password ann", "DELETE /api/v2/users/{name}": "user delete ann",
	"GET /api/v2/keys": "key list", "POST /api/v2/keys": "key create k", "GET /api/v2/keys/{id}": "key get k", "PUT /api/v2/keys/{id}": "key update k --name x",
	"DELETE /api/v2/keys/{id}": "key delete k", "POST /api/v2/keys/{id}/rotate": "key rotate k",
	"GET /api/v2/models": "model list", "POST /api/v2/models": "model create acme/M", "GET /api/v2/models/{uid}": "model get m",
	"PUT /api/v2/models/{uid}": "apply -f DIR/changed.yaml", "PATCH /api/v2/models/{uid}": "model update m --revision v2", "DELETE /api/v2/models/{uid}": "model delete m",
	"POST /api/v2/models/{uid}/start": "model start m", "POST /api/v2/models/{uid}/stop": "model stop m", "POST /api/v2/models/{uid}/replicas/{id}/drain": "model drain m 0", "PUT /api/v2/models/{uid}/scale": "model scale m --replicas 2",
	"PUT /api/v2/models/{uid}/deployment": "model update m --set replicas=3", "GET /api/v2/models/{uid}/logs": "model logs m",
	"GET /api/v2/models/{uid}/explain": "model explain m", "POST /api/v2/models/{uid}/save-as-template": "template save m --name x", "GET /api/v2/endpoints": "endpoint list", "GET /api/v2/endpoints/figures": "top --once",
	"GET /api/v2/models/{uid}/events": "model events m", "GET /api/v2/audit": "audit list", "GET /api/v2/audit/{seq}": "audit get 1", "GET /api/v2/audit/export": "audit export",
	"GET /api/v2/audit/head":          "audit verify",
	"POST /api/v2/admin/audit/repair": "admin audit-repair",
	"GET /api/v2/templates":           "template list", "POST /api/v2/templates": "template create --name x --model-name acme/M", "GET /api/v2/templates/{id}": "template get t",
	"PUT /api/v2/templates/{id}": "template update t --name x", "DELETE /api/v2/templates/{id}": "template delete t", "POST /api/v2/templates/{id}/deploy": "template deploy t",
	"GET /api/v2/nodes": "node list", "GET /api/v2/nodes/{id}": "node get n1", "DELETE /api/v2/nodes/{id}": "node delete n1",
	"POST /api/v2/nodes/{id}/cordon": "node cordon n1", "POST /api/v2/nodes/{id}/uncordon": "node uncordon n1", "POST /api/v2/nodes/{id}/drain": "node drain n1",
	"GET /api/v2/nodes/{id}/cache": "cache list --node n1", "GET /api/v2/nodes/{id}/disk": "disk status --node n1", "GET /api/v2/alerts": "disk status",
	"POST /api/v2/nodes/{id}/cache/prune": "cache prune --node n1", "POST /api/v2/nodes/{id}/cache/prune/dry-run": "cache prune --node n1 --dry-run",
	"DELETE /api/v2/nodes/{id}/cache":      "cache evict acme/M --node n1",
	"POST /api/v2/nodes/{id}/cache/verify": "cache verify --node n1", "GET /api/v2/cache/summary": "disk status", "GET /api/v2/cache/pulls": "cache pulls",
	"POST /api/v2/cache/pull": "cache pull acme/M --node n1", "DELETE /api/v2/cache/pulls/{node}/{pull}": "cache cancel acme/M", "POST /api/v2/cache/pin": "cache pin acme/M",
	"POST /api/v2/cache/unpin": "cache unpin acme/M",
	"GET /api/v2/secrets":      "secret list", "PUT /api/v2/secrets/{name}": "secret set s", "DELETE /api/v2/secrets/{name}": "secret delete s",
	"POST /api/v2/tokens": "token create --for node", "GET /api/v2/tokens": "token list", "DELETE /api/v2/tokens/{token}": "token revoke t",
	"GET /api/v2/members": "member list", "DELETE /api/v2/members/{role}/{id}": "member delete gateway/g1", "GET /api/v2/cluster": "cluster status",
	"POST /api/v2/cluster/accept-history": "admin accept-history", "GET /api/v2/admin/backup": "admin backup DIR/backup", "GET /api/v2/admin/store": "admin status",
	"POST /api/v2/admin/store/compact": "admin compact", "POST /api/v2/admin/store/defragment": "admin defrag", "POST /api/v2/admin/store/disarm": "admin alarm --disarm",
	"POST /api/v2/admin/store/reclaim":           "admin reclaim",
	"GET /api/v2/observability/gateway/overview": "gateway stats", "GET /api/v2/observability/gateway/traffic": "gateway stats traffic",
	"GET /api/v2/observability/gateway/reliability": "gateway stats reliability", "GET /api/v2/observability/gateway/latency": "gateway stats latency",
	"GET /api/v2/observability/gateway/protection": "gateway stats protection",
	"POST /api/v2/migrate":                         "admin migrate", "GET /api/v2/v1-usage": "admin v1-usage",
}

// noCommand are the routes that no command asks, and why.
var noCommand = map[string]string{
	"GET /api/v2/hub/files":                "what the console offers to choose among; nebula model create says itself what a repository has when it is not clear",
	"GET /api/v2/hub/models":               "a search that people do with their eyes: the hubs have pages for it, and nebula model create takes the name",
	"GET /api/v2/summary/models":           "counts for the console, which shows a part of a long list; nebula model list shows the models themselves",
	"POST /api/v2/auth/login":              "sets a browser's cookie: the command line has tokens",
	"POST /api/v2/auth/logout":             "ends a browser's session; nebula session delete ends any",
	"GET /api/v2/setup":                    "tells a browser which page to show; nebula setup is told by its answer",
	"GET /api/v2/auth/oidc/login":          "leads a browser to the provider; nebula login takes a password or a key",
	"GET /api/v2/auth/oidc/callback":       "where the provider sends the browser back",
	"POST /api/v2/join":                    "of machines: nebula node, nebula gateway and nebula server --join",
	"POST /api/v2/renew":                   "of machines",
	"GET /api/v2/feed":                     "of machines",
	"GET /api/v2/nodes/{id}/desired":       "of machines",
	"PUT /api/v2/nodes/{id}/observed":      "of machines",
	"POST /api/v2/nodes/{id}/heartbeat":    "of machines",
	"POST /api/v2/nodes/{id}/blobs":        "of machines",
	"GET /api/v2/nodes/{id}/secrets/{uid}": "of machines",
	"POST /api/v2/gateways/{id}/key-uses":  "of machines",
}

// saying is what the server of the test answers where nothing at all is not enough for the command to go on.
var saying = map[string]string{
	"GET /api/v2/models":         `[{"model_uid":"m","model_name":"acme/M","state":"stopped"}]`,
	"GET /api/v2/models/{uid}":   `{"model_uid":"m","model_name":"acme/M","state":"stopped","spec":{"model_uid":"m","model_name":"acme/M","model_source":"hugging_face"},"deployment":{"model_uid":"m","desired_state":"stopped","replicas":1}}`,
	"GET /api/v2/nodes":          `[{"node_id":"n1"}]`,
	"GET /api/v2/cache/pulls":    `[{"node_id":"n1","pull_id":"p","spec":{"model_name":"acme/M","model_source":"hugging_face"}}]`,
	"GET /api/v2/templates/{id}": `{"template_id":"t","name":"T","model_name":"acme/M","source":"user"}`,
	"POST /api/v2/auth/token":    `{"id":"k","token":"nb_k_a-personal-token-that-is-long-enough"}`,
}

// TestRoutes_areWithinReach: every route of the v2 API is asked by the command that the table names, or has a reason why there is none.
func TestRoutes_areWithinReach(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]bool{}
	mux := http.NewServeMux()
	var v2 []httpapi.Route
	for _, r := range httpapi.Routes(answers.Config()) {
		pattern := r.Method + " " + r.Path
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			asked[pattern] = true
			mu.Unlock()
			body, there := saying[pattern]
			if !there {
				body = "null"
			}
			w.Header().Set("ETag", `"7"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(r.Status)
			_, _ = io.WriteString(w, body) // the command may have left
		})
		if strings.HasPrefix(r.Path, "/api/v2/") {
			v2 = append(v2, r)
		}
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, r := range v2 {
		pattern := r.Method + " " + r.Path
		line, there := commandOf[pattern]
		if reason := noCommand[pattern]; there == (reason != "") {
			t.Errorf("%s: no command is named that asks it, and no reason why there is none (or both)", pattern)
			continue
		}
		if !there {
			continue
		}
		dir := t.TempDir()
		for name, text := range map[string]string{"changed.yaml": "kind: Model\nmodel_uid: m\nrevision: v2\n", "setup.token": strings.Repeat("s", 43)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs text
		env := cli.Env{Stdin: strings.NewReader("a password that is long\nanother one that is long\n"), Stdout: &out, Stderr: &errs, Getenv: func(name string) string {
			return map[string]string{"NEBULA_SERVER": server.URL, "NEBULA_TOKEN": strings.Repeat("t", 40), "NEBULA_DATA_DIR": dir, "HOME": dir, "XDG_CONFIG_HOME": dir}[name]
		}}
		if strings.HasPrefix(line, "user password") || strings.HasPrefix(line, "login") || strings.HasPrefix(line, "setup") || strings.HasPrefix(line, "secret") {
			env.Stdin = strings.NewReader("a-password-that-is-long")
		}
		clear(asked)
		code := cli.Run(t.Context(), env, strings.Fields(strings.NewReplacer("DIR", dir, "URL", server.URL).Replace(line)))
		mu.Lock()
		if !asked[pattern] {
			t.Errorf("nebula %s does not ask %s (exit %d: %s)", line, pattern, code, errs.String())
		}
		mu.Unlock()
	}
}

// TestPassword_readsTwoLines: what is no present and no new password is refused before the server is asked, and nothing of it is repeated.
func TestPassword_readsTwoLines(t *testing.T) {
	for in, want := range map[string]int{"": 2, "hunter2\n": 2, "hunter2\n\n": 2, "hunter2\n\nhunter3\n": 2, "hunter2\nhunter3\nhunter4\n": 2, "hunter2\r\nhunter3\r\n": 0, "hunter2\nhunter3": 0} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || want != 0 || string(body) != `{"current_password":"hunter2","new_password":"hunter3"}` {
				t.Errorf("%q: the server gets %s", in, body)
			}
			_, _ = io.WriteString(w, "{}") // the command may have left
		}))
		var out, errs text
		dir := t.TempDir()
		env := cli.Env{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errs, Getenv: func(name string) string {
			return map[string]string{"NEBULA_SERVER": server.URL, "NEBULA_TOKEN": strings.Repeat("t", 40), "NEBULA_DATA_DIR": dir}[name]
		}}
		if code := cli.Run(t.Context(), env, []string{"password"}); code != want || strings.Contains(out.String()+errs.String(), "hunter") {
			t.Errorf("%q: exit %d, %q, %q", in, code, out.String(), errs.String())
		}
		server.Close()
	}
}
