package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/test/answers"
	"github.com/nebula-serve/nebula/test/llama"
	"github.com/nebula-serve/nebula/test/procs"
)

// Why some secrets may be where they are.
const (
	ownEnvironment = "a person has put it into this process's own environment, where it stays as long as the process does; no process that it starts has it"
	itsOwnFile     = "the file that keeps it for its owner alone"
	itsPurpose     = "the first start shows the setup token to whoever started the server, once"
)

// flock is a fleet of real processes with a secret in every place that takes one, and all that it has told.
type flock struct {
	*search
	server           *nebula
	node, gateway    *machine
	front            string // the gateway's address
	hubToken, static string
	ann, bob         string // passwords
	key              string
	logs             map[string]*procs.Log
}

// TestCanary_everyProcess plants secrets in every place where a person, an environment or Nebula itself can put one, in a server, a node and a gateway that
// are processes of their own, and looks for them in all that these print, start, keep, answer, record, measure and save.
func TestCanary_everyProcess(t *testing.T) {
	f := &flock{search: &search{t: t, excused: map[string]int{}}, logs: map[string]*procs.Log{}}
	f.allowed = excuse
	f.start()
	f.people()
	f.keys()
	f.models()
	f.prompts()
	f.refusals()
	f.commands()
	f.dies()
	f.look()
	for _, why := range []string{ownEnvironment, itsOwnFile, itsPurpose} {
		if f.excused[why] == 0 {
			t.Errorf("nothing was excused because it is %s: is the search blind?", why)
		}
	}
	if f.places < 150 || f.Len() < 30 {
		t.Errorf("only %d secrets were looked for, in %d places", f.Len(), f.places)
	}
	t.Logf("%d secrets, %d places, excused: %v", f.Len(), f.places, f.excused)
}

// excuse names the exceptions. Everything else is a leak.
func excuse(where, what string) string {
	switch {
	case strings.HasPrefix(where, "environ of the nebula,") && strings.HasPrefix(what, "environment:"):
		return ownEnvironment
	case what == "admin token" && filepath.Base(where) == "admin.token", what == "setup token" && filepath.Base(where) == "setup.token", strings.HasPrefix(what, "key file ") && what == "key file "+where:
		return itsOwnFile
	case what == "setup token" && where == "the server's log":
		return itsPurpose
	}
	return ""
}

