package apply_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/apply"
)

// sometimes gives one of the values, null, or nothing at all.
func sometimes(t *rapid.T, fields map[string]any, name string, values ...any) {
	switch rapid.IntRange(0, 3).Draw(t, name+"?") {
	case 0:
		fields[name] = rapid.SampledFrom(values).Draw(t, name)
	case 1:
		fields[name] = nil
	}
}

func randomConfig(t *rapid.T, over bool) map[string]any {
	c := map[string]any{}
	sometimes(t, c, "max_model_len", 1, 4096)
	sometimes(t, c, "tensor_parallel_size", 1, 2)
	sometimes(t, c, "gpu_memory_utilization", 0.1, 0.9, 1)
	sometimes(t, c, "required_vram_mb", 1, 70000)
	sometimes(t, c, "lora_modules", []any{}, []any{"a=/l", "/m"})
	if over {
		sometimes(t, c, "unset", []any{}, []any{"max_model_len"}, []any{"required_vram_mb", "lora_modules"})
	}
	return c
}

// randomDoc is a document that is valid on any object of its name.
func randomDoc(t *rapid.T, uid string) string {
	f := map[string]any{"kind": "Model", "model_uid": uid, "model_name": rapid.SampledFrom([]string{"acme/A", "acme/B-GGUF", "acme/C-GGUF:Q8_0"}).Draw(t, "name")}
	if rapid.Bool().Draw(t, "files?") {
		f["files"], f["model_name"] = []any{"a*.gguf"}, "acme/A"
	}
	sometimes(t, f, "engine_type", "vllm", "vLLM", "llama.cpp", "sglang")
	sometimes(t, f, "revision", "main", "2024-01-01", "007")
	sometimes(t, f, "labels", map[string]any{}, map[string]any{"team": "x", "on": "yes"}, map[string]any{"team": nil, "é": "a: b c #"})
	for _, name := range []string{"config", "config_overrides"} {
		if rapid.Bool().Draw(t, name+"?") {
			f[name] = randomConfig(t, name == "config_overrides")
		} else {
			sometimes(t, f, name, map[string]any{})
		}
	}
	if rapid.Bool().Draw(t, "wish?") {
		f["desired_state"] = rapid.SampledFrom([]string{"running", "stopped"}).Draw(t, "desired_state")
	}
	if rapid.Bool().Draw(t, "source?") {
		f["model_source"] = rapid.SampledFrom([]string{"hf", "HuggingFace", "model_scope"}).Draw(t, "source")
	}
	if rapid.Bool().Draw(t, "replicas?") {
		f["replicas"] = rapid.IntRange(1, 3).Draw(t, "replicas")
	}
	sometimes(t, f, "min_replicas", 1)
	sometimes(t, f, "max_replicas", 3)
	sometimes(t, f, "node_id", "n1", "n2")
	sometimes(t, f, "gpu_indices", []any{}, []any{0}, []any{1, 2})
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// randomTemplate is a document of a template.
func randomTemplate(t *rapid.T, id string) string {
	f := map[string]any{
		"kind": "Template", "template_id": id, "name": rapid.SampledFrom([]string{"A", "yes", "a: b"}).Draw(t, "name"),
		"model_name": rapid.SampledFrom([]string{"acme/A", "acme/C-GGUF:Q8_0"}).Draw(t, "model"),
	}
	sometimes(t, f, "description", "one", "two\nlines\n", "  three \n\tlines \n\n", "\n\nfour", "#five: |\n- x", "six\n  ", "x\n\n\n", "\ty")
	sometimes(t, f, "category", "LLM", "vlm")
	sometimes(t, f, "labels", map[string]any{"team": "x"}, map[string]any{"team": nil})
	sometimes(t, f, "config", randomConfig(t, false))
	sometimes(t, f, "licence", "MIT", "1.0")
	sometimes(t, f, "memory_bytes", 70_000_000_000, 1)
	sometimes(t, f, "homepage", "https://example.com/#x")
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func randomDocs(t *rapid.T) []apply.Doc {
	var texts []string
	for i := range rapid.IntRange(1, 5).Draw(t, "documents") {
		texts = append(texts, randomDoc(t, fmt.Sprintf("m%d", i)))
		if rapid.Bool().Draw(t, "template?") {
			texts = append(texts, randomTemplate(t, fmt.Sprintf("m%d", i)))
		}
	}
	docs, err := apply.Parse([]apply.File{{Name: "random", Data: []byte(strings.Join(texts, "\n---\n"))}})
	if err != nil {
		t.Fatalf("%v\n%s", err, texts)
	}
	return docs
}

func mustPlan(t *rapid.T, docs []apply.Doc, live map[apply.Ref]apply.Object, o apply.Options) []apply.Change {
	changes, err := apply.Plan(docs, live, o)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func nothingToDo(t *rapid.T, changes []apply.Change) {
	for _, c := range changes {
		if len(c.Verbs) > 0 {
			d, _ := c.Diff()
			t.Fatalf("%s: %v\n%s", c, c.Verbs, d)
		}
	}
}

// TestPlan_again: once documents are applied, applying them again does nothing, whatever was there before.
func TestPlan_again(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := after(nil, mustPlan(t, randomDocs(t), nil, apply.Options{}))
		docs := randomDocs(t)
		o := apply.Options{Prune: rapid.Bool().Draw(t, "prune"), Selected: func(apply.Ref) bool { return true }, Whole: rapid.Bool().Draw(t, "whole")}
		live = after(live, mustPlan(t, docs, live, o))
		nothingToDo(t, mustPlan(t, docs, live, o))
		if o.Prune && len(live) != len(docs) {
			t.Fatalf("%d objects are left of %d documents", len(live), len(docs))
		}
	})
}

// TestTexts_apply: what export prints is what apply takes, and it changes nothing, as a patch and as the whole.
func TestTexts_apply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := after(nil, mustPlan(t, randomDocs(t), nil, apply.Options{}))
		var objects []apply.Object
		for _, o := range live {
			objects = append(objects, o)
		}
		text, err := apply.Texts(objects)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := apply.Parse([]apply.File{{Name: "export", Data: []byte(text)}})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if len(docs) != len(live) {
			t.Fatalf("%d documents of %d objects\n%s", len(docs), len(live), text)
		}
		for _, whole := range []bool{false, true} {
			nothingToDo(t, mustPlan(t, docs, live, apply.Options{Whole: whole}))
		}
		// Elsewhere it makes the same.
		for ref, o := range after(nil, mustPlan(t, docs, nil, apply.Options{})) {
			if !bytes.Equal(o.Doc, live[ref].Doc) {
				t.Fatalf("%s\n%s", o.Doc, live[ref].Doc)
			}
		}
	})
}

