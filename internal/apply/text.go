package apply

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"go.yaml.in/yaml/v3"
)

// Text writes a document as YAML, its fields in the order that people expect. nil is "".
func Text(kind Kind, doc json.RawMessage) (string, error) {
	if doc == nil {
		return "", nil
	}
	rules, ok := rulesOf(kind)
	if !ok {
		return "", fmt.Errorf("there are no rules for documents of kind %q", kind)
	}
	fields, err := object(doc)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(node(fields, typeOf(rules.fields()))); err != nil {
		return "", fmt.Errorf("write YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return "", fmt.Errorf("write YAML: %w", err)
	}
	return b.String(), nil
}

// Texts writes objects as the documents of one file.
func Texts(objects []Object) (string, error) {
	var b strings.Builder
	for i, o := range objects {
		text, err := Text(o.Kind, o.Doc)
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// Diff is the difference of a change in the unified format; "" when there is none.
func (c *Change) Diff() (string, error) {
	return DiffOf(c.Ref, c.Live, c.Wished)
}

// DiffOf is the difference of two documents of one object in the unified format; nil is one that is not there.
func DiffOf(ref Ref, before, after json.RawMessage) (string, error) {
	old, err := Text(ref.Kind, before)
	if err != nil {
		return "", err
	}
	wished, err := Text(ref.Kind, after)
	if err != nil {
		return "", err
	}
	d := diff.Diff("live/"+ref.String(), []byte(old), "wished/"+ref.String(), []byte(wished))
	if _, rest, ok := bytes.Cut(d, []byte("\n")); ok { // without its first line, "diff live wished"
		d = rest
	}
	return string(d), nil
}

// node builds YAML for v, fields in the order of t.
func node(v any, t reflect.Type) *yaml.Node {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case map[string]any:
		return mapping(v, t)
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v {
			n.Content = append(n.Content, node(item, nil))
		}
		if len(v) == 0 || numbers(v) {
			n.Style = yaml.FlowStyle
		}
		return n
	case string:
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}
		switch {
		case strings.Contains(v, "\n"):
			n.Style = yaml.LiteralStyle
		case olderYAML.MatchString(v):
			n.Style = yaml.DoubleQuotedStyle
		}
		return n
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v)} // a number, true or false
}

func mapping(v map[string]any, t reflect.Type) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	add := func(name string, t reflect.Type) {
		n.Content = append(n.Content, node(name, nil), node(v[name], t))
	}
	if t == nil || t.Kind() != reflect.Struct {
		for _, name := range slices.Sorted(maps.Keys(v)) {
			add(name, nil)
		}
		return n
	}
	for _, f := range fieldsOf(t) {
		if _, ok := v[f.name]; ok {
			add(f.name, f.typ)
		}
	}
	return n
}

func numbers(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool { _, ok := v.(json.Number); return !ok })
}

// olderYAML matches texts that readers of YAML 1.1 take for something else: they are put into quotes.
var olderYAML = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|[-+]?0[0-7_]+)$`)
