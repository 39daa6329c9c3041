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
		"drain nothing":      {"POST", "/api/endpoints/drain", `{"model_uid":"none","replica_id":0}`, 404, "not_found"},
		"drain no replica":   {"POST", "/api/endpoints/drain", `{"model_uid":"m","replica_id":0}`, 404, "not_found"},
		"drain no model":     {"POST", "/api/endpoints/drain", `{"replica_id":0}`, 400, "invalid_request"},
		"drain no number":    {"POST", "/api/endpoints/drain", `{"model_uid":"m"}`, 400, "invalid_request"},
		"drain -1":           {"POST", "/api/endpoints/drain", `{"model_uid":"m","replica_id":-1}`, 400, "invalid_request"},
		"drain a path":       {"POST", "/api/endpoints/drain", `{"model_uid":"../x","replica_id":0}`, 404, "not_found"},
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

// TestV1_people goes the way of an old client's login and its pages about people.
func TestV1_people(t *testing.T) {
	s := withAnn(t)
	in := get[api.V1Session](s, "POST", "/api/auth/login", text(t, api.Login{Username: "ann", Password: annPassword}), "Authorization", "")
	if len(in.Token) != 64 || in.User.Username != "ann" || in.User.DisplayName != nil {
		t.Errorf("logged in: %d characters, %+v", len(in.Token), in.User)
	}
	if end, err := time.Parse(time.RFC3339, in.ExpiresAt); err != nil || time.Until(end) < 11*time.Hour {
		t.Errorf("until %s", in.ExpiresAt)
	}
	as := []string{"Authorization", "Bearer " + string(in.Token)}
	if me := s.must(200, "GET", "/api/auth/me", "", as...); !strings.Contains(me, `"display_name":null`) || !strings.Contains(me, `"id":"`+in.User.ID+`"`) {
		t.Error(me)
	}
	if who := get[api.V1Whoami](s, "GET", "/api/whoami", "", as...); who != (api.V1Whoami{Principal: "ann", Role: api.RoleAdmin}) {
		t.Errorf("%+v", who)
	}
	s.must(200, "GET", "/api/v2/models", "", as...)
	s.must(401, "GET", "/api/v2/models", "", "Authorization", "", "Cookie", "nebula-session="+string(in.Token))

	s.must(200, "PUT", "/api/auth/profile", `{"display_name":"Ann","email":"ann@example.com"}`, as...)
	s.must(200, "PUT", "/api/auth/profile", `{"display_name":"Ann B."}`, as...) // the existing Nebula forgot the mail here
	if me := get[api.V1User](s, "GET", "/api/auth/me", "", as...); *me.DisplayName != "Ann B." || me.Email == nil {
		t.Errorf("%+v", me)
	}
	if got := get[api.V1Settings](s, "GET", "/api/auth/settings", "", as...); got != (api.V1Settings{InAppAlerts: true}) {
		t.Errorf("%+v", got)
	}
	s.must(200, "PUT", "/api/auth/settings", `{"in_app_alerts":false}`, as...)
	s.must(200, "PUT", "/api/auth/settings", `{"email_alerts":true}`, as...)
	if got := get[api.V1Settings](s, "GET", "/api/auth/settings", "", as...); got != (api.V1Settings{EmailAlerts: true}) {
		t.Errorf("%+v", got)
	}

	var made api.V1UserCreated
	if err := json.Unmarshal([]byte(s.must(201, "POST", "/api/auth/users", `{"username":"aaron","password":"`+annPassword+`","role":"Operator"}`, as...)), &made); err != nil || !made.OK {
		t.Fatal(made, err)
	}
	login := func(password string) int {
		res, _ := s.call("POST", "/api/auth/login", text(t, api.Login{Username: "aaron", Password: api.Token(password)}), "Authorization", "")
		return res.StatusCode
	}
	if got := get[[]api.V1UserListed](s, "GET", "/api/auth/users", "", as...); len(got) != 2 || got[1].ID != made.ID && got[0].ID != made.ID || !got[0].IsActive {
		t.Errorf("%+v", got)
	}
	at := "/api/auth/users/" + made.ID
	s.must(400, "PUT", at, `{"role":"viewer","password":"short"}`, as...) // and nothing of it is done
	s.must(400, "PUT", at, `{"role":"root","password":"another long sentence"}`, as...)
	st, _ := s.st.Current()
	if aaron, _ := st.Users.Value("aaron"); login(annPassword) != 200 || aaron.Role != api.RoleOperator {
		t.Error("half of a refused change was made")
	}
	s.must(200, "PUT", at, `{"role":"viewer","password":"another long sentence"}`, as...)
	if login(annPassword) != 401 || login("another long sentence") != 200 {
		t.Error("the password is not the new one")
	}
	s.must(200, "PUT", at, `{"is_active":false}`, as...)
	if login("another long sentence") != 401 {
		t.Error("who is disabled is told so, or let in")
	}
	s.must(200, "DELETE", at, "", as...)
	s.must(404, "DELETE", at, "", as...)
	s.must(200, "POST", "/api/auth/logout", "", as...)
	s.must(401, "GET", "/api/auth/me", "", as...)
}

