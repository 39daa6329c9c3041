package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

const consolePage = `<!doctype html><meta property="csp-nonce" nonce="__CSP_NONCE__"><script type="module" nonce="__CSP_NONCE__" src="/assets/index-a1.js"></script><div id="root"></div>`

var script = strings.Repeat("export const answer = 42;\n", 400)

// withConsole is a server whose binary has a console.
func withConsole(t *testing.T) *server {
	t.Helper()
	return serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Console = fstest.MapFS{
			"index.html":          {Data: []byte(consolePage)},
			"favicon.svg":         {Data: []byte("<svg/>")},
			"secret.txt":          {Data: []byte("not to be served")},
			"assets/index-a1.js":  {Data: []byte(script)},
			"assets/index-a1.css": {Data: []byte("b{}")},
			"assets/font-1.woff2": {Data: []byte("wOF2")},
			"assets/logo-1.svg":   {Data: []byte("<svg/>")},
			"assets/notes.txt":    {Data: []byte("not to be served")},
			"assets/sub/x.js":     {Data: []byte("not to be served")},
		}
	})
}

var noncePart = regexp.MustCompile(`'nonce-([A-Za-z0-9_-]{22})'`)

// TestConsole_page: the page is one for each request: its nonce is in the policy and in the page, and never the same twice.
func TestConsole_page(t *testing.T) {
	s := withConsole(t)
	seen := map[string]bool{}
	for _, c := range []struct{ path, accept string }{
		{"/", ""},
		{"/", "text/html"},
		{"/", "application/json"},
		{"/setup", "text/html"},
		{"/models", "text/html,application/xhtml+xml,*/*;q=0.8"},
		{"/models/acme--m?tab=logs", "text/html"},
		{"/a.b/%3Cimg%20onerror%3D1%3E", "text/html;q=0.9"},
		{"/favicon.svg/x", "text/html"},
		{"/apix", "text/html"},
		{"/v10", "text/html"},
	} {
		res, body := s.call("GET", c.path, "", "Authorization", "", "Accept", c.accept)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/html; charset=utf-8" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", c.path, res.StatusCode, res.Header)
			continue
		}
		policy := res.Header.Get("Content-Security-Policy")
		found := noncePart.FindAllStringSubmatch(policy, -1)
		if len(found) != 2 || found[0][1] != found[1][1] {
			t.Fatalf("the policy is %s", policy)
		}
		nonce := found[0][1]
		if seen[nonce] {
			t.Errorf("%s: the nonce %s was given before", c.path, nonce)
		}
		seen[nonce] = true
		if body != strings.ReplaceAll(consolePage, "__CSP_NONCE__", nonce) {
			t.Errorf("%s: the page is not the console's with this answer's nonce: %s", c.path, body)
		}
		want := "default-src 'none'; script-src 'self' 'nonce-N'; style-src 'self' 'nonce-N'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; " +
			"manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
		if got := strings.ReplaceAll(policy, nonce, "N"); got != want {
			t.Errorf("%s: the policy is %s", c.path, got)
		}
		for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin"} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.path, name, got, want)
			}
		}
		if res, body := s.call("HEAD", c.path, "", "Authorization", "", "Accept", c.accept); res.StatusCode != 200 || body != "" || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("HEAD %s: %d %s", c.path, res.StatusCode, body)
		}
	}
}

