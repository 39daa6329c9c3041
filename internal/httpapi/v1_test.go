package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi"
	"github.com/nebula-serve/nebula/internal/store"
)

// get reads an answer of the server.
func get[T any](s *server, method, path, body string, header ...string) (out T) {
	s.t.Helper()
	text := s.must(200, method, path, body, header...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		s.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return out
}

// untilShown waits for what a GET shows.
func untilShown[T any](s *server, path string, ok func(T) bool) {
	s.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		_, changed := s.st.Current()
		if ok(get[T](s, "GET", path, "")) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.t.Fatalf("GET %s never shows it: %s", path, s.must(200, "GET", path, ""))
		}
	}
}

// TestV1_modelsLife goes the way of an old client: it loads a model, sees it, scales it and unloads it, and the new API shows the same.
func TestV1_modelsLife(t *testing.T) {
	s := serve(t)
	loaded := get[api.V1Loaded](s, "POST", "/api/models/load", `{"model_name":"acme/Demo-7B","model_uid":"demo_7.B","config":null,"node_id":"n1","gpu_index":1}`)
	if loaded.Status != "pending" || loaded.RequestID == "" {
		t.Fatalf("loaded %+v", loaded)
	}
	if v2 := get[api.ModelDetail](s, "GET", "/api/v2/models/demo_7.B", ""); v2.Deployment == nil || v2.Deployment.DesiredState != api.DesiredRunning || v2.Deployment.NodeAffinity != "n1" {
		t.Errorf("version 2 shows %+v", v2.Deployment)
	}
	text := s.must(200, "GET", "/api/requests", "")
	if !strings.Contains(text, `"status":"Pending"`) || !strings.Contains(text, `"gpu_index":1`) || !strings.Contains(text, `"config":null`) {
		t.Errorf("requests are %s", text)
	}
	if got := get[api.V1Scaled](s, "PUT", "/api/models/requests/"+loaded.RequestID+"/scale", `{"replicas":3}`); got != (api.V1Scaled{RequestID: loaded.RequestID, OldReplicas: 1, NewReplicas: 3}) {
		t.Errorf("scaled %+v", got)
	}
	if _, err := s.st.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "demo_7.B", api.PlacementPlan{ModelUID: "demo_7.B", ModelName: "acme/Demo-7B", Version: 7, Assignments: []api.PlacementAssignment{{NodeID: "n1", GPUIndices: []uint32{1, 2}}}})
	}); err != nil {
		t.Fatal(err)
	}
	untilShown(s, "/api/overview", func(o api.V1Overview) bool { return len(o.Placements) == 1 })
	o := get[api.V1Overview](s, "GET", "/api/overview", "")
	if p := o.Placements[0]; p.RequestID == nil || *p.RequestID != loaded.RequestID || *p.Assignments[0].GPUIndex != 1 || o.ModelRequests[0].Status.Phase != api.RequestScheduled {
		t.Errorf("overview %+v", o)
	}
	if text := s.must(200, "DELETE", "/api/models/requests/"+loaded.RequestID, ""); strings.TrimSpace(text) != `{"status":"unloading_triggered"}` {
		t.Error(text)
	}
	if o := get[api.V1Overview](s, "GET", "/api/overview", ""); o.ModelRequests[0].Status.Phase != api.RequestUnloading {
		t.Errorf("after the unloading: %+v", o.ModelRequests)
	}
	if v2 := get[api.ModelDetail](s, "GET", "/api/v2/models/demo_7.B", ""); v2.Deployment.DesiredState != api.DesiredStopped {
		t.Errorf("version 2 shows %+v", v2.Deployment)
	}
}

