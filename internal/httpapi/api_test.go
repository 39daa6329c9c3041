package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/scheduler"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// server is the real HTTP surface on a real store over an in-memory KV.
type server struct {
	*httptest.Server
	t  *testing.T
	kv store.KV
	st *store.Store
}

var secrets = map[auth.Role]string{
	auth.Inference: strings.Repeat("i", 40), auth.Viewer: strings.Repeat("v", 40), auth.Operator: strings.Repeat("o", 40), auth.Admin: strings.Repeat("a", 40),
}

func serve(t *testing.T) *server {
	t.Helper()
	return serveOn(t, storetest.NewMem(), func(*httpapi.Config) {})
}

func serveOn(t *testing.T, kv store.KV, change func(*httpapi.Config)) *server {
	t.Helper()
	return serveLogging(t, kv, slog.New(slog.DiscardHandler), change)
}

// serveLogging is one whose store tells log what it does.
func serveLogging(t *testing.T, kv store.KV, log *slog.Logger, change func(*httpapi.Config)) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, kv, log)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	cfg := config(st)
	cfg.Control = cfg.Control.WithFleet(control.Fleet{Leases: kv})
	change(&cfg)
	h := httptest.NewServer(newAPI(t, cfg))
	t.Cleanup(func() { h.CloseClientConnections(); h.Close(); cancel(); <-done })
	return &server{h, t, kv, st}
}

func config(st *store.Store) httpapi.Config {
	var keys auth.Keyring
	for role, secret := range secrets {
		keys = keys.With(secret, auth.Principal{ID: role.String(), Role: role})
	}
	known := auth.Directory{View: st, Fixed: keys, Now: time.Now}
	return httpapi.Config{
		View: st, Control: control.New(st, time.Now), Keys: known, Sessions: known, Explain: scheduler.Explain, Gateway: obs.NewPast("server/test", &obs.Tally{}, time.Now()), Logs: noLogs{}, Metrics: says("text/plain", "metrics"),
		Inference: []httpapi.InferenceRoute{{Method: "GET", Path: "/v1/models", Summary: "Models", Handler: says("application/json", `{"object":"list","data":[]}`)}},
		Hubs: httpapi.Hubs{Search: func(_ context.Context, source api.ModelSource, words string, limit int) ([]api.HubModel, error) {
			out := make([]api.HubModel, min(limit, len(words)))
			for i := range out {
				out[i].Source, out[i].Tags = source, []string{}
			}
			return out, nil
		}, Files: func(_ context.Context, source api.ModelSource, _, _ string) (api.HubFiles, error) {
			return api.HubFiles{Source: source, Variants: []api.HubVariant{}}, nil
		}},
		Ready: func() error { return nil }, Version: api.ServerVersion{Version: "test"}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

// says is a handler with one answer.
func says(media, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = io.WriteString(w, text)
	})
}

type noLogs struct{}

func (noLogs) OpenLog(context.Context, string, uint32, httpapi.LogOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("a line\n")), nil
}

// answer is what matters of a response beside its body.
type answer struct {
	StatusCode int
	Header     http.Header
}

// call sends a request as admin, unless a header says otherwise.
func (s *server) call(method, path, body string, header ...string) (answer, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secrets[auth.Admin])
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header}, string(b)
}

func (s *server) must(status int, method, path, body string, header ...string) string {
	s.t.Helper()
	res, text := s.call(method, path, body, header...)
	if res.StatusCode != status {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, res.StatusCode, text, status)
	}
	return text
}

// errorOf reads the envelope.
func errorOf(t *testing.T, body string) api.Error {
	t.Helper()
	var e api.Envelope
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" || e.Error.RequestID == "" {
		t.Fatalf("not the error envelope: %s", body)
	}
	return e.Error
}

