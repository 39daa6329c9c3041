package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

// optional draws a pointer that is often nil.
func optional[T any](g *rapid.Generator[T]) *rapid.Generator[*T] { return rapid.Ptr(g, true) }

func anyConfig() *rapid.Generator[*api.ModelConfig] {
	return optional(rapid.Custom(func(t *rapid.T) api.ModelConfig {
		c := api.ModelConfig{
			TensorParallelSize:   optional(rapid.Uint32()).Draw(t, "tensor parallel"),
			GPUMemoryUtilization: optional(rapid.Float32Range(0, 1)).Draw(t, "utilization"),
			MaxModelLen:          optional(rapid.Uint32()).Draw(t, "length"),
			RequiredVRAMMB:       optional(rapid.Uint64()).Draw(t, "vram"),
		}
		if rapid.Bool().Draw(t, "has lora") {
			c.LoRAModules = rapid.SliceOfN(rapid.StringN(0, 3, -1), 0, 3).Draw(t, "lora")
		}
		if rapid.Bool().Draw(t, "has unset") {
			c.Unset = rapid.SliceOfN(rapid.SampledFrom(append(api.ConfigFields(), "of_a_newer_nebula")), 0, 4).Draw(t, "unset")
		}
		return c
	}))
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, over, last := anyConfig().Draw(t, "base"), anyConfig().Draw(t, "over"), anyConfig().Draw(t, "last")
		before := []string{asJSON(t, base), asJSON(t, over)}
		got := base.Merge(over)

		if d := cmp.Diff(merged(base, over), got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		if d := cmp.Diff(got, got.Merge(over)); d != "" {
			t.Errorf("merging twice is not merging once:\n%s", d)
		}
		if d := cmp.Diff(got, got.Merge(nil)); d != "" {
			t.Errorf("nothing to merge changes something:\n%s", d)
		}
		if d := cmp.Diff(got.Merge(last), base.Merge(over.Merge(last))); d != "" {
			t.Errorf("the order of two steps matters:\n%s", d)
		}
		if shares(reflect.ValueOf(got), reflect.ValueOf(base)) || shares(reflect.ValueOf(got), reflect.ValueOf(over)) {
			t.Error("the result shares memory with what it was made of")
		}
		if d := cmp.Diff(before, []string{asJSON(t, base), asJSON(t, over)}); d != "" {
			t.Errorf("an input has changed:\n%s", d)
		}
		effective := api.EffectiveConfig(&api.ModelSpec{Config: base}, &api.ModelDeployment{ConfigOverrides: over})
		if got != nil {
			got.Unset = nil
		}
		if d := cmp.Diff(got, effective); d != "" {
			t.Errorf("what a model runs with:\n%s", d)
		}
	})
}

// merged is Merge by reflection: whatever fields a configuration has, the last one that sets or clears a field has its way.
func merged(base, over *api.ModelConfig) *api.ModelConfig {
	if base == nil && over == nil {
		return nil
	}
	var out api.ModelConfig
	cleared := map[string]bool{}
	for _, layer := range []*api.ModelConfig{base, over} {
		if layer == nil {
			continue
		}
		for _, name := range layer.Unset {
			cleared[name] = true
		}
		for _, f := range reflect.VisibleFields(reflect.TypeFor[api.ModelConfig]()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			to, from := reflect.ValueOf(&out).Elem().FieldByIndex(f.Index), reflect.ValueOf(*layer).FieldByIndex(f.Index)
			switch {
			case name == "unset":
			case !from.IsNil():
				to.Set(from)
				delete(cleared, name)
			case slices.Contains(layer.Unset, name):
				to.SetZero()
			}
		}
	}
	out.Unset = slices.Sorted(maps.Keys(cleared))
	return &out
}

// A field that is new must be one that can be cleared.
func TestConfigFields_areAll(t *testing.T) {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[api.ModelConfig]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "unset" {
			names = append(names, name)
		}
	}
	if d := cmp.Diff(names, api.ConfigFields()); d != "" {
		t.Errorf("-has +lists:\n%s", d)
	}
}

// TestMerge_cases lays the lines of a case over one another, the last on top, and answers with what all of them are together and with what a model runs
// with that has the first one as its own. "null" is none. Lines that Validate refuses as overrides are answered with why.
func TestMerge_cases(t *testing.T) {
	runCases(t, "merge.txt", func(t *testing.T, lines []string) string {
		var base, over *api.ModelConfig
		for i, l := range lines {
			var layer *api.ModelConfig
			if err := json.Unmarshal([]byte(l), &layer); err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			if i == 0 {
				base = layer
				continue
			}
			d := api.ModelDeployment{ModelUID: "m", DesiredState: api.DesiredRunning, Replicas: 1, ConfigOverrides: layer}
			if err := d.Validate(); err != nil {
				return "refused: " + err.Error()
			}
			over = over.Merge(layer)
		}
		runs := api.EffectiveConfig(&api.ModelSpec{Config: base}, &api.ModelDeployment{ConfigOverrides: over})
		return "all   " + short(t, base.Merge(over)) + "\nruns  " + short(t, runs)
	})
}

