package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func TestV1_search(t *testing.T) {
	fails, asked := error(nil), ""
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Hubs.Search = func(ctx context.Context, _ api.ModelSource, words string, limit int) ([]api.HubModel, error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("a search may last for ever")
			}
			asked = fmt.Sprint(words, " ", limit)
			return []api.HubModel{{ID: "acme/m"}}, fails
		}
	})
	for query, want := range map[string]string{
		"q=qwen": "qwen 20", "q=a+b&limit=7": "a b 7", "q=a&limit=5000": "a 50", "q=a&source=huggingface": "a 20", "q=a&source=nonsense": "a 20",
	} {
		if got := s.must(200, "GET", "/api/models/search?"+query, ""); asked != want || !strings.Contains(got, `"pipeline_tag":null`) {
			t.Errorf("%s: asked for %q, want %q: %s", query, asked, want, got)
		}
	}
	for query, want := range map[string]int{
		"": 400, "q=": 400, "q=++": 400, "q=a&limit=0": 400, "q=a&limit=x": 400, "q=%ff": 400, "q=" + strings.Repeat("a", 201): 400,
		"q=a&source=modelscope": 501, "q=a&source=model_scope": 501, "q=a&source=ms": 501,
	} {
		errorOf(t, s.must(want, "GET", "/api/models/search?"+query, ""))
	}
	for _, fails = range []error{errors.New("no route to host"), context.DeadlineExceeded} {
		if e := errorOf(t, s.must(502, "GET", "/api/models/search?q=a", "")); e.Code != api.CodeUpstream {
			t.Errorf("%+v", e)
		}
	}
}

