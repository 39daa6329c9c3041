package httpapi_test

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/auth"
)

func auditOf(t *testing.T, text string) (recs []api.AuditRecord) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &recs); err != nil {
		t.Fatal(err)
	}
	return recs
}

func TestAudit_whoDidWhatIsAnsweredAndVerified(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`, "X-Request-Id", "req-1")
	s.must(200, "POST", "/api/v2/models/m/start", `{}`)
	s.must(200, "POST", "/api/v2/models/m/stop", ``)
	res, text := s.call("GET", "/api/v2/audit?limit=2", "")
	recs := auditOf(t, text)
	if len(recs) != 2 || recs[0].Verb != "model.stop" || recs[0].Actor.ID != "admin" || recs[0].Source != "127.0.0.1" {
		t.Fatalf("%+v", recs)
	}
	rest := auditOf(t, s.must(200, "GET", "/api/v2/audit?limit=2&cursor="+res.Header.Get("Nebula-Next-Cursor"), ""))
	if len(rest) != 1 || rest[0].Verb != "model.create" || rest[0].RequestID != "req-1" {
		t.Errorf("the next page: %+v", rest)
	}
	if got := auditOf(t, s.must(200, "GET", "/api/v2/audit?verb=model.st&actor=admin&object=model/m&result=ok", "")); len(got) != 2 {
		t.Errorf("filtered: %+v", got)
	}
	var check audit.Checker
	for line := range strings.Lines(s.must(200, "GET", "/api/v2/audit/export", "")) {
		if err := check.Next([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	var head api.AuditHead
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/audit/head", "")), &head); err != nil || check.Complete(head) != nil || check.Count != 3 {
		t.Errorf("head %+v after %d records: %v", head, check.Count, check.Complete(head))
	}
	var one api.AuditRecord
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/audit/2", "")), &one); err != nil || one.Verb != "model.start" {
		t.Errorf("record 2: %+v", one)
	}
	events := s.must(200, "GET", "/api/v2/models/m/events", "", "Authorization", "Bearer "+secrets[auth.Viewer])
	if !strings.Contains(events, `"verb":"model.stop"`) || strings.Contains(events, "127.0.0.1") {
		t.Errorf("events %s", events)
	}
	for path, status := range map[string]int{
		"/api/v2/audit/99": 404, "/api/v2/audit/x": 400, "/api/v2/audit/0": 400, "/api/v2/audit?from=yesterday": 400, "/api/v2/audit?result=maybe": 400,
		"/api/v2/audit?cursor=x": 400, "/api/v2/audit?limit=0": 400, "/api/v2/audit/export?from_seq=0": 400, "/api/v2/models/none/events": 404, "/api/v2/models/..%2f/events": 404,
	} {
		s.must(status, "GET", path, "")
	}
	s.must(409, "POST", "/api/v2/admin/audit/repair", "")
}

// TestAudit_denials: what is refused is told with who, from where, and the route, never with the path or the credential.
func TestAudit_denials(t *testing.T) {
	base := serve(t)
	var mu sync.Mutex
	var got []api.AuditRecord
	cfg := config(base.st)
	cfg.Denied = func(r api.AuditRecord) { mu.Lock(); defer mu.Unlock(); got = append(got, r) }
	h := httptest.NewServer(newAPI(t, cfg))
	t.Cleanup(h.Close)
	s := &server{h, t, base.kv, base.st}
	s.must(401, "GET", "/api/v2/models/m", "", "Authorization", "Bearer canaryCredential0123456789")
	s.must(401, "GET", "/no/such/canaryPath", "", "Authorization", "")
	s.must(403, "DELETE", "/api/v2/models/canaryPath", "", "Authorization", "Bearer "+secrets[auth.Viewer])
	s.must(401, "GET", "/v1/models", "", "Authorization", "Basic canaryCredential")
	s.must(404, "GET", "/api/v2/models/none", "")
	s.must(401, "POST", "/api/v2/auth/login", `{"username":"nobody","password":"canaryPassword"}`, "Authorization", "")
	mu.Lock()
	defer mu.Unlock()
	var lines []string
	for _, r := range got {
		lines = append(lines, r.Actor.Kind+" "+r.Actor.ID+" "+r.Object+" "+string(r.Code)+" "+r.Source)
	}
	want := []string{
		"anonymous anonymous GET /api/v2/models/{uid} unauthorized 127.0.0.1", "anonymous anonymous (no route) unauthorized 127.0.0.1",
		" viewer DELETE /api/v2/models/{uid} forbidden 127.0.0.1", "anonymous anonymous GET /v1/models unauthorized 127.0.0.1",
		"anonymous anonymous user/(unknown) unauthorized 127.0.0.1", // one failed login is one record, and not a refused request besides
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%s\nwant %s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if b, _ := json.Marshal(got); strings.Contains(string(b), "canary") {
		t.Errorf("a denial repeats what was sent: %s", b)
	}
}