// TestV1_peopleBadInput: the routes under /api/auth fail with a text.
func TestV1_peopleBadInput(t *testing.T) {
	s := withAnn(t)
	users := get[[]api.V1UserListed](s, "GET", "/api/auth/users", "")
	ann := "/api/auth/users/" + users[0].ID
	good := `"password":"` + annPassword + `"`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"login blank":          {"POST", "/api/auth/login", `{"username":"","password":""}`, 400},
		"login without JSON":   {"POST", "/api/auth/login", `x`, 400},
		"login wrong":          {"POST", "/api/auth/login", `{"username":"ann","password":"admin123"}`, 401},
		"login as admin":       {"POST", "/api/auth/login", `{"username":"admin","password":"admin123"}`, 401},
		"me without a user":    {"GET", "/api/auth/me", "", 409},
		"logout of a token":    {"POST", "/api/auth/logout", "", 400},
		"settings of a token":  {"PUT", "/api/auth/settings", `{}`, 409},
		"user without a name":  {"POST", "/api/auth/users", `{` + good + `,"role":"viewer"}`, 400},
		"user without a role":  {"POST", "/api/auth/users", `{"username":"bob",` + good + `}`, 400},
		"user of a wrong role": {"POST", "/api/auth/users", `{"username":"bob",` + good + `,"role":"root"}`, 400},
		"short password":       {"POST", "/api/auth/users", `{"username":"bob","password":"admin123","role":"viewer"}`, 400},
		"no password":          {"POST", "/api/auth/users", `{"username":"bob","role":"viewer"}`, 400},
		"user there is":        {"POST", "/api/auth/users", `{"username":"ann",` + good + `,"role":"viewer"}`, 409},
		"bad mail":             {"POST", "/api/auth/users", `{"username":"bob",` + good + `,"role":"viewer","email":"x"}`, 400},
		"id is a name":         {"PUT", "/api/auth/users/ann", `{}`, 400},
		"id of nobody":         {"PUT", "/api/auth/users/00000000-0000-4000-8000-000000000001", `{}`, 404},
		"last administrator":   {"PUT", ann, `{"role":"viewer"}`, 409},
		"last one off":         {"PUT", ann, `{"is_active":false}`, 409},
		"last one removed":     {"DELETE", ann, "", 409},
	} {
		res, body := s.call(c.method, c.path, c.body)
		var e api.V1AuthError
		if err := json.Unmarshal([]byte(body), &e); err != nil || res.StatusCode != c.status || e.Error == "" {
			t.Errorf("%s: %d %s, want %d with a text", name, res.StatusCode, body, c.status)
		}
	}
	if _, body := s.call("GET", "/api/auth/me", "", "Authorization", ""); !deniedAsV1("/api/auth/me", body) {
		t.Errorf("without a credential: %s", body)
	}
}