// TestBadInput_isRefusedAndChangesNothing tries what people and attackers send.
func TestBadInput_isRefusedAndChangesNothing(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	s.must(200, "POST", "/api/v2/models/m/start", `{}`)
	before, _ := s.st.Current()
	local := func(path string) string {
		b, _ := json.Marshal(map[string]any{"model_name": "x", "model_source": "local", "model_path": path})
		return string(b)
	}
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		code               api.Code
		says               string
	}{
		"no body":              {"POST", "/api/v2/models", "", nil, 400, "invalid_request", "empty"},
		"malformed JSON":       {"POST", "/api/v2/models", `{"model_name":`, nil, 400, "invalid_request", "JSON"},
		"trailing data":        {"POST", "/api/v2/models", `{"model_name":"a/b"} {}`, nil, 400, "invalid_request", "JSON"},
		"an array":             {"POST", "/api/v2/models", `[]`, nil, 400, "invalid_request", "object"},
		"wrong type":           {"POST", "/api/v2/models", `{"model_name":7}`, nil, 400, "invalid_request", "model_name must be a string"},
		"replicas as text":     {"POST", "/api/v2/models", `{"model_name":"a/b","replicas":"2"}`, nil, 400, "invalid_request", "replicas"},
		"replicas negative":    {"POST", "/api/v2/models", `{"model_name":"a/b","auto_start":true,"replicas":-1}`, nil, 400, "invalid_request", "replicas"},
		"replicas fraction":    {"POST", "/api/v2/models", `{"model_name":"a/b","auto_start":true,"replicas":1.5}`, nil, 400, "invalid_request", "replicas"},
		"replicas 0":           {"POST", "/api/v2/models", `{"model_name":"a/b","auto_start":true,"replicas":0}`, nil, 400, "invalid_request", "between 1 and 1024"},
		"replicas 10^9":        {"POST", "/api/v2/models", `{"model_name":"a/b","auto_start":true,"replicas":1000000000}`, nil, 400, "invalid_request", "between 1 and 1024"},
		"replicas 0 unstarted": {"POST", "/api/v2/models", `{"model_name":"a/b","replicas":0}`, nil, 400, "invalid_request", "between 1 and 1024"},
		"invalid UTF-8":        {"POST", "/api/v2/models", "{\"model_name\":\"a\xff\"}", nil, 400, "invalid_request", "UTF-8"},
		"no name":              {"POST", "/api/v2/models", `{}`, nil, 400, "invalid_request", "model_name"},
		"name with ..":         {"POST", "/api/v2/models", `{"model_name":"../etc/passwd"}`, nil, 400, "invalid_request", "model_name"},
		"name with NUL":        {"POST", "/api/v2/models", `{"model_name":"a\u0000b"}`, nil, 400, "invalid_request", "control"},
		"name as option":       {"POST", "/api/v2/models", `{"model_name":"--help"}`, nil, 400, "invalid_request", "model_name"},
		"name of 10k":          {"POST", "/api/v2/models", `{"model_name":"` + strings.Repeat("a", 10000) + `"}`, nil, 400, "invalid_request", "10000 bytes"},
		"name without letters": {"POST", "/api/v2/models", `{"model_name":"///"}`, nil, 400, "invalid_model_uid", "uid"},
		"uid upper case":       {"POST", "/api/v2/models", `{"model_name":"a/b","model_uid":"Bad"}`, nil, 400, "invalid_model_uid", "uid"},
		"uid with slash":       {"POST", "/api/v2/models", `{"model_name":"a/b","model_uid":"a/b"}`, nil, 400, "invalid_model_uid", "uid"},
		"uid of 64":            {"POST", "/api/v2/models", `{"model_name":"a/b","model_uid":"` + strings.Repeat("a", 64) + `"}`, nil, 400, "invalid_model_uid", "uid"},
		"uid taken":            {"POST", "/api/v2/models", `{"model_name":"a/b","model_uid":"m"}`, nil, 409, "model_exists", "exists"},
		"unknown source":       {"POST", "/api/v2/models", `{"model_name":"a/b","model_source":"ftp"}`, nil, 400, "invalid_request", "source"},
		"unknown engine":       {"POST", "/api/v2/models", `{"model_name":"a/b","engine_type":"warp"}`, nil, 400, "invalid_request", "warp"},
		"local without path":   {"POST", "/api/v2/models", `{"model_name":"x","model_source":"local"}`, nil, 400, "invalid_request", "model_path"},
		"local relative":       {"POST", "/api/v2/models", local("models/x.gguf"), nil, 400, "invalid_request", "absolute"},
		"local with ..":        {"POST", "/api/v2/models", local("/models/../etc/shadow"), nil, 400, "invalid_request", ".."},
		"local with NUL":       {"POST", "/api/v2/models", local("/models/\x00"), nil, 400, "invalid_request", "control"},
		"label without key":    {"POST", "/api/v2/models", `{"model_name":"a/b","labels":{"":"x"}}`, nil, 400, "invalid_request", "labels"},
		"gmu above 1":          {"POST", "/api/v2/models", `{"model_name":"a/b","config":{"gpu_memory_utilization":1.5}}`, nil, 400, "invalid_request", "gpu_memory_utilization"},
		"node id as path":      {"POST", "/api/v2/models", `{"model_name":"a/b","auto_start":true,"node_id":"../x"}`, nil, 400, "invalid_request", "node_id"},
		"form body":            {"POST", "/api/v2/models", `model_name=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", "application/json"},
		"body over the limit":  {"POST", "/api/v2/models", `{"model_name":"` + strings.Repeat("a", 2<<20) + `"}`, nil, 413, "too_large", "larger"},
		"update unknown":       {"PUT", "/api/v2/models/none", `{}`, nil, 404, "not_found", "none"},
		"update to nonsense":   {"PUT", "/api/v2/models/m", `{"model_source":"local"}`, nil, 400, "invalid_request", "model_path"},
		"update engine":        {"PUT", "/api/v2/models/m", `{"engine_type":"warp"}`, nil, 400, "invalid_request", "warp"},
		"update lost race":     {"PUT", "/api/v2/models/m", `{"labels":{"a":"b"}}`, []string{"If-Match", `"999999"`}, 412, "revision_mismatch", "changed"},
		"If-Match nonsense":    {"PUT", "/api/v2/models/m", `{}`, []string{"If-Match", "soon"}, 400, "invalid_request", "ETag"},
		"scale to 0":           {"PUT", "/api/v2/models/m/scale", `{"replicas":0}`, nil, 400, "invalid_request", "stop the model"},
		"scale to 10^9":        {"PUT", "/api/v2/models/m/scale", `{"replicas":1000000000}`, nil, 400, "invalid_request", "1024"},
		"scale without number": {"PUT", "/api/v2/models/m/scale", `{}`, nil, 400, "invalid_request", "replicas"},
		"start with 10^9":      {"POST", "/api/v2/models/m/start", `{"replicas":1000000000}`, nil, 400, "invalid_request", "1024"},
		"start as text":        {"POST", "/api/v2/models/m/start", `now`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type", "json"},
		"uid in path with ..":  {"GET", "/api/v2/models/..%2f..%2fetc", "", nil, 404, "not_found", "no model"},
		"uid in path with NUL": {"POST", "/api/v2/models/a%00b/stop", "", nil, 404, "not_found", "no model"},
		"delete unknown":       {"DELETE", "/api/v2/models/none", "", nil, 404, "not_found", "none"},
		"unknown state":        {"GET", "/api/v2/models?state=happy", "", nil, 400, "invalid_request", "state"},
		"malformed label":      {"GET", "/api/v2/models?label=x", "", nil, 400, "invalid_request", "key=value"},
		"limit 0":              {"GET", "/api/v2/models?limit=0", "", nil, 400, "invalid_request", "limit"},
		"foreign cursor":       {"GET", "/api/v2/models?cursor=../", "", nil, 400, "invalid_request", "cursor"},
		"unknown path":         {"GET", "/api/v2/nothing", "", nil, 404, "not_found", "/api/v2"},
		"wrong method":         {"POST", "/api/v2/models/m", `{}`, nil, 405, "method_not_allowed", "PUT"},
		"foreign host":         {"GET", "/api/v2/models", "", []string{"Host", "evil.example"}, 421, "misdirected_request", "host"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := s.call(c.method, c.path, c.body, c.header...)
			e := errorOf(t, body)
			if res.StatusCode != c.status || e.Code != c.code || !strings.Contains(e.Message, c.says) {
				t.Errorf("%d %s %q; want %d %s with %q", res.StatusCode, e.Code, e.Message, c.status, c.code, c.says)
			}
			if len(e.Message) > 700 {
				t.Errorf("the message has %d bytes: hostile input is echoed", len(e.Message))
			}
			if after, _ := s.st.Current(); after != before {
				t.Error("the refused request changed the store")
			}
		})
	}
}

func TestModel_lifeThroughTheAPI(t *testing.T) {
	s := serve(t)
	res, body := s.call("POST", "/api/v2/models", `{"model_name":"Acme/Demo_7B","source":"hf","start":true,"replicas":2,"node_id":"n1","gpu_indices":[0,1],"labels":{"a":"b"},"unknown":1}`)
	var made api.ModelCreated
	if err := json.Unmarshal([]byte(body), &made); err != nil || res.StatusCode != 201 {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	if made.Spec.ModelUID != "acme-demo-7b" || made.Spec.ModelSource != api.SourceHuggingFace || made.Spec.CreatedBy != "admin" || res.Header.Get("Location") != "/api/v2/models/acme-demo-7b" {
		t.Errorf("created %+v, Location %q", made.Spec, res.Header.Get("Location"))
	}
	d := made.Deployment
	if d == nil || d.Replicas != 2 || d.Version != 1 || d.NodeAffinity != "n1" || len(d.GPUAffinity) != 2 || made.Status.State != api.StateStarting {
		t.Errorf("deployment %+v, state %s", d, made.Status.State)
	}
	second := s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/demo-7b"}`)
	if !strings.Contains(second, `"model_uid":"acme-demo-7b-2"`) || !strings.Contains(second, `"state":"stopped"`) {
		t.Errorf("a taken derived uid gets a suffix: %s", second)
	}

	res, body = s.call("GET", "/api/v2/models/acme-demo-7b", "")
	tag := res.Header.Get("ETag")
	var detail api.ModelDetail
	if err := json.Unmarshal([]byte(body), &detail); err != nil || tag != fmt.Sprintf(`"%d"`, detail.Revision) {
		t.Fatalf("ETag %s, %v, %s", tag, err, body)
	}
	for _, null := range []string{`"placement":null`, `"download_progress":null`, `"stats":[]`, `"endpoints":[]`} {
		if !strings.Contains(body, null) {
			t.Errorf("detail lacks %s: %s", null, body)
		}
	}
	res, _ = s.call("PUT", "/api/v2/models/acme-demo-7b/scale", `{"replicas":3}`, "If-Match", tag)
	if res.StatusCode != 200 || res.Header.Get("ETag") == tag {
		t.Errorf("scale with the fresh ETag: %d, new ETag %s", res.StatusCode, res.Header.Get("ETag"))
	}
	s.must(412, "POST", "/api/v2/models/acme-demo-7b/stop", "", "If-Match", tag)
	s.must(200, "POST", "/api/v2/models/acme-demo-7b/stop", "")
	s.must(409, "PUT", "/api/v2/models/acme-demo-7b/scale", `{"replicas":1}`)
	s.must(404, "PUT", "/api/v2/models/acme-demo-7b-2/scale", `{"replicas":1}`)
	var dep api.ModelDeployment
	if err := json.Unmarshal([]byte(s.must(200, "POST", "/api/v2/models/acme-demo-7b/start", "")), &dep); err != nil || dep.Replicas != 3 || dep.Version != 4 {
		t.Errorf("start without a body keeps the wish and counts: %+v, %v", dep, err)
	}
	s.must(200, "DELETE", "/api/v2/models/acme-demo-7b", "")
	s.must(404, "GET", "/api/v2/models/acme-demo-7b", "")
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/demo-7b"}`)
}

