package httpapi_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openid"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// smallProvider is as much of an OpenID provider as one login needs; test/oidc has a whole one. Its code is the nonce of the login and where it leads back.
func smallProvider(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	var s *httptest.Server
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		send(w, map[string]any{"issuer": s.URL, "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		send(w, map[string]any{"keys": []any{map[string]string{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		nonce, redirect, _ := strings.Cut(r.FormValue("code"), " ")
		if r.FormValue("redirect_uri") != redirect {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		now := time.Now().Unix()
		claims, _ := json.Marshal(map[string]any{"iss": s.URL, "aud": "nebula", "sub": "ann", "nonce": nonce, "iat": now, "exp": now + 60, "preferred_username": "ann"})
		text := b64([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + b64(claims)
		sum := sha256.Sum256([]byte(text))
		sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Error(err)
		}
		send(w, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": text + "." + b64(sig)})
	})
	s = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// at gives a server a provider, a key for logins under way and a proxy in front.
func at(t *testing.T, issuer, public string, key []byte) func(*httpapi.Config) {
	t.Helper()
	p, err := openid.New(openid.Config{Issuer: issuer, ClientID: "nebula", PublicURL: public, Otherwise: api.RoleViewer, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *httpapi.Config) {
		c.OpenID, c.LoginKey = p, key
		c.Hosts, c.Proxies = []string{"nebula.example.com", "backend"}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
}

// begin starts a login, and returns the way back from the provider and the cookie.
func begin(t *testing.T, h http.Handler, remote string, header ...string) (redirect, back, cookie string) {
	t.Helper()
	res := from(t, h, remote, "GET", "/api/v2/auth/oidc/login?return=/api/docs", "", header...)
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusSeeOther || len(res.Cookies) != 1 {
		t.Fatalf("%d to %s, %v", res.StatusCode, to, res.Cookies)
	}
	q := to.Query()
	redirect = q.Get("redirect_uri")
	c := res.Cookies[0]
	if c.Secure != strings.HasPrefix(c.Name, "__Host-") {
		t.Errorf("the cookie %s", c)
	}
	return redirect, "/api/v2/auth/oidc/callback?state=" + q.Get("state") + "&code=" + url.QueryEscape(q.Get("nonce")+" "+redirect), c.Name + "=" + c.Value
}

// TestOpenID_behindAProxy: where the provider sends the browser back to.
func TestOpenID_behindAProxy(t *testing.T) {
	issuer := smallProvider(t)
	h := serveOn(t, storetest.NewMem(), at(t, issuer, "", nil)).Config.Handler
	fixed := serveOn(t, storetest.NewMem(), at(t, issuer, "https://public.example", nil)).Config.Handler
	all := []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "nebula.example.com:8443"}
	for name, c := range map[string]struct {
		h      http.Handler
		remote string
		header []string
		want   string
		secure bool
	}{
		"no proxy":            {h, "192.0.2.1:5", all, "http://backend", false},
		"a proxy":             {h, "10.0.0.5:5", all, "https://nebula.example.com:8443", true},
		"a proxy keeps names": {h, "10.0.0.5:5", all[:2], "https://backend", true},
		"a proxy in clear":    {h, "10.0.0.5:5", all[2:], "http://nebula.example.com:8443", false},
		"--public-url":        {fixed, "10.0.0.5:5", all, "https://public.example", true},
		"... and no proxy":    {fixed, "192.0.2.1:5", all, "https://public.example", false},
	} {
		redirect, back, cookie := begin(t, c.h, c.remote, c.header...)
		if redirect != c.want+"/api/v2/auth/oidc/callback" || strings.HasPrefix(cookie, "__Host-") != c.secure {
			t.Errorf("%s: back to %s with %.20s", name, redirect, cookie)
		}
		res := from(t, c.h, c.remote, "GET", back, "", append(slices.Clone(c.header), "Cookie", cookie)...)
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/api/docs" {
			t.Errorf("%s: the way back ends with %d", name, res.StatusCode)
		}
	}
	if res := from(t, h, "10.0.0.5:5", "GET", "/api/v2/auth/oidc/login", "", "X-Forwarded-Host", "evil.example"); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a name of others: %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
}

// TestOpenID_twoServers: a login begins at one server and ends at another one of the cluster, which knows what the first has signed, for a client without a secret
// too; a server of another cluster knows nothing of it.
func TestOpenID_twoServers(t *testing.T) {
	issuer, kv := smallProvider(t), storetest.NewMem()
	shared := []byte(strings.Repeat("k", 32))
	first, second := serveOn(t, kv, at(t, issuer, "", shared)), serveOn(t, kv, at(t, issuer, "", shared))
	stranger := serveOn(t, kv, at(t, issuer, "", []byte(strings.Repeat("x", 32))))
	_, back, cookie := begin(t, first.Config.Handler, "192.0.2.1:5")
	if res := from(t, stranger.Config.Handler, "192.0.2.1:5", "GET", back, "", "Cookie", cookie); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a server with another key: %d", res.StatusCode)
	}
	if res := from(t, second.Config.Handler, "192.0.2.1:5", "GET", back, ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the cookie: %d", res.StatusCode)
	}
	res := from(t, second.Config.Handler, "192.0.2.1:5", "GET", back, "", "Cookie", cookie)
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("the way back to the second server: %d", res.StatusCode)
	}
	session := ""
	for _, c := range res.Cookies {
		if strings.HasSuffix(c.Name, "session") {
			session = c.Name + "=" + c.Value
		}
	}
	first.settle(nil)
	for name, s := range map[string]*server{"first": first, "second": second} {
		if res := from(t, s.Config.Handler, "192.0.2.1:5", "GET", "/api/v2/whoami", "", "Cookie", session); res.StatusCode != 200 {
			t.Errorf("the %s server does not know the session %q: %d", name, fmt.Sprint(session != ""), res.StatusCode)
		}
	}
}

// TestOpenID_failureInABrowser: who came by the console is led back to it, with a code and no text; programs are told as ever.
func TestOpenID_failureInABrowser(t *testing.T) {
	issuer := smallProvider(t)
	with := func(more ...func(*httpapi.Config)) http.Handler {
		return serveOn(t, storetest.NewMem(), func(c *httpapi.Config) {
			for _, change := range append(more, at(t, issuer, "", nil)) {
				change(c)
			}
		}).Config.Handler
	}
	console := func(c *httpapi.Config) { c.Console = fstest.MapFS{"index.html": {Data: []byte(consolePage)}} }
	const stale = "/api/v2/auth/oidc/callback?state=old&code=x&error_description=call+0900"
	const html = "text/html,application/xhtml+xml"
	for name, c := range map[string]struct {
		h      http.Handler
		accept string
		want   int
	}{
		"a browser":                     {with(console), html, http.StatusSeeOther},
		"a program":                     {with(console), "application/json", http.StatusUnauthorized},
		"a browser, and no console":     {with(), html, http.StatusUnauthorized},
		"a program that takes anything": {with(console), "*/*", http.StatusUnauthorized},
	} {
		res := from(t, c.h, "192.0.2.1:5", "GET", stale, "", "Accept", c.accept)
		if res.StatusCode != c.want {
			t.Errorf("%s: %d", name, res.StatusCode)
			continue
		}
		to := res.Header.Get("Location")
		if c.want == http.StatusSeeOther && !regexp.MustCompile(`^/login\?error=unauthorized&request=req_[0-9a-f]+$`).MatchString(to) {
			t.Errorf("%s: led to %q", name, to)
		}
	}
}

// TestOpenID_refusalKeepsTheWay: who is led back to the login page may go on, with a password, to where they wanted to go; only who has begun it, and only within this
// server.
func TestOpenID_refusalKeepsTheWay(t *testing.T) {
	var later atomic.Int64
	h := serveOn(t, storetest.NewMem(), func(c *httpapi.Config) {
		at(t, smallProvider(t), "", nil)(c)
		c.Console = fstest.MapFS{"index.html": {Data: []byte(consolePage)}}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}).Config.Handler
	start := func(to string) (state, cookie string) {
		t.Helper()
		res := from(t, h, "192.0.2.1:5", "GET", "/api/v2/auth/oidc/login?return="+url.QueryEscape(to), "")
		at, err := url.Parse(res.Header.Get("Location"))
		if err != nil || res.StatusCode != http.StatusSeeOther || len(res.Cookies) != 1 {
			t.Fatalf("%s: %d to %s, %v", to, res.StatusCode, at, res.Cookies)
		}
		return at.Query().Get("state"), res.Cookies[0].Name + "=" + res.Cookies[0].Value
	}
	refused := func(query, cookie string) url.Values {
		t.Helper()
		res := from(t, h, "192.0.2.1:5", "GET", "/api/v2/auth/oidc/callback?"+query, "", "Accept", "text/html", "Cookie", cookie)
		to, err := url.Parse(res.Header.Get("Location"))
		if err != nil || res.StatusCode != http.StatusSeeOther || to.Host != "" || to.Path != "/login" {
			t.Fatalf("%s: %d to %s", query, res.StatusCode, to)
		}
		return to.Query()
	}
	const deep = "/models/tiny?tab=logs&replica=1"
	state, cookie := start(deep)
	for query, want := range map[string][2]string{
		"error=access_denied&state=" + state: {"forbidden", deep},    // the provider
		"code=forged&state=" + state:         {"unauthorized", deep}, // this server
		"code=x&state=another&next=/evil":    {"unauthorized", ""},
	} {
		if q := refused(query, cookie); q.Get("error") != want[0] || q.Get("next") != want[1] {
			t.Errorf("%s: led to the login with %v", query, q)
		}
	}
	if q := refused("code=x&state="+state, strings.Replace(cookie, "=", "=x", 1)); q.Get("next") != "" {
		t.Errorf("a cookie that this server has not signed leads to %q", q.Get("next"))
	}
	later.Store(int64(time.Hour))
	if q := refused("code=x&state="+state, cookie); q.Get("error") != "unauthorized" || q.Get("next") != deep {
		t.Errorf("after an hour: led to the login with %v", q)
	}
	state, cookie = start("/")
	if q := refused("error=access_denied&state="+state, cookie); q.Has("next") {
		t.Errorf("the first page needs no name, and has %q", q.Get("next"))
	}
	for _, evil := range []string{"//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"} {
		if res := from(t, h, "192.0.2.1:5", "GET", "/api/v2/auth/oidc/login?return="+url.QueryEscape(evil), ""); res.StatusCode != http.StatusBadRequest {
			t.Errorf("a login that leads back to %q: %d to %s", evil, res.StatusCode, res.Header.Get("Location"))
		}
	}
}

// TestOpenID_providerGone: a login that cannot begin leads a person back to the console as one that was refused; a program is told.
func TestOpenID_providerGone(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	h := serveOn(t, storetest.NewMem(), func(c *httpapi.Config) {
		at(t, gone.URL, "", nil)(c)
		c.Console = fstest.MapFS{"index.html": {Data: []byte(consolePage)}}
	}).Config.Handler
	const begin = "/api/v2/auth/oidc/login?return=%2Fmodels%3Fq%3Dx"
	res := from(t, h, "192.0.2.1:5", "GET", begin, "", "Accept", "text/html")
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !regexp.MustCompile(`^/login\?error=unavailable&next=%2Fmodels%3Fq%3Dx&request=req_[0-9a-f]+$`).MatchString(to) || len(res.Cookies) != 0 {
		t.Errorf("a browser: %d to %q, %v", res.StatusCode, to, res.Cookies)
	}
	if res := from(t, h, "192.0.2.1:5", "GET", begin, "", "Accept", "application/json"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a program: %d", res.StatusCode)
	}
}