// short is a config without what is not set.
func short(t *testing.T, c *api.ModelConfig) string {
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m == nil {
		return "null"
	}
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func asJSON(t *rapid.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shares tells whether a change of what a holds could be seen through b, which has the same type.
func shares(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return !a.IsNil() && !b.IsNil() && (a.Pointer() == b.Pointer() || shares(a.Elem(), b.Elem()))
	case reflect.Map:
		return !a.IsNil() && a.Pointer() == b.Pointer()
	case reflect.Slice:
		return a.Len() > 0 && b.Len() > 0 && a.Pointer() == b.Pointer()
	case reflect.Struct:
		for i := range a.NumField() {
			if shares(a.Field(i), b.Field(i)) {
				return true
			}
		}
	}
	return false
}

// A clone is edited while every reader of the cluster's state still reads the original.
func TestClone_sharesNothing(t *testing.T) {
	var spec api.ModelSpec
	var dep api.ModelDeployment
	fill(reflect.ValueOf(&spec).Elem())
	fill(reflect.ValueOf(&dep).Elem())
	for _, pair := range [][2]any{
		{spec, spec.Clone()}, {dep, dep.Clone()}, {api.ModelSpec{}, api.ModelSpec{}.Clone()}, {api.ModelDeployment{}, api.ModelDeployment{}.Clone()},
	} {
		if d := cmp.Diff(pair[0], pair[1]); d != "" {
			t.Errorf("a clone differs:\n%s", d)
		}
		if shares(reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])) {
			t.Errorf("a clone of %T shares memory with its original", pair[0])
		}
	}
}

func TestEngine(t *testing.T) {
	tests := []struct {
		name string
		spec api.ModelSpec
		want string
	}{
		{"named", api.ModelSpec{EngineType: "SGLang", ModelPath: "/m.gguf"}, api.EngineSGLang},
		{"named in another spelling", api.ModelSpec{EngineType: "llama.cpp", ModelName: "acme/Demo"}, api.EngineLlamaCPP},
		{"unknown", api.ModelSpec{EngineType: "TensorRT"}, "tensorrt"},
		{"a GGUF file", api.ModelSpec{ModelName: "demo", ModelPath: "/m/demo.GGUF"}, api.EngineLlamaCPP},
		{"a repository of GGUF files", api.ModelSpec{ModelName: "acme/Demo-7B-GGUF"}, api.EngineLlamaCPP},
		{"a pattern of GGUF files", api.ModelSpec{ModelName: "acme/Demo", Files: []string{"*.json", "*Q4_K_M.gguf"}}, api.EngineLlamaCPP},
		{"anything else", api.ModelSpec{ModelName: "acme/Demo-7B", ModelPath: "/srv/models", Files: []string{"*.safetensors"}}, api.EngineVLLM},
	}
	for _, tt := range tests {
		if got := tt.spec.Engine(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPlacementAssignment_GPUs(t *testing.T) {
	tests := []struct {
		name string
		a    api.PlacementAssignment
		want []uint32
	}{
		{"none", api.PlacementAssignment{}, nil},
		{"the older field", api.PlacementAssignment{GPUIndex: new(uint32(3))}, []uint32{3}},
		{"an empty list", api.PlacementAssignment{GPUIndex: new(uint32(3)), GPUIndices: []uint32{}}, []uint32{3}},
		{"both", api.PlacementAssignment{GPUIndex: new(uint32(3)), GPUIndices: []uint32{1, 2}}, []uint32{1, 2}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, tt.a.GPUs()); d != "" {
			t.Errorf("%s:\n%s", tt.name, d)
		}
	}
}

func TestKeys(t *testing.T) {
	e := api.EndpointInfo{ModelUID: "demo", ReplicaID: 4294967295}
	d := api.DownloadProgress{ModelUID: "demo", ReplicaID: 4294967295}
	r := api.DesiredReplica{Spec: api.ModelSpec{ModelUID: "demo"}, Assignment: api.PlacementAssignment{ReplicaID: 4294967295}}
	for _, key := range []string{e.Key(), d.Key(), r.Key(), api.EndpointKey("demo", 4294967295)} {
		if want := "demo/" + strconv.Itoa(1<<32-1); key != want {
			t.Errorf("%q, want %q", key, want)
		}
	}
}

func TestNodeStatus_Engine(t *testing.T) {
	n := api.NodeStatus{Engines: []api.NodeEngine{{Name: api.EngineVLLM, Missing: "not installed"}, {Name: api.EngineLlamaCPP, Path: "/usr/bin/llama-server"}}}
	if e, ok := n.Engine(api.EngineLlamaCPP); !ok || e.Path != "/usr/bin/llama-server" {
		t.Errorf("%+v, %v", e, ok)
	}
	if e, ok := n.Engine(api.EngineSGLang); ok {
		t.Errorf("an engine that the node does not report: %+v", e)
	}
}

func TestSplitTag(t *testing.T) {
	for _, c := range []struct {
		source api.ModelSource
		in     string
		files  []string
		name   string
		want   string
	}{
		{api.SourceHuggingFace, "org/m-GGUF:Q4_K_M", nil, "org/m-GGUF", "[Q4_K_M]"},
		{api.SourceModelScope, "org/m:q8_0", nil, "org/m", "[q8_0]"},
		{api.SourceHuggingFace, "org/m", nil, "org/m", "[]"},
		{api.SourceHuggingFace, "org/m:Q4_K_M", []string{"*Q8*"}, "org/m:Q4_K_M", "[*Q8*]"},
		{api.SourceHuggingFace, "org/m:", nil, "org/m:", "[]"},
		{api.SourceHuggingFace, "org/m:a:b", nil, "org/m:a:b", "[]"},
		{api.SourceHuggingFace, "org/m:../x", nil, "org/m:../x", "[]"},
		{api.SourceHuggingFace, "http://x/y", nil, "http://x/y", "[]"},
		{api.SourceLocal, "my:model", nil, "my:model", "[]"},
	} {
		if name, files := api.SplitTag(c.source, c.in, c.files); name != c.name || fmt.Sprint(files) != c.want {
			t.Errorf("%s %s %v: %s %v", c.source, c.in, c.files, name, files)
		}
	}
}
