package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/store"
)

const planted = "hf_canary0123456789"

// TestSecrets_overTheWire: people set secrets and never read one; a node gets the one of its own model, with its certificate and no other way.
func TestSecrets_overTheWire(t *testing.T) {
	f := newFleet(t)
	body := `{"value":"` + planted + `"}`

	var answers strings.Builder // everything that people are told
	people := func(role auth.Role, status int, method, path, body string) string {
		t.Helper()
		text := f.must(status, method, path, body, "Authorization", "Bearer "+secrets[role])
		answers.WriteString(text)
		return text
	}
	people(auth.Operator, 403, "PUT", "/api/v2/secrets/hf", body)
	people(auth.Viewer, 403, "GET", "/api/v2/secrets", "")
	people(auth.Admin, 200, "PUT", "/api/v2/secrets/hf", body)
	people(auth.Admin, 400, "PUT", "/api/v2/secrets/..%2fx", body)
	people(auth.Admin, 400, "PUT", "/api/v2/secrets/b", `{"value":"`+planted+` `+planted+`"}`)
	people(auth.Admin, 400, "PUT", "/api/v2/secrets/b", `{"value":["`+planted+`"]}`)
	people(auth.Admin, 400, "PUT", "/api/v2/secrets/b", `{"value":"`+planted)
	people(auth.Admin, 400, "PUT", "/api/v2/secrets/b", `{"values":"`+planted+`"}`)
	people(auth.Admin, 413, "PUT", "/api/v2/secrets/b", `{"value":"`+strings.Repeat(planted, 100_000)+`"}`)
	people(auth.Admin, 405, "GET", "/api/v2/secrets/hf", "")
	people(auth.Admin, 403, "GET", "/api/v2/nodes/n1/secrets/m", "")
	people(auth.Operator, 201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","token_secret":"hf","auto_start":true}`)
	people(auth.Operator, 400, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"x","token_secret":"none"}`)
	people(auth.Operator, 403, "DELETE", "/api/v2/secrets/hf", "")
	people(auth.Admin, 409, "DELETE", "/api/v2/secrets/hf", "")
	people(auth.Viewer, 200, "GET", "/api/v2/models/m", "")

	var list []api.SecretView
	if err := json.Unmarshal([]byte(people(auth.Operator, 200, "GET", "/api/v2/secrets", "")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "hf" || list[0].CreatedBy != "admin" || len(list[0].UsedBy) != 1 || list[0].UsedBy[0] != "m" {
		t.Errorf("list %+v", list)
	}

	n1, n2 := f.join(api.MachineNode, "n1"), f.join(api.MachineNode, "n2")
	gateway := f.join(api.MachineGateway, "g1")
	if _, err := f.st.Update(t.Context(), store.OwnerScheduler, func(tx *store.Tx) error {
		return store.Placements.Put(tx, "m", api.PlacementPlan{ModelUID: "m", Version: 1, Assignments: []api.PlacementAssignment{{NodeID: "n1"}}})
	}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		who    *http.Client
		path   string
		status int
	}{
		"its own":           {n1, "/api/v2/nodes/n1/secrets/m", 200},
		"another's model":   {n2, "/api/v2/nodes/n2/secrets/m", 403},
		"by another's name": {n2, "/api/v2/nodes/n1/secrets/m", 403},
		"a gateway":         {gateway, "/api/v2/nodes/g1/secrets/m", 403},
		"nobody":            {f.client(nil), "/api/v2/nodes/n1/secrets/m", 401},
		"by secret":         {n1, "/api/v2/secrets/hf", 405},
		"the list":          {n1, "/api/v2/secrets", 403},
	} {
		res, text := f.do(c.who, "GET", c.path, nil)
		if res.StatusCode != c.status || (c.status == 200) != strings.Contains(text, planted) {
			t.Errorf("%s: %d %s", what, res.StatusCode, text)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached: %v", what, res.Header)
		}
	}
	res, text := f.do(n1, "GET", "/api/v2/nodes/n1/desired", nil)
	if res.StatusCode != 200 || !strings.Contains(text, `"token_secret":"hf"`) || strings.Contains(text, planted) || strings.Contains(text, "ciphertext") {
		t.Errorf("the desired set: %d %s", res.StatusCode, text)
	}
	if strings.Contains(answers.String()+f.log.String(), planted) {
		t.Errorf("it is in an answer or in the log:\n%s\n%s", answers.String(), f.log.String())
	}
}
