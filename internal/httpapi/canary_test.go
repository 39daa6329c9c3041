package httpapi_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
	"github.com/nebula-serve/nebula/test/canary"
)

// recordingKV keeps whatever was ever sent to the store, keys and values.
type recordingKV struct {
	*storetest.MemKV
	sent safeBuffer
}

func (k *recordingKV) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	for _, op := range ops {
		_, _ = fmt.Fprintf(&k.sent, "%s = %s\n", op.Key, op.Value)
	}
	return k.MemKV.Txn(ctx, ifs, ops)
}

// nest is a server with canaries in every place where a secret can be, and all that it has told.
type nest struct {
	*fleet
	kv     *recordingKV
	names  map[string]string // what each secret is
	told   []string          // each answer
	log    safeBuffer        // of all parts, at level debug, as text and as JSON
	denied safeBuffer        // what is to be recorded of refusals
	admin  string            // a static token
	setup  string
	mu     sync.Mutex // for denied's encoder
}

func newNest(t *testing.T) *nest {
	t.Helper()
	n := &nest{kv: &recordingKV{MemKV: storetest.NewMem()}, names: map[string]string{}}
	level := &slog.HandlerOptions{Level: slog.LevelDebug}
	log := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&n.log, level), slog.NewJSONHandler(&n.log, level)))
	base := serveLogging(t, n.kv, log, func(*httpapi.Config) {})
	n.admin = n.plant("static token") + n.plant("end of the static token")
	setup, token, err := auth.NewSetup(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n.setup = token
	n.names[token] = "setup token"
	now := time.Now() // it stands still for whoever has to wait
	metrics := obs.NewRegistry()
	gw := gateway.New(gateway.Config{View: base.st, LocalNode: "n1", Log: log, Registry: metrics})
	n.fleet = newFleetOn(t, base, func(cfg *httpapi.Config) {
		known := auth.Directory{View: base.st, Fixed: auth.Keyring{}.With(n.admin, auth.Principal{ID: "root", Role: auth.Admin}), Now: time.Now}
		cfg.Keys, cfg.Sessions, cfg.Setup, cfg.Log = known, known, setup, log
		cfg.Now = func() time.Time { return now }
		cfg.Denied = n.deny
		cfg.Metrics = obs.Handler(metrics, log)
		cfg.Inference = nil
		for _, r := range gw.Routes() {
			if r.Path == "/v1/embeddings" {
				r.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("it breaks") })
			}
			cfg.Inference = append(cfg.Inference, httpapi.InferenceRoute{Method: r.Method, Path: r.Path, Summary: r.Summary, Handler: r.Handler})
		}
	})
	return n
}

func (n *nest) deny(rec api.AuditRecord) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = json.NewEncoder(&n.denied).Encode(rec)
}

// plant makes a secret that is nowhere else.
func (n *nest) plant(what string) string {
	secret := rand.Text()
	n.names[secret] = what
	return secret
}

// send sends a request without a credential, unless a header has one, and keeps the answer. Status 0: whatever it is.
func (n *nest) send(status int, method, path, body string, header ...string) (answer, string) {
	n.t.Helper()
	res, text := n.call(method, path, body, append([]string{"Authorization", ""}, header...)...)
	n.keep(method, path, res, text)
	if status != 0 && res.StatusCode != status {
		n.t.Errorf("%s %s: %d %s, want %d", method, path, res.StatusCode, text, status)
	}
	return res, text
}

func (n *nest) keep(method, path string, res answer, text string) {
	path, _, _ = strings.Cut(path, "?")
	for secret := range n.names {
		path = strings.ReplaceAll(path, secret, "(secret)") // what was asked is not what was told
	}
	n.told = append(n.told, fmt.Sprintf("the answer to %s %s: %d %v %s", method, path, res.StatusCode, res.Header, text))
}

