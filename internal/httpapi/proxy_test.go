package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// behind is a server that trusts proxies at 10.0.0.0/8 and fd00::/8, which tests call without a network, from where they like.
func behind(t *testing.T, change func(*httpapi.Config)) http.Handler {
	t.Helper()
	s := serveOn(t, storetest.NewMem(), func(c *httpapi.Config) {
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
		c.Hosts = []string{"nebula.example.com", "backend"}
		change(c)
	})
	s.must(201, "POST", "/api/v2/users", `{"name":"ann","role":"viewer","password":"a long walk over hills"}`)
	return s.Config.Handler
}

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Header     http.Header
	Cookies    []*http.Cookie
}

// from sends a request as if from an address. Headers are name, value, name, value.
func from(t *testing.T, h http.Handler, remote, method, path, body string, header ...string) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://backend"+path, strings.NewReader(body))
	r.RemoteAddr = remote
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	defer func() { _ = res.Body.Close() }()
	return reply{res.StatusCode, res.Header, res.Cookies()}
}

const loginAnn = `{"username":"ann","password":"a long walk over hills"}`

// TestProxy_source: whom a denial is recorded of. What untrusted peers say is ignored, and of what trusted ones say the rightmost address that is no proxy's counts.
func TestProxy_source(t *testing.T) {
	var denied []api.AuditRecord
	h := behind(t, func(c *httpapi.Config) { c.Denied = func(r api.AuditRecord) { denied = append(denied, r) } })
	for name, c := range map[string]struct {
		remote string
		xff    []string // header lines
		want   string
	}{
		"no proxy":                       {"192.0.2.1:5", []string{"198.51.100.7"}, "192.0.2.1"},
		"a stranger who plays the proxy": {"192.0.2.1:5", []string{"198.51.100.7, 10.0.0.5"}, "192.0.2.1"},
		"a proxy":                        {"10.0.0.5:5", []string{"198.51.100.7"}, "198.51.100.7"},
		"a proxy over IPv6":              {"[fd00::5]:5", []string{"2001:db8::7"}, "2001:db8::7"},
		"a mapped proxy":                 {"[::ffff:10.0.0.5]:5", []string{"198.51.100.7"}, "198.51.100.7"},
		"two proxies":                    {"10.0.0.5:5", []string{"198.51.100.7, 10.9.9.9"}, "198.51.100.7"},
		"a chain that the client began":  {"10.0.0.5:5", []string{"127.0.0.1, 203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		"a mapped proxy in the chain":    {"10.0.0.5:5", []string{"203.0.113.9, 198.51.100.7, ::ffff:10.1.1.1"}, "198.51.100.7"},
		"several headers":                {"10.0.0.5:5", []string{"203.0.113.9", "198.51.100.7,10.1.1.1", "10.2.2.2"}, "198.51.100.7"},
		"no header":                      {"10.0.0.5:5", nil, "10.0.0.5"},
		"only proxies":                   {"10.0.0.5:5", []string{"10.1.1.1"}, "10.0.0.5"},
		"garbage":                        {"10.0.0.5:5", []string{"admin; drop"}, "10.0.0.5"},
		"garbage before a proxy":         {"10.0.0.5:5", []string{"198.51.100.7, unknown, 10.1.1.1"}, "10.0.0.5"},
		"garbage behind the client":      {"10.0.0.5:5", []string{"unknown, 198.51.100.7"}, "198.51.100.7"},
		"a zone":                         {"10.0.0.5:5", []string{"fe80::1%eth0"}, "fe80::1"},
		"empty entries":                  {"10.0.0.5:5", []string{" , ", "198.51.100.7, ,"}, "198.51.100.7"},
		"another header":                 {"10.0.0.5:5", nil, "10.0.0.5"},
	} {
		denied = nil
		var header []string
		for _, line := range c.xff {
			header = append(header, "X-Forwarded-For", line)
		}
		header = append(header, "Forwarded", "for=203.0.113.1", "X-Real-Ip", "203.0.113.2", "Authorization", "Bearer "+secrets[auth.Viewer])
		res := from(t, h, c.remote, "DELETE", "/api/v2/models/m", "", header...)
		if res.StatusCode != 403 || len(denied) != 1 || denied[0].Source != c.want {
			t.Errorf("%s: %d, recorded %+v, want %s", name, res.StatusCode, denied, c.want)
		}
	}
}

// TestProxy_cookie: the cookie is of the kind that the browser's own connection allows, and is known again under the same.
func TestProxy_cookie(t *testing.T) {
	h := behind(t, func(*httpapi.Config) {})
	for name, c := range map[string]struct {
		remote string
		proto  []string
		secure bool
	}{
		"no proxy":         {"192.0.2.1:5", []string{"https"}, false},
		"a proxy":          {"10.0.0.5:5", []string{"https"}, true},
		"in other case":    {"10.0.0.5:5", []string{" HTTPS "}, true},
		"a proxy in clear": {"10.0.0.5:5", []string{"http"}, false},
		"no header":        {"10.0.0.5:5", nil, false},
		"two values":       {"10.0.0.5:5", []string{"https, http"}, false},
		"two headers":      {"10.0.0.5:5", []string{"http", "https"}, true},
		"garbage":          {"10.0.0.5:5", []string{"https;x"}, false},
		"an empty end":     {"10.0.0.5:5", []string{"https,"}, false},
	} {
		var header []string
		for _, p := range c.proto {
			header = append(header, "X-Forwarded-Proto", p)
		}
		res := from(t, h, c.remote, "POST", "/api/v2/auth/login", loginAnn, header...)
		cookies := res.Cookies
		if res.StatusCode != 200 || len(cookies) != 1 || cookies[0].Secure != c.secure || strings.HasPrefix(cookies[0].Name, "__Host-") != c.secure {
			t.Errorf("%s: %d %v", name, res.StatusCode, cookies)
			continue
		}
		if sts := res.Header.Get("Strict-Transport-Security") != ""; sts != c.secure {
			t.Errorf("%s: Strict-Transport-Security %v", name, sts)
		}
		header = append(header, "Cookie", cookies[0].Name+"="+cookies[0].Value)
		if res := from(t, h, c.remote, "GET", "/api/v2/whoami", "", header...); res.StatusCode != 200 {
			t.Errorf("%s: the session is not known again: %d", name, res.StatusCode)
		}
	}
}

// TestProxy_host: names that are not this server's are refused, whoever says them; and another site's page stays another site's.
func TestProxy_host(t *testing.T) {
	h := behind(t, func(*httpapi.Config) {})
	for name, c := range map[string]struct {
		remote string
		host   []string
		want   int
	}{
		"no proxy":               {"192.0.2.1:5", []string{"evil.example"}, 200},
		"a proxy":                {"10.0.0.5:5", []string{"nebula.example.com"}, 200},
		"with a port":            {"10.0.0.5:5", []string{"nebula.example.com:8443"}, 200},
		"an address":             {"10.0.0.5:5", []string{"[2001:db8::1]:8443"}, 200},
		"a name of others":       {"10.0.0.5:5", []string{"evil.example"}, 421},
		"the last one counts":    {"10.0.0.5:5", []string{"nebula.example.com", "evil.example"}, 421},
		"the last value counts":  {"10.0.0.5:5", []string{"evil.example, nebula.example.com"}, 200},
		"a user in the name":     {"10.0.0.5:5", []string{"localhost:x@evil.example"}, 421},
		"a path in the name":     {"10.0.0.5:5", []string{"localhost:80/x"}, 421},
		"a port that is none":    {"10.0.0.5:5", []string{"nebula.example.com:99999"}, 421},
		"an empty value":         {"10.0.0.5:5", []string{""}, 200},
		"garbage":                {"10.0.0.5:5", []string{"a\tb"}, 421},
		"the proxy's own is bad": {"10.0.0.5:5", []string{"nebula.example.com", "own"}, 421},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://backend/api/v2/setup", nil)
		r.RemoteAddr = c.remote
		for _, v := range c.host {
			if v == "own" {
				r.Host = "evil.example"
				continue
			}
			r.Header.Add("X-Forwarded-Host", v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	forwarded := []string{"X-Forwarded-Host", "nebula.example.com", "X-Forwarded-Proto", "https"}
	for origin, want := range map[string]int{"https://nebula.example.com": 200, "https://evil.example": 403, "https://backend": 403} {
		if res := from(t, h, "10.0.0.5:5", "POST", "/api/v2/auth/login", loginAnn, append(slices.Clone(forwarded), "Origin", origin)...); res.StatusCode != want {
			t.Errorf("from a page of %s: %d, want %d", origin, res.StatusCode, want)
		}
	}
}

// TestProxy_throttle: people behind a proxy are counted each for themselves, and nobody gets rid of a count by what they say.
func TestProxy_throttle(t *testing.T) {
	h := behind(t, func(*httpapi.Config) {})
	fail := func(remote, xff string, n int) int {
		return from(t, h, remote, "POST", "/api/v2/auth/login", fmt.Sprintf(`{"username":"nobody%d","password":"wrong wrong wrong"}`, n), "X-Forwarded-For", xff).StatusCode
	}
	last := 0
	for i := range 21 {
		last = fail("10.0.0.5:5", fmt.Sprintf("203.0.113.%d, 198.51.100.7", i), i)
	}
	if last != 429 {
		t.Errorf("the 21st failure from one address that begins each chain with another: %d", last)
	}
	if got := fail("10.0.0.5:5", "198.51.100.8", 30); got != 401 {
		t.Errorf("the neighbour behind the same proxy: %d", got)
	}
	for i := range 21 {
		last = fail("192.0.2.1:5", fmt.Sprintf("203.0.113.%d", i), 40+i)
	}
	if last != 429 {
		t.Errorf("the 21st failure of somebody who is no proxy: %d", last)
	}
}
