package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/pki"
)

// proxied are the paths that the old gateway passed on to version 2, with something at each.
var proxied = []string{
	"models", "models/m", "models/m/start", "models/m/stop", "models/m/scale", "models/m/save-as-template", "templates", "templates/t", "templates/t/deploy",
	"nodes/n1/cache", "nodes/n1/disk", "cache/summary", "alerts", "migrate",
}

// notProxied are paths under it at which there is nothing, however they are written.
var notProxied = []string{
	"users", "keys", "models/m/logs", "models/m/deployment", "observability/gateway/overview", "audit", "v1-usage", "", "models/", "models//", "/models", "nodes", "nodes/n1",
	"models/../users", "models/%2e%2e/users", "models/m/..%2f..%2f..%2fusers", "models%2fm", "models/m%2fstart", "nodes/..%2f..%2fadmin/cache", "%6dodels", "../v2/models",
	"models;a=b", "models/m/start/x", "admin/backup", "members/gateway/g1",
}

// TestV1Proxy_isVersion2: each listed path does what version 2 does under its own, for each role and each method, and the audit log says the same.
func TestV1Proxy_isVersion2(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	for _, path := range proxied {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			for role := range secrets {
				if method == "DELETE" && path == "models/m" && role == auth.Admin {
					continue // it would be gone
				}
				as := []string{"Authorization", "Bearer " + secrets[role]}
				own, _ := s.call(method, "/api/v2/"+path, `{}`, as...)
				old, body := s.call(method, "/v1/admin/v2/"+path, `{}`, as...)
				if own.StatusCode != old.StatusCode || own.Header.Get("Content-Type") != old.Header.Get("Content-Type") || own.Header.Get("Allow") != old.Header.Get("Allow") {
					t.Errorf("%s %s as %s: %d %s, and %d under /api/v2", method, path, role, old.StatusCode, body, own.StatusCode)
				}
				if link := old.Header.Get("Link"); old.Header.Get("Deprecation") == "" || !strings.HasPrefix(link, "</api/v2/") {
					t.Errorf("%s %s: Deprecation %q, Link %q", method, path, old.Header.Get("Deprecation"), link)
				}
			}
			if res, body := s.call(method, "/v1/admin/v2/"+path, "", "Authorization", ""); res.StatusCode != 401 {
				t.Errorf("%s %s as nobody: %d %s", method, path, res.StatusCode, body)
			}
		}
	}
	s.must(200, "POST", "/v1/admin/v2/models/m/start", `{"replicas":2}`, "Idempotency-Key", "k1", "X-Request-Id", "by-the-gateway")
	last := get[[]api.AuditRecord](s, "GET", "/api/v2/audit?limit=1", "")[0]
	if last.Verb != "model.start" || last.Object != "model/m" || last.Actor.ID != "admin" || last.RequestID != "by-the-gateway" {
		t.Errorf("recorded as %+v", last)
	}
	counted := false
	for _, u := range get[[]api.V1Use](s, "GET", "/api/v2/v1-usage", "") {
		counted = counted || u.Principal == "admin" && u.Route == "POST /v1/admin/v2/models/{uid}/start" && u.Successor == "/api/v2/models/{uid}/start" && u.Calls == 2
	}
	if !counted {
		t.Error("who calls is not counted")
	}
	s.must(201, "POST", "/v1/admin/v2/models", `{"model_name":"acme/o","model_uid":"o"}`)
	if res, _ := s.call("GET", "/v1/admin/v2/models?limit=1", ""); !strings.Contains(strings.Join(res.Header.Values("Link"), " "), `</v1/admin/v2/models?cursor=`) {
		t.Errorf("the next page is at %q", res.Header.Values("Link"))
	}
}

func TestV1Proxy_badPaths(t *testing.T) {
	s := serve(t)
	for _, path := range notProxied {
		if res, body := s.call("GET", "/v1/admin/v2/"+path, ""); res.StatusCode != 404 || strings.Contains(body, "{") {
			t.Errorf("%q: %d %s", path, res.StatusCode, body)
		}
	}
	for _, path := range []string{"/v1/admin", "/v1/admin/v2"} {
		s.must(404, "GET", path, "")
		s.must(401, "GET", path, "", "Authorization", "")
	}
}

// TestV1Proxy_scopes: a key is held to its scopes as the row of version 2 holds it, and none of models, or of the gateway, opens that.
func TestV1Proxy_scopes(t *testing.T) {
	k := newKeyring(t)
	k.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	for scopes, want := range map[string]int{
		`{"routes":["/v1/*"]}`: 403, `{"routes":["/v1/admin/*"]}`: 403, `{"routes":["/api/v2/models"]}`: 200, `{"routes":["/api/v2/nodes*"]}`: 403, `{}`: 200,
	} {
		key := string(k.made(k.personal["ann"], `{"name":"bot","role":"admin","scopes":`+scopes+`}`).Key)
		k.as(key, want, "GET", "/v1/admin/v2/models", "")
	}
	one := string(k.made(k.personal["ann"], `{"name":"bot","role":"admin","scopes":{"models":["o"]}}`).Key)
	k.as(one, 403, "POST", "/v1/admin/v2/models/m/stop", "")
}

