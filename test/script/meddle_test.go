package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// rule is what a meddler does to one request: meddle 'PUT /models/b$ 2 status 503'.
type rule struct {
	method string
	path   *regexp.Regexp // of the path with its query
	nth    int            // of the requests that match, counted from 1
	action string         // run, status or hang
	arg    string         // a command line, a status, or the file that says that the request hangs
	seen   int
}

var ruleText = regexp.MustCompile(`^(\S+) (\S+) (\d+) (run|status|hang) (.+)$`)

// meddle puts a meddler between the commands that follow and the server: NEBULA_SERVER names it. The server's own address is its only way on.
func meddle(ts *testscript.TestScript, _ bool, args []string) {
	var rules []*rule
	for _, a := range args {
		m := ruleText.FindStringSubmatch(a)
		if m == nil {
			ts.Fatalf("usage: meddle 'METHOD PATH-REGEXP NTH run|status|hang ARGUMENT'…; not %q", a)
		}
		nth, err := strconv.Atoi(m[3])
		ts.Check(err)
		rules = append(rules, &rule{method: m[1], path: regexp.MustCompile(m[2]), nth: nth, action: m[4], arg: m[5]})
	}
	target, err := url.Parse(strings.TrimSpace(ts.ReadFile("data/server.addr")))
	ts.Check(err)
	if target.Host == "" {
		target = &url.URL{Scheme: "http", Host: strings.TrimSpace(ts.ReadFile("data/server.addr"))}
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	m := &meddler{rules: rules, next: proxy, dir: ts.MkAbs("."), env: os.Environ()}
	for _, name := range []string{"NEBULA_DATA_DIR", "HOME", "PATH"} {
		m.env = append(m.env, name+"="+ts.Getenv(name))
	}
	s := httptest.NewServer(m)
	ts.Defer(func() { s.CloseClientConnections(); s.Close() })
	ts.Setenv("NEBULA_SERVER", s.URL)
}

type meddler struct {
	mu    sync.Mutex
	rules []*rule
	next  http.Handler
	dir   string
	env   []string
}

func (m *meddler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hit := m.match(r)
	switch {
	case hit == nil:
		m.next.ServeHTTP(w, r)
	case hit.action == "status":
		code, err := strconv.Atoi(hit.arg)
		if err != nil {
			code = http.StatusTeapot
		}
		w.Header().Set("X-Request-Id", "req_of_the_meddler")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"error":{"code":"unavailable","message":"the meddler says no","request_id":"req_of_the_meddler"}}`)
	case hit.action == "hang":
		_ = os.WriteFile(m.dir+"/"+hit.arg, nil, 0o600) // where it fails the script never sees it, and says so
		_, _ = io.Copy(io.Discard, r.Body)              // only then the server sees that the caller leaves
		<-r.Context().Done()
	default:
		if err := m.run(r.Context(), hit.arg); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		m.next.ServeHTTP(w, r)
	}
}

// match counts a request and returns the rule whose turn it is.
func (m *meddler) match(r *http.Request) *rule {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rule := range m.rules {
		if rule.method == r.Method && rule.path.MatchString(r.URL.RequestURI()) {
			if rule.seen++; rule.seen == rule.nth {
				return rule
			}
		}
	}
	return nil
}

func (m *meddler) run(ctx context.Context, line string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env = m.dir, m.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %s", line, out), err)
	}
	return nil
}