// asAdmin sends a request with the static token.
func (n *nest) asAdmin(status int, method, path, body string, header ...string) string {
	n.t.Helper()
	_, text := n.send(status, method, path, body, append([]string{"Authorization", "Bearer " + n.admin}, header...)...)
	return text
}

// shown says that the last answer has rightly shown a secret, which it makes a canary. It returns it.
func (n *nest) shown(what, whole, secret string) string {
	n.t.Helper()
	last := &n.told[len(n.told)-1]
	if len(secret) < canary.Part || strings.Count(*last, whole) != 1 {
		n.t.Fatalf("%s is not in the answer once: %s", what, *last)
	}
	*last = strings.Replace(*last, whole, "(shown once)", 1)
	n.names[secret] = what
	return whole
}

// cookie is that of the last answer.
func (n *nest) cookie(res answer) []string {
	n.t.Helper()
	pair, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	_, value, _ := strings.Cut(pair, "=")
	n.shown("session's cookie", value, value)
	return []string{"Cookie", pair}
}

// key is the one that the last answer shows.
func (n *nest) key(what, text string) string {
	n.t.Helper()
	made := keyDoc[struct{ Key, Token string }](n.t, text)
	whole := made.Key + made.Token
	parts := strings.Split(whole, "_")
	return n.shown(what, whole, parts[min(2, len(parts)-1)])
}

// search looks for every secret in all that was told, logged, recorded and stored.
func (n *nest) search() {
	n.t.Helper()
	if page := n.asAdmin(200, "GET", "/metrics", ""); !strings.Contains(page, "go_goroutines") {
		n.t.Errorf("these are no metrics: %s", page)
	}
	n.asAdmin(200, "GET", "/api/v2/models/m/events", "")
	n.asAdmin(200, "GET", "/api/v2/audit/export", "")
	n.asAdmin(200, "GET", "/api/v2/audit?limit=1000", "")
	all, _, err := n.kv.List(n.t.Context(), "/")
	if err != nil {
		n.t.Fatal(err)
	}
	var stored strings.Builder
	for _, e := range all {
		_, _ = fmt.Fprintf(&stored, "%s = %s\n", e.Key, e.Value)
	}
	places := map[string]string{"the log": n.log.String() + n.fleet.log.String(), "the records of refusals": n.denied.String(), "the store": stored.String(), "what was written to the store": n.kv.sent.String()}
	for where, must := range map[string]string{"the log": "a login failed", "the records of refusals": "unauthorized", "the store": "/auth/", "what was written to the store": "/audit/"} {
		if !strings.Contains(places[where], must) {
			n.t.Errorf("%s lacks %q: it is not seen", where, must)
		}
	}
	for _, text := range n.told {
		places[text[:min(100, len(text))]] += text
	}
	planted := &canary.Set{}
	for secret, what := range n.names {
		if err := planted.Add(what+" "+secret[:4], secret); err != nil {
			n.t.Fatal(err)
		}
	}
	for where, text := range places {
		for _, leak := range planted.Leaks([]byte(text)) {
			n.t.Errorf("%s has the %s:\n%s", where, leak.What, leak.Lines)
		}
	}
	n.t.Logf("%d secrets, %d places", len(n.names), len(places))
}

// TestCanary_appearsNowhere plants secrets in every field that takes one, on ways that succeed and on ways that fail, and looks for them, and for those
// that the server makes itself, in everything that it tells, logs, records and stores.
func TestCanary_appearsNowhere(t *testing.T) {
	n := newNest(t)
	session := n.people()
	n.keys(session)
	n.machines()
	n.hostile()
	n.broken()
	n.search()
}