// start starts the three. Their common environment has what people's shells have.
func (f *flock) start() {
	t := f.t
	f.hubToken, f.static = f.Plant("environment: hub token"), f.Plant("environment: static token")+"-0123456789"
	t.Setenv("HF_TOKEN", f.hubToken)
	t.Setenv("MODELSCOPE_API_TOKEN", f.Plant("environment: ModelScope's token"))
	t.Setenv("AWS_SECRET_ACCESS_KEY", f.Plant("environment: another program's key"))
	t.Setenv("HTTPS_PROXY", "http://ann:"+f.Plant("environment: proxy's password")+"@127.0.0.1:9")
	t.Setenv("NEBULA_AUTH_TOKENS", strings.Join([]string{
		f.static + ":admin", f.static + ":viewer", f.Plant("environment: token without a role"), f.Plant("environment: token of a false role") + ":king",
		f.Plant("environment: token with a space") + " x:admin", f.Plant("environment: short token")[:20] + ":viewer",
	}, ","))
	secret := filepath.Join(t.TempDir(), "client-secret")
	clientSecret := f.Plant("OpenID client's secret")
	if err := os.WriteFile(secret, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := repo(t, "For members only.")
	r.ID, r.Gated, r.Allow = "acme/Members-GGUF", true, []string{f.hubToken}
	h := private(t, "For holders of the secret.")
	if _, err := h.Publish(r); err != nil {
		t.Fatal(err)
	}
	f.add("right token", rightToken)
	f.add("wrong token", wrongToken)
	f.server = begin(t, "server", "--fleet-listen", port(t), "--node-id", "s1", "--oidc-issuer", f.provider(), "--oidc-client-id", "nebula",
		"--oidc-client-secret-file", secret, "--oidc-default-role", "viewer")
	f.add("admin token", f.server.token())
	f.node = join(t, f.server, "node", "n1", "--listen", "127.0.0.1:0", "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	f.add("environment: node's join token", tokenSecret(f.node.token))
	f.front = port(t)
	f.gateway = join(t, f.server, "gateway", "g1", "--listen", f.front)
	f.add("environment: gateway's join token", tokenSecret(f.gateway.token))
	f.server.nodesReady(1)
	eventually(t, 30*time.Second, func() error { return client.New("http://"+f.front, f.static).Ready(t.Context()) })
	f.logs["the server's log"], f.logs["the node's log"], f.logs["the gateway's log"] = f.server.log, f.node.log, f.gateway.log
}

// provider is an OpenID provider with bad manners: it repeats what it is told in its refusals.
func (f *flock) provider() (issuer string) {
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/.well-known/openid-configuration" {
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`, s.URL, s.URL+"/auth", s.URL+"/token", s.URL+"/keys")
			return
		}
		_ = r.ParseForm()
		user, password, _ := r.BasicAuth()
		told := fmt.Sprintf("%s %s %s %v", password, r.Form.Get("client_secret"), user, r.Form)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, strings.TrimSpace(told), told)
	}))
	f.t.Cleanup(s.Close)
	return s.URL
}

// send sends a request to the server, keeps the answer for the search and returns it. Status 0: whatever it is.
func (f *flock) send(status int, method, path, body string, header ...string) (string, http.Header) {
	f.t.Helper()
	got, text, h := f.server.call(method, path, body, header...)
	f.answered(method+" "+strings.SplitN(path, "?", 2)[0], got, text, h)
	if status != 0 && got != status {
		f.t.Errorf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	return text, h
}

// answered searches an answer. What was asked in the path is not what was told.
func (f *flock) answered(what string, status int, text string, h http.Header) {
	f.t.Helper()
	var all bytes.Buffer
	_ = h.Write(&all)
	f.in(fmt.Sprintf("answer %d to %.60s", status, what), append(all.Bytes(), text...))
}

// once makes a canary of what an answer has rightly shown, once, before it was searched.
func (f *flock) once(what, secret string) string {
	f.t.Helper()
	f.add(what, secret)
	return secret
}

// tokenSecret is the secret part of a join token, whose end is the public fingerprint of the cluster's authority.
func tokenSecret(token string) string { return strings.Split(token, "_")[2] }

// people are made, log in by all ways, and are refused.
func (f *flock) people() {
	s, ctx := f.server, f.t.Context()
	f.ann, f.bob = f.Plant("ann's password"), f.Plant("bob's password")
	b, err := os.ReadFile(filepath.Join(s.dir, "setup.token"))
	if err != nil {
		f.t.Fatal(err)
	}
	setup := f.once("setup token", strings.TrimSpace(string(b)))
	if _, err := client.New(s.url, "").Setup(ctx, api.Setup{Token: api.Token(setup), Username: "ann", Password: api.Token(f.ann)}); err != nil {
		f.t.Fatal(err)
	}
	if _, err := s.client.CreateUser(ctx, api.CreateUser{Name: "bob", Role: api.RoleViewer, Password: api.Token(f.bob)}); err != nil {
		f.t.Fatal(err)
	}
	login := func(status int, password string) http.Header {
		f.t.Helper()
		// The answer to a login that succeeds has the session's cookie, rightly.
		got, text, h := s.call("POST", "/api/v2/auth/login", fmt.Sprintf(`{"username":"ann","password":%q}`, password), "Authorization", "")
		if got != status {
			f.t.Errorf("login: %d %s, want %d", got, text, status)
		}
		return h
	}
	login(401, f.Plant("wrong password"))
	cookie, _, _ := strings.Cut(login(200, f.ann).Get("Set-Cookie"), ";")
	_, value, _ := strings.Cut(cookie, "=")

	f.once("session's cookie", value)
	f.send(200, "GET", "/api/v2/whoami", "", "Authorization", "", "Cookie", cookie)
	f.send(403, "PUT", "/api/v2/password", fmt.Sprintf(`{"current_password":%q,"new_password":%q}`, f.Plant("wrong current password"), f.Plant("refused next password")), "Authorization", "", "Cookie", cookie)
	token, err := client.New(s.url, "").CreatePersonalToken(ctx, api.CreatePersonalToken{Username: "ann", Password: api.Token(f.ann), Name: "laptop"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.once("personal token", string(token.Token))
	f.send(200, "GET", "/api/v2/whoami", "", "Authorization", "Bearer "+string(token.Token))

	// At the provider, which repeats the client's secret and the code in its refusal.
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.Get(s.url + "/api/v2/auth/oidc/login")
	if err != nil {
		f.t.Fatal(err)
	}
	_ = res.Body.Close()
	u, err := res.Location()
	if err != nil {
		f.t.Fatalf("the login at the provider: %d, %v", res.StatusCode, err)
	}
	attempt, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	f.send(401, "GET", "/api/v2/auth/oidc/callback?state="+u.Query().Get("state")+"&code="+f.Plant("provider's code"), "", "Authorization", "", "Cookie", attempt)
	eventually(f.t, 10*time.Second, func() error {
		if !strings.Contains(s.log.String(), "the code was not taken") {
			return errors.New("the server has not asked the provider: its secret was not tried")
		}
		return nil
	})
}

// keys are made, used and rotated, at the server and at the gateway.
func (f *flock) keys() {
	ctx := f.t.Context()
	made, err := f.server.client.CreateKey(ctx, api.CreateKey{Name: "bot", Owner: "ann"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.key = f.once("API key", string(made.Key)[len(string(made.Key))-30:])
	key := string(made.Key)
	eventually(f.t, 10*time.Second, func() error {
		got, err := tryKey(f.front, key)
		if err == nil && got != 200 {
			err = fmt.Errorf("the gateway answers the key with %d", got)
		}
		return err
	})
	f.send(200, "GET", "/v1/models", "", "Authorization", "", "X-Api-Key", key)
	f.send(200, "GET", "/api/v2/keys", "")
	f.send(404, "GET", "/api/v2/keys/"+key, "")
	rotated, err := f.server.client.RotateKey(ctx, made.ID, api.RotateKey{})
	if err != nil {
		f.t.Fatal(err)
	}
	f.key = string(rotated.Key)
	f.once("rotated key", f.key[len(f.key)-30:])
	join, err := f.server.client.CreateToken(ctx, api.CreateJoinToken{For: api.MachineServer})
	if err != nil {
		f.t.Fatal(err)
	}
	f.once("join token that nobody used", tokenSecret(join.Token))
	f.send(200, "GET", "/api/v2/tokens", "")
}

// models are fetched with the token of the node's environment and with a secret, and have secrets where none is meant.
func (f *flock) models() {
	s := f.server
	s.secret("hf-members", wrongToken)
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "gated", "--token-secret", "hf-members", "--start")
	s.failed("gated", "does not accept the token")
	s.secret("hf-members", rightToken)
	s.until("gated", 60*time.Second, api.StateRunning)
	s.must("model", "create", "acme/Members-GGUF", "--uid", "members", "--start", "--wait", "--timeout", "90s")

	named := f.Plant("secret as a secret's name")
	f.send(400, "PUT", "/api/v2/secrets/hf_"+named, `{"value":"x"}`)
	f.send(400, "PUT", "/api/v2/secrets/other", `{"value":["`+f.Plant("value of a false type")+`"]}`)
	f.send(400, "PUT", "/api/v2/secrets/other", `{"value":"`+f.Plant("value with a space")+` x"}`)
	for what, body := range map[string]string{ // refused, or taken without what is not known
		"unknown field":       `{"model_name":"acme/x","hf_token":"S"}`,
		"environment":         `{"model_name":"acme/x","env":{"HF_TOKEN":"S"}}`,
		"engine's arguments":  `{"model_name":"acme/x","config":{"extra_args":["--api-key","S"]}}`,
		"config":              `{"model_name":"acme/x","config":{"api_key":"S"}}`,
		"number":              `{"model_name":"acme/x","config":{"max_model_len":"S"}}`,
		"URL with a password": `{"model_name":"https://ann:S@huggingface.co/acme/x"}`,
		"cut off":             `{"model_name":"acme/x","hf_token":"S`,
	} {
		for path, wrap := range map[string]string{"/api/v2/models": body, "/api/v2/templates": strings.Replace(body, `"model_name":"acme/x"`, `"id":"t1","model_name":"acme/x"`, 1)} {
			f.send(0, "POST", path, strings.ReplaceAll(wrap, "S", f.Plant("model's "+what+" at "+path)))
		}
	}
}

// prompts are answered, streamed and refused, at the server and at the gateway.
func (f *flock) prompts() {
	front := &nebula{t: f.t, dir: f.server.dir, url: "http://" + f.front}
	for where, n := range map[string]*nebula{"server": f.server, "gateway": front} {
		ask := func(status int, what, path, body string) {
			got, text, h := n.call("POST", path, strings.ReplaceAll(body, "S", f.Plant("prompt "+what+" at the "+where)), "Authorization", "Bearer "+f.key)
			f.answered("POST "+path+" at the "+where, got, text, h)
			if got != status {
				f.t.Errorf("%s at the %s: %d %s, want %d", what, where, got, text, status)
			}
		}
		ask(200, "answered", "/v1/chat/completions", `{"model":"gated","messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"}]}`)
		ask(200, "streamed", "/v1/chat/completions", `{"model":"members","stream":true,"messages":[{"role":"user","content":"S"}]}`)
		ask(200, "completed", "/v1/completions", `{"model":"members","prompt":"S"}`)
		ask(404, "to nobody", "/v1/chat/completions", `{"model":"none","messages":[{"role":"user","content":"S"}]}`)
		ask(400, "cut off", "/v1/chat/completions", `{"messages":[{"role":"user","content":"S"}],"model":`)
	}
}

// refusals are told to the audit log, which the server's own loop writes.
func (f *flock) refusals() {
	for what, header := range map[string][]string{
		"bearer": {"Authorization", "Bearer S"}, "false scheme": {"Authorization", "S"}, "x-api-key": {"Authorization", "", "X-Api-Key", "S"},
		"cookie": {"Authorization", "", "Cookie", "nebula-session=S"}, "static token, nearly": {"Authorization", "Bearer S:admin"},
	} {
		secret := f.Plant("refused " + what)
		for i, v := range header {
			header[i] = strings.ReplaceAll(v, "S", secret)
		}
		for _, path := range []string{"/api/v2/audit", "/api/v2/models?token=" + f.Plant("query of refused "+what), "/v1/models"} {
			f.send(401, "GET", path, "", header...)
		}
	}
	f.send(403, "DELETE", "/api/v2/models/gated", "", "Authorization", "Bearer "+f.key)
	eventually(f.t, 30*time.Second, func() error {
		page, _, err := f.server.client.Audit(f.t.Context(), client.AuditOptions{Result: api.AuditDenied})
		if err == nil && len(page) == 0 {
			err = errors.New("no refusal is recorded")
		}
		return err
	})
}

// commands that people type print no secret that they did not ask for, also when they fail.
func (f *flock) commands() {
	n := f.server
	for _, line := range []string{
		"export", "export model gated -o json", "model get gated -o yaml", "model explain gated", "model events gated", "model logs gated", "secret list -o yaml", "key list -o yaml", "token list -o yaml",
		"user list -o json", "audit list -o yaml", "audit export", "audit verify", "whoami", "node list -o yaml", "member list -o yaml", "context list -o yaml", "model get none",
	} {
		out, errs, _ := n.cli(strings.Fields(line)...)
		f.in("nebula "+line, []byte(out+errs))
	}
	for what, line := range map[string]string{
		"server's URL": "whoami --server http://ann:S@127.0.0.1:1", "token": "whoami --server " + n.url + " --token S", "key's id": "key get S", "session": "session delete S",
		"hub's URL": "node --server https://127.0.0.1:1 --hf-endpoint http://ann:S@127.0.0.1:1", "join token": "node --server https://127.0.0.1:1 --token S", "provider's URL": "server --oidc-issuer https://ann:S@example.com",
		"public URL": "server --oidc-issuer https://example.com --oidc-client-id x --oidc-default-role viewer --public-url https://ann:S@example.com", "etcd's URL": "server --etcd-endpoints http://ann:S@127.0.0.1:1",
		"secret's name": "secret set hf_S --from-file /dev/null",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "S@", f.Plant("argument: "+what)+"@"))
		for i, a := range args {
			if a == "S" || a == "hf_S" {
				args[i] = strings.Replace(a, "S", f.Plant("argument: "+what+" alone"), 1)
			}
		}
		own := *n
		own.dir = f.t.TempDir()
		out, errs, code := own.cli(args...)
		if code == 0 {
			f.t.Errorf("nebula with a false %s succeeds: %s", what, out)
		}
		f.in("nebula with a false "+what, []byte(out+errs))
	}
}

