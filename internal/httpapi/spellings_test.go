package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// The rows M1 to M25 of the contract's table of spellings that live in the API.

func TestM1_searchIn(t *testing.T) {
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Hubs.Search = func(context.Context, api.ModelSource, string, int) ([]api.HubModel, error) {
			return []api.HubModel{}, nil
		}
	})
	for query, want := range map[string]int{
		"source=huggingface": 200, "source=hf": 200, "source=hugging_face": 200, "provider=hf": 200, "": 200,
		"source=modelscope": 501, "provider=ms": 501, "provider=modelscope": 501, "source=hf&provider=ms": 200,
	} {
		s.must(want, "GET", "/api/models/search?q=a&"+query, "")
	}
}

// TestM4_storedPlace: whatever they are called when they are sent, they are stored under their stored names.
func TestM4_storedPlace(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","auto_start":true,"node_affinity":"n1","gpu_index":3}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/n","model_uid":"n","auto_start":true,"node_id":"n1","gpu_indices":[3]}`)
	s.must(200, "POST", "/api/models/load", `{"model_name":"acme/o","model_uid":"o","node_id":"n1","gpu_indices":[3],"gpu_index":3}`)
	for _, uid := range []string{"m", "n", "o"} {
		d := get[api.ModelDetail](s, "GET", "/api/v2/models/"+uid, "").Deployment
		if text := text(t, d); !strings.Contains(text, `"node_affinity":"n1","gpu_affinity":[3]`) {
			t.Errorf("%s: %s", uid, text)
		}
	}
}

func TestM6_endpointStatus(t *testing.T) {
	kv := storetest.NewMem()
	kv.Put("/endpoints/m/0", []byte(`{"model_uid":"m","replica_id":0,"plan_version":1,"node_id":"n1","endpoint_kind":"native_http","api_flavor":"openai","status":"ready","last_heartbeat_ms":1}`))
	s := serveOn(t, kv, func(*httpapi.Config) {})
	if got := s.must(200, "GET", "/api/overview", ""); !strings.Contains(got, `"status":"ready"`) {
		t.Error(got)
	}
}

func TestM7_templateID(t *testing.T) {
	s := serve(t)
	made := s.must(201, "POST", "/api/v2/templates", `{"name":"x","model_name":"acme/m","template_id":"mine"}`)
	for _, got := range []string{made, s.must(200, "GET", "/api/v2/templates/mine", "")} {
		if !strings.Contains(got, `"template_id":"mine","id":"mine"`) {
			t.Error(got)
		}
	}
}

func TestM16_step(t *testing.T) {
	s := serve(t)
	for step, want := range map[string]int{
		"1m": 200, "60": 200, "60s": 200, "1m0s": 200, "300": 200, "5m0s": 200, "900s": 200, "3600": 200, "1h": 200,
		"120s": 400, "0": 400, "-60": 400, "60.5": 400, "99999999999999999999": 400, "1e2": 400, "m": 400,
	} {
		res, body := s.call("GET", gatewayBase+"traffic?window=1h&step="+step, "")
		if res.StatusCode != want {
			t.Errorf("step %s: %d %s", step, res.StatusCode, body)
		}
	}
}

// TestM17_wideUIDs: what only version 1 takes is operated on as everything else, and version 2 declares no such model.
func TestM17_wideUIDs(t *testing.T) {
	s := serve(t)
	for _, uid := range []string{"qwen2_5_0_5b", "qwen2.5-7b"} {
		s.must(400, "POST", "/api/v2/models", fmt.Sprintf(`{"model_name":"a/b","model_uid":%q}`, uid))
		s.must(200, "POST", "/api/models/load", fmt.Sprintf(`{"model_name":"a/b","model_uid":%q}`, uid))
		s.must(200, "GET", "/api/v2/models/"+uid, "")
		s.must(200, "PUT", "/api/v2/models/"+uid+"/scale", `{"replicas":2}`)
		s.must(200, "POST", "/api/v2/models/"+uid+"/stop", "")
		s.must(200, "POST", "/api/v2/models/"+uid+"/start", "")
	}
}

func TestM18_auditUser(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m"}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/n"}`, "Authorization", "Bearer "+secrets[auth.Operator])
	for query, want := range map[string]int{"": 2, "userId=operator": 1, "user_id=operator": 1, "userId=nobody": 0, "user_id=admin&from=2001-01-01T00:00:00Z": 1, "user_id=admin&to=2001-01-01T00:00:00Z": 0} {
		if got := get[api.V1AuditLog](s, "GET", "/api/audit-logs?"+query, ""); len(got.Data) != want {
			t.Errorf("%q: %d entries, want %d", query, len(got.Data), want)
		}
	}
}

