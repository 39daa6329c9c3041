package httpapi_test

import (
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

func TestV1_images(t *testing.T) {
	s := serve(t)
	made := get[api.EngineImage](s, "PUT", "/api/images/vllm-1", `{"id":"ignored","engine_type":"vllm","image":"vllm/vllm-openai:v0.11.0","created_at_ms":0}`)
	if made.ID != "vllm-1" || !made.PrePull || made.VersionPolicy != api.PolicyPin || made.CreatedAtMS == 0 || made.CreatedAtMS != made.UpdatedAtMS {
		t.Errorf("%+v", made)
	}
	again := get[api.EngineImage](s, "PUT", "/api/images/vllm-1", `{"id":"x","engine_type":"vllm","image":"b:1","version_policy":"Rolling","pre_pull":false,"created_at_ms":5,"platforms":["linux/amd64"],"description":"d"}`)
	if again.CreatedAtMS != 5 || again.PrePull || again.VersionPolicy != api.PolicyRolling {
		t.Errorf("%+v", again)
	}
	docs := map[string]string{
		"/images/old.1":            `{"id":"old.1","engine_type":"sglang","image":"a:1"}`,
		"/image_status/n1/vllm-1":  `{"node_id":"n1","image_id":"vllm-1","image":"b:1","status":"ready"}`,
		"/image_status/n2/vllm-1":  `{"node_id":"n2","image_id":"vllm-1","image":"b:1","status":"failed","error":"no space"}`,
		"/image_status/n1/another": `{"node_id":"n1","image_id":"another","image":"c:1","status":"pulling"}`,
	}
	for key, doc := range docs {
		if _, err := s.kv.Txn(t.Context(), nil, []store.Op{{Key: key, Value: []byte(doc)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(docs)
	if got := s.must(200, "GET", "/api/images/old.1", ""); !strings.Contains(got, `"platforms":[],"version_policy":"pin","pre_pull":true`) {
		t.Error(got)
	}
	if a, b := s.must(200, "GET", "/api/images", ""), s.must(200, "GET", "/api/admin/images", ""); a != b || len(get[[]api.EngineImage](s, "GET", "/api/images", "")) != 2 {
		t.Errorf("%s and %s", a, b)
	}
	if got := get[[]api.NodeImageStatus](s, "GET", "/api/images/status", ""); len(got) != 3 || got[2].Error != "no space" {
		t.Errorf("%+v", got)
	}
	for range 2 { // never 404
		if got := s.must(200, "DELETE", "/api/images/vllm-1", ""); strings.TrimSpace(got) != `{"id":"vllm-1","status":"deleted"}` {
			t.Error(got)
		}
	}
	if got := get[[]api.NodeImageStatus](s, "GET", "/api/images/status", ""); len(got) != 1 || got[0].ImageID != "another" {
		t.Errorf("%+v", got)
	}
	s.must(404, "GET", "/api/images/vllm-1", "")
	before, _ := s.st.Current()
	for _, body := range []string{
		"", "{}", `{"id":"a","engine_type":"vllm"}`, `{"id":"a","engine_type":"","image":"a"}`, `{"id":"a","engine_type":"vllm","image":"--privileged"}`,
		`{"id":"a","engine_type":"vllm","image":"a b"}`, `{"id":"a","engine_type":"vllm","image":"a","version_policy":"newest"}`,
		`{"engine_type":"vllm","image":"a"}`, `{"id":"a","engine_type":"vllm","image":"a","pre_pull":"yes"}`,
		`{"id":"a","engine_type":"vllm","image":"` + strings.Repeat("a", 600) + `"}`,
	} {
		errorOf(t, s.must(400, "PUT", "/api/images/a", body))
	}
	errorOf(t, s.must(400, "PUT", "/api/images/a%2Fb", `{"id":"a","engine_type":"vllm","image":"a"}`))
	if after, _ := s.st.Current(); after.Revision != before.Revision {
		t.Error("something was stored")
	}
}