// people are made, log in, and are refused.
func (n *nest) people() (session []string) {
	ann, bob := n.plant("ann's password"), n.plant("bob's password")
	setup := func(token, password string) string {
		return text(n.t, api.Setup{Token: api.Token(token), Username: "ann", Password: api.Token(password)})
	}
	n.send(401, "POST", "/api/v2/setup", setup(n.plant("wrong setup token"), ann))
	n.send(400, "POST", "/api/v2/setup", setup(n.setup, strings.Repeat(n.plant("password that is too long"), 100)))
	res, _ := n.send(200, "POST", "/api/v2/setup", setup(n.setup, ann))
	n.cookie(res)
	n.send(410, "POST", "/api/v2/setup", setup(n.setup, ann))
	login := func(name, password string) string {
		return text(n.t, api.Login{Username: name, Password: api.Token(password)})
	}
	n.send(401, "POST", "/api/v2/auth/login", login("ann", n.plant("wrong password")))
	n.send(401, "POST", "/api/v2/auth/login", login(n.plant("password in the place of the name"), "x"))
	res, _ = n.send(200, "POST", "/api/v2/auth/login", login("ann", ann))
	session = n.cookie(res)
	n.send(403, "POST", "/api/v2/auth/login", login("ann", ann), "Sec-Fetch-Site", "cross-site")
	n.send(403, "POST", "/api/v2/models", `{}`, append(session, "Sec-Fetch-Site", "cross-site")...)

	again := []string{"Idempotency-Key", "k1"}
	n.asAdmin(201, "POST", "/api/v2/users", text(n.t, api.CreateUser{Name: "bob", Role: api.RoleViewer, Password: api.Token(bob)}), again...)
	n.asAdmin(201, "POST", "/api/v2/users", text(n.t, api.CreateUser{Name: "bob", Role: api.RoleViewer, Password: api.Token(bob)}), again...)
	n.asAdmin(409, "POST", "/api/v2/users", text(n.t, api.CreateUser{Name: "bob", Role: api.RoleViewer, Password: api.Token(n.plant("password of a user that there is"))}))
	n.asAdmin(200, "PUT", "/api/v2/users/bob/password", text(n.t, api.SetPassword{Password: api.Token(n.plant("bob's next password"))}))
	n.asAdmin(404, "PUT", "/api/v2/users/none/password", text(n.t, api.SetPassword{Password: api.Token(n.plant("nobody's password"))}))
	n.send(403, "PUT", "/api/v2/password", text(n.t, api.ChangePassword{Current: api.Token(n.plant("wrong current password")), New: api.Token(bob)}), session...)
	next := n.plant("ann's next password")
	n.send(200, "PUT", "/api/v2/password", text(n.t, api.ChangePassword{Current: api.Token(ann), New: api.Token(next)}), session...)

	_, made := n.send(200, "POST", "/api/v2/auth/token", text(n.t, api.CreatePersonalToken{Username: "ann", Password: api.Token(next), Name: "laptop"}))
	n.key("personal token by password", made)
	_, made = n.send(200, "POST", "/api/v2/auth/token", `{"name":"desk"}`, session...)
	token := n.key("personal token by session", made)
	n.send(200, "GET", "/api/v2/whoami", "", "Authorization", "Bearer "+token)
	n.send(200, "GET", "/api/v2/whoami", "", session...)
	n.send(200, "GET", "/api/v2/sessions", "", session...)
	return session
}

