package hub

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func repo() Repo {
	return Repo{ID: "org/model", Files: map[string][]byte{
		"README.md": []byte("# small"), "a b/weights.gguf": bytes.Repeat([]byte("0123456789"), 100),
	}}
}

// got is an answer without its body.
type got struct {
	StatusCode int
	Header     http.Header
}

// get asks as a client that follows no redirect.
func get(t *testing.T, url string, header ...string) (got, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil && resp.ContentLength == int64(len(b)) {
		t.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header}, string(b)
}

// TestProtocol walks the way of a real client and compares every header that one relies on.
func TestProtocol(t *testing.T) {
	h := Start(t, repo())
	commit := h.Push(repo())
	_, info := get(t, h.URL+"/api/models/org/model/revision/main")
	if !strings.Contains(info, `"sha":"`+commit+`"`) || !strings.Contains(info, `{"rfilename":"README.md"}`) {
		t.Errorf("info: %s", info)
	}
	_, tree := get(t, h.URL+"/api/models/org/model/tree/"+commit+"?recursive=true")
	large := sha256Hex(repo().Files["a b/weights.gguf"])
	for _, want := range []string{`"type":"directory"`, `"path":"a b"`, `"oid":"` + GitSHA1([]byte("# small")) + `","size":7`, `"lfs":{"oid":"` + large + `","size":1000`} {
		if !strings.Contains(tree, want) {
			t.Errorf("listing lacks %s: %s", want, tree)
		}
	}

	resp, _ := get(t, h.URL+"/org/model/resolve/"+commit+"/a%20b/weights.gguf")
	if resp.StatusCode != 302 || resp.Header.Get("X-Repo-Commit") != commit || resp.Header.Get("X-Linked-Etag") != `"`+large+`"` || resp.Header.Get("X-Linked-Size") != "1000" {
		t.Errorf("large file: %d %v", resp.StatusCode, resp.Header)
	}
	at := resp.Header.Get("Location")
	if !strings.HasPrefix(at, h.CDNURL) {
		t.Fatalf("large file at %s", at)
	}
	resp, body := get(t, at, "Range", "bytes=5-14")
	if resp.StatusCode != 206 || body != "5678901234" || resp.Header.Get("Content-Range") != "bytes 5-14/1000" || strings.Contains(resp.Header.Get("ETag"), large) {
		t.Errorf("range: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	if resp, _ := get(t, at, "Range", "bytes=1000-1001"); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */1000" {
		t.Errorf("past the end: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := get(t, h.CDNURL+"/blob/org/model/"+commit+"/a%20b/weights.gguf"); resp.StatusCode != 403 {
		t.Errorf("unsigned: %d", resp.StatusCode)
	}

	resp, _ = get(t, h.URL+"/org/model/resolve/main/README.md")
	at = resp.Header.Get("Location")
	if resp.StatusCode != 307 || !strings.HasPrefix(at, "/api/resolve-cache/models/org/model/"+commit) {
		t.Errorf("small file: %d at %s", resp.StatusCode, at)
	}
	resp, body = get(t, h.URL+at)
	if body != "# small" || resp.Header.Get("ETag") != `"`+GitSHA1([]byte("# small"))+`"` || resp.Header.Get("X-Repo-Commit") != commit {
		t.Errorf("small file: %q %v", body, resp.Header)
	}
	if GitSHA1([]byte("# small")) == "" || GitSHA1(nil) != "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" {
		t.Error("git names the empty blob e69de29…")
	}
}

// TestAccess compares who sees what with what the Hub answers.
func TestAccess(t *testing.T) {
	private, gated := repo(), repo()
	private.ID, private.Private, private.Allow = "org/private", true, []string{"friend"}
	gated.ID, gated.Gated, gated.Allow = "org/gated", true, []string{"friend"}
	h := Start(t, repo(), private, gated)
	h.AddToken("stranger")
	for _, c := range []struct {
		path, token string
		status      int
		code        string
	}{
		{"/api/models/org/model", "", 200, ""},
		{"/api/models/org/model/revision/nope", "", 404, "RevisionNotFound"},
		{"/api/models/org/nothing", "", 401, ""},
		{"/api/models/org/nothing", "friend", 404, "RepoNotFound"},
		{"/api/models/org/model", "wrong", 401, ""},
		{"/api/models/org/private", "", 401, ""},
		{"/api/models/org/private", "stranger", 404, "RepoNotFound"},
		{"/api/models/org/private", "friend", 200, ""},
		{"/api/models/org/gated", "", 200, ""},
		{"/org/gated/resolve/main/README.md", "", 401, "GatedRepo"},
		{"/org/gated/resolve/main/README.md", "stranger", 403, "GatedRepo"},
		{"/org/gated/resolve/main/README.md", "friend", 307, ""},
		{"/org/model/resolve/main/nothing", "", 404, "EntryNotFound"},
	} {
		var header []string
		if c.token != "" {
			header = []string{"Authorization", "Bearer " + c.token}
		}
		resp, _ := get(t, h.URL+c.path, header...)
		if resp.StatusCode != c.status || resp.Header.Get("X-Error-Code") != c.code {
			t.Errorf("%s with %q: %d %s, want %d %s", c.path, c.token, resp.StatusCode, resp.Header.Get("X-Error-Code"), c.status, c.code)
		}
	}
}

func TestPages(t *testing.T) {
	h := Start(t, repo())
	h.Break(Faults{PageSize: 1})
	var pages []string
	next := h.URL + "/api/models/org/model/tree/main?recursive=true"
	for next != "" {
		resp, body := get(t, next)
		pages = append(pages, strings.TrimSpace(body))
		next = strings.TrimSuffix(strings.TrimPrefix(resp.Header.Get("Link"), "<"), `>; rel="next"`)
	}
	if len(pages) != 3 { // a file, a folder, and the file in it
		t.Errorf("%d pages: %v", len(pages), pages)
	}
}

// TestFaults: what is switched on happens, as often as it should, and is recorded.
func TestFaults(t *testing.T) {
	h := Start(t, repo())
	commit := h.Push(repo())
	at := func() string {
		resp, _ := get(t, h.URL+"/org/model/resolve/main/a%20b/weights.gguf")
		return resp.Header.Get("Location")
	}
	h.Break(Faults{Cut: 1, CutAt: 300})
	if _, body := get(t, at()); len(body) != 300 {
		t.Errorf("cut after %d bytes", len(body))
	}
	if _, body := get(t, at()); len(body) != 1000 {
		t.Errorf("the second time %d bytes", len(body))
	}
	h.Break(Faults{Flip: 1, FlipAt: 500})
	if _, body := get(t, at()); body[500] == '0' || body[499] != '9' {
		t.Error("not flipped")
	}
	h.Break(Faults{Expire: 1})
	url := at()
	first, _ := get(t, url)
	second, _ := get(t, url)
	if first.StatusCode != 200 || second.StatusCode != 403 {
		t.Errorf("a signed address that works once: %d %d", first.StatusCode, second.StatusCode)
	}
	h.Break(Faults{RateLimit: 1, RetryAfter: "9"})
	if resp, _ := get(t, h.URL+"/api/models/org/model"); resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "9" {
		t.Errorf("429: %d", resp.StatusCode)
	}
	h.Break(Faults{Fail: Always, FailStatus: 502, FailPath: "/tree/"})
	for _, want := range []int{502, 502} {
		if resp, _ := get(t, h.URL+"/api/models/org/model/tree/"+commit); resp.StatusCode != want {
			t.Errorf("fail: %d", resp.StatusCode)
		}
	}
	if sent := h.Sent(); sent != 300+1000+1000+1000 {
		t.Errorf("%d bytes of content counted", sent)
	}
	h.Forget()
	if n := len(h.Requests()); n != 0 {
		t.Errorf("%d requests after Forget", n)
	}
}

func TestCommits(t *testing.T) {
	h := Start(t)
	first := h.Push(repo())
	changed := repo()
	changed.Files["README.md"] = []byte("# other")
	second := h.Push(changed)
	if first == second || first != h.Push(repo()) {
		t.Errorf("commits %s and %s must follow the files", first, second)
	}
	for rev, want := range map[string]string{first: "# small", second: "# other", "main": "# small"} {
		resp, _ := get(t, fmt.Sprintf("%s/org/model/resolve/%s/README.md", h.URL, rev))
		if _, body := get(t, h.URL+resp.Header.Get("Location")); body != want {
			t.Errorf("%s: %q", rev, body)
		}
	}
}