// dies kills the engines, which come again.
func (f *flock) dies() {
	for _, id := range f.node.engines() {
		if err := id.Kill(); err != nil {
			f.t.Error(err)
		}
	}
	eventually(f.t, 90*time.Second, func() error {
		if got := len(f.node.engines()); got != 2 {
			return fmt.Errorf("%d engines run again", got)
		}
		return nil
	})
	f.server.until("gated", 90*time.Second, api.StateRunning)
	f.server.until("members", 90*time.Second, api.StateRunning)
}

// look searches everything.
func (f *flock) look() {
	s := f.server
	f.keyFiles()
	written(f.t, filepath.Join(f.gateway.dir, "state.snapshot"), time.Now())
	f.gets(s.url, "server")
	f.gets("http://"+f.front, "gateway")
	if keys := strings.Join(f.raw(s.dir), " "); !strings.Contains(keys, "/secrets/hf-members") || !strings.Contains(keys, "/audit/") || !strings.Contains(keys, "/events/gated/") {
		f.t.Errorf("the store lacks what was done: %s", keys)
	}
	backup := filepath.Join(f.t.TempDir(), "backup.db")
	s.must("admin", "backup", backup)
	for dir, engines := range map[string]int{s.dir: 0, f.node.dir: 2, f.gateway.dir: 0} {
		if got := f.processes(dir); got != engines {
			f.t.Errorf("%d engines in %s, want %d", got, dir, engines)
		}
	}
	stopped := s.log
	_ = s.cmd.Process.Signal(syscall.SIGABRT)
	<-s.exited
	if !strings.Contains(stopped.String(), "goroutine 1") {
		f.t.Error("the server's end has printed no goroutines")
	}
	s.cmd = nil
	for name, log := range f.logs {
		if name != "the node's log" && !strings.Contains(log.String(), `"level":"DEBUG"`) { // a node has nothing to say there
			f.t.Errorf("%s has no line of level debug", name)
		}
		f.in(name, []byte(log.String()))
	}
	for dir, control := range map[string]string{s.dir: "/secrets/hf-members", f.node.dir: "acme/Tiny-GGUF", f.gateway.dir: "/models/gated/spec", filepath.Dir(backup): "/secrets/hf-members"} {
		if !f.under(dir, control) {
			f.t.Errorf("nothing under %s knows %s: the search is blind", dir, control)
		}
	}
}