func TestList_pagesFiltersAndWatches(t *testing.T) {
	s := serve(t)
	for i := range 25 {
		s.must(201, "POST", "/api/v2/models", fmt.Sprintf(`{"model_name":"acme/m%02d","labels":{"odd":"%v"},"auto_start":%v}`, i, i%2 == 1, i < 5))
	}
	var seen []string
	next := "/api/v2/models?limit=10&label=odd%3Dtrue"
	for pages := 0; next != ""; pages++ {
		if pages > 3 {
			t.Fatal("pages without end")
		}
		res, body := s.call("GET", next, "")
		var views []api.ModelView
		if err := json.Unmarshal([]byte(body), &views); err != nil || len(views) > 10 {
			t.Fatalf("page of %d: %v", len(views), err)
		}
		for _, v := range views {
			seen = append(seen, v.ModelUID)
		}
		next = ""
		if link := res.Header.Get("Link"); link != "" {
			next, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		}
	}
	if len(seen) != 12 || seen[0] != "acme-m01" || seen[11] != "acme-m23" {
		t.Errorf("paged through %v", seen)
	}
	var starting []api.ModelView
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/models?state=starting", "")), &starting); err != nil || len(starting) != 5 {
		t.Errorf("%d models starting, %v; want 5", len(starting), err)
	}
	if body := s.must(200, "GET", "/api/v2/models?state=running", ""); strings.TrimSpace(body) != "[]" {
		t.Errorf("an empty list is %s, not []", body)
	}
}

