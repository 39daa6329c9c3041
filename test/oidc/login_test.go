package oidc

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/test/procs"
)

const callback = "/api/v2/auth/oidc/callback"

// nebula is a server, as a process of its own.
type nebula struct {
	t     *testing.T
	url   string
	log   *procs.Log
	admin *client.Client
	roots *x509.CertPool // of the provider, for browsers
}

// build returns the program: the one that NEBULA_TEST_BINARY names, else one built here.
func build(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("NEBULA_TEST_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "nebula")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/nebula")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func address(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func startNebula(t *testing.T, addr, issuer string, more ...string) *nebula {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "client-secret")
	if err := os.WriteFile(secret, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &nebula{t: t, url: "http://" + addr, log: &procs.Log{}}
	data := filepath.Join(dir, "data")
	proc, err := procs.Start(procs.Program{
		Name: "server", Path: build(t), Log: n.log,
		Args: append([]string{
			"server", "--data-dir", data, "--listen", addr, "--fleet-listen", address(t), "--log-level", "debug",
			"--oidc-issuer", issuer, "--oidc-client-id", clientID, "--oidc-client-secret-file", secret, "--oidc-role-map", "admin=platform,operator=on-call,viewer=staff",
		}, more...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Interrupt(30 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(n.log.Tail(40))
		}
	})
	eventually(t, func() error {
		token, err := os.ReadFile(filepath.Join(data, "admin.token"))
		if err != nil {
			return err
		}
		n.admin = client.New(n.url, strings.TrimSpace(string(token)))
		return n.admin.Ready(t.Context())
	})
	return n
}

// eventually waits for a condition, and fails with what it says when a minute is over.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	limit, again := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for err := check(); err != nil; err = check() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}

// browser follows no redirect by itself, and keeps cookies.
type browser struct {
	t *testing.T
	c *http.Client
	n *nebula
}

func (n *nebula) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: n.roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, n}
}

type answer struct {
	status   int
	location string
	body     string
	header   http.Header
}

func (b *browser) do(req *http.Request) answer {
	b.t.Helper()
	res, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header.Get("Location"), string(body), res.Header}
}