// TestConsole_hidesNothingElse: programs are answered as if there were no console, and so is whatever is under the paths of the API.
func TestConsole_hidesNothingElse(t *testing.T) {
	plain, s := serve(t), withConsole(t)
	for _, c := range []struct{ method, path, accept string }{
		{"GET", "/models", ""},
		{"GET", "/models", "application/json"},
		{"GET", "/models", "*/*"},
		{"GET", "/models", "text/*"},
		{"GET", "/models", "text/html;q=0"},
		{"GET", "/models", "text/html;q=x"},
		{"GET", "/models", "application/xhtml+xml"},
		{"GET", "/models", "text/htmlx"},
		{"GET", "/models", ",;\t"},
		{"POST", "/models", "text/html"},
		{"PUT", "/", "text/html"},
		{"DELETE", "/setup", "text/html"},
		{"POST", "/", "text/html"},
		{"OPTIONS", "/models", "text/html"},
		{"TRACE", "/models", "text/html"},
		{"GET", "/api", "text/html"},
		{"GET", "/api/", "text/html"},
		{"GET", "/api/v2/nothing", "text/html"},
		{"GET", "/api/v2/models", "text/html"},
		{"GET", "/api/v3", "text/html"},
		{"GET", "/v1", "text/html"},
		{"GET", "/v1/nothing", "text/html"},
		{"GET", "/v1/admin/nothing", "text/html"},
		{"GET", "/metrics", "text/html"},
		{"GET", "/metrics/x", "text/html"},
		{"GET", "/healthz/x", "text/html"},
		{"GET", "/readyz/", "text/html"},
		{"GET", "/assets", "text/html"},
		{"GET", "/assets/", "text/html"},
		{"GET", "/assets/a/b.js", "text/html"},
		{"GET", "//models", "text/html"},
		{"GET", "/models/../api", "text/html"},
		{"GET", "/./models", "text/html"},
		{"GET", "/setup/..", "text/html"},
		{"GET", "/api/v2/models/m/start", "text/html"},
		{"POST", "/assets/index-a1.js", "text/html"},
		{"PUT", "/favicon.svg", ""},
	} {
		for _, credential := range [][]string{{"Authorization", ""}, {"Authorization", "Bearer wrong"}, {}} {
			header := append([]string{"Accept", c.accept, "X-Request-Id", "r"}, credential...)
			want, wantBody := plain.call(c.method, c.path, "", header...)
			got, gotBody := s.call(c.method, c.path, "", header...)
			if got.StatusCode != want.StatusCode || gotBody != wantBody || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") || got.Header.Get("Allow") != want.Header.Get("Allow") {
				t.Errorf("%s %s (Accept: %q, %v): %d %s, without a console %d %s", c.method, c.path, c.accept, credential, got.StatusCode, gotBody, want.StatusCode, wantBody)
			}
			if got.StatusCode < 400 && c.path != "/api/v2/models" && c.path != "/metrics" && c.path != "/v1" {
				t.Errorf("%s %s (Accept: %q, %v): %d", c.method, c.path, c.accept, credential, got.StatusCode)
			}
		}
	}
}