// keys are made, shown, changed and used.
func (n *nest) keys(session []string) {
	with := func(more ...string) []string { return append(append([]string{}, session...), more...) }
	_, made := n.send(201, "POST", "/api/v2/keys", `{"name":"bot","role":"viewer","scopes":{}}`, with("Idempotency-Key", "k2")...)
	key := n.key("key", made)
	n.send(201, "POST", "/api/v2/keys", `{"name":"bot","role":"viewer","scopes":{}}`, with("Idempotency-Key", "k2")...)
	n.send(0, "POST", "/api/v2/keys?dry_run=1", `{"name":"dry","scopes":{}}`, with()...)
	n.send(200, "GET", "/api/v2/models", "", "Authorization", "Bearer "+key)
	n.send(200, "GET", "/api/v2/models", "", "X-Api-Key", key)
	n.send(403, "DELETE", "/api/v2/users/bob", "", "X-Api-Key", key)
	n.send(401, "GET", "/api/v2/models", "", "X-Api-Key", key[:len(key)-1]+"!")
	id := strings.Split(key, "_")[1]
	n.send(412, "PUT", "/api/v2/keys/"+id, `{"name":"other"}`, with("If-Match", `"1"`)...)
	_, made = n.send(200, "POST", "/api/v2/keys/"+id+"/rotate", `{}`, with()...)
	n.key("key after rotation", made)
	for _, path := range []string{"/api/v2/keys", "/api/v2/keys/" + id} {
		n.send(200, "GET", path, "", with()...)
	}
	// Somebody gives the whole secret where its id is meant.
	_, cookie, _ := strings.Cut(session[1], "=")
	for _, call := range []string{
		"GET /api/v2/keys/" + key, "PUT /api/v2/keys/" + key, "DELETE /api/v2/keys/" + key, "POST /api/v2/keys/" + key + "/rotate", "DELETE /api/v2/sessions/" + cookie,
		"DELETE /api/v2/tokens/nbj_" + id + "_" + n.plant("join token in a path"),
	} {
		method, path, _ := strings.Cut(call, " ")
		body := ""
		if method == "PUT" || method == "POST" {
			body = `{}`
		}
		n.asAdmin(404, method, path, body)
	}
}

// machines join, with right and wrong tokens, and one reads the secret of its model.
func (n *nest) machines() {
	made := n.asAdmin(201, "POST", "/api/v2/tokens", `{"for":"node"}`)
	whole := n.key("join token", made)
	n.asAdmin(200, "GET", "/api/v2/tokens", "")
	value := text(n.t, api.PutSecret{Value: api.Token(n.plant("secret's value"))})
	n.asAdmin(200, "PUT", "/api/v2/secrets/hf", value)
	n.asAdmin(200, "PUT", "/api/v2/secrets/hf?dry_run=1", value)
	n.asAdmin(200, "GET", "/api/v2/secrets", "")
	n.asAdmin(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","token_secret":"hf","auto_start":true}`)
	csr, finish := n.request()
	join := func(status int, token string) string {
		body := text(n.t, api.JoinRequest{Token: token, Role: api.MachineNode, ID: "n1", CSR: csr})
		n.send(421, "POST", "/api/v2/join", body) // the port for people
		res, text := n.do(n.client(nil), "POST", "/api/v2/join", []byte(body))
		n.keep("POST", "/api/v2/join", res, text)
		if res.StatusCode != status {
			n.t.Errorf("join: %d %s, want %d", res.StatusCode, text, status)
		}
		return text
	}
	join(400, n.plant("join token without a form"))
	parts := strings.Split(whole, "_")
	wrong := strings.ToLower(strings.Repeat(n.plant("wrong join token"), 2))
	join(401, strings.Join([]string{parts[0], parts[1], wrong, parts[3]}, "_"))
	joined := keyDoc[api.JoinResponse](n.t, join(200, whole))
	node := n.client(finish(joined.Cert))
	if _, err := n.st.Update(n.t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: 1, Assignments: []api.PlacementAssignment{{NodeID: "n1"}}})
	}); err != nil {
		n.t.Fatal(err)
	}
	for _, path := range []string{"/api/v2/nodes/n1/desired", "/api/v2/nodes/n1/secrets/none", "/api/v2/nodes/n2/secrets/m", "/api/v2/nodes/n1/secrets/m"} {
		res, text := n.do(node, "GET", path, nil)
		n.keep("GET", path, res, text)
	}
	read := keyDoc[api.PutSecret](n.t, value)
	n.shown("secret's value", string(read.Value), string(read.Value))
}

