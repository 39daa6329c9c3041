package httpapi_test

import (
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/store"
)

// place lets the scheduler's part be done: replicas with these numbers, all on n1.
func (s *server) place(uid string, ids ...uint32) {
	s.t.Helper()
	plan := api.PlacementPlan{ModelUID: uid, ModelName: uid, Version: 1, Assignments: []api.PlacementAssignment{}}
	for _, id := range ids {
		plan.Assignments = append(plan.Assignments, api.PlacementAssignment{ReplicaID: id, NodeID: "n1"})
	}
	if _, err := s.st.Update(s.t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
		old, _, err := store.Placements.Get(tx, uid)
		if plan.Version += old.Version; err != nil {
			return err
		}
		return store.Placements.Put(tx, uid, plan)
	}); err != nil {
		s.t.Fatal(err)
	}
}

// marks are the replicas of a model that are to leave.
func (s *server) marks(uid string) []api.DrainMark {
	st, _ := s.st.Current()
	d, _ := st.Deployments.Value(uid)
	return d.Draining
}

// TestDrain_oneReplica: the mark is written once, with its record, whichever way it is asked for, and goes when what it meant has gone.
func TestDrain_oneReplica(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","auto_start":true,"replicas":3}`)
	s.place("m", 0, 1, 2)
	const v2, v1, gateway = "/api/v2/models/m/replicas/", "/api/endpoints/drain", "/v1/admin/endpoints/drain"

	if dry := get[api.ReplicaDrain](s, "POST", v2+"0/drain?dry_run=1", ""); dry.Status != api.NowDraining || dry.Explanation == nil || len(s.marks("m")) != 0 {
		t.Errorf("dry run: %+v, and marks %v", dry, s.marks("m"))
	}
	res, body := s.call("POST", v2+"0/drain", "")
	if want := `{"model_uid":"m","replica_id":0,"node_id":"n1","status":"draining"}`; res.StatusCode != 200 || strings.TrimSpace(body) != want || res.Header.Get("ETag") == "" {
		t.Errorf("%d %s, ETag %q", res.StatusCode, body, res.Header.Get("ETag"))
	}
	for path, want := range map[string]string{v1: `{"model_uid":"m","replica_id":1,"status":"draining"}`, gateway: `{"model_uid":"m","replica_id":2,"status":"draining"}`} {
		ask := strings.Replace(want, `,"status":"draining"`, "", 1)
		if got := strings.TrimSpace(s.must(200, "POST", path, ask)); got != want {
			t.Errorf("%s: %s", path, got)
		}
		before, _ := s.st.Current()
		if got := strings.TrimSpace(s.must(200, "POST", path, ask)); got != `{"status":"already_draining"}` {
			t.Errorf("%s again: %s", path, got)
		}
		if after, _ := s.st.Current(); after.Revision != before.Revision {
			t.Errorf("%s again: something is written", path)
		}
	}
	if got := s.marks("m"); len(got) != 3 {
		t.Errorf("the marks are %v", got)
	}
	last := get[[]api.AuditRecord](s, "GET", "/api/v2/audit?limit=1", "")[0]
	events := s.must(200, "GET", "/api/v2/models/m/events", "")
	if last.Verb != "model.drain" || last.Object != "model/m" || !strings.Contains(events, "model.drain") {
		t.Errorf("recorded as %+v, and the events are %s", last, events)
	}

	s.place("m", 2, 3, 4) // two have gone, and others have come
	if got := s.must(200, "PUT", "/api/v2/models/m/scale", `{"replicas":3}`); !strings.Contains(got, `"draining":[{"replica_id":2,"node_id":"n1"}]`) {
		t.Errorf("the next change keeps %s", got)
	}
	s.must(404, "POST", v2+"0/drain", "")
	s.must(200, "POST", "/api/v2/models/m/stop", "")
	if got := s.marks("m"); got != nil {
		t.Errorf("of a stopped model: %v", got)
	}
	if got := strings.TrimSpace(s.must(200, "POST", v1, `{"model_uid":"m","replica_id":3}`)); got != `{"status":"already_draining"}` {
		t.Errorf("of a stopped model: %s", got)
	}
}

// TestDrain_whatTheNodeSaysLeavesTheMark: the mark is people's, and reports of a node, which write its endpoints anew, do not touch it.
func TestDrain_whatTheNodeSaysLeavesTheMark(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","auto_start":true}`)
	s.place("m", 0)
	s.must(200, "POST", "/api/v2/models/m/replicas/0/drain", "")
	for range 3 {
		if _, err := s.kv.Txn(t.Context(), nil, []store.Op{{Key: "/endpoints/m/0", Value: []byte(`{"model_uid":"m","replica_id":0,"node_id":"n1","status":"ready"}`)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(nil)
	if got := s.marks("m"); len(got) != 1 {
		t.Errorf("the marks are %v", got)
	}
	s.place("m") // the scheduler has given it up, and the node still finishes its requests
	if got := get[api.ReplicaDrain](s, "POST", "/api/v2/models/m/replicas/0/drain", ""); got.Status != api.AlreadyDraining || got.NodeID != "n1" {
		t.Errorf("%+v", got)
	}
}

func TestDrain_badInput(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","auto_start":true}`)
	s.place("m", 0)
	before, _ := s.st.Current()
	for name, c := range map[string]struct {
		path   string
		status int
		header []string
	}{
		"no such model":   {"/api/v2/models/none/replicas/0/drain", 404, nil},
		"no such replica": {"/api/v2/models/m/replicas/1/drain", 404, nil},
		"no number":       {"/api/v2/models/m/replicas/first/drain", 404, nil},
		"a negative one":  {"/api/v2/models/m/replicas/-1/drain", 404, nil},
		"a huge one":      {"/api/v2/models/m/replicas/4294967296/drain", 404, nil},
		"a path":          {"/api/v2/models/m/replicas/..%2f0/drain", 404, nil},
		"a lost race":     {"/api/v2/models/m/replicas/0/drain", 412, []string{"If-Match", `"999999"`}},
		"no ETag":         {"/api/v2/models/m/replicas/0/drain", 400, []string{"If-Match", "soon"}},
		"a viewer":        {"/api/v2/models/m/replicas/0/drain", 403, []string{"Authorization", "Bearer " + secrets[auth.Viewer]}},
		"nobody":          {"/api/v2/models/m/replicas/0/drain", 401, []string{"Authorization", ""}},
	} {
		if res, body := s.call("POST", c.path, "", c.header...); res.StatusCode != c.status {
			t.Errorf("%s: %d %s, want %d", name, res.StatusCode, body, c.status)
		}
	}
	if text := s.must(404, "POST", "/v1/admin/endpoints/drain", `{"model_uid":"m","replica_id":7}`); strings.Contains(text, "{") || !strings.Contains(text, "nebula endpoint list") {
		t.Errorf("as the old gateway says it: %s", text)
	}
	if after, _ := s.st.Current(); after.Revision != before.Revision {
		t.Error("something was changed")
	}
}