// TestConsole_assets: files are packed for who takes that, and kept for a year: their names change with them.
func TestConsole_assets(t *testing.T) {
	s := withConsole(t)
	for _, c := range []struct {
		path, accepts, media string
		packed, varies       bool
	}{
		{"/assets/index-a1.js", "gzip, deflate, br", "text/javascript; charset=utf-8", true, true},
		{"/assets/index-a1.js", "br;q=1, GZIP;q=0.2", "text/javascript; charset=utf-8", true, true},
		{"/assets/index-a1.js", "*", "text/javascript; charset=utf-8", true, true},
		{"/assets/index-a1.js", "gzip;q=0, *", "text/javascript; charset=utf-8", false, true},
		{"/assets/index-a1.js", "gzip; q=0.000", "text/javascript; charset=utf-8", false, true},
		{"/assets/index-a1.js", "identity", "text/javascript; charset=utf-8", false, true},
		{"/assets/index-a1.css", "gzip", "text/css; charset=utf-8", false, false},
		{"/assets/font-1.woff2", "gzip", "font/woff2", false, false},
		{"/assets/logo-1.svg", "gzip", "image/svg+xml", false, false},
		{"/favicon.svg", "gzip", "image/svg+xml", false, false},
	} {
		res, body := s.call("GET", c.path, "", "Authorization", "", "Accept-Encoding", c.accepts)
		h := res.Header
		if res.StatusCode != 200 || h.Get("Content-Type") != c.media || (h.Get("Content-Encoding") == "gzip") != c.packed || (h.Get("Vary") == "Accept-Encoding") != c.varies || h.Get("ETag") == "" {
			t.Errorf("%s (%s): %d %v", c.path, c.accepts, res.StatusCode, h)
		}
		keep := "public, max-age=31536000, immutable"
		if c.path == "/favicon.svg" {
			keep = "public, max-age=3600"
		}
		if h.Get("Cache-Control") != keep || h.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", c.path, h)
		}
		if c.packed {
			body = unpack(t, body)
		}
		if strings.HasSuffix(c.path, ".js") && body != script {
			t.Errorf("%s: %q", c.path, body)
		}
		again, none := s.call("GET", c.path, "", "Authorization", "", "Accept-Encoding", c.accepts, "If-None-Match", h.Get("ETag"))
		if again.StatusCode != 304 || none != "" || again.Header.Get("Content-Encoding") != "" || (again.Header.Get("Vary") != "") != c.varies {
			t.Errorf("%s, asked about again: %d %v", c.path, again.StatusCode, again.Header)
		}
		head, none := s.call("HEAD", c.path, "", "Authorization", "", "Accept-Encoding", c.accepts)
		if head.StatusCode != 200 || none != "" || head.Header.Get("Content-Length") != h.Get("Content-Length") || head.Header.Get("ETag") != h.Get("ETag") {
			t.Errorf("HEAD %s: %d %v", c.path, head.StatusCode, head.Header)
		}
	}
}

func unpack(t *testing.T, body string) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConsole_hostileNames: only the files of the folder itself, of the kinds that are known, are there.
func TestConsole_hostileNames(t *testing.T) {
	s := withConsole(t)
	for _, path := range []string{
		"/assets/../index.html", "/assets/../secret.txt", "/assets/%2e%2e%2findex.html", "/assets/..%2findex.html", "/assets/%2e%2e", "/assets/%2e%2e/secret.txt", "/assets/..%5cindex.html",
		"/assets/index-a1.js%00", "/assets/%00", "/assets/sub", "/assets/sub/x.js", "/assets/sub%2fx.js", "/assets/.", "/assets//index-a1.js", "/assets/%2findex-a1.js", "/assets/notes.txt",
		"/assets/INDEX-A1.JS", "/assets/index-a1.js/", "/assets/" + strings.Repeat("a", 8000) + ".js", "/assets/*", "/assets/[a-z]", "/assets/%ff", "/assets/none.js", "/secret.txt", "/index.html",
	} {
		for _, accept := range []string{"", "*/*"} {
			req, err := http.NewRequest("GET", s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 40))
			req.Header.Set("Accept", accept)
			res, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 404 || res.Header.Get("Cache-Control") != "no-store" || strings.Contains(string(body), "not to be served") {
				t.Errorf("%.80s: %d %v %.200s", path, res.StatusCode, res.Header, body)
			}
			errorOf(t, string(body))
		}
	}
}

// TestConsole_missing: a binary without the console says so in words, and everything else works.
func TestConsole_missing(t *testing.T) {
	s := serve(t)
	res, text := s.call("GET", "/", "", "Authorization", "", "Accept", "text/html")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	for _, want := range []string{"built without the web console", `run "make"`, "/api/v2", "node 20.19"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	for path, want := range map[string]int{"/models": 401, "/assets/index-a1.js": 404, "/favicon.svg": 404, "/setup": 200} {
		s.must(want, "GET", path, "", "Authorization", "", "Accept", "text/html")
	}
	s.must(200, "GET", "/api/v2/models", "")
	// Files without a page are no console.
	half := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Console = fstest.MapFS{"assets/a.js": {Data: []byte("1")}} })
	if got := half.must(200, "GET", "/", ""); !strings.Contains(got, "built without") {
		t.Errorf("half a console: %s", got)
	}
}
