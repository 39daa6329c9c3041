package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestV1Gateway_modelsLife goes the way of a client of the old gateway, and looks at the same things under /api/.
func TestV1Gateway_modelsLife(t *testing.T) {
	s := serve(t)
	loaded := get[api.V1Loaded](s, "POST", "/v1/admin/models/load", `{"model_name":"acme/Demo-7B","model_uid":"demo_7.B"}`)
	if loaded.Status != "pending" || loaded.RequestID == "" {
		t.Fatalf("loaded %+v", loaded)
	}
	for _, same := range [][2]string{
		{"/v1/admin/models/requests", "/api/requests"},
		{"/v1/admin/cluster/status", "/api/overview"},
		{"/v1/admin/whoami", "/api/whoami"},
		{"/v1/admin/metrics", "/api/metrics"},
		{"/v1/admin/images", "/api/images"},
		{"/v1/admin/images/status", "/api/images/status"},
	} {
		if gateway, own := s.must(200, "GET", same[0], ""), s.must(200, "GET", same[1], ""); gateway != own || len(own) < 3 {
			t.Errorf("%s is %s, and %s is %s", same[0], gateway, same[1], own)
		}
	}
	at := "/v1/admin/models/requests/" + loaded.RequestID
	if got := get[api.V1Scaled](s, "PUT", at+"/scale", `{"replicas":3}`); got != (api.V1Scaled{RequestID: loaded.RequestID, OldReplicas: 1, NewReplicas: 3}) {
		t.Errorf("scaled %+v", got)
	}
	for _, method := range []string{"POST", "DELETE"} {
		if text := s.must(200, method, at, ""); strings.TrimSpace(text) != `{"status":"unloading_triggered"}` {
			t.Errorf("%s: %s", method, text)
		}
	}
	if r := get[[]api.ModelRequest](s, "GET", "/api/requests", ""); r[0].Status.Phase != api.RequestUnloading {
		t.Errorf("after the unloading: %+v", r)
	}
	s.must(200, "PUT", "/v1/admin/images/i1", `{"id":"i1","engine_type":"vllm","image":"a:1"}`)
	if i := get[api.EngineImage](s, "GET", "/v1/admin/images/i1", ""); i.Image != "a:1" {
		t.Errorf("%+v", i)
	}
	s.must(200, "DELETE", "/v1/admin/images/i1", "")
	for _, who := range []string{"user_id=admin", "userId=admin"} {
		log := get[api.V1AuditLog](s, "GET", "/v1/admin/audit-logs?page=1&limit=2&from=1&"+who, "")
		if log.Meta.Limit != 2 || len(log.Data) != 2 || log.Data[0].UserID != "admin" || log.Meta.TotalItems < 5 {
			t.Errorf("%s: %+v", who, log)
		}
	}
	if uses := s.must(200, "GET", "/api/v2/v1-usage", ""); !strings.Contains(uses, `"POST /v1/admin/models/requests/{id}"`) {
		t.Errorf("who calls is not counted: %s", uses)
	}
}

// TestV1Gateway_failsInText: what the old gateway's own rows refuse is a sentence, and who may not ask gets an object with a message.
func TestV1Gateway_failsInText(t *testing.T) {
	s := serve(t)
	s.must(200, "POST", "/v1/admin/models/load", `{"model_name":"acme/m","model_uid":"m"}`)
	before, _ := s.st.Current()
	const load = "/v1/admin/models/load"
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"no body":         {"POST", load, "", 400, "empty"},
		"no JSON":         {"POST", load, "x", 400, "JSON"},
		"no name":         {"POST", load, `{"model_uid":"a"}`, 400, "model_name"},
		"replicas 10^9":   {"POST", load, `{"model_name":"a/b","model_uid":"b","replicas":1000000000}`, 400, "1024"},
		"too large":       {"POST", load, `{"model_name":"` + strings.Repeat("a", 2<<20) + `"}`, 413, "larger"},
		"unload nothing":  {"POST", "/v1/admin/models/requests/none", "", 404, "none"},
		"unload a path":   {"DELETE", "/v1/admin/models/requests/..%2f..", "", 404, "request"},
		"scale nothing":   {"PUT", "/v1/admin/models/requests/none/scale", `{"replicas":2}`, 404, "none"},
		"no image":        {"GET", "/v1/admin/images/none", "", 404, "image"},
		"lines 0":         {"GET", "/v1/admin/logs?lines=0", "", 400, "lines"},
		"lines many":      {"GET", "/v1/admin/logs?lines=many", "", 400, "lines"},
		"audit page 0":    {"GET", "/v1/admin/audit-logs?page=0", "", 400, "page"},
		"audit from":      {"GET", "/v1/admin/audit-logs?from=soon", "", 400, "from"},
		"unknown":         {"GET", "/v1/admin/nothing", "", 404, "nothing at"},
		"itself":          {"GET", "/v1/admin/", "", 404, "nothing at"},
		"the old console": {"GET", "/v1/admin/ui", "", 404, "nothing at"},
		"wrong method":    {"PATCH", "/v1/admin/models/load", "", 405, "POST"},
		"dots":            {"GET", "/v1/admin/../admin/whoami", "", 404, "nothing at"},
		"a dry run":       {"POST", load + "?dry_run=1", `{"model_name":"a/b","model_uid":"b"}`, 400, "dry run"},
	} {
		res, body := s.call(c.method, c.path, c.body)
		if res.StatusCode != c.status || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || strings.ContainsAny(body, "{}") || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d with %q, as a text", name, res.StatusCode, body, c.status, c.says)
		}
	}
	if after, _ := s.st.Current(); after.Revision != before.Revision {
		t.Error("something was changed")
	}
	for path, want := range map[string]int{"/v1/admin/audit-logs": 403, "/v1/admin/whoami": 200} {
		if res, body := s.call("GET", path, "", "Authorization", "Bearer "+secrets[auth.Operator]); res.StatusCode != want || want == 403 && !deniedAsV1(path, body) {
			t.Errorf("%s as an operator: %d %s", path, res.StatusCode, body)
		}
		if res, body := s.call("GET", path, "", "Authorization", ""); res.StatusCode != 401 || !deniedAsV1(path, body) {
			t.Errorf("%s as nobody: %d %s", path, res.StatusCode, body)
		}
	}
}