// TestChange_requests: the requests of a change lead to what was wished, when they are carried out as the server does.
func TestChange_requests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := after(nil, mustPlan(t, randomDocs(t), nil, apply.Options{}))
		for _, c := range mustPlan(t, randomDocs(t), live, apply.Options{Whole: rapid.Bool().Draw(t, "whole")}) {
			if len(c.Verbs) == 0 || c.Kind != apply.KindModel {
				continue
			}
			got, err := carryOut(&c)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.Wished) {
				t.Fatalf("got\n%s\nwished\n%s\nfrom\n%s", got, c.Wished, c.Live)
			}
		}
	})
}

// carryOut plays the server: PUT replaces the fields that it names, and an empty value clears.
func carryOut(c *apply.Change) ([]byte, error) {
	w, err := c.ModelWrites()
	if err != nil {
		return nil, err
	}
	var was apply.Model
	if c.Live != nil {
		if err := json.Unmarshal(c.Live, &was); err != nil {
			return nil, err
		}
	}
	spec := api.ModelSpec{
		ModelUID: was.ModelUID, ModelName: was.ModelName, ModelSource: was.ModelSource, EngineType: was.EngineType, Config: was.Config,
		Labels: was.Labels, Revision: was.Revision, Files: was.Files,
	}
	dep := &api.ModelDeployment{
		DesiredState: was.DesiredState, Replicas: 1, MinReplicas: was.MinReplicas, MaxReplicas: was.MaxReplicas, NodeAffinity: was.NodeID,
		GPUAffinity: was.GPUIndices, ConfigOverrides: was.ConfigOverrides,
	}
	if was.Replicas != nil {
		dep.Replicas = *was.Replicas
	}
	if r := w.Create; r != nil {
		dep = nil
		spec = api.ModelSpec{
			ModelUID: r.ModelUID, ModelName: r.ModelName, ModelSource: r.ModelSource, EngineType: r.EngineType, Config: r.Config, Labels: r.Labels,
			Revision: r.Revision, Files: r.Files,
		}
	}
	if r := w.Update; r != nil {
		for _, f := range []struct {
			dst *string
			src *string
		}{{&spec.ModelName, r.ModelName}, {&spec.EngineType, r.EngineType}, {&spec.Revision, r.Revision}} {
			if f.src != nil {
				*f.dst = *f.src
			}
		}
		if r.ModelSource != nil {
			spec.ModelSource = *r.ModelSource
		}
		if r.Config != nil {
			spec.Config = r.Config
		}
		if r.Labels != nil {
			spec.Labels = r.Labels
		}
		if r.Files != nil {
			spec.Files = r.Files
		}
	}
	if r := w.Deployment; r != nil {
		dep = &api.ModelDeployment{
			DesiredState: r.DesiredState, Replicas: *r.Replicas, MinReplicas: r.MinReplicas, MaxReplicas: r.MaxReplicas, NodeAffinity: r.NodeID,
			GPUAffinity: r.GPUIndices, ConfigOverrides: r.ConfigOverrides,
		}
	}
	o, err := apply.FromModel(spec, dep, 1)
	return o.Doc, err
}

