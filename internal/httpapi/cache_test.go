package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// stock puts a node with a disk and a cached model into the store.
func (s *server) stock() {
	s.t.Helper()
	if _, err := s.st.Update(s.t.Context(), store.OwnerNode, func(tx *store.Tx) error {
		_ = store.Nodes.Put(tx, "n1", api.NodeStatus{NodeID: "n1"})
		_ = store.Disks.Put(tx, "n1", api.NodeDiskStatus{NodeID: "n1", ModelDir: "/m", TotalBytes: 100, UsagePct: 40})
		return store.Cache.Put(tx, "n1/0", api.ModelCacheEntry{NodeID: "n1", ModelName: "acme/m", CachePath: "/m/x", SizeBytes: 7, Complete: true})
	}); err != nil {
		s.t.Fatal(err)
	}
}

// TestCacheRoutes_read: the contract's three, with its fields.
func TestCacheRoutes_read(t *testing.T) {
	s := serve(t)
	s.stock()
	s.call("POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	for _, c := range []struct {
		path   string
		status int
		says   []string
	}{
		{"/api/v2/nodes/n1/cache", 200, []string{`"model_name":"acme/m"`, `"cache_path":"/m/x"`, `"size_bytes":7`, `"complete":true`}},
		{"/api/v2/nodes/none/cache", 200, []string{"[]"}},
		{"/api/v2/nodes/n1/disk", 200, []string{`"node_id":"n1"`, `"model_dir":"/m"`, `"usage_pct":40`}},
		{"/api/v2/nodes/none/disk", 404, []string{"not_found", "nebula node list"}},
		{"/api/v2/cache/summary", 200, []string{`"total_cached_models":1`, `"total_cache_size_bytes":7`, `"matched_model_uids":["m"]`, `"nodes":[{"node_id":"n1"`}},
		{"/api/v2/cache/pulls", 200, []string{"[]"}},
	} {
		res, body := s.call("GET", c.path, "")
		if res.StatusCode != c.status {
			t.Errorf("%s: status %d: %s", c.path, res.StatusCode, body)
		}
		for _, want := range c.says {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %s: %s", c.path, want, body)
			}
		}
	}
}

func TestCacheRoutes_wishes(t *testing.T) {
	s := serve(t)
	s.stock()
	s.call("POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	var made api.FilesWished
	res, body := s.call("POST", "/api/v2/cache/pull", `{"model_uid":"m","node_ids":["n1"]}`)
	if err := json.Unmarshal([]byte(body), &made); err != nil || res.StatusCode != 200 || made.PullID == "" || made.NodeIDs[0] != "n1" {
		t.Fatalf("pull: %d %s", res.StatusCode, body)
	}
	if _, body := s.call("GET", "/api/v2/cache/pulls?node=n1", ""); !strings.Contains(body, `"state":"waiting"`) || !strings.Contains(body, made.PullID) {
		t.Errorf("pulls: %s", body)
	}
	if _, body := s.call("GET", "/api/v2/cache/pulls?node=other", ""); strings.TrimSpace(body) != "[]" {
		t.Errorf("pulls of another node: %s", body)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/api/v2/cache/pull", `{}`, 400},
		{"POST", "/api/v2/cache/pull", `{"model_uid":"none"}`, 404},
		{"DELETE", "/api/v2/cache/pulls/n1/" + made.PullID, "", 200},
		{"DELETE", "/api/v2/cache/pulls/n1/" + made.PullID, "", 404},
		{"POST", "/api/v2/cache/pin", `{"model_uid":"m"}`, 200},
		{"POST", "/api/v2/cache/unpin", `{"model_uid":"m"}`, 200},
		{"POST", "/api/v2/cache/unpin", `{"model_uid":"m"}`, 404},
		{"DELETE", "/api/v2/models/m?purge=1", "", 200},
	} {
		if res, body := s.call(c.method, c.path, c.body); res.StatusCode != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", c.method, c.path, res.StatusCode, c.status, body)
		}
	}
	st, _ := s.st.Current()
	if !st.Wishes.Has("n1/purge-" + made.PullID) {
		t.Error("no purge is wished")
	}
}

// TestPulls_watch: the whole list, now and at every change.
func TestPulls_watch(t *testing.T) {
	s := serve(t)
	s.stock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/v2/cache/pulls?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("v", 40))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
	if got := next(); got != "[]" {
		t.Errorf("first event %s", got)
	}
	s.call("POST", "/api/v2/cache/pull", `{"model_name":"acme/m"}`)
	if got := next(); !strings.Contains(got, `"state":"waiting"`) {
		t.Errorf("after a pull: %s", got)
	}
}

// TestEvict_refusals: what is wrong with the question and what keeps the files are told before a node is asked; nobody but an administrator may.
func TestEvict_refusals(t *testing.T) {
	s := serve(t)
	s.stock()
	s.call("POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	s.must(200, "POST", "/api/v2/cache/pin", `{"model_uid":"m","node_ids":["n1"]}`)
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/api/v2/nodes/n1/cache":                                                {400, "?model=NAME"},
		"/api/v2/nodes/n1/cache?model=" + strings.Repeat("x", 2000):             {400, "1024"},
		"/api/v2/nodes/n1/cache?model=x&path=" + strings.Repeat("y", 5000):      {400, "4096"},
		"/api/v2/nodes/none/cache?model=acme/m":                                 {404, "nebula node list"},
		"/api/v2/nodes/n1/cache?model=acme/m":                                   {409, "nebula cache unpin acme/m --node n1"},
		"/api/v2/nodes/n1/cache?model=acme/m&dry_run=1":                         {409, "pinned"},
		"/api/v2/nodes/n1/cache?model=acme/m&path=/m/x":                         {409, "pinned"},
		"/api/v2/nodes/n1/cache?model=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E": {503, "no caches"},
	} {
		e := errorOf(t, s.must(want.status, "DELETE", path, ""))
		if !strings.Contains(e.Message, want.says) {
			t.Errorf("%.80s: %s", path, e.Message)
		}
	}
}
