package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

const annPassword = "a long walk over hills"

// newCluster is a server on which nobody was made a user, and its setup token.
func newCluster(t *testing.T) (*server, string) {
	t.Helper()
	return newClusterWith(t, func(*httpapi.Config) {})
}

func newClusterWith(t *testing.T, set func(*httpapi.Config)) (*server, string) {
	t.Helper()
	setup, token, err := auth.NewSetup(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now() // it stands still for whoever has to wait
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Setup, cfg.Now = setup, func() time.Time { return now }
		set(cfg)
	})
	return s, token
}

// withAnn is a cluster whose first administrator is ann.
func withAnn(t *testing.T) *server {
	t.Helper()
	s, token := newCluster(t)
	s.must(200, "POST", "/api/v2/setup", text(t, api.Setup{Token: api.Token(token), Username: "ann", Password: annPassword}), "Authorization", "")
	return s
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// log in and return the cookie.
func (s *server) logIn(name, password string) string {
	s.t.Helper()
	res, body := s.call("POST", "/api/v2/auth/login", text(s.t, api.Login{Username: name, Password: api.Token(password)}), "Authorization", "")
	if res.StatusCode != 200 {
		s.t.Fatalf("%d %s", res.StatusCode, body)
	}
	cookie := res.Header.Get("Set-Cookie")
	for _, want := range []string{"nebula-session=", "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, want) {
			s.t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	value, _, _ := strings.Cut(cookie, ";")
	return value
}

func TestSetup_onceAndByTokenAlone(t *testing.T) {
	s, token := newCluster(t)
	body := func(token string) string {
		return text(t, api.Setup{Token: api.Token(token), Username: "ann", Password: annPassword})
	}
	s.must(401, "POST", "/api/v2/setup", body("x"+token[1:]), "Authorization", "")
	s.must(401, "POST", "/api/v2/setup", body(""), "Authorization", "")
	s.must(403, "POST", "/api/v2/setup", body(token), "Authorization", "", "Sec-Fetch-Site", "cross-site")
	if got := s.must(200, "GET", "/api/v2/setup", "", "Authorization", ""); !strings.Contains(got, `"needed":true`) {
		t.Error(got)
	}
	codes := make(chan int, 4)
	var wg sync.WaitGroup
	for _, name := range []string{"ann", "bob", "cid", "dan"} {
		wg.Go(func() {
			res, _ := s.call("POST", "/api/v2/setup", strings.Replace(body(token), "ann", name, 1), "Authorization", "")
			codes <- res.StatusCode
		})
	}
	wg.Wait()
	close(codes)
	won := 0
	for code := range codes {
		if code == 200 {
			won++
		} else if code != 410 {
			t.Errorf("status %d, want 410", code)
		}
	}
	if st, _ := s.st.Current(); won != 1 || st.Users.Len() != 1 {
		t.Errorf("%d setups won, and there are %d users", won, st.Users.Len())
	}
	s.must(410, "POST", "/api/v2/setup", body(token), "Authorization", "")
}

func TestSession_life(t *testing.T) {
	s := withAnn(t)
	cookie := s.logIn("ann", annPassword)
	with := func(more ...string) []string { return append([]string{"Authorization", "", "Cookie", cookie}, more...) }
	who := s.must(200, "GET", "/api/v2/whoami", "", with()...)
	if !strings.Contains(who, `"id":"ann"`) || strings.Contains(who, strings.TrimPrefix(cookie, "nebula-session=")) {
		t.Error(who)
	}
	s.must(403, "POST", "/api/v2/models", `{"model_name":"a/b"}`, with("Sec-Fetch-Site", "cross-site")...)
	s.must(403, "POST", "/api/v2/models", `{"model_name":"a/b"}`, with("Origin", "https://evil.example")...)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"a/b"}`, with("Sec-Fetch-Site", "same-origin")...)
	s.must(401, "GET", "/api/v2/whoami", "", "Authorization", "Bearer wrong", "Cookie", cookie) // a cookie beside a bearer token counts for nothing

	var list []api.SessionView
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/sessions", "", with()...)), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v %v", list, err)
	}
	for _, v := range list {
		s.must(401, "GET", "/api/v2/whoami", "", "Authorization", "", "Cookie", "nebula-session="+v.ID)
		s.must(401, "GET", "/api/v2/whoami", "", "Authorization", "Bearer "+v.ID)
	}
	other := s.logIn("ann", annPassword)
	s.must(403, "PUT", "/api/v2/password", text(t, api.ChangePassword{Current: "wrong", New: "another long sentence"}), with()...)
	s.must(400, "PUT", "/api/v2/password", text(t, api.ChangePassword{Current: annPassword, New: "short"}), with()...)
	s.must(200, "PUT", "/api/v2/password", text(t, api.ChangePassword{Current: annPassword, New: "another long sentence"}), with()...)
	s.must(200, "GET", "/api/v2/whoami", "", with()...)
	s.must(401, "GET", "/api/v2/whoami", "", "Authorization", "", "Cookie", other)
	s.must(200, "POST", "/api/v2/auth/logout", "", with()...)
	s.must(401, "GET", "/api/v2/whoami", "", with()...)
}

func TestLogin_tellsNothingAndSlowsDown(t *testing.T) {
	s := withAnn(t)
	s.must(201, "POST", "/api/v2/users", text(t, api.CreateUser{Name: "off", Role: api.RoleViewer, Password: annPassword}))
	s.must(200, "PUT", "/api/v2/users/off", `{"disabled":true}`)
	try := func(name, password string) (answer, string) {
		res, body := s.call("POST", "/api/v2/auth/login", text(t, api.Login{Username: name, Password: api.Token(password)}), "Authorization", "")
		return res, errorOf(t, body).Message
	}
	_, wrong := try("ann", "not the right sentence")
	for _, c := range [][2]string{{"nobody", annPassword}, {"off", annPassword}, {"no such name!", annPassword}} {
		if res, got := try(c[0], c[1]); res.StatusCode != 401 || got != wrong {
			t.Errorf("%s: %d %q, want 401 %q", c[0], res.StatusCode, got, wrong)
		}
	}
	for range 5 {
		try("ann", "not the right sentence")
	}
	if res, got := try("ann", annPassword); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the right password during the wait: %d %q", res.StatusCode, got)
	}
}

func TestPersonalToken(t *testing.T) {
	s := withAnn(t)
	var made api.PersonalToken
	body := s.must(200, "POST", "/api/v2/auth/token", text(t, api.CreatePersonalToken{Username: "ann", Password: annPassword, Name: "laptop"}), "Authorization", "")
	if err := json.Unmarshal([]byte(body), &made); err != nil {
		t.Fatal(err)
	}
	bearer := []string{"Authorization", "Bearer " + string(made.Token)}
	if got := s.must(200, "GET", "/api/v2/users", "", bearer...); !strings.Contains(got, "ann") {
		t.Error(got)
	}
	s.must(200, "GET", "/api/v2/whoami", "", "Authorization", "", "X-Api-Key", string(made.Token))
	s.must(403, "POST", "/api/v2/auth/token", `{"name":"another"}`, bearer...)
	s.must(401, "POST", "/api/v2/auth/token", `{"name":"another"}`, "Authorization", "")
	s.must(400, "POST", "/api/v2/auth/token", `{"username":"ann","password":"x","days":366}`, "Authorization", "")
	for _, kv := range mustList(t, s) {
		if strings.Contains(kv, string(made.Token)) || strings.Contains(kv, annPassword) {
			t.Errorf("stored in clear: %.60s", kv)
		}
	}
	s.must(201, "POST", "/api/v2/users", text(t, api.CreateUser{Name: "bob", Role: api.RoleAdmin}))
	s.must(200, "DELETE", "/api/v2/users/ann", "")
	s.must(401, "GET", "/api/v2/whoami", "", bearer...)
	if st, _ := s.st.Current(); st.APIKeys.Len()+st.Sessions.Len()+st.Passwords.Len() != 0 {
		t.Error("a removed user left something that a user of the same name would inherit")
	}
}

func mustList(t *testing.T, s *server) []string {
	t.Helper()
	all, _, err := s.kv.List(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, kv := range all {
		out = append(out, kv.Key+" "+string(kv.Value))
	}
	return out
}

func TestUsers_lastAdministratorStays(t *testing.T) {
	s := withAnn(t)
	for _, try := range [][3]string{{"DELETE", "", ""}, {"PUT", "", `{"role":"viewer"}`}, {"PUT", "", `{"disabled":true}`}} {
		if got := errorOf(t, s.must(409, try[0], "/api/v2/users/ann"+try[1], try[2])); !strings.Contains(got.Message, "last administrator") {
			t.Error(got.Message)
		}
	}
	for round := range 10 {
		if round == 0 {
			s.must(201, "POST", "/api/v2/users", text(t, api.CreateUser{Name: "bob", Role: api.RoleAdmin}))
		}
		for _, name := range []string{"ann", "bob"} {
			s.must(200, "PUT", "/api/v2/users/"+name, `{"role":"admin"}`)
		}
		var wg sync.WaitGroup
		for _, name := range []string{"ann", "bob"} {
			wg.Go(func() { s.call("PUT", "/api/v2/users/"+name, `{"role":"viewer"}`) })
		}
		wg.Wait()
		st, _ := s.st.Current()
		ann, _ := st.Users.Value("ann")
		bob, _ := st.Users.Value("bob")
		if ann.Role != api.RoleAdmin && bob.Role != api.RoleAdmin {
			t.Fatal("two administrators who demoted each other at the same time both lost the role")
		}
	}
}

func TestUsers_badInput(t *testing.T) {
	s := withAnn(t)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"upper case":        {"POST", "/api/v2/users", `{"name":"Bob","role":"viewer"}`, 400, "lower-case"},
		"no role":           {"POST", "/api/v2/users", `{"name":"bob"}`, 400, "role"},
		"role of keys":      {"POST", "/api/v2/users", `{"name":"bob","role":"inference"}`, 400, "role"},
		"short password":    {"POST", "/api/v2/users", `{"name":"bob","role":"viewer","password":"12345678"}`, 400, "15"},
		"common password":   {"POST", "/api/v2/users", `{"name":"bob","role":"viewer","password":"passwordpassword1"}`, 400, "guessed"},
		"own name":          {"POST", "/api/v2/users", `{"name":"bobby","role":"viewer","password":"bobbybobbybobby1"}`, 400, "guessed"},
		"long password":     {"POST", "/api/v2/users", `{"name":"bob","role":"viewer","password":"` + strings.Repeat("ab", 200) + `"}`, 400, "256"},
		"mail":              {"POST", "/api/v2/users", `{"name":"bob","role":"viewer","email":"x"}`, 400, "email"},
		"display name":      {"POST", "/api/v2/users", `{"name":"bob","role":"viewer","display_name":"a\u0007"}`, 400, "display_name"},
		"taken":             {"POST", "/api/v2/users", `{"name":"ann","role":"viewer"}`, 409, "already"},
		"unknown":           {"PUT", "/api/v2/users/none", `{"role":"viewer"}`, 404, "no user"},
		"unknown, deleted":  {"DELETE", "/api/v2/users/..%2fx", "", 404, "no user"},
		"unknown, password": {"PUT", "/api/v2/users/none/password", `{"password":"x"}`, 404, "no user"},
		"unknown session":   {"DELETE", "/api/v2/sessions/none", "", 404, "no session"},
		"profile of nobody": {"PUT", "/api/v2/profile", `{"email":"a@b.c"}`, 409, "no user's"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := s.call(c.method, c.path, c.body)
			if e := errorOf(t, body); res.StatusCode != c.status || !strings.Contains(e.Message, c.says) {
				t.Errorf("%d %q; want %d with %q", res.StatusCode, e.Message, c.status, c.says)
			}
		})
	}
}

func TestHeaders_ofEveryAnswer(t *testing.T) {
	s := serve(t)
	res, _ := s.call("GET", "/api/v2/version", "")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "Strict-Transport-Security": "",
	} {
		if got := http.Header(res.Header).Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
