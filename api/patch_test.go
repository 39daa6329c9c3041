package api_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

// mergePatch is the algorithm of RFC 7396, section 2, word for word.
func mergePatch(target, patch any) any {
	fields, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	object = maps.Clone(object)
	for name, value := range fields {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = mergePatch(object[name], value)
		}
	}
	return object
}

// generic is a value as any decoder of JSON sees it, without what is null: to a merge patch that is absent.
func generic(t *rapid.T, v any) any {
	var out any
	if err := json.Unmarshal([]byte(asJSON(t, v)), &out); err != nil {
		t.Fatal(err)
	}
	return withoutNull(out)
}

func withoutNull(v any) any {
	if m, ok := v.(map[string]any); ok {
		for k, x := range m {
			if m[k] = withoutNull(x); x == nil {
				delete(m, k)
			}
		}
	}
	return v
}

func anyPatch(t *rapid.T) map[string]any {
	null := rapid.Just[any](nil)
	text := rapid.OneOf(null, rapid.SampledFrom([]any{"a", "b/c", "main"}))
	list := rapid.OneOf(null, rapid.SampledFrom([]any{[]any{}, []any{"x"}, []any{"y", "z"}}))
	number := rapid.OneOf(null, rapid.SampledFrom([]any{1.0, 4096.0}))
	fields := map[string]*rapid.Generator[any]{
		"model_name": text, "model_path": text, "revision": text, "token_secret": text, "docker_image": text, "files": list,
		"engine_type": rapid.OneOf(null, rapid.SampledFrom([]any{"vllm", "llamacpp"})), "model_source": rapid.SampledFrom([]any{"local", "model_scope"}),
		"labels": rapid.OneOf(null, rapid.Custom(func(t *rapid.T) any {
			return some(t, map[string]*rapid.Generator[any]{"team": text, "tier": text, "new": text})
		})),
		"config": rapid.OneOf(null, rapid.Custom(func(t *rapid.T) any {
			return some(t, map[string]*rapid.Generator[any]{
				"tensor_parallel_size": number, "max_model_len": number, "required_vram_mb": number, "gpu_memory_utilization": rapid.OneOf(null, rapid.Just[any](0.5)),
				"lora_modules": list,
			})
		})),
	}
	return some(t, fields)
}

func some(t *rapid.T, fields map[string]*rapid.Generator[any]) map[string]any {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if rapid.Bool().Draw(t, "has "+name) {
			out[name] = fields[name].Draw(t, name)
		}
	}
	return out
}

// A patch does what RFC 7396 says, on random specs and patches, and changes nothing that it is given.
func TestPatchModel_isAMergePatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := api.ModelSpec{
			ModelUID: "m", ModelName: "acme/M", ModelSource: api.SourceHuggingFace, EngineType: "vllm", Revision: "v1", CreatedAtMS: 7, CreatedBy: "ann",
			Config: anyConfig().Draw(t, "config"), Labels: api.Labels{"team": "x", "tier": "y"},
		}
		if spec.Config != nil {
			spec.Config.Unset = nil
		}
		if rapid.Bool().Draw(t, "has files") {
			spec.Files = []string{"old"}
		}
		before := asJSON(t, spec)
		change := anyPatch(t)
		var patch api.PatchModel
		if err := json.Unmarshal([]byte(asJSON(t, change)), &patch); err != nil {
			t.Fatal(err)
		}
		got, err := patch.Apply(spec)
		if err != nil {
			t.Fatalf("%v: %v", change, err)
		}
		want, have := mergePatch(generic(t, spec), change), generic(t, got)
		for _, side := range []any{want, have} { // fields that are always written, or never when they are empty
			m := side.(map[string]any)
			for _, always := range []string{"labels", "model_name"} {
				if v := m[always]; v == nil || reflect.DeepEqual(v, map[string]any{}) || v == "" {
					delete(m, always)
				}
			}
			if l, ok := m["files"].([]any); ok && len(l) == 0 {
				delete(m, "files")
			}
		}
		if d := gocmp.Diff(want, have); d != "" {
			t.Errorf("%v on %s: -RFC 7396 +ours:\n%s", change, before, d)
		}
		if after := asJSON(t, spec); after != before {
			t.Errorf("the spec that was patched has changed:\n%s\n%s", before, after)
		}
	})
}

// TestPatchModel_cases answers the patch in each line, on a spec with everything set, with what is different afterwards, or with what is wrong.
func TestPatchModel_cases(t *testing.T) {
	runCases(t, "patch.txt", func(t *testing.T, lines []string) string {
		tp, mem, length, vram := uint32(2), float32(0.9), uint32(8192), uint64(16000)
		spec := api.ModelSpec{
			ModelUID: "m", ModelName: "acme/M", ModelSource: api.SourceHuggingFace, EngineType: "vllm", Labels: api.Labels{"team": "x", "tier": "y"},
			Files: []string{"a"}, Revision: "v1", TokenSecret: "hf", CreatedAtMS: 7, CreatedBy: "ann", ModelPath: "/m",
			Config: &api.ModelConfig{TensorParallelSize: &tp, GPUMemoryUtilization: &mem, MaxModelLen: &length, RequiredVRAMMB: &vram, LoRAModules: []string{"a=/a"}},
		}
		var patch api.PatchModel
		if err := json.Unmarshal([]byte(strings.Join(lines, "\n")), &patch); err != nil {
			t.Fatal(err)
		}
		got, err := patch.Apply(spec)
		if err != nil {
			return strings.TrimSpace(showError(t, err))
		}
		return differences(t, spec, got)
	})
}

func differences(t *testing.T, before, after api.ModelSpec) string {
	flat := func(s api.ModelSpec) map[string]string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(encode(t, s), &m); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for k, v := range m {
			var inner map[string]json.RawMessage
			if json.Unmarshal(v, &inner) == nil && inner != nil {
				for name, x := range inner {
					out[k+"."+name] = string(x)
				}
				continue
			}
			out[k] = string(v)
		}
		return out
	}
	old, fresh := flat(before), flat(after)
	all := maps.Clone(old)
	maps.Copy(all, fresh)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if old[k] != fresh[k] {
			out = append(out, k+": "+cmp.Or(old[k], "absent")+" -> "+cmp.Or(fresh[k], "absent"))
		}
	}
	if out == nil {
		return "the same"
	}
	return strings.Join(out, "\n")
}
