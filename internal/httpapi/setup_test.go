package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/httpapi"
)

// TestSetupPage_runsItsOwnAlone: each style and script of the page as it is served has its hash in the policy, the policy allows nothing else, and
// the page has nothing else.
func TestSetupPage_runsItsOwnAlone(t *testing.T) {
	s, token := newCluster(t)
	res, page := s.call("GET", "/setup", "", "Authorization", "")
	checkPage(t, res, page, 1)
	for _, want := range []string{`<html lang="en">`, `<label for="name">`, `<label for="password">`, `<label for="again">`, `autocomplete="new-password"`, "<noscript>", "15 characters"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, token) {
		t.Error("the page tells the token to whoever asks")
	}
	s.must(200, "POST", "/api/v2/setup", text(t, api.Setup{Token: api.Token(token), Username: "ann", Password: annPassword}), "Authorization", "")
	res, page = s.call("GET", "/setup", "", "Authorization", "")
	checkPage(t, res, page, 0)
	if !strings.Contains(page, "This cluster is set up") || !strings.Contains(page, "nebula login") || strings.Contains(page, "<form") {
		t.Errorf("after the setup: %s", page)
	}
}

var (
	inlined = regexp.MustCompile(`(?s)<(style|script)>(.*?)</`)
	tag     = regexp.MustCompile(`<[a-z][^>]*>`)
)

func checkPage(t *testing.T, res answer, page string, scripts int) {
	t.Helper()
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/html; charset=utf-8" {
		t.Errorf("%d, %s", res.StatusCode, got)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	want := map[string][]string{"default-src": {"'none'"}, "base-uri": {"'none'"}, "form-action": {"'none'"}, "frame-ancestors": {"'none'"}}
	for _, m := range inlined.FindAllStringSubmatch(page, -1) {
		sum := sha256.Sum256([]byte(m[2]))
		want[m[1]+"-src"] = append(want[m[1]+"-src"], "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	if n := len(want["script-src"]); n != scripts || len(want["style-src"]) != 2 || strings.Count(page, "<script") != scripts {
		t.Errorf("the page has %d scripts of its own, want %d", n, scripts)
	}
	if scripts > 0 {
		want["connect-src"] = []string{"'self'"}
	}
	got := map[string][]string{}
	for d := range strings.SplitSeq(res.Header.Get("Content-Security-Policy"), "; ") {
		words := strings.Fields(d)
		got[words[0]] = words[1:]
	}
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("the policy has %s %v; the page needs %v", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("the policy allows more than the page needs: %v", got)
	}
	for _, bad := range []string{"http:", "https:", "//", "<link", "<img", "<iframe", "@import", "url(", "innerHTML", "eval("} {
		if strings.Contains(strings.NewReplacer("  // ", "  ").Replace(page), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, m := range tag.FindAllString(page, -1) {
		if strings.Contains(m, " on") || strings.Contains(m, " style=") || strings.Contains(m, " src=") {
			t.Errorf("the page has %s", m)
		}
	}
}

// TestSetup_linkExpires: the link is good for 15 minutes, and whoever comes late is told how to get another.
func TestSetup_linkExpires(t *testing.T) {
	at := time.Now()
	s, token := newClusterWith(t, func(cfg *httpapi.Config) { cfg.Now = func() time.Time { return at } })
	body := text(t, api.Setup{Token: api.Token(token), Username: "ann", Password: annPassword})
	at = at.Add(16 * time.Minute)
	for _, want := range []string{"15 minutes", "a new start of the server prints another", "nebula user create NAME --role admin"} {
		if got := errorOf(t, s.must(401, "POST", "/api/v2/setup", body, "Authorization", "")); !strings.Contains(got.Message, want) {
			t.Errorf("%q lacks %q", got.Message, want)
		}
	}
	at = at.Add(-2 * time.Minute)
	s.must(200, "POST", "/api/v2/setup", body, "Authorization", "")
}

// TestSetup_badInput: the page shows these answers as they are; the link stays good for the next try.
func TestSetup_badInput(t *testing.T) {
	s, token := newCluster(t)
	for name, c := range map[string]struct {
		in    api.Setup
		field string
	}{
		"no name":                {api.Setup{Password: annPassword}, "name"},
		"upper case":             {api.Setup{Username: "Ann", Password: annPassword}, "name"},
		"long name":              {api.Setup{Username: strings.Repeat("a", 65), Password: annPassword}, "name"},
		"no password":            {api.Setup{Username: "ann"}, "password"},
		"short password":         {api.Setup{Username: "ann", Password: "14 characters."}, "password"},
		"long password":          {api.Setup{Username: "ann", Password: api.Token(strings.Repeat("a b", 100))}, "password"},
		"password of one's name": {api.Setup{Username: "annabella", Password: "annabellaannabella"}, "password"},
	} {
		c.in.Token = api.Token(token)
		e := errorOf(t, s.must(400, "POST", "/api/v2/setup", text(t, c.in), "Authorization", ""))
		if len(e.Details) != 1 || e.Details[0].Field != c.field {
			t.Errorf("%s: details %v, want the field %s", name, e.Details, c.field)
		}
	}
	s.must(400, "POST", "/api/v2/setup", `{"token":`, "Authorization", "")
	s.must(401, "POST", "/api/v2/setup", `{}`, "Authorization", "")
	s.must(415, "POST", "/api/v2/setup", text(t, api.Setup{}), "Authorization", "", "Content-Type", "application/x-www-form-urlencoded")
	s.must(200, "POST", "/api/v2/setup", text(t, api.Setup{Token: api.Token(token), Username: "ann", Password: annPassword}), "Authorization", "")
}

// TestSetup_tokenIsInNoLog: at level debug, whatever becomes of the request.
func TestSetup_tokenIsInNoLog(t *testing.T) {
	var log safeBuffer
	s, token := newClusterWith(t, func(cfg *httpapi.Config) {
		cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	setup := func(name string) string {
		return text(t, api.Setup{Token: api.Token(token), Username: name, Password: annPassword})
	}
	told := s.must(403, "POST", "/api/v2/setup", setup("ann"), "Authorization", "", "Sec-Fetch-Site", "cross-site")
	told += s.must(400, "POST", "/api/v2/setup", setup("Ann"), "Authorization", "")
	told += s.must(401, "POST", "/api/v2/users", setup("ann"), "Authorization", "")
	told += s.must(200, "POST", "/api/v2/setup", setup("ann"), "Authorization", "")
	told += s.must(410, "POST", "/api/v2/setup", setup("bob"), "Authorization", "")
	if strings.Contains(told, token) || strings.Contains(log.String(), token) || !strings.Contains(log.String(), "the first administrator was made") {
		t.Errorf("answers:\n%s\nlog:\n%s", told, log.String())
	}
	for _, kv := range mustList(t, s) {
		if strings.Contains(kv, token) {
			t.Errorf("the store has the token: %s", kv)
		}
	}
}
