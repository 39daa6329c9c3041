package openapitest

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/internal/openapi"
)

func parse(b []byte) any {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil
	}
	return v
}

// body gives a call a body: one that its schema allows, more or less, and sometimes one that nothing allows.
func (f *Fuzzer) body(op operation, c *Call) {
	schema := &openapi.Schema{Type: "object"}
	if op.RequestBody != nil {
		schema = op.RequestBody.Content["application/json"].Schema
	}
	c.Header["Content-Type"] = "application/json"
	b, err := json.Marshal(f.value("", schema, 0))
	if err != nil {
		b = []byte("{}") // a number that JSON cannot write
	}
	if f.bent && f.one(6) {
		b = f.broken(b)
	}
	c.Body = b
}

// broken is a body that is wrong as a text.
func (f *Fuzzer) broken(b []byte) []byte {
	switch f.rng.IntN(10) {
	case 0:
		return b[:f.rng.IntN(len(b)+1)]
	case 1:
		return append(slices.Clone(b), b...)
	case 2:
		return []byte(strings.Repeat(`{"a":`, 20000))
	case 3:
		return []byte(strings.Repeat("[", 20000) + strings.Repeat("]", 20000))
	case 4:
		return bytes.Replace(b, []byte(`"`), []byte("\"\xff"), 1)
	case 5:
		return []byte(`{"a":"` + strings.Repeat("x", 2<<20) + `"}`)
	case 6:
		return bytes.Replace(b, []byte("{"), []byte(`{"model_name":"a/b","model_name":7,"id":"a","id":null,`), 1)
	case 7:
		return []byte(f.pickText())
	case 8:
		return bytes.ReplaceAll(b, []byte(":"), []byte(":1e999999,\"x\":"))
	}
	b = slices.Clone(b)
	for range 3 {
		if len(b) > 0 {
			b[f.rng.IntN(len(b))] = byte(f.rng.IntN(256))
		}
	}
	return b
}

func (f *Fuzzer) pickText() string {
	return pick(f, []string{"", " ", "null", "[]", "true", "7", `"text"`, "{", "{}", "model_name=x", "\xef\xbb\xbf{}", `{"\u0000":1}`, `{"a":{"b":{"c":[[[[]]]]}}}`})
}

const maxBodyDepth = 7

// value is something that a schema allows, or nearly.
func (f *Fuzzer) value(name string, s *openapi.Schema, depth int) any {
	switch {
	case s == nil || depth > maxBodyDepth:
		return nil
	case f.bent && depth > 0 && f.one(15):
		return f.wrong()
	case s.Ref != "":
		return f.value(name, f.doc.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")], depth)
	case len(s.AnyOf) > 0:
		return f.value(name, pick(f, s.AnyOf), depth)
	case len(s.Enum) > 0 && (!f.bent || !f.one(6)):
		return pick(f, s.Enum)
	}
	kind, _ := s.Type.(string)
	if kinds, ok := s.Type.([]string); ok {
		kind = pick(f, kinds)
	}
	switch kind {
	case "null":
		return nil
	case "boolean":
		return f.one(2)
	case "integer":
		if !f.bent {
			return pick(f, []any{1, 1, 2, 3})
		}
		return pick(f, []any{0, 1, 1, 1, 2, 2, 3, 8, 100, 3600, 4096, -1, math.MaxInt32, math.MaxUint32, int64(math.MaxInt64), uint64(math.MaxUint64)})
	case "number":
		if !f.bent {
			return pick(f, []any{0.5, 0.9, 1})
		}
		return pick(f, []any{0, 0.5, 0.9, 1, 1.5, 50, 100, -0.1, 1e308, 5e-324})
	case "array":
		out := make([]any, f.rng.IntN(4))
		for i := range out {
			out[i] = f.value(name, s.Items, depth+1)
		}
		return out
	case "object":
		return f.object(s, depth)
	case "string":
		if s.ContentEncoding != "" {
			return pick(f, []string{"", "AA==", "bm90IGEgcmVxdWVzdA==", "not base64!"})
		}
		return f.word(name)
	}
	return f.wrong()
}

func (f *Fuzzer) object(s *openapi.Schema, depth int) any {
	out := map[string]any{}
	for _, p := range s.Properties {
		needed := slices.Contains(s.Required, p.Name)
		if needed && (!f.bent || !f.one(20)) || !needed && f.one(4) {
			out[p.Name] = f.value(p.Name, p.Schema, depth+1)
		}
	}
	if values, ok := s.AdditionalProperties.(*openapi.Schema); ok {
		for range f.rng.IntN(3) {
			out[pick(f, texts)] = f.value("", values, depth+1)
		}
	}
	if f.bent && f.one(6) {
		out[pick(f, []string{"unknown", "", "__proto__", "model_name", "\x00"})] = f.wrong()
	}
	return out
}

// usual are values that make sense for a field of a name.
var usual = map[string][]string{
	"model_name": {"acme/demo", "acme/demo-7b", "acme/embed"}, "model_uid": {"m1", "m2", "m3"}, "model_source": {"huggingface", "hf", "modelscope"},
	"engine_type": {"llamacpp", "vllm", "sglang"}, "node_id": {"n1", "n1", "n1", "n2"}, "node_ids": {"n1", "n2"}, "value": {"hf_0123456789"}, "for": {"node", "gateway"},
	"name": {"n1", "one", "two", "ann"}, "id": {"n1", "one", "two"}, "role": {"viewer", "operator", "admin", "node"}, "username": {"ann", "bob"}, "user": {"ann", "bob"}, "owner": {"ann"}, "models": {"m1", "*"}, "routes": {"/v1/*", "/api/v2/models"},
	"password": {"correct horse battery staple 7", "short"}, "token_secret": {"one", "two"}, "revision": {"main"}, "hash": {strings.Repeat("ab", 32)},
}

func (f *Fuzzer) word(name string) string {
	if from := usual[name]; from != nil && (!f.bent || !f.one(4)) {
		return pick(f, from)
	}
	return f.text(name)
}

// wrong is a value of another type.
func (f *Fuzzer) wrong() any {
	return pick(f, []any{nil, true, -1, 1.5, 1e300, "text", "", []any{}, []any{nil}, map[string]any{}, map[string]any{"a": nil}, strings.Repeat("z", 70000), "\x00"})
}