// atGatewayAlone is a gateway on a machine of its own, whose way to the servers of a fleet is a true one.
func atGatewayAlone(t *testing.T, f *fleet, change func(*httpapi.Config)) *server {
	t.Helper()
	state, _ := f.st.Current()
	info, _ := state.Info.Value(api.ClusterInfoID)
	cred := f.issue(pki.Identity{Cluster: info.ID, Role: api.MachineGateway, ID: "g1"})
	if err := f.cfg.Control.RegisterLocal(t.Context(), api.Member{Role: api.MachineGateway, ID: "g1", KeyHash: cred.KeyHash()}); err != nil {
		t.Fatal(err)
	}
	servers := link.NewServers(link.ServersConfig{
		Addrs: []string{strings.TrimPrefix(f.url, "https://")}, Credential: cred, Clock: pki.NewClock(time.Now), Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(servers.Close)
	cfg := config(f.st)
	cfg.Control, cfg.Sessions, cfg.Tail, cfg.Servers = nil, nil, obs.NewTail(), servers.OfCallers()
	change(&cfg)
	h := httptest.NewServer(newAPI(t, cfg))
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	return &server{h, t, f.kv, f.st}
}

// TestV1Gateway_passesOn: what the gateway has to ask a server for is answered by that, to the caller: a machine's certificate between the two lifts nobody.
func TestV1Gateway_passesOn(t *testing.T) {
	f := newFleet(t)
	f.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	g := atGatewayAlone(t, f, func(*httpapi.Config) {})
	for role, want := range map[auth.Role]string{auth.Viewer: "viewer", auth.Operator: "operator", auth.Admin: "admin", auth.Inference: "inference"} {
		as := []string{"Authorization", "", "X-Api-Key", secrets[role]}
		if who := get[api.V1Whoami](g, "GET", "/v1/admin/whoami", "", as...); who.Principal != want || string(who.Role) != want {
			t.Errorf("the server takes the %s for %+v", role, who)
		}
		for _, path := range proxied {
			for _, method := range []string{"GET", "POST"} {
				own, _ := f.call(method, "/api/v2/"+path, `{}`, as...)
				old, body := g.call(method, "/v1/admin/v2/"+path, `{}`, as...)
				if own.StatusCode != old.StatusCode || own.Header.Get("Content-Type") != old.Header.Get("Content-Type") {
					t.Errorf("%s %s as %s: %d %s, and %d at the server", method, path, role, old.StatusCode, body, own.StatusCode)
				}
			}
		}
	}
	loaded := get[api.V1Loaded](g, "POST", "/v1/admin/models/load", `{"model_name":"acme/old","model_uid":"old"}`)
	res, body := g.call("GET", "/v1/admin/models/requests", "", "X-Request-Id", "mine-1")
	if !strings.Contains(body, loaded.RequestID) || res.Header.Get("Deprecation") == "" || len(res.Header.Values("X-Content-Type-Options")) != 1 || res.Header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("%v %s", res.Header, body)
	}
	for header, want := range map[string]int{"": 401, "Bearer " + strings.Repeat("x", 40): 401, "Basic eA==": 401} {
		if res, body := g.call("GET", "/v1/admin/models/requests", "", "Authorization", header); res.StatusCode != want || !deniedAsV1("/v1/admin/", body) {
			t.Errorf("%q: %d %s", header, res.StatusCode, body)
		}
	}
	if res, body := g.call("POST", "/v1/admin/models/load", `{"model_name":"`+strings.Repeat("a", 2<<20)+`"}`); res.StatusCode != 413 || strings.Contains(body, "{") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if got := g.must(404, "DELETE", "/v1/admin/models/requests/none", ""); !strings.Contains(got, "none") || strings.Contains(got, "{") {
		t.Error(got)
	}
	for _, path := range notProxied {
		if res, body := g.call("GET", "/v1/admin/v2/"+path, ""); res.StatusCode != 404 || strings.Contains(body, "{") {
			t.Errorf("%q: %d %s", path, res.StatusCode, body)
		}
	}
	g.must(404, "GET", "/v1/admin/users", "")
}

// TestV1Gateway_passesStreamsOn: what a server sends as it comes reaches the caller as it comes.
func TestV1Gateway_passesStreamsOn(t *testing.T) {
	f := newFleet(t)
	g := atGatewayAlone(t, f, func(*httpapi.Config) {})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", g.URL+"/v1/admin/v2/models?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secrets[auth.Viewer])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	in := bufio.NewScanner(res.Body)
	for i := range 3 {
		f.must(201, "POST", "/api/v2/models", fmt.Sprintf(`{"model_name":"acme/m","model_uid":"m%d"}`, i))
		seen := false
		for !seen && in.Scan() {
			seen = strings.Contains(in.Text(), fmt.Sprintf(`"model_uid":"m%d"`, i))
		}
		if !seen {
			t.Fatalf("model m%d never comes: %v", i, in.Err())
		}
	}
}