func (b *browser) get(u string) answer {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, u, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

// walk goes to the provider, logs in there, and returns the URL of the way back.
func (b *browser) walk(who string) string {
	b.t.Helper()
	begin := b.get(b.n.url + "/api/v2/auth/oidc/login?return=/api/docs")
	if begin.status != http.StatusSeeOther {
		b.t.Fatalf("%d %s", begin.status, begin.body)
	}
	to, err := url.Parse(begin.location)
	if err != nil {
		b.t.Fatal(err)
	}
	q := to.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("state") == "" || strings.Contains(begin.location, clientSecret) {
		b.t.Errorf("to the provider: %s", begin.location)
	}
	form := b.get(begin.location)
	page, err := to.Parse(form.location)
	if err != nil || form.status != http.StatusFound {
		b.t.Fatalf("%d %s", form.status, form.body)
	}
	values := url.Values{"username": {who}, "password": {"right"}, "id": {page.Query().Get("authRequestID")}}
	req, err := http.NewRequest(http.MethodPost, page.Scheme+"://"+page.Host+page.Path, strings.NewReader(values.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	done := b.do(req)
	next, err := page.Parse(done.location)
	if err != nil || done.status != http.StatusFound {
		b.t.Fatalf("%d %s", done.status, done.body)
	}
	back := b.get(next.String())
	if back.status != http.StatusFound || !strings.HasPrefix(back.location, b.n.url+callback+"?") {
		b.t.Fatalf("%d %s %s", back.status, back.location, back.body)
	}
	return back.location
}

// me is who the server takes the browser for; nobody is "".
func (b *browser) me() (who api.Whoami) {
	b.t.Helper()
	a := b.get(b.n.url + "/api/v2/whoami")
	if a.status != 200 {
		return who
	}
	if err := json.Unmarshal([]byte(a.body), &who); err != nil {
		b.t.Fatal(err)
	}
	return who
}

// refused holds that an answer is an error of ours, that names no secret, and that nobody was let in.
func (b *browser) refused(a answer, status int, says string) {
	b.t.Helper()
	var e api.Envelope
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != status || !strings.Contains(e.Error.Message, says) {
		b.t.Errorf("%d %s; want %d with %q", a.status, a.body, status, says)
	}
	if strings.Contains(fmt.Sprint(a.header), "nebula-session=") {
		b.t.Error("a session was given")
	}
	if who := b.me(); who.ID != "" {
		b.t.Errorf("the browser is %s", who.ID)
	}
}

func withQuery(t *testing.T, raw, key, value string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestLogin is the whole life of logins by a provider. The server starts while the provider is away.
func TestLogin(t *testing.T) {
	front, op := address(t), address(t)
	n := startNebula(t, front, "http://"+op)
	if _, err := n.admin.CreateUser(t.Context(), api.CreateUser{Name: "root", Role: api.RoleAdmin}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin.CreateUser(t.Context(), api.CreateUser{Name: "bob", Role: api.RoleOperator}); err != nil {
		t.Fatal(err)
	}
	n.browser(t).refused(n.browser(t).get(n.url+"/api/v2/auth/oidc/login"), 503, "does not answer")
	p := startProvider(t, op, n.url+callback, map[string]person{
		"ann": {Groups: []string{"staff", "on-call"}, Verified: true}, "bob": {Groups: []string{"platform"}}, "eve": {Groups: []string{"others"}}, "dan": {Groups: []string{"staff"}}, "lea": {Groups: []string{"platform"}},
	})
	eventually(t, func() error {
		if a := n.browser(t).get(n.url + "/api/v2/auth/oidc/login"); a.status != http.StatusSeeOther {
			return fmt.Errorf("the provider is there: %d %s", a.status, a.body)
		}
		return nil
	})

	t.Run("success", func(t *testing.T) { n.success(t, p) })
	t.Run("last administrator", func(t *testing.T) { n.lastAdministrator(t, p) })
	t.Run("attempts", func(t *testing.T) { n.attempts(t) })
	t.Run("falsified", func(t *testing.T) { n.falsified(t, p) })
	t.Run("people", func(t *testing.T) { n.people(t) })
	t.Run("return", func(t *testing.T) {
		for _, bad := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "evil", "/a%0d%0ab", "/%09/evil.example", "javascript:alert(1)", "/" + strings.Repeat("a", 600)} {
			b := n.browser(t)
			if strings.Contains(bad, "%") {
				b.refused(b.get(n.url+"/api/v2/auth/oidc/login?return="+bad), 400, "path on this server")
				continue
			}
			b.refused(b.get(withQuery(t, n.url+"/api/v2/auth/oidc/login", "return", bad)), 400, "path on this server")
		}
	})
	if log := n.log.String(); strings.Contains(log, clientSecret) || strings.Contains(log, "code=") || strings.Contains(log, "nebula-login") {
		t.Error("the log has a secret")
	}
}

func (n *nebula) success(t *testing.T, p *provider) {
	b := n.browser(t)
	a := b.get(b.walk("ann"))
	if a.status != http.StatusSeeOther || a.location != "/api/docs" {
		t.Fatalf("%d to %q: %s", a.status, a.location, a.body)
	}
	who := b.me()
	if who.ID != "ann" || who.Role != api.RoleOperator || who.User == nil || who.User.External == nil || who.User.External.Subject != "ann" ||
		who.User.Email != "ann@example.com" || who.User.DisplayName != "Some Body" || who.Session == nil || !who.Session.External {
		t.Errorf("%+v %+v %+v", who, who.User, who.Session)
	}
	// The next login brings the role up to date, also for the sessions that are there.
	p.Set("ann", person{Groups: []string{"staff"}})
	again := n.browser(t)
	again.get(again.walk("ann"))
	if who := again.me(); who.ID != "ann" || who.Role != api.RoleViewer || b.me().Role != api.RoleViewer {
		t.Errorf("%+v", who)
	}
	if err := n.admin.SetPassword(t.Context(), "ann", "a long walk over hills"); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("a password for somebody of the provider: %v", err)
	}
}

// attempts is what does not fit to the browser's own attempt.
func (n *nebula) attempts(t *testing.T) {
	b := n.browser(t)
	b.refused(b.get(withQuery(t, b.walk("dan"), "state", "another")), 401, "just begun")
	b = n.browser(t)
	back := b.walk("dan")
	thief := n.browser(t)
	thief.refused(thief.get(back), 401, "just begun") // a link that was sent to somebody else
	other := n.browser(t)
	other.walk("dan")
	other.refused(other.get(back), 401, "just begun") // nor with an attempt of the other's own

	b = n.browser(t)
	back = b.walk("dan")
	u, err := url.Parse(n.url)
	if err != nil {
		t.Fatal(err)
	}
	kept := b.c.Jar.Cookies(u)
	if a := b.get(back); a.status != http.StatusSeeOther || b.me().ID != "dan" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	replay := n.browser(t)
	replay.refused(replay.get(back), 401, "just begun")
	replay.c.Jar.SetCookies(u, kept)
	replay.refused(replay.get(back), 401, "could not be proven") // the code served once

	b = n.browser(t)
	back = b.walk("dan")
	for _, c := range b.c.Jar.Cookies(u) { // a forged cookie
		b.c.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: "e30." + strings.Repeat("A", 43), Path: "/"}})
	}
	b.refused(b.get(back), 401, "just begun")
	b = n.browser(t)
	back, _, _ = strings.Cut(b.walk("dan"), "?code=")
	b.refused(b.get(back), 401, "just begun")
	b = n.browser(t)
	b.refused(b.get(withQuery(t, b.walk("dan"), "error", "access_denied<script>")), 403, "let nobody in")
	b = n.browser(t)
	b.refused(b.get(withQuery(t, b.walk("dan"), "code", "")), 400, "no code")
}

