package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/catalog"
	"github.com/nebula-serve/nebula/internal/store"
)

func read[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

// TestTemplates_life: a template is written, read, changed under its ETag, deployed and deleted; the model that was made of it stays.
func TestTemplates_life(t *testing.T) {
	s := serve(t)
	res, body := s.call("POST", "/api/v2/templates", `{"template_id":"mine","name":"Mine","category":"LLM","model_name":"acme/M-GGUF:Q8_0","source":"hf",
		"engine_type":"llama.cpp","config":{"max_model_len":4096,"tensor_parallel_size":2},"default_replicas":3,"labels":{"team":"x"}}`)
	made := read[api.ModelTemplate](t, body)
	if res.StatusCode != 201 || res.Header.Get("Location") != "/api/v2/templates/mine" || res.Header.Get("ETag") == "" {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
	}
	if made.Source != api.TemplateUser || made.Category != api.CategoryLLM || made.ModelName != "acme/M-GGUF" || !slices.Equal(made.Files, []string{"Q8_0"}) ||
		made.EngineType != "llamacpp" || made.CreatedBy != "admin" || made.CreatedAtMS == 0 || made.ID != "mine" || made.ModelSource != api.SourceHuggingFace {
		t.Errorf("%+v", made)
	}
	tag := res.Header.Get("ETag")

	res, body = s.call("PUT", "/api/v2/templates/mine", `{"description":"for search","name":null,"labels":{}}`, "If-Match", tag)
	changed := read[api.ModelTemplate](t, body)
	if res.StatusCode != 200 || changed.Description != "for search" || changed.Name != "Mine" || len(changed.Labels) != 0 || changed.Config == nil || res.Header.Get("ETag") == tag {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
	s.must(412, "PUT", "/api/v2/templates/mine", `{"description":"again"}`, "If-Match", tag)
	s.must(412, "DELETE", "/api/v2/templates/mine", "", "If-Match", tag)
	if got := read[api.ModelTemplate](t, s.must(200, "GET", "/api/v2/templates/mine", "")); cmp.Diff(changed, got) != "" {
		t.Errorf("it reads otherwise than it was written: %s", cmp.Diff(changed, got))
	}

	deployed := read[api.ModelCreated](t, s.must(201, "POST", "/api/v2/templates/mine/deploy", ""))
	if d := deployed.Deployment; deployed.Spec.ModelUID != "acme-m-gguf" || d == nil || d.Replicas != 3 || d.DesiredState != api.DesiredRunning || d.Version != 1 {
		t.Errorf("%+v", deployed)
	}
	res, body = s.call("POST", "/api/v2/templates/mine/deploy", `{"replicas":1,"config_overrides":{"max_model_len":null,"unset":["tensor_parallel_size"]},"node_id":"n1","gpu_indices":[0]}`)
	second := read[api.ModelCreated](t, body)
	if res.StatusCode != 201 || second.Spec.ModelUID != "acme-m-gguf-2" || res.Header.Get("Location") != "/api/v2/models/acme-m-gguf-2" || res.Header.Get("ETag") == "" {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
	}
	if d := second.Deployment; d.Replicas != 1 || d.NodeAffinity != "n1" || !slices.Equal(d.GPUAffinity, []uint32{0}) {
		t.Errorf("%+v", d)
	}
	run := api.EffectiveConfig(&second.Spec, second.Deployment)
	if run.TensorParallelSize != nil || run.MaxModelLen == nil || *run.MaxModelLen != 4096 || *second.Spec.Config.TensorParallelSize != 2 {
		t.Errorf("it runs with %+v", run)
	}

	if done := read[api.TemplateDeleted](t, s.must(200, "DELETE", "/api/v2/templates/mine", "")); done.TemplateID != "mine" || done.Status != "deleted" {
		t.Errorf("%+v", done)
	}
	s.must(404, "GET", "/api/v2/templates/mine", "")
	s.must(200, "GET", "/api/v2/models/acme-m-gguf", "")
	if made := read[api.ModelTemplate](t, s.must(201, "POST", "/api/v2/templates", `{"name":"X","model_name":"acme/M"}`)); !strings.HasPrefix(made.TemplateID, "tpl-") || len(made.TemplateID) != 40 {
		t.Errorf("an id that was made is %q", made.TemplateID)
	}
}

// Each built-in template deploys, and nothing about one can be changed.
func TestTemplates_builtIn(t *testing.T) {
	s := serve(t)
	list := read[[]api.ModelTemplate](t, s.must(200, "GET", "/api/v2/templates?source=system", ""))
	if len(list) != len(catalog.Builtin()) {
		t.Fatalf("%d are listed", len(list))
	}
	for i, tpl := range list {
		s.must(201, "POST", "/api/v2/templates/"+tpl.TemplateID+"/deploy", fmt.Sprintf(`{"model_uid":"m-%d"}`, i))
	}
	id := list[0].TemplateID
	for _, c := range []struct {
		status       int
		method, path string
		body         string
		says         string
	}{
		{409, "PUT", "/" + id, `{"name":"Mine"}`, "make a copy under another id"},
		{409, "DELETE", "/" + id, "", "make a copy under another id"},
		{409, "POST", "", `{"template_id":"` + id + `","name":"Mine","model_name":"acme/M"}`, "choose another template_id"},
		{409, "POST", "?replace=1", `{"template_id":"` + id + `","name":"Mine","model_name":"acme/M"}`, "choose another template_id"},
	} {
		if e := errorOf(t, s.must(c.status, c.method, "/api/v2/templates"+c.path, c.body)); !strings.Contains(e.Message, c.says) {
			t.Errorf("%s %s: %s", c.method, c.path, e.Message)
		}
	}
	s.must(409, "POST", "/api/v2/models/m-0/save-as-template?replace=1", `{"name":"Mine","template_id":"`+id+`"}`)
	if again := read[api.ModelTemplate](t, s.must(200, "GET", "/api/v2/templates/"+id, "")); cmp.Diff(list[0], again) != "" {
		t.Error(cmp.Diff(list[0], again))
	}
}

// What is saved is what the model runs with, not what it was declared with.
func TestSaveAsTemplate_savesWhatRuns(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/M","model_uid":"m","labels":{"team":"x"},"revision":"v2","files":["*.safetensors"],
		"config":{"max_model_len":8192,"tensor_parallel_size":2,"required_vram_mb":9000}}`)
	before := read[api.ModelTemplate](t, s.must(201, "POST", "/api/v2/models/m/save-as-template", `{"name":"Never started"}`))
	if before.DefaultReplicas != 1 || *before.Config.MaxModelLen != 8192 {
		t.Errorf("%+v", before)
	}
	s.must(200, "POST", "/api/v2/models/m/start", `{"replicas":4,"config_overrides":{"max_model_len":1024,"unset":["required_vram_mb"]}}`)
	res, body := s.call("POST", "/api/v2/models/m/save-as-template", `{"name":"Saved","template_id":"saved","description":"d","category":"vlm"}`)
	got := read[api.ModelTemplate](t, body)
	two, short := uint32(2), uint32(1024)
	want := api.ModelTemplate{
		TemplateID: "saved", ID: "saved", Name: "Saved", Description: "d", Category: api.CategoryVLM, ModelName: "acme/M", ModelSource: api.SourceHuggingFace,
		Config: &api.ModelConfig{TensorParallelSize: &two, MaxModelLen: &short}, DefaultReplicas: 4, Labels: api.Labels{"team": "x"},
		Revision: "v2", Files: []string{"*.safetensors"}, Source: api.TemplateSaved, CreatedAtMS: got.CreatedAtMS, UpdatedAtMS: got.UpdatedAtMS, CreatedBy: "admin",
	}
	if d := cmp.Diff(want, got); res.StatusCode != 201 || d != "" {
		t.Errorf("%d: %s", res.StatusCode, d)
	}
	s.must(409, "POST", "/api/v2/models/m/save-as-template", `{"name":"Again","template_id":"saved"}`)
	again := read[api.ModelTemplate](t, s.must(201, "POST", "/api/v2/models/m/save-as-template?replace=1", `{"name":"Again","template_id":"saved"}`))
	if again.Name != "Again" || again.CreatedAtMS != got.CreatedAtMS {
		t.Errorf("%+v", again)
	}
}

// TestPatchModel_overTheWire: null clears, what is absent stays, and the ETag holds.
func TestPatchModel_overTheWire(t *testing.T) {
	s := serve(t)
	res, _ := s.call("POST", "/api/v2/models", `{"model_name":"acme/M","model_uid":"m","labels":{"team":"x","tier":"y"},"engine_type":"vllm",
		"config":{"max_model_len":8192,"tensor_parallel_size":2}}`)
	tag := res.Header.Get("ETag")
	res, body := s.call("PATCH", "/api/v2/models/m", `{"engine_type":null,"labels":{"tier":null},"config":{"tensor_parallel_size":null}}`,
		"If-Match", tag, "Content-Type", "application/merge-patch+json; charset=utf-8")
	got := read[api.ModelSpec](t, body)
	if res.StatusCode != 200 || got.EngineType != "" || !maps.Equal(got.Labels, api.Labels{"team": "x"}) || got.Config.TensorParallelSize != nil || *got.Config.MaxModelLen != 8192 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	s.must(412, "PATCH", "/api/v2/models/m", `{"revision":"v2"}`, "If-Match", tag)
	same := read[api.ModelSpec](t, s.must(200, "PATCH", "/api/v2/models/m", `{}`))
	if d := cmp.Diff(got, same); d != "" {
		t.Errorf("an empty patch changes something: %s", d)
	}
	res, body = s.call("PATCH", "/api/v2/models/m", `[{"op":"remove","path":"/labels"}]`, "Content-Type", "application/json-patch+json")
	if res.StatusCode != 415 || res.Header.Get("Accept-Patch") != "application/merge-patch+json" || !strings.Contains(body, "JSON merge patch") {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
}

// TestTemplates_badInput: each is refused with its status, its code and a text that names what is wrong, and nothing is stored.
func TestTemplates_badInput(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/templates", `{"template_id":"t","name":"T","model_name":"acme/M"}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/M","model_uid":"m"}`)
	before, _ := s.st.Current()
	name, model := `"name":"T"`, `"model_name":"acme/M"`
	for _, c := range []struct {
		method, path, body string
		status             int
		code               api.Code
		says               string
	}{
		{"POST", "", `{` + model + `}`, 400, api.CodeInvalidRequest, "name must not be empty"},
		{"POST", "", `{` + name + `}`, 400, api.CodeInvalidRequest, "model_name must not be empty"},
		{"POST", "", `{"name":" ",` + model + `}`, 400, api.CodeInvalidRequest, "name must not be empty"},
		{"POST", "", `{"name":"a\u001b[31m",` + model + `}`, 400, api.CodeInvalidRequest, "control characters"},
		{"POST", "", `{"name":"` + strings.Repeat("x", 600) + `",` + model + `}`, 400, api.CodeInvalidRequest, "name is 600 bytes long"},
		{"POST", "", `{"description":"` + strings.Repeat("x", 5000) + `",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "description is 5000"},
		{"POST", "", `{"template_id":"a/b",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "template_id is not legal"},
		{"POST", "", `{"template_id":"..",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "template_id is not legal"},
		{"POST", "", `{"template_id":"My_T",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "template_id is not legal"},
		{"POST", "", `{"template_id":"` + strings.Repeat("a", 64) + `",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "template_id is not legal"},
		{"POST", "", `{"category":"chat",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "use one of llm, embedding, rerank, vlm, audio"},
		{"POST", "", `{"default_replicas":0,` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "default_replicas must be between 1 and 1024"},
		{"POST", "", `{"default_replicas":-1,` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "default_replicas"},
		{"POST", "", `{"source":"ftp",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "unknown model source"},
		{"POST", "", `{"model_source":"local",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "model_path is needed"},
		{"POST", "", `{"engine_type":"tensorrt",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "engine_type"},
		{"POST", "", `{"docker_image":"x",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "docker_image is not supported"},
		{"POST", "", `{"config":{"gpu_memory_utilization":2},` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "config.gpu_memory_utilization"},
		{"POST", "", `{"config":{"unset":["max_model_len"]},` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "config.unset is for config_overrides"},
		{"POST", "", `{"labels":{"a=b":"c"},` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "labels key"},
		{"POST", "", `{"files":["/etc/*"],` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "files pattern"},
		{"POST", "", `{"token_secret":"none",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "nebula secret set none"},
		{"POST", "", `{"homepage":"javascript:alert(1)",` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "homepage"},
		{"POST", "", `{"parameters":-5,` + name + `,` + model + `}`, 400, api.CodeInvalidRequest, "parameters"},
		{"POST", "", `{"name":7}`, 400, api.CodeInvalidRequest, "name must be a string"},
		{"POST", "", `{`, 400, api.CodeInvalidRequest, "not valid JSON"},
		{"POST", "", ``, 400, api.CodeInvalidRequest, "the body is empty"},
		{"POST", "", `[]`, 400, api.CodeInvalidRequest, "must be a JSON object"},
		{"POST", "", `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 413, api.CodeTooLarge, "larger than"},
		{"POST", "", `{"template_id":"t",` + name + `,` + model + `}`, 409, api.CodeTemplateExists, "?replace=1"},
		{"POST", "?replace=0", `{"template_id":"t",` + name + `,` + model + `}`, 409, api.CodeTemplateExists, "?replace=1"},
		{"GET", "/none", "", 404, api.CodeNotFound, "nebula template list"},
		{"GET", "/a%2fb", "", 404, api.CodeNotFound, "nebula template list"},
		{"GET", "?category=chat", "", 400, api.CodeInvalidRequest, "use one of llm"},
		{"GET", "?source=hub", "", 400, api.CodeInvalidRequest, "use one of system, user, saved"},
		{"GET", "?limit=0", "", 400, api.CodeInvalidRequest, "limit"},
		{"GET", "?cursor=x", "", 400, api.CodeInvalidRequest, "cursor"},
		{"PUT", "/none", `{}`, 404, api.CodeNotFound, "nebula template list"},
		{"PUT", "/..%2fmodels", `{}`, 404, api.CodeNotFound, "nebula template list"},
		{"PUT", "/t", `{"name":""}`, 400, api.CodeInvalidRequest, "name must not be empty"},
		{"PUT", "/t", `{"category":"chat"}`, 400, api.CodeInvalidRequest, "category"},
		{"PUT", "/t", `{"default_replicas":5000}`, 400, api.CodeInvalidRequest, "default_replicas"},
		{"PUT", "/t", `{"token_secret":"none"}`, 400, api.CodeInvalidRequest, "nebula secret set none"},
		{"PUT", "/t", ``, 400, api.CodeInvalidRequest, "the body is empty"},
		{"DELETE", "/none", "", 404, api.CodeNotFound, "nebula template list"},
		{"DELETE", "/a%2fb", "", 404, api.CodeNotFound, "nebula template list"},
		{"POST", "/none/deploy", `{}`, 404, api.CodeNotFound, "nebula template list"},
		{"POST", "/t/deploy", `{"model_uid":"m"}`, 409, api.CodeModelExists, "choose another uid"},
		{"POST", "/t/deploy", `{"model_uid":"a/b"}`, 400, api.CodeInvalidUID, "model_uid is not legal"},
		{"POST", "/t/deploy", `{"model_uid":"../../x"}`, 400, api.CodeInvalidUID, "model_uid is not legal"},
		{"POST", "/t/deploy", `{"model_uid":"Qwen_2.5"}`, 400, api.CodeInvalidUID, "model_uid is not legal"},
		{"POST", "/t/deploy", `{"replicas":0}`, 400, api.CodeInvalidRequest, "replicas must be between"},
		{"POST", "/t/deploy", `{"replicas":9999}`, 400, api.CodeInvalidRequest, "replicas must be between"},
		{"POST", "/t/deploy", `{"node_id":"a b"}`, 400, api.CodeInvalidRequest, "node_id"},
		{"POST", "/t/deploy", `{"gpu_indices":[0,0]}`, 400, api.CodeInvalidRequest, "gpu_indices"},
		{"POST", "/t/deploy", `{"config_overrides":{"max_model_len":0}}`, 400, api.CodeInvalidRequest, "config_overrides.max_model_len"},
		{"POST", "/t/deploy", `{"config_overrides":{"unset":["colour"]}}`, 400, api.CodeInvalidRequest, "is no field of a config"},
		{"POST", "/t/deploy", `{"config_overrides":[]}`, 400, api.CodeInvalidRequest, "config_overrides"},
		{"POST", "../models/m/save-as-template", `{}`, 400, api.CodeInvalidRequest, "name must not be empty"},
		{"POST", "../models/none/save-as-template", `{` + name + `}`, 404, api.CodeNotFound, "nebula model list"},
		{"POST", "../models/m/save-as-template", `{` + name + `,"template_id":"t"}`, 409, api.CodeTemplateExists, "?replace=1"},
		{"POST", "../models/m/save-as-template", `{` + name + `,"template_id":"a b"}`, 400, api.CodeInvalidRequest, "template_id is not legal"},
		{"POST", "../models/m/save-as-template", `{` + name + `,"category":"chat"}`, 400, api.CodeInvalidRequest, "category"},
		{"PATCH", "../models/none", `{}`, 404, api.CodeNotFound, "nebula model list"},
		{"PATCH", "../models/m", `{"model_uid":"x"}`, 400, api.CodeInvalidRequest, "model_uid cannot be changed"},
		{"PATCH", "../models/m", `{"colour":"red"}`, 400, api.CodeInvalidRequest, "colour is no field that a patch can change"},
		{"PATCH", "../models/m", `{"model_name":null}`, 400, api.CodeInvalidRequest, "model_name must not be empty"},
		{"PATCH", "../models/m", `{"config":{"max_model_len":0}}`, 400, api.CodeInvalidRequest, "config.max_model_len"},
		{"PATCH", "../models/m", `{"token_secret":"none"}`, 400, api.CodeInvalidRequest, "nebula secret set none"},
		{"PATCH", "../models/m", `null`, 400, api.CodeInvalidRequest, "must be a JSON object"},
		{"PATCH", "../models/m", ``, 400, api.CodeInvalidRequest, "the body is empty"},
	} {
		path := "/api/v2/templates" + c.path
		if rest, other := strings.CutPrefix(c.path, ".."); other {
			path = "/api/v2" + rest
		}
		res, body := s.call(c.method, path, c.body)
		what := c.method + " " + c.path + " " + c.body[:min(len(c.body), 60)]
		if e := errorOf(t, body); res.StatusCode != c.status || e.Code != c.code || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %d %s %s, want %d %s with %q", what, res.StatusCode, e.Code, e.Message, c.status, c.code, c.says)
		}
	}
	if after, _ := s.st.Current(); after.Templates != before.Templates || after.Models != before.Models || after.Deployments != before.Deployments {
		t.Error("something was stored")
	}
	for _, role := range []auth.Role{auth.Viewer, auth.Inference} {
		for _, c := range []string{"POST /api/v2/templates", "PUT /api/v2/templates/t", "DELETE /api/v2/templates/t", "POST /api/v2/templates/t/deploy", "POST /api/v2/models/m/save-as-template", "PATCH /api/v2/models/m"} {
			method, path, _ := strings.Cut(c, " ")
			s.must(403, method, path, `{}`, "Authorization", "Bearer "+secrets[role])
		}
	}
}

// What an unreadable template can still do is go away.
func TestTemplates_unreadable(t *testing.T) {
	s := serve(t)
	s.corrupt("/templates/t")
	s.must(409, "GET", "/api/v2/templates/t", "")
	s.must(409, "PUT", "/api/v2/templates/t", `{}`)
	s.must(409, "POST", "/api/v2/templates/t/deploy", `{}`)
	s.must(409, "POST", "/api/v2/templates?replace=1", `{"template_id":"t","name":"T","model_name":"acme/M"}`)
	s.must(200, "DELETE", "/api/v2/templates/t", "")
	s.must(404, "GET", "/api/v2/templates/t", "")
}

// corrupt stores something that is no document, and returns when the server has seen it.
func (s *server) corrupt(key string) {
	s.t.Helper()
	if _, err := s.kv.Txn(s.t.Context(), nil, []store.Op{{Key: key, Value: []byte("{not json")}}); err != nil {
		s.t.Fatal(err)
	}
	for {
		st, changed := s.st.Current()
		if st.Bad.Has(key) {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			s.t.Fatal("waited in vain")
		}
	}
}

// A dry run answers as the real thing would and stores nothing; a create with an Idempotency-Key happens once, and the same key with another request is
// refused.
func TestTemplates_dryRunsAndRepeats(t *testing.T) {
	s := serve(t)
	s.must(201, "POST", "/api/v2/templates", `{"template_id":"t","name":"T","model_name":"acme/M"}`)
	s.must(201, "POST", "/api/v2/models", `{"model_name":"acme/N","model_uid":"n","revision":"v1"}`)
	before, _ := s.st.Current()
	for _, c := range []struct{ method, path, body, says string }{
		{"POST", "/templates?dry_run=1", `{"template_id":"u","name":"U","model_name":"acme/M"}`, `"template_id":"u"`},
		{"PUT", "/templates/t?dry_run=1", `{"name":"Other"}`, `"name":"Other"`},
		{"DELETE", "/templates/t?dry_run=1", "", "deleted"},
		{"POST", "/templates/t/deploy?dry_run=1", "", `"model_uid":"acme-m"`},
		{"POST", "/models/n/save-as-template?dry_run=1", `{"name":"N"}`, `"source":"saved"`},
		{"PATCH", "/models/n?dry_run=1", `{"revision":null}`, `"model_name":"acme/N"`},
	} {
		res, body := s.call(c.method, "/api/v2"+c.path, c.body)
		if res.StatusCode/100 != 2 || !strings.Contains(body, c.says) || c.method == "PATCH" && strings.Contains(body, `"v1"`) {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.StatusCode, body)
		}
	}
	if after, _ := s.st.Current(); after.Revision != before.Revision {
		t.Error("a dry run has written")
	}
	s.must(409, "POST", "/api/v2/templates?dry_run=1", `{"template_id":"t","name":"T","model_name":"acme/M"}`)

	for _, c := range []struct{ path, body, other string }{
		{"/templates", `{"name":"A","model_name":"acme/M"}`, `{"name":"B","model_name":"acme/M"}`},
		{"/templates/t/deploy", `{}`, `{"replicas":2}`},
		{"/models/n/save-as-template", `{"name":"A"}`, `{"name":"B"}`},
	} {
		key := []string{"Idempotency-Key", "key-of" + c.path}
		first, again := s.must(201, "POST", "/api/v2"+c.path, c.body, key...), s.must(201, "POST", "/api/v2"+c.path, c.body, key...)
		id := func(body string) string {
			made := read[struct {
				TemplateID string `json:"template_id"`
				ModelUID   string `json:"model_uid"`
			}](t, body)
			return made.TemplateID + made.ModelUID
		}
		if id(first) == "" || id(first) != id(again) {
			t.Errorf("%s: %s, again %s", c.path, first, again)
		}
		s.must(409, "POST", "/api/v2"+c.path, c.other, key...)
	}
	st, _ := s.st.Current()
	if st.Templates.Len() != 3 || st.Models.Len() != 2 {
		t.Errorf("%d templates, %d models", st.Templates.Len(), st.Models.Len())
	}
}