// rounds counts and changes what goes to the servers.
type rounds func(*http.Request) (*http.Response, error)

func (r rounds) RoundTrip(q *http.Request) (*http.Response, error) { return r(q) }

// TestV1Gateway_whatGoesAlong: the caller's own headers do, but cookies, what is of one connection, and what anybody could say of where they are.
func TestV1Gateway_whatGoesAlong(t *testing.T) {
	var got *http.Request
	g := atGatewayAlone(t, newFleet(t), func(cfg *httpapi.Config) {
		cfg.Servers = rounds(func(r *http.Request) (*http.Response, error) {
			got = r
			h := http.Header{"Content-Type": {"application/json"}, "Set-Cookie": {"a=b"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "Deprecation": {"@1"}}
			return &http.Response{StatusCode: 200, Header: h, Body: io.NopCloser(strings.NewReader("{}"))}, nil
		})
	})
	res, _ := g.call("PUT", "/v1/admin/v2/models/m?a=1&b=%2f", `{"labels":{}}`, "Cookie", "nebula-session=x", "Connection", "X-Mine", "X-Mine", "1", "If-Match", `"7"`,
		"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Host", "evil.example", "Forwarded", "for=203.0.113.9", "User-Agent", "old-cli/1")
	body, _ := io.ReadAll(got.Body)
	if got.Method != "PUT" || got.URL.Path != "/v1/admin/v2/models/m" || got.URL.RawQuery != "a=1&b=%2f" || string(body) != `{"labels":{}}` {
		t.Errorf("%s %s %s", got.Method, got.URL, body)
	}
	h := got.Header
	if h.Get("Authorization") != "Bearer "+secrets[auth.Admin] || h.Get("If-Match") != `"7"` || h.Get("User-Agent") != "old-cli/1" || h.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("goes along: %v", h)
	}
	for _, name := range []string{"Cookie", "Connection", "X-Mine", "X-Forwarded-Host", "Forwarded", "Upgrade"} {
		if h.Get(name) != "" {
			t.Errorf("%s goes along: %q", name, h.Get(name))
		}
	}
	if res.Header.Get("Set-Cookie") != "" || res.Header.Get("X-Hop") != "" || res.Header.Get("Deprecation") != "@1" {
		t.Errorf("comes back: %v", res.Header)
	}
}

// TestV1Gateway_noServer says so, and what to do, in a text; and not more requests than there is room for are passed on at once.
func TestV1Gateway_noServer(t *testing.T) {
	f := newFleet(t)
	away := link.NewServers(link.ServersConfig{
		Addrs: []string{"127.0.0.1:1"}, Credential: f.issue(pki.Identity{Cluster: "c", Role: api.MachineGateway, ID: "g2"}), Clock: pki.NewClock(time.Now), Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(away.Close)
	g := atGatewayAlone(t, f, func(cfg *httpapi.Config) { cfg.Servers = away.OfCallers() })
	for _, call := range [][2]string{{"GET", "/v1/admin/v2/models"}, {"POST", "/v1/admin/models/load"}} {
		if got := g.must(502, call[0], call[1], `{}`); !strings.HasPrefix(got, "bff proxy request failed: no server of the cluster answers: check") {
			t.Errorf("%s: %s", call, got)
		}
	}
	var inside atomic.Int64
	goOn := make(chan struct{})
	full := atGatewayAlone(t, f, func(cfg *httpapi.Config) {
		cfg.Servers = rounds(func(*http.Request) (*http.Response, error) {
			inside.Add(1)
			<-goOn
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
		})
	})
	const room = 128
	answers := make(chan int, room+1)
	for range room + 1 {
		go func() {
			res, err := request(full.URL+"/v1/admin/whoami", secrets[auth.Viewer])
			if err != nil {
				t.Error(err)
			}
			answers <- res
		}()
	}
	if first := <-answers; first != 503 || inside.Load() > room { // of all, the one for which there is no room
		t.Errorf("%d, with %d passed on", first, inside.Load())
	}
	close(goOn)
	for range room {
		if status := <-answers; status != 200 {
			t.Errorf("%d", status)
		}
	}
}

func request(url, token string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