// TestV1Gateway_keysForModelsStayThat: a key that was given the routes of models has not been given those of the gateway's administration.
func TestV1Gateway_keysForModelsStayThat(t *testing.T) {
	k := newKeyring(t)
	for scopes, want := range map[string]int{
		`["/v1/*"]`: 403, `["/v1*"]`: 403, `["/v1/a*"]`: 403, `["/v1/models/m","/v1/ad*"]`: 403, `["/v1/admin/whoami"]`: 200, `["/v1/admin/*"]`: 200, `["/v1/*","/v1/admin/who*"]`: 200,
		`["*"]`: 200, `["/api/*"]`: 403, `[]`: 200,
	} {
		key := string(k.made(k.personal["ann"], `{"name":"bot","role":"admin","scopes":{"routes":`+scopes+`}}`).Key)
		k.as(key, want, "GET", "/v1/admin/whoami", "")
	}
}

func TestV1_logs(t *testing.T) {
	tail := obs.NewTail()
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Tail = tail })
	for _, path := range []string{"/api/logs", "/v1/admin/logs"} {
		if got := s.must(200, "GET", path, ""); got != "" {
			t.Errorf("of nothing: %q", got)
		}
	}
	for i := range 3000 {
		_, _ = fmt.Fprintf(tail, "line %d\n", i)
	}
	for _, path := range []string{"/api/logs", "/v1/admin/logs"} {
		for query, first := range map[string]int{"": 2800, "?lines=1": 2999, "?lines=2000": 1000, "?lines=9999": 1000} {
			res, got := s.call("GET", path+query, "")
			if !strings.HasPrefix(got, fmt.Sprintf("line %d\n", first)) || !strings.HasSuffix(got, "line 2999\n") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
				t.Errorf("%s%s: %s, %.20q", path, query, res.Header.Get("Content-Type"), got)
			}
		}
		for role, want := range map[auth.Role]int{auth.Inference: 403, auth.Viewer: 200} {
			s.must(want, "GET", path, "", "Authorization", "Bearer "+secrets[role])
		}
	}
	without := serve(t)
	without.must(501, "GET", "/v1/admin/logs/stream", "")
	if e := errorOf(t, without.must(501, "GET", "/api/logs", "")); !strings.Contains(e.Message, "/api/v2/models/{uid}/logs") {
		t.Errorf("%+v", e)
	}
}

// TestV1Gateway_logStream: lines come as they are logged, from now on, and the stream ends with the process.
func TestV1Gateway_logStream(t *testing.T) {
	tail, closing := obs.NewTail(), make(chan struct{})
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Tail, cfg.Closing = tail, closing })
	_, _ = tail.Write([]byte("before\n"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/v1/admin/logs/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secrets[auth.Viewer])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%d %s", res.StatusCode, kind)
	}
	in := bufio.NewReader(res.Body)
	for i := range 5 { // the headers are here: what is logged now is of after them
		_, _ = fmt.Fprintf(tail, "line %d\n", i)
		line, err := in.ReadString('\n')
		empty, err2 := in.ReadString('\n')
		if line != fmt.Sprintf("data: line %d\n", i) || empty != "\n" || err != nil || err2 != nil {
			t.Fatalf("%q %q %v %v", line, empty, err, err2)
		}
	}
	close(closing)
	if more, err := in.ReadString('\n'); err == nil {
		t.Errorf("after the end: %q", more)
	}
}

// TestV1Gateway_aGatewayAlone has what is its own under these paths.
func TestV1Gateway_aGatewayAlone(t *testing.T) {
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Control, cfg.Tail = nil, obs.NewTail()
		_, _ = cfg.Tail.Write([]byte("of the gateway\n"))
	})
	if got := s.must(200, "GET", "/v1/admin/logs", ""); got != "of the gateway\n" {
		t.Errorf("%q", got)
	}
	if got := s.must(200, "GET", "/v1/admin/metrics", ""); got != "metrics" {
		t.Errorf("%q", got)
	}
	s.must(404, "GET", "/api/logs", "")
}