// TestRoles_everyRoute tries each row of the table with each role, and without a credential.
func TestRoles_everyRoute(t *testing.T) {
	s := serve(t)
	fill := strings.NewReplacer("{uid}", "none", "{id}", "none", "{$}", "")
	for _, r := range httpapi.Routes(config(s.st)) {
		for role := auth.Public; role <= auth.Admin; role++ {
			for _, header := range []string{"Authorization", "X-Api-Key"} {
				h := []string{"Authorization", ""}
				if role != auth.Public {
					value := secrets[role]
					if header == "Authorization" {
						value = "Bearer " + value
					}
					h = append(h, header, value)
				}
				res, _ := s.call(r.Method, fill.Replace(r.Path), "", h...)
				refused := res.StatusCode == 401 || res.StatusCode == 403
				if refused != (role < r.Role) {
					t.Errorf("%s %s as %s by %s: %d; the table says %s", r.Method, r.Path, role, header, res.StatusCode, r.Role)
				}
				if role == auth.Public && r.Role != auth.Public && (res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") == "") {
					t.Errorf("%s %s without a credential: %d", r.Method, r.Path, res.StatusCode)
				}
			}
		}
	}
	for _, bad := range []string{"Bearer wrong", "Basic " + secrets[auth.Admin], "Bearer", secrets[auth.Admin]} {
		if res, body := s.call("GET", "/api/v2/models", "", "Authorization", bad); res.StatusCode != 401 || strings.Contains(body, secrets[auth.Admin]) {
			t.Errorf("Authorization %.12q…: %d %s", bad, res.StatusCode, body)
		}
	}
	if res, body := s.call("GET", "/v1/models", "", "Authorization", ""); res.StatusCode != 401 || !strings.Contains(body, `"type":"authentication_error"`) {
		t.Errorf("/v1 without a key: %d %s; want OpenAI's error shape", res.StatusCode, body)
	}
	if res, _ := s.call("GET", "/api/v2/secret-path", "", "Authorization", ""); res.StatusCode != 401 {
		t.Errorf("an unknown path without a credential: %d; want 401, so that nobody can map the API", res.StatusCode)
	}
}