// hostile sends secrets to every row of the table, in every place and shape in which people and programs might.
func (n *nest) hostile() {
	fill := strings.NewReplacer("{uid}", "m", "{id}", "none", "{name}", "none", "{token}", "none", "{role}", "node", "{$}", "", "{model...}", "m", "{node}", "none", "{pull}", "none", "{seq}", "1", "{version}", "1")
	kinds := map[string]string{}
	plant := func(kind string) string { // the same at every row: the answer, or the line of the log, tells the row
		if kinds[kind] == "" {
			kinds[kind] = n.plant(kind)
		}
		return kinds[kind]
	}
	for _, r := range httpapi.Routes(n.cfg) {
		path := fill.Replace(r.Path)
		n.send(0, r.Method, path, "", "Authorization", "Bearer "+plant("bearer"))
		n.send(0, r.Method, path, "", "Authorization", plant("scheme of Authorization"))
		n.send(0, r.Method, path, "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:"+plant("basic password"))))
		n.send(0, r.Method, path, "", "X-Api-Key", plant("x-api-key"))
		n.send(0, r.Method, path+"?access_token="+plant("access_token"), "", "Cookie", "nebula-session="+plant("cookie")+"; __Host-nebula-session="+plant("other cookie"))
		n.asAdmin(0, "PATCH", path, `{"password":"`+plant("body of a wrong method")+`"}`)
		if r.Request == nil {
			continue
		}
		s := n.plant("body")
		fields := strings.ReplaceAll(`{"password":S,"token":S,"value":S,"current_password":S,"new_password":S,"api_key":S,"key":S,"secret":S,"hf_token":S}`, "S", `"`+s+`"`)
		for _, body := range []string{
			fields, fields[:len(fields)-1], fields + "}", `"` + s + `"`, s, `["` + s + `"]`, "{" + s + "}", strings.ReplaceAll(fields, `"`+s+`"`, `["`+s+`"]`), strings.ReplaceAll(fields, `"`+s+`"`, `{"a":"`+s+`"}`),
			fields[:len(fields)-1] + ",\"x\":\"\xff\"}", `{"password":"` + s + strings.Repeat("y", 2<<20) + `"}`,
		} {
			n.asAdmin(0, r.Method, path, body)
			n.send(0, r.Method, path, body)
		}
		n.asAdmin(0, r.Method, path, fields, "Content-Type", "text/plain")
		n.asAdmin(0, r.Method, path, fields, "If-Match", `"1"`)
		n.asAdmin(0, r.Method, path, fields, "Host", "evil.example")
	}
}

// broken is what happens when the server itself fails, with secrets in its hands.
func (n *nest) broken() {
	n.asAdmin(500, "POST", "/v1/embeddings", `{"input":"`+n.plant("prompt when it breaks")+`"}`)
	prompt := n.plant("prompt") // no engine runs: each of these is refused
	for _, body := range []string{
		`{"model":"none","prompt":"` + prompt + `"}`, `{"model":"m","prompt":"` + prompt + `"}`, `{"model":"m","prompt":"` + prompt, `{"model":["` + prompt + `"]}`, `{"prompt":"` + prompt + `"}`, prompt,
		`{"model":"m","messages":[{"role":"user","content":"` + prompt + `"}],"stream":true}`,
	} {
		n.asAdmin(0, "POST", "/v1/completions", body)
		n.asAdmin(0, "POST", "/v1/chat/completions", body)
	}
	for path, body := range map[string]string{
		"POST /api/v2/users":        text(n.t, api.CreateUser{Name: "eve", Role: api.RoleViewer, Password: api.Token(n.plant("password when the store fails"))}),
		"PUT /api/v2/secrets/other": text(n.t, api.PutSecret{Value: api.Token(n.plant("secret when the store fails"))}),
		"POST /api/v2/keys":         `{"name":"bot","owner":"ann","scopes":{}}`,
	} {
		n.kv.FailNextTxn(errors.New("the disk is gone"))
		method, path, _ := strings.Cut(path, " ")
		if res, text := n.send(0, method, path, body, "Authorization", "Bearer "+n.admin); res.StatusCode < 500 {
			n.t.Errorf("%s %s when the store fails: %d %s", method, path, res.StatusCode, text)
		}
	}
}
