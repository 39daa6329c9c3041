package api_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

// The rows M1 to M25 of the contract's table of spellings: all of them are accepted, and one is emitted. Each has a test where it lives, in this file
// or in one of this name elsewhere; test/arch counts that none is missing.

// same holds that a document, read from text, is written again as want.
func same[T any](t *testing.T, text, want string) {
	t.Helper()
	var doc T
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Errorf("%s: %v", text, err)
	} else if got := string(encode(t, doc)); got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
	}
}

func TestM1_modelSource(t *testing.T) {
	for want, spellings := range map[string][]string{
		"hugging_face": {"hugging_face", "huggingface", "HuggingFace", "HUGGING-FACE", "hugging-face", "hf", "HF"},
		"model_scope":  {"model_scope", "modelscope", "ModelScope", "model-scope", "ms", "MS"},
		"local":        {"local", "Local", "LOCAL"},
	} {
		for _, s := range spellings {
			same[api.ModelSource](t, `"`+s+`"`, `"`+want+`"`)
		}
	}
	if err := json.Unmarshal([]byte(`"github"`), new(api.ModelSource)); err == nil {
		t.Error("an unknown source is read")
	}
}

func TestM2_createSource(t *testing.T) {
	same[api.CreateModel](t, `{"model_name":"a","source":"modelscope"}`, `{"model_name":"a","model_source":"model_scope"}`)
	same[api.CreateModel](t, `{"model_name":"a","source":"modelscope","model_source":"hf"}`, `{"model_name":"a","model_source":"hugging_face"}`)
}

func TestM3_createStart(t *testing.T) {
	same[api.CreateModel](t, `{"model_name":"a","start":true}`, `{"model_name":"a","auto_start":true}`)
	same[api.CreateModel](t, `{"model_name":"a","start":true,"auto_start":false}`, `{"model_name":"a"}`)
}

func TestM4_place(t *testing.T) {
	const places = `"node_affinity":"n1","gpu_affinity":[1,2],"gpu_index":7`
	const want = `"node_id":"n1","gpu_indices":[1,2]}`
	same[api.CreateModel](t, `{"model_name":"a",`+places+`}`, `{"model_name":"a",`+want)
	same[api.StartModel](t, `{`+places+`}`, `{`+want)
	same[api.DeployTemplate](t, `{`+places+`}`, `{`+want)
	same[api.PutDeployment](t, `{"desired_state":"running",`+places+`}`, `{"desired_state":"running",`+want)
	for _, c := range []struct{ name, sent, want string }{
		{"gpu_index alone", `{"gpu_index":3}`, `{"gpu_indices":[3]}`},
		{"the newer names hold", `{"node_id":"n2","node_affinity":"n1","gpu_indices":[0],"gpu_affinity":[1],"gpu_index":2}`, `{"node_id":"n2","gpu_indices":[0]}`},
		{"and so does an empty one", `{"node_id":"","gpu_indices":[],"gpu_affinity":[1],"node_affinity":"n1"}`, `{"node_id":"","gpu_indices":[]}`},
		{"null says nothing", `{"node_affinity":null,"gpu_affinity":null,"gpu_index":null}`, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) { same[api.StartModel](t, c.sent, c.want) })
	}
	for _, bad := range []string{`{"gpu_index":-1}`, `{"gpu_affinity":"0"}`, `{"node_affinity":1}`, `{"gpu_index":1.5}`} {
		for _, into := range []any{new(api.CreateModel), new(api.StartModel), new(api.DeployTemplate), new(api.PutDeployment)} {
			if err := json.Unmarshal([]byte(bad), into); err == nil {
				t.Errorf("%T reads %s", into, bad)
			}
		}
	}
	for sent, want := range map[string][]uint32{
		`"gpu_index":7`: {7}, `"gpu_indices":[1,2],"gpu_index":7`: {1, 2}, `"gpu_indices":[],"gpu_index":7`: {7}, `"gpu_affinity":[3]`: {3},
		`"gpu_affinity":[3],"gpu_index":7`: {7}, `"gpu_indices":null`: nil,
	} {
		var q api.ModelLoadRequest
		if err := json.Unmarshal([]byte(`{"model_name":"a","model_uid":"a","node_affinity":"n1",`+sent+`}`), &q); err != nil || *q.NodeID != "n1" {
			t.Fatal(sent, err, q)
		}
		if d := cmp.Diff(want, q.GPUs()); d != "" {
			t.Errorf("%s: %s", sent, d)
		}
	}
}

func TestM5_requestStatus(t *testing.T) {
	for _, word := range []string{"Pending", "pending", "PENDING"} {
		same[api.RequestStatus](t, `"`+word+`"`, `"Pending"`)
	}
	for sent, want := range map[string]string{
		`"scheduled"`: `"Scheduled"`, `"running"`: `"Running"`, `"UNLOADING"`: `"Unloading"`, `"unloaded"`: `"Unloading"`,
		`"failed"`: `{"Failed":""}`, `"Failed"`: `{"Failed":""}`, `{"Failed":"image missing"}`: `{"Failed":"image missing"}`, `{"failed":"x"}`: `{"Failed":"x"}`,
	} {
		same[api.RequestStatus](t, sent, want)
	}
	for _, bad := range []string{`"done"`, `{"Running":"x"}`, `{"Failed":"x","Running":"y"}`, `{}`, `7`, `{"Failed":7}`} {
		if err := json.Unmarshal([]byte(bad), new(api.RequestStatus)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestM17_uidCharset(t *testing.T) {
	for uid, strict := range map[string]bool{"qwen2-5-0-5b": true, "a": true, "qwen2_5_0_5b": false, "qwen2.5-7b": false, "Qwen": false} {
		if api.ValidUID(uid) != strict || !api.KnownUID(uid) {
			t.Errorf("%s: to create %v, to read %v", uid, api.ValidUID(uid), api.KnownUID(uid))
		}
	}
	for _, uid := range []string{"", "-a", ".a", "_a", "a/b", "a b", "ä"} {
		if api.ValidUID(uid) || api.KnownUID(uid) {
			t.Errorf("%q is a uid", uid)
		}
	}
}

// TestM22_downloadProgress: all thirteen fields are there, 0 or not.
func TestM22_downloadProgress(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal(encode(t, api.DownloadProgress{}), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"model_uid", "replica_id", "node_id", "model_name", "phase", "total_bytes", "downloaded_bytes", "progress_pct", "speed_bytes_per_sec", "eta_seconds",
		"files_total", "files_done", "updated_at_ms",
	}
	for _, name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d fields: %v", len(got), got)
	}
}