// FuzzParse: no file makes the reader panic or take what it did not understand.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"kind: Model\nmodel_uid: a\n", "kind: Model\nconfig: &a {max_model_len: 1}\nconfig_overrides: *a\n", "a: &a [*a]", "---\n---\n...\n", "{", "? ? ?", "\t", "<<: *x",
		"kind: Model\nmodel_uid: a\nlabels: &l {a: *l}\n", "%TAG ! x\n---\nkind: Model",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		docs, err := apply.Parse([]apply.File{{Name: "f", Data: b}})
		if err != nil {
			if codeOf(err) != "invalid_request" {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, d := range docs {
			if !api.KnownUID(d.ID) || !json.Valid(d.Patch) || d.At.Line < 1 {
				t.Fatalf("%+v", d)
			}
		}
		if changes, err := apply.Plan(docs, nil, apply.Options{}); err == nil {
			for _, c := range changes {
				if _, err := c.Diff(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestParse_large: what grows without bounds is refused in little time and memory.
func TestParse_large(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	bomb := "kind: Model\nmodel_uid: a\nmodel_path: &p " + big + "\nfiles: [" + strings.Repeat("*p, ", 200_000) + "]\n"
	deep := "kind: Model\nlabels: " + strings.Repeat("[", 100_000)
	laughs := "kind: Model\nfiles: &a [x, x]\nlabels: &b [*a, *a]\nconfig: [*b, *b]\n"
	many := strings.Repeat("kind: Model\nreplicas: 1\n---\n", 5000)
	for name, tt := range map[string]struct{ text, want string }{
		"file":     {strings.Repeat("# x\n", 300_000), "f:1: the file is larger than 1 MiB: split it"},
		"aliases":  {bomb, "larger than 1 MiB once its aliases are written out"},
		"depth":    {deep, "is not YAML"},
		"laughs":   {laughs, "labels must be a set of fields, not a list"},
		"problems": {many, "…: and 4980 problems more"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apply.Parse([]apply.File{{Name: "f", Data: []byte(tt.text)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 4000 {
				t.Fatalf("%.4100v", err)
			}
		})
	}
}