// TestM19_staticTokensAndSessions: the same server takes both, and version 1 as well as version 2.
func TestM19_staticTokensAndSessions(t *testing.T) {
	const static = "devtoken-that-is-long-enough-to-be-one"
	s, setup := newClusterWith(t, func(cfg *httpapi.Config) {
		keys, warnings := auth.Keyring{}.WithStatic(static + ":admin")
		if len(warnings) > 0 {
			t.Fatal(warnings)
		}
		known := auth.Directory{View: cfg.View, Fixed: keys, Now: cfg.Now}
		cfg.Keys, cfg.Sessions = known, known
	})
	s.must(200, "POST", "/api/v2/setup", text(t, api.Setup{Token: api.Token(setup), Username: "ann", Password: annPassword}), "Authorization", "")
	in := get[api.V1Session](s, "POST", "/api/auth/login", text(t, api.Login{Username: "ann", Password: annPassword}), "Authorization", "")
	for name, as := range map[string][]string{
		"static": {"Authorization", "Bearer " + static}, "static in x-api-key": {"Authorization", "", "X-Api-Key", static}, "session": {"Authorization", "Bearer " + string(in.Token)},
	} {
		for _, path := range []string{"/api/whoami", "/api/v2/whoami"} {
			if got := s.must(200, "GET", path, "", as...); !strings.Contains(got, `"role":"admin"`) || strings.Contains(got, static) {
				t.Errorf("%s as %s: %s", path, name, got)
			}
		}
	}
}

func TestM20_startWithoutABody(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	for _, header := range [][]string{nil, {"Content-Type", "application/json"}, {"Content-Type", "text/plain"}} {
		s.must(200, "POST", "/api/v2/models/m/start", "", header...)
	}
	s.must(200, "POST", "/api/v2/models/m/start", `{}`)
	s.must(201, "POST", "/api/v2/templates", `{"name":"x","model_name":"acme/m","template_id":"mine"}`)
	s.must(201, "POST", "/api/v2/templates/mine/deploy", "")
}

// TestM21_scaleAndDrain: only the gateway of the existing Nebula had them, and the documents of its console as well. Both have them here.
func TestM21_scaleAndDrain(t *testing.T) {
	s := serve(t)
	id := get[api.V1Loaded](s, "POST", "/api/models/load", `{"model_name":"acme/m","model_uid":"m"}`).RequestID
	s.place("m", 0, 1)
	for i, base := range []string{"/api/", "/v1/admin/"} {
		want := api.V1Scaled{RequestID: id, OldReplicas: uint32(i + 1), NewReplicas: uint32(i + 2)}
		if got := get[api.V1Scaled](s, "PUT", base+"models/requests/"+id+"/scale", fmt.Sprintf(`{"replicas":%d}`, i+2)); got != want {
			t.Errorf("%s: %+v, want %+v", base, got, want)
		}
		body := fmt.Sprintf(`{"model_uid":"m","replica_id":%d}`, i)
		if got := s.must(200, "POST", base+"endpoints/drain", body); !strings.Contains(got, `"status":"draining"`) {
			t.Errorf("%s: %s", base, got)
		}
	}
}

// TestM23_starting: it counts the replicas that do start, and not those that have no place.
func TestM23_starting(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m","auto_start":true,"replicas":3}`)
	var got struct {
		Replicas map[string]int `json:"replicas"`
	}
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/models/m", "")), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"desired", "ready", "unhealthy", "starting"} {
		if _, ok := got.Replicas[name]; !ok {
			t.Errorf("%s is missing: %v", name, got.Replicas)
		}
	}
}

func TestM24_images(t *testing.T) {
	s := serve(t)
	s.must(200, "PUT", "/api/images/a", `{"id":"a","engine_type":"vllm","image":"a:1"}`)
	if a, b := s.must(200, "GET", "/api/images", ""), s.must(200, "GET", "/api/admin/images", ""); a != b || !strings.Contains(a, `"id":"a"`) {
		t.Errorf("%s and %s", a, b)
	}
}

func TestM25_metrics(t *testing.T) {
	s := serve(t)
	if a, b := s.must(200, "GET", "/api/metrics", ""), s.must(200, "GET", "/api/observe/metrics", ""); a != b || a == "" {
		t.Errorf("%q and %q", a, b)
	}
}