func TestV1_figuresAndWhatIsNotThere(t *testing.T) {
	some := func(n float64) *float64 { return &n }
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Figures = func(context.Context) api.EngineFigures {
			return api.EngineFigures{Replicas: []api.ReplicaFigures{
				{ModelUID: "m", ReplicaID: 1, AtMS: 5, RequestsRunning: some(2), RequestsWaiting: some(1), KVUsedRatio: some(0.25)},
				{ModelUID: "n", AtMS: 6},
				{ModelUID: "o", Failure: "away"},
			}}
		}
	})
	want := `[{"model_uid":"m","replica_id":1,"last_updated_ms":5,"pending_requests":3,"prefix_cache_hit_rate":null,"prompt_cache_hit_rate":null,"kv_cache_used_bytes":250000,"kv_cache_free_bytes":750000},` +
		`{"model_uid":"n","replica_id":0,"last_updated_ms":6,"pending_requests":0,"prefix_cache_hit_rate":null,"prompt_cache_hit_rate":null,"kv_cache_used_bytes":null,"kv_cache_free_bytes":null}]`
	if diff := cmp.Diff(want, strings.TrimSpace(s.must(200, "GET", "/api/engine-stats", ""))); diff != "" {
		t.Error(diff)
	}
	for _, path := range []string{"/api/metrics", "/api/observe/metrics"} {
		if got := s.must(200, "GET", path, ""); got != "metrics" {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, path := range []string{"/api/observe/traces", "/api/observe/traces/1", "/api/observe/metrics/query?name=x", "/api/observe/metrics/names"} {
		if e := errorOf(t, s.must(501, "GET", path, "")); e.Code != api.CodeNotImplemented || !strings.Contains(e.Message, "/") {
			t.Errorf("%s: %+v", path, e)
		}
	}
}

// TestV1_auditLogs: whatever the length of the pages, one after the other they are the whole log, the newest first.
func TestV1_auditLogs(t *testing.T) {
	s := serve(t)
	for i := range 7 {
		s.must(201, "POST", "/api/v2/models", fmt.Sprintf(`{"model_name":"acme/m","model_uid":"m%d"}`, i))
	}
	s.must(200, "POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b"}`, "Authorization", "Bearer "+secrets[auth.Operator])
	all := get[api.V1AuditLog](s, "GET", "/api/audit-logs", "")
	if all.Meta != (api.V1AuditMeta{Page: 1, Limit: 50, TotalItems: 8, TotalPages: 1}) || len(all.Data) != 8 {
		t.Fatalf("%+v", all)
	}
	first := all.Data[0]
	if first.Name != "request.load" || first.UserID != "operator" || first.Metadata["object"] != "model/b" || first.Output != "ok" || strings.Join(first.Tags, " ") != "audit ok" || first.ID != "8" {
		t.Errorf("%+v", first)
	}
	if at, err := time.Parse(time.RFC3339, first.Timestamp); err != nil || time.Since(at) > time.Hour {
		t.Errorf("at %s", first.Timestamp)
	}
	for _, filter := range []string{"", "&from=2001-01-01T00:00:00Z"} {
		for limit := 1; limit <= 9; limit++ {
			var paged []api.V1AuditEntry
			for page := 1; ; page++ {
				p := get[api.V1AuditLog](s, "GET", fmt.Sprintf("/api/audit-logs?page=%d&limit=%d%s", page, limit, filter), "")
				if len(p.Data) == 0 {
					if page != p.Meta.TotalPages+1 || p.Meta.TotalItems != 8 {
						t.Errorf("%+v after page %d", p.Meta, page-1)
					}
					break
				}
				paged = append(paged, p.Data...)
			}
			if diff := cmp.Diff([]api.V1AuditEntry(all.Data), paged); diff != "" {
				t.Errorf("limit %d %s: %s", limit, filter, diff)
			}
		}
	}
	for query, want := range map[string]int{"userId=operator": 1, "user_id=operator": 1, "userId=admin": 7, "userId=x": 0, "to=2001-01-01T00:00:00Z": 0, "limit=100000": 8, "page=2000000000": 0} {
		if got := get[api.V1AuditLog](s, "GET", "/api/audit-logs?"+query, ""); len(got.Data) != want {
			t.Errorf("%s: %d, want %d", query, len(got.Data), want)
		}
	}
	for _, query := range []string{"page=0", "page=x", "limit=0", "limit=-1", "from=x", "to=yesterday"} {
		s.must(400, "GET", "/api/audit-logs?"+query, "")
	}
}

// TestV1_usage: administrators see who calls version 1, and the log has a line for each client.
func TestV1_usage(t *testing.T) {
	var log safeBuffer
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	use := func(agent string, role auth.Role, path string, status int) {
		s.must(status, "GET", path, "", "Authorization", "Bearer "+secrets[role], "User-Agent", agent)
	}
	for range 3 {
		use("old-cli/1", auth.Viewer, "/api/overview", 200)
	}
	use("old-cli/1", auth.Viewer, "/api/requests", 200)
	use("old-cli/1", auth.Viewer, "/api/logs", 501)
	use("other\ttool", auth.Admin, "/api/whoami", 200)
	use("x", auth.Viewer, "/api/audit-logs", 403) // who may not is no client
	use("new", auth.Viewer, "/api/v2/models", 200)
	got := ""
	for _, u := range get[[]api.V1Use](s, "GET", "/api/v2/v1-usage", "") {
		got += fmt.Sprintf("%s|%s|%s|%d|%s\n", u.Principal, u.Agent, u.Route, u.Calls, u.Successor)
		if u.Source != "127.0.0.1" || u.LastMS < u.FirstMS || u.FirstMS == 0 {
			t.Errorf("%+v", u)
		}
	}
	if diff := cmp.Diff(`admin|other tool|GET /api/whoami|1|/api/v2/whoami
viewer|old-cli/1|GET /api/logs|1|/api/v2/models/{uid}/logs
viewer|old-cli/1|GET /api/overview|3|/api/v2/models
viewer|old-cli/1|GET /api/requests|1|/api/v2/models
`, got); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(log.String(), "a client calls version 1"); n != 2 || strings.Contains(log.String(), secrets[auth.Viewer]) {
		t.Errorf("the log has %d lines:\n%s", n, log.String())
	}
	s.must(403, "GET", "/api/v2/v1-usage", "", "Authorization", "Bearer "+secrets[auth.Operator])
	if openapi.IsV1("/api/v2/v1-usage") {
		t.Error("it counts itself")
	}
}