// falsified is what the provider's answers do not prove.
func (n *nebula) falsified(t *testing.T, p *provider) {
	defer p.set(func() { p.forge, p.key, p.expired = nil, nil, false })
	as := func(what string, forge func(map[string]any), change func()) {
		t.Helper()
		b := n.browser(t)
		back := b.walk("dan")
		p.set(func() { p.forge, p.key, p.expired = forge, nil, false })
		if change != nil {
			p.set(change)
		}
		b.t = t
		t.Log(what)
		b.refused(b.get(back), 401, "could not be proven")
		p.set(func() { p.forge, p.key, p.expired = nil, nil, false })
	}
	other := newKey(t)
	as("wrong nonce", func(c map[string]any) { c["nonce"] = "another" }, nil)
	as("no nonce", func(c map[string]any) { delete(c, "nonce") }, nil)
	as("another audience", func(c map[string]any) { c["aud"] = "somebody" }, nil)
	as("another issuer", func(c map[string]any) { c["iss"] = "http://evil.example" }, nil)
	as("expired token", func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }, nil)
	as("wrong signing key", func(map[string]any) {}, func() { p.key = other })
	as("expired code", nil, func() { p.expired = true })

	b := n.browser(t) // signed again by the provider's own key, and unchanged: it is the changes that were refused
	back := b.walk("dan")
	p.set(func() { p.forge = func(map[string]any) {} })
	if a := b.get(back); a.status != http.StatusSeeOther || b.me().ID != "dan" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// people is who may not come in.
func (n *nebula) people(t *testing.T) {
	b := n.browser(t)
	b.refused(b.get(b.walk("eve")), 403, "gives you a role")
	b = n.browser(t)
	b.refused(b.get(b.walk("bob")), 409, "another user bob")
	users, err := n.admin.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		if u.Name == "eve" || u.Name == "bob" && (u.Role != api.RoleOperator || u.External != nil) {
			t.Errorf("%+v", u)
		}
	}
	in := n.browser(t)
	in.get(in.walk("dan"))
	off := true
	if _, err := n.admin.UpdateUser(t.Context(), "dan", api.UpdateUser{Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	if who := in.me(); who.ID != "" {
		t.Errorf("disabled, and still %s", who.ID)
	}
	b = n.browser(t)
	b.refused(b.get(b.walk("dan")), 403, "is disabled")
	n.recordedOnce(t)
}

// recordedOnce: a login that failed is in the audit log as that, and not as a refusal of the route, too.
func (n *nebula) recordedOnce(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		all, _, err := n.admin.Audit(t.Context(), client.AuditOptions{})
		failed := 0
		for _, r := range all {
			if r.Verb == "login" && r.Result == api.AuditFailed {
				failed += 1 + r.Repeated
			}
			if r.Result == api.AuditDenied && strings.Contains(r.Object, callback) && r.Code == api.CodeForbidden {
				t.Errorf("recorded twice: %+v", r)
			}
		}
		if err == nil && failed == 0 {
			err = errors.New("no login that failed is in the audit log")
		}
		return err
	})
}
