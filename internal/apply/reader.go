package apply

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/nebula-serve/nebula/api"
)

// reader turns a document's YAML into JSON values under the rule of a Go type: it knows which fields there are and what they hold, so nothing of a
// hostile document is deeper than the type is.
type reader struct {
	file     string
	lines    map[string]int
	budget   int // bytes that the document may still grow to once aliases are written out
	problems []api.Field
}

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, api.Field{Field: Position{r.file, max(n.Line, 1)}.String(), Reason: fmt.Sprintf(format, args...)})
}

func typeOf(v any) reflect.Type {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// value reads n as a t. path is the field's name with those of the fields around it, for messages.
func (r *reader) value(n *yaml.Node, t reflect.Type, path string) any {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if r.budget -= len(n.Value) + 1; r.budget < 0 {
		if r.budget > -MaxFileBytes { // told once
			r.wrong(n, "the document is larger than 1 MiB once its aliases are written out")
			r.budget = -MaxFileBytes
		}
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && path != "" {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.fields(n, t, path)
	case reflect.Map:
		return r.texts(n, t, path)
	case reflect.Slice:
		return r.list(n, t, path)
	}
	return r.scalar(n, t, path)
}

// keys walks a mapping's keys, each once.
func (r *reader) keys(n *yaml.Node, path string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "%s must be a set of fields, not %s", path, shape(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content) && r.budget >= 0; i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
			r.wrong(key, "a field's name must be a text")
			continue
		}
		if key.ShortTag() == "!!merge" {
			r.wrong(key, "merge keys (<<) are not read: write the fields out")
			continue
		}
		if at, twice := seen[key.Value]; twice {
			r.wrong(key, "%s is given already in line %d", join(path, key.Value), at)
			continue
		}
		seen[key.Value] = key.Line
		r.lines[join(path, key.Value)] = key.Line
		each(key, n.Content[i+1])
	}
}

func (r *reader) fields(n *yaml.Node, t reflect.Type, path string) map[string]any {
	known := fieldsOf(t)
	out := map[string]any{}
	r.keys(n, path, func(key, value *yaml.Node) {
		for _, f := range known {
			if f.name == key.Value {
				out[f.name] = r.value(value, f.typ, join(path, f.name))
				return
			}
		}
		var names []string
		for _, f := range known {
			names = append(names, f.name)
		}
		hint := ""
		if near := closest(key.Value, names); near != "" {
			hint = ": did you mean " + join(path, near) + "?"
		}
		r.wrong(key, "the field %.80q is unknown%s", join(path, key.Value), hint)
	})
	return out
}

func (r *reader) texts(n *yaml.Node, t reflect.Type, path string) map[string]any {
	out := map[string]any{}
	r.keys(n, path, func(key, value *yaml.Node) {
		out[key.Value] = r.value(value, t.Elem(), join(path, key.Value))
	})
	return out
}

func (r *reader) list(n *yaml.Node, t reflect.Type, path string) []any {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, "%s must be a list, not %s", path, shape(n))
		return nil
	}
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		v := r.value(item, t.Elem(), at)
		if v == nil && r.budget >= 0 && len(r.problems) == 0 {
			r.wrong(item, "%s is empty", at)
		}
		out = append(out, v)
	}
	return out
}

func (r *reader) scalar(n *yaml.Node, t reflect.Type, path string) any {
	if n.Kind != yaml.ScalarNode {
		r.wrong(n, "%s must be %s, not %s", path, wanted(t), shape(n))
		return nil
	}
	tag := n.ShortTag()
	switch t.Kind() {
	case reflect.String:
		if tag == "!!str" || tag == "!!timestamp" { // a date is a text here
			return r.text(n, t, path)
		}
		if tag == "!!int" || tag == "!!float" || tag == "!!bool" {
			r.wrong(n, "%s must be a text, not %s: put it into quotes, %q", path, shape(n), n.Value)
			return nil
		}
	case reflect.Bool:
		if tag == "!!bool" {
			return strings.EqualFold(n.Value, "true")
		}
	case reflect.Uint32, reflect.Uint64:
		v, err := strconv.ParseUint(strings.ReplaceAll(n.Value, "_", ""), 0, t.Bits())
		if tag == "!!int" && err == nil {
			return json.Number(strconv.FormatUint(v, 10))
		}
	case reflect.Int, reflect.Int64:
		v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, t.Bits())
		if tag == "!!int" && err == nil {
			return json.Number(strconv.FormatInt(v, 10))
		}
	case reflect.Float32, reflect.Float64:
		v, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), t.Bits())
		if (tag == "!!float" || tag == "!!int") && err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			return json.Number(strconv.FormatFloat(v, 'g', -1, t.Bits()))
		}
	}
	r.wrong(n, "%s must be %s, not %s", path, wanted(t), shape(n))
	return nil
}

// text reads a text. One of a type that takes only some texts is tried.
func (r *reader) text(n *yaml.Node, t reflect.Type, path string) any {
	if v, picky := reflect.TypeAssert[json.Unmarshaler](reflect.New(t)); picky {
		b, err := json.Marshal(n.Value)
		if err == nil {
			err = v.UnmarshalJSON(b)
		}
		if err != nil {
			r.wrong(n, "%s: %v", path, err)
			return nil
		}
	}
	return n.Value
}

// wanted words a type for people.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint32:
		return "a whole number from 0 to 4294967295"
	case reflect.Uint64, reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "a number"
}

// shape words what stands there.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a set of fields"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return fmt.Sprintf("%.80q", n.Value)
	case "!!int", "!!float", "!!bool":
		return fmt.Sprintf("%.80s", n.Value)
	case "!!null":
		return "nothing"
	}
	return fmt.Sprintf("a value of the type %.80s", n.Tag)
}

// typedField is a field of a document.
type typedField struct {
	name string
	typ  reflect.Type
}

// fieldsOf lists the fields of a struct as JSON has them, in their order.
func fieldsOf(t reflect.Type) []typedField {
	var out []typedField
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && name != "" && name != "-" {
			out = append(out, typedField{name, f.Type})
		}
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), 0)]
}
