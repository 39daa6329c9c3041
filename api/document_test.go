package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

// documents are all shapes that are read from outside: from the store, from people or from a server.
var documents = map[string]func() any{
	"spec":        func() any { return new(api.ModelSpec) },
	"config":      func() any { return new(api.ModelConfig) },
	"deployment":  func() any { return new(api.ModelDeployment) },
	"placement":   func() any { return new(api.PlacementPlan) },
	"endpoint":    func() any { return new(api.EndpointInfo) },
	"node":        func() any { return new(api.NodeStatus) },
	"disk":        func() any { return new(api.NodeDiskStatus) },
	"alert":       func() any { return new(api.DiskAlert) },
	"cache":       func() any { return new(api.ModelCacheEntry) },
	"progress":    func() any { return new(api.DownloadProgress) },
	"wish":        func() any { return new(api.CacheWish) },
	"pull":        func() any { return new(api.CachePull) },
	"desired":     func() any { return new(api.NodeDesired) },
	"observed":    func() any { return new(api.NodeObserved) },
	"create":      func() any { return new(api.CreateModel) },
	"created":     func() any { return new(api.ModelCreated) },
	"update":      func() any { return new(api.UpdateModel) },
	"start":       func() any { return new(api.StartModel) },
	"scale":       func() any { return new(api.ScaleModel) },
	"view":        func() any { return new(api.ModelView) },
	"detail":      func() any { return new(api.ModelDetail) },
	"node_view":   func() any { return new(api.NodeView) },
	"version":     func() any { return new(api.ServerVersion) },
	"secret":      func() any { return new(api.Secret) },
	"put_secret":  func() any { return new(api.PutSecret) },
	"secret_view": func() any { return new(api.SecretView) },
	"model_token": func() any { return new(api.ModelToken) },
	"template":    func() any { return new(api.ModelTemplate) },
	"make_tpl":    func() any { return new(api.CreateTemplate) },
	"change_tpl":  func() any { return new(api.UpdateTemplate) },
	"deploy":      func() any { return new(api.DeployTemplate) },
	"save":        func() any { return new(api.SaveTemplate) },
	"tpl_deleted": func() any { return new(api.TemplateDeleted) },
	"error":       func() any { return new(api.Envelope) },
	"openaierror": func() any { return new(api.OpenAIEnvelope) },
}

// TestDocuments reads the JSON of each case and answers with what is written back, or with where it is wrong. "zero NAME"
// answers with what a document without content is written as.
func TestDocuments(t *testing.T) {
	runCases(t, "json/*.txt", func(t *testing.T, lines []string) string {
		name, zero := strings.CutPrefix(lines[0], "zero ")
		doc := newDocument(t, name)
		if !zero {
			err := json.Unmarshal([]byte(strings.Join(lines[1:], "\n")), doc)
			if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				return fmt.Sprintf("error: field %q: %s is no %s", e.Field, e.Value, e.Type.Kind())
			}
			if err != nil {
				return "error: " + err.Error()
			}
		}
		return string(encode(t, doc))
	})
}

func newDocument(t *testing.T, name string) any {
	t.Helper()
	doc, ok := documents[name]
	if !ok {
		t.Fatalf("unknown document %q", name)
	}
	return doc()
}

func encode(t *testing.T, doc any) []byte {
	t.Helper()
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDocuments_readTheContractsSamples holds that what the existing Nebula has stored is read, and written back the
// same but for the one spelling that we chose.
func TestDocuments_readTheContractsSamples(t *testing.T) {
	file, err := os.ReadFile("testdata/contract.json")
	if err != nil {
		t.Fatal(err)
	}
	var samples map[string]json.RawMessage
	if err := json.Unmarshal(file, &samples); err != nil {
		t.Fatal(err)
	}
	for name, sample := range samples {
		doc := newDocument(t, name)
		if err := json.Unmarshal(sample, doc); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got, want map[string]any
		for into, b := range map[*map[string]any][]byte{&got: encode(t, doc), &want: sample} {
			if err := json.Unmarshal(b, into); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -sample +ours:\n%s", name, d)
		}
	}
}

// TestDocuments_loseNoField fills every field that a document has, now or later, and sends it through JSON.
func TestDocuments_loseNoField(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		want := newDocument(t, name)
		fill(reflect.ValueOf(want).Elem())
		got := newDocument(t, name)
		if err := json.Unmarshal(encode(t, want), got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -before +after:\n%s", name, d)
		}
	}
}

// fill sets everything below v to something that is not its zero value and that decoders accept.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case api.ModelSource:
		v.SetString(string(api.SourceModelScope))
		return
	case api.DesiredState:
		v.SetString(string(api.DesiredStopped))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.9)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	default:
		v.SetInt(7)
	}
}

// The store compares documents as bytes, and a reader may be older or newer than the writer: both need a text that does
// not change on its way through this package.
func FuzzDocuments(f *testing.F) {
	names := slices.Sorted(maps.Keys(documents))
	index := func(name string) byte { return byte(slices.Index(names, name)) }
	file, err := os.ReadFile("testdata/contract.json")
	if err != nil {
		f.Fatal(err)
	}
	var samples map[string]json.RawMessage
	if err := json.Unmarshal(file, &samples); err != nil {
		f.Fatal(err)
	}
	for name, sample := range samples {
		f.Add(index(name), []byte(sample))
	}
	for _, name := range names {
		full := documents[name]()
		fill(reflect.ValueOf(full).Elem())
		b, err := json.Marshal(full)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(index(name), b)
		f.Add(index(name), []byte(`{"labels":null,"assignments":[],"config":{"lora_modules":[]},"replicas":-1}`))
	}
	for _, b := range []string{"", "null", "[]", `"x"`, "{", `{"model_source":{}}`, `{"desired_state":null}`, `{"a":1e999}`} {
		f.Add(byte(0), []byte(b))
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		name := names[int(kind)%len(names)]
		first := newDocument(t, name)
		if json.Unmarshal(data, first) != nil {
			return
		}
		if spec, ok := first.(*api.ModelSpec); ok {
			_ = spec.Validate() // hostile, but it must not panic
			_ = spec.Engine()
		}
		if dep, ok := first.(*api.ModelDeployment); ok {
			_ = dep.Validate()
		}
		if tpl, ok := first.(*api.ModelTemplate); ok {
			_ = tpl.Validate()
		}
		text := encode(t, first)
		second := newDocument(t, name)
		if err := json.Unmarshal(text, second); err != nil {
			t.Fatalf("%s was read, written as %s, and cannot be read again: %v", name, text, err)
		}
		if again := encode(t, second); string(again) != string(text) {
			t.Fatalf("%s changes on its way:\n%s\n%s", name, text, again)
		}
	})
}