// TestUnreadableDocument_isShownAndKept: a value that cannot be decoded stays, is reported, and is in nobody's way.
func TestUnreadableDocument_isShownAndKept(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","auto_start":true}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/n","model_uid":"n"}`)
	if _, err := s.kv.Txn(t.Context(), nil, []store.Op{{Key: "/deployments/m", Value: []byte(`{"desired_state":`)}}); err != nil {
		t.Fatal(err)
	}
	for {
		st, changed := s.st.Current()
		if st.Bad.Len() == 1 {
			break
		}
		<-changed
	}
	body := s.must(200, "GET", "/api/v2/models/m", "")
	if !strings.Contains(body, api.ReasonUnreadable) {
		t.Errorf("detail does not say why: %s", body)
	}
	for _, call := range [][2]string{{"POST", "/start"}, {"POST", "/stop"}} {
		res, body := s.call(call[0], "/api/v2/models/m"+call[1], "{}")
		if res.StatusCode != 409 || !strings.Contains(body, "cannot be read") {
			t.Errorf("%s: %d %s; want 409 and no overwrite", call[1], res.StatusCode, body)
		}
	}
	s.must(200, "POST", "/api/v2/models/n/start", "")
	s.must(200, "DELETE", "/api/v2/models/m", "")
	s.must(404, "GET", "/api/v2/models/m", "")
}
