package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const scopeRepo = "/api/v1/models/org/model"

// scopeFiles asks for a listing.
func scopeFiles(t *testing.T, url string) []scopeEntry {
	t.Helper()
	_, body := get(t, url)
	var v struct {
		Code    int
		Success bool
		Data    struct{ Files []scopeEntry }
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil || v.Code != 200 || !v.Success {
		t.Fatalf("listing: %v: %s", err, body)
	}
	return v.Data.Files
}

// TestModelScope walks the way of a real client: revisions, listing, a small file, and a large one by the CDN.
func TestModelScope(t *testing.T) {
	h := Start(t, repo())
	if _, body := get(t, h.ScopeURL+scopeRepo+"/revisions"); !strings.Contains(body, `"Branches":[{"CreatedAt":1735689600,"Revision":"master"}]`) {
		t.Errorf("revisions: %s", body)
	}
	files := scopeFiles(t, h.ScopeURL+scopeRepo+"/repo/files?Revision=master&Recursive=true")
	large := files[slices.IndexFunc(files, func(e scopeEntry) bool { return e.IsLFS })]
	if len(files) != 3 || large.Path != "a b/weights.gguf" || large.Name != "weights.gguf" || large.Size != 1000 || large.SHA256 != sha256Hex(repo().Files[large.Path]) {
		t.Errorf("listing: %+v", files)
	}
	if top := scopeFiles(t, h.ScopeURL+scopeRepo+"/repo/files?Revision=master"); len(top) != 2 || top[1].Type != "tree" {
		t.Errorf("listing of the top: %+v", top)
	}
	if sub := scopeFiles(t, h.ScopeURL+scopeRepo+"/repo/files?Revision=master&Recursive=True&Root=a%20b"); len(sub) != 1 || sub[0] != large {
		t.Errorf("listing of a folder: %+v", sub)
	}
	resp, body := get(t, h.ScopeURL+scopeRepo+"/repo?Revision=master&FilePath=README.md", "Range", "bytes=2-4")
	if resp.StatusCode != 206 || body != "sma" || resp.Header.Get("Content-Range") != "bytes 2-4/7" {
		t.Errorf("small file: %d %q %v", resp.StatusCode, body, resp.Header)
	}
	resp, _ = get(t, h.ScopeURL+scopeRepo+"/repo?Revision=master&FilePath=a%20b%2Fweights.gguf")
	if at := resp.Header.Get("Location"); resp.StatusCode != 302 || !strings.HasPrefix(at, h.CDNURL) {
		t.Fatalf("large file: %d at %s", resp.StatusCode, at)
	}
	resp, body = get(t, resp.Header.Get("Location"), "Range", "bytes=5-14")
	if resp.StatusCode != 206 || body != "5678901234" {
		t.Errorf("large file: %d %q", resp.StatusCode, body)
	}
	if h.Sent() != 3+10 {
		t.Errorf("%d bytes of content counted", h.Sent())
	}
}

func TestModelScope_access(t *testing.T) {
	private, gated := repo(), repo()
	private.ID, private.Private, private.Allow = "org/private", true, []string{"friend"}
	gated.ID, gated.Gated, gated.Allow = "org/gated", true, []string{"friend"}
	h := Start(t, repo(), private, gated)
	both := func(token string) []string {
		return []string{"Authorization", "Bearer " + token, "Cookie", "m_session_id=" + token}
	}
	for _, c := range []struct {
		path   string
		header []string
		code   int
	}{
		{"/nothing/repo/files", nil, scopeNoModel},
		{"/model/repo/files?Revision=v2", nil, scopeNoTree},
		{"/model/repo?FilePath=nothing", nil, scopeNoFile},
		{"/private/repo/files", nil, scopeNoAccess},
		{"/private/repo/files", both("stranger"), scopeNoAccess},
		{"/private/repo/files", both("friend")[:2], scopeNoAccess},
		{"/private/repo/files", both("friend")[2:], scopeNoAccess},
		{"/private/repo/files", both("friend"), 0},
		{"/gated/repo/files", nil, 0},
		{"/gated/repo?FilePath=README.md", nil, scopeNoAccess},
		{"/gated/repo?FilePath=README.md", both("friend"), 0},
	} {
		resp, body := get(t, h.ScopeURL+"/api/v1/models/org"+c.path, c.header...)
		if ok := resp.StatusCode == 200; ok != (c.code == 0) || !ok && (resp.StatusCode != 404 || !strings.Contains(body, fmt.Sprintf(`"Code":%d,`, c.code)) || !strings.Contains(body, `"Success":false`)) {
			t.Errorf("%s with %v: %d %s, want %d", c.path, c.header, resp.StatusCode, body, c.code)
		}
	}
}

func TestModelScope_faults(t *testing.T) {
	many := Repo{ID: "org/many", Files: map[string][]byte{}}
	for i := range scopeMostListed + 5 {
		many.Files[fmt.Sprintf("f%04d", i)] = nil
	}
	h := Start(t, repo(), many, Repo{ID: "org/empty"})
	list := h.ScopeURL + scopeRepo + "/repo/files?Recursive=true"
	if n := len(scopeFiles(t, h.ScopeURL+"/api/v1/models/org/many/repo/files?Recursive=true")); n != scopeMostListed {
		t.Errorf("%d entries of a long listing", n)
	}
	h.Break(Faults{ScopeCode: 10990101002})
	if resp, body := get(t, list); resp.StatusCode != 200 || !strings.Contains(body, `"Code":10990101002`) || !strings.Contains(body, `"Success":false`) {
		t.Errorf("a code with 200: %d %s", resp.StatusCode, body)
	}
	h.Break(Faults{NoSHA256: true, NullFiles: true, ScopeDirect: true})
	for _, e := range scopeFiles(t, list) {
		if e.Type == "blob" && (e.SHA256 != "") != e.IsLFS {
			t.Errorf("hash of %+v", e)
		}
	}
	if _, body := get(t, h.ScopeURL+"/api/v1/models/org/empty/repo/files"); !strings.Contains(body, `"Files":null`) {
		t.Errorf("no files: %s", body)
	}
	if resp, body := get(t, h.ScopeURL+scopeRepo+"/repo?FilePath=a%20b/weights.gguf"); resp.StatusCode != 200 || len(body) != 1000 {
		t.Errorf("without a CDN: %d, %d bytes", resp.StatusCode, len(body))
	}
	h.Break(Faults{Redirect: 1, RedirectTo: "https://elsewhere.example/x"})
	if resp, _ := get(t, h.ScopeURL+scopeRepo+"/repo?FilePath=README.md"); resp.StatusCode != 302 || resp.Header.Get("Location") != "https://elsewhere.example/x" {
		t.Errorf("redirect: %d %v", resp.StatusCode, resp.Header)
	}
	changed := repo()
	changed.Files["README.md"] = bytes.Repeat([]byte("x"), 9)
	h.PushAfterListing(changed)
	before, after := scopeFiles(t, list), scopeFiles(t, list)
	if before[0].Size != 7 || after[0].Size != 9 {
		t.Errorf("a repository that changes after its listing: %+v, then %+v", before[0], after[0])
	}
	if n := h.Happened(); n.ScopeCode != 1 || n.Redirect != 1 {
		t.Errorf("counted: %+v", n)
	}
}
