package openapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// exampleJSON is a value that a schema allows, as people would write it: what must be there, and no more.
func (d *Document) exampleJSON(s *Schema) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d.example("", s, 0)); err != nil {
		return "" // nothing but what encoding/json made is in it
	}
	return strings.TrimSpace(b.String())
}

// maxDepth bounds an example of a type that holds itself.
const maxDepth = 6

func (d *Document) example(name string, s *Schema, depth int) any {
	switch {
	case s == nil || depth > maxDepth:
		return map[string]any{}
	case s.Ref != "":
		return d.example(name, d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")], depth+1)
	case len(s.AnyOf) > 0:
		return d.example(name, s.AnyOf[0], depth)
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	kind, _ := s.Type.(string)
	if kinds, ok := s.Type.([]string); ok {
		kind = kinds[0]
	}
	switch kind {
	case "array":
		return []any{d.example(name, s.Items, depth+1)}
	case "object":
		return d.exampleObject(s, depth)
	case "boolean":
		return true
	case "integer", "number":
		if strings.HasSuffix(name, "_ms") {
			return 1767225600000 // 2026-01-01
		}
		return 1
	case "string":
		if words, ok := exampleWords[name]; ok {
			return words
		}
		if s.ContentEncoding == "base64" {
			return "AA=="
		}
	}
	return "text"
}

func (d *Document) exampleObject(s *Schema, depth int) any {
	fields := exampleFields{}
	for _, f := range s.Properties {
		if slices.Contains(s.Required, f.Name) {
			fields = append(fields, exampleField{f.Name, d.example(f.Name, f.Schema, depth+1)})
		}
	}
	return fields
}

var exampleWords = map[string]string{
	"model_uid": "qwen", "model_name": "Qwen/Qwen3-8B", "node_id": "node-1", "request_id": "req_1f0c", "model": "qwen", "role": "user", "content": "Hello", "object": "list",
}

type exampleField struct {
	name  string
	value any
}

// exampleFields is an object whose fields keep their order.
type exampleFields []exampleField

func (e exampleFields) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range e {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