// TestV1_badInput: what version 1 took unseen is refused, in the shape that old clients read.
func TestV1_badInput(t *testing.T) {
	s := serve(t)
	id := get[api.V1Loaded](s, "POST", "/api/models/load", `{"model_name":"acme/m","model_uid":"m"}`).RequestID
	before, _ := s.st.Current()
	scale := "/api/models/requests/" + id + "/scale"
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code               api.Code
	}{
		"no body":            {"POST", "/api/models/load", "", 400, "invalid_request"},
		"no uid":             {"POST", "/api/models/load", `{"model_name":"a/b"}`, 400, "invalid_request"},
		"no name":            {"POST", "/api/models/load", `{"model_uid":"a"}`, 400, "invalid_request"},
		"empty uid":          {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":""}`, 400, "invalid_model_uid"},
		"uid with a slash":   {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"a/b"}`, 400, "invalid_model_uid"},
		"uid of another":     {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":7}`, 400, "invalid_request"},
		"replicas 0":         {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b","replicas":0}`, 400, "invalid_request"},
		"replicas 10^9":      {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b","replicas":1000000000}`, 400, "invalid_request"},
		"replicas negative":  {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b","replicas":-1}`, 400, "invalid_request"},
		"min above max":      {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b","min_replicas":3,"max_replicas":2}`, 400, "invalid_request"},
		"unknown engine":     {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b","engine_type":"warp"}`, 400, "invalid_request"},
		"name as an option":  {"POST", "/api/models/load", `{"model_name":"--help","model_uid":"b"}`, 400, "invalid_request"},
		"node as a path":     {"POST", "/api/models/load", `{"model_name":"a/b","model_uid":"b","node_id":"../x"}`, 400, "invalid_request"},
		"dry run":            {"POST", "/api/models/load?dry_run=1", `{"model_name":"a/b","model_uid":"b"}`, 400, "invalid_request"},
		"unload nothing":     {"DELETE", "/api/models/requests/none", "", 404, "not_found"},
		"unload a path":      {"DELETE", "/api/models/requests/..%2f..", "", 404, "not_found"},
		"scale nothing":      {"PUT", "/api/models/requests/none/scale", `{"replicas":2}`, 404, "not_found"},
		"scale without":      {"PUT", scale, `{}`, 400, "invalid_request"},
		"scale to 10^9":      {"PUT", scale, `{"replicas":1000000000}`, 400, "invalid_request"},
		"drain":              {"POST", "/api/endpoints/drain", `{"model_uid":"m","replica_id":0}`, 501, "not_implemented"},
		"drain without JSON": {"POST", "/api/endpoints/drain", `x`, 400, "invalid_request"},
		"a page of nothing":  {"GET", "/api/requests?limit=0", "", 400, "invalid_request"},
	} {
		res, body := s.call(c.method, c.path, c.body)
		if e := errorOf(t, body); res.StatusCode != c.status || e.Code != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, res.StatusCode, body, c.status, c.code)
		}
	}
	if after, _ := s.st.Current(); after.Revision != before.Revision {
		t.Error("something was changed")
	}
}

// TestV1_saysThatItIsOld: each answer of a row of version 1, whatever it is, tells so in its headers, and where to go.
func TestV1_saysThatItIsOld(t *testing.T) {
	s := serve(t)
	fill := strings.NewReplacer("{$}", "", "{id}", "none")
	rows := 0
	for _, r := range httpapi.Routes(config(s.st)) {
		for _, as := range []auth.Role{auth.Public, auth.Admin} {
			h := []string{"Authorization", ""}
			if as != auth.Public {
				h[1] = "Bearer " + secrets[as]
			}
			res, _ := s.call(r.Method, fill.Replace(r.Path), "", h...)
			old, link := openapi.IsV1(r.Path), strings.Join(res.Header.Values("Link"), ",")
			if old != (res.Header.Get("Deprecation") == "@1795824000") || old != strings.Contains(link, `>; rel="successor-version"`) || old != (r.Successor != "") {
				t.Errorf("%s %s as %s: Deprecation %q, Link %q", r.Method, r.Path, as, res.Header.Get("Deprecation"), link)
			}
			if old {
				rows++
			}
		}
	}
	if rows < 10 {
		t.Errorf("only %d answers of version 1", rows)
	}
}

// TestV1_principalIsNoCredential: whoami tells a name, where the existing Nebula told the token.
func TestV1_principalIsNoCredential(t *testing.T) {
	s := serve(t)
	if who := get[api.V1Whoami](s, "GET", "/api/whoami", "", "Authorization", "", "X-Api-Key", secrets[auth.Viewer]); who != (api.V1Whoami{Principal: "viewer", Role: "viewer"}) {
		t.Errorf("%+v", who)
	}
}