// keyFiles makes canaries of the private keys: each may be in its own file and nowhere else.
func (f *flock) keyFiles() {
	for _, dir := range []string{f.server.dir, f.node.dir, f.gateway.dir} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || !strings.Contains(path, "key") {
				return nil
			}
			b, err := os.ReadFile(path)
			if block, _ := pem.Decode(b); err == nil && block != nil && strings.Contains(block.Type, "PRIVATE") {
				lines := slices.Collect(strings.Lines(string(b)))
				f.add("key file "+path, lines[2][:20]) // what is before it is the same in all keys, what is after it is public
			}
			return nil
		})
	}
}

// gets asks for everything that can be asked for.
func (f *flock) gets(url, where string) {
	fill := strings.NewReplacer("{uid}", "gated", "{id}", "gated", "{name}", "ann", "{token}", "none", "{role}", "node", "{$}", "", "{model...}", "gated", "{node}", "n1", "{pull}", "none", "{seq}", "1", "{version}", "1")
	seen := map[int]int{}
	for _, r := range httpapi.Routes(answers.Config()) {
		if r.Method != "GET" {
			continue
		}
		ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
		req, err := http.NewRequestWithContext(ctx, "GET", url+fill.Replace(r.Path), nil)
		if err != nil {
			f.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+f.static)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			f.t.Errorf("%s at the %s: %v", r.Path, where, err)
			cancel()
			continue
		}
		b, _ := io.ReadAll(io.LimitReader(bufio.NewReader(res.Body), 16<<20))
		_ = res.Body.Close()
		cancel()
		seen[res.StatusCode]++
		f.answered("GET "+r.Path+" at the "+where, res.StatusCode, string(b), res.Header)
	}
	f.t.Logf("answers of the %s: %v", where, slices.Sorted(maps.Keys(seen)))
	if seen[200] == 0 {
		f.t.Errorf("the %s has answered nothing: %v", where, seen)
	}
}
