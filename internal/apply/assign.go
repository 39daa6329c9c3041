package apply

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/nebula-serve/nebula/api"
)

// Assignment gives a field of an object another value.
type Assignment struct {
	// From is where people wrote it, for messages: "--set revision=v2".
	From string
	// Path names the field: "revision", or "config" and "max_model_len".
	Path []string
	// Value is the text of a text field as it is, and YAML for others; "null" unsets.
	Value string
	// Add puts the value behind those of the same path before it, in a list.
	Add bool
}

// ParseAssignment reads FIELD=VALUE, where FIELD has a dot before a field within another.
func ParseAssignment(from, text string) (Assignment, error) {
	field, value, ok := strings.Cut(text, "=")
	if !ok || field == "" {
		return Assignment{}, api.Errorf(api.CodeInvalidRequest, "%s must be FIELD=VALUE, for example config.max_model_len=4096; FIELD=null unsets it", from)
	}
	return Assignment{From: from, Path: strings.SplitN(field, ".", 2), Value: value}, nil
}

// DocOf is a document of assignments alone.
func DocOf(ref Ref, all []Assignment) (Doc, error) {
	rules, ok := rulesOf(ref.Kind)
	if !ok {
		return Doc{}, fmt.Errorf("there are no rules for documents of kind %q", ref.Kind)
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Line: 1}
	put(root, []string{"kind"}, textNode(string(ref.Kind)), false)
	put(root, []string{rules.id}, textNode(ref.ID), false)
	var problems []api.Field
	for _, a := range all {
		if a.Path[0] == "kind" || a.Path[0] == "api_version" || a.Path[0] == rules.id {
			problems = append(problems, api.Field{Field: a.From, Reason: a.Path[0] + " cannot be changed"})
			continue
		}
		n, err := a.node(typeOf(rules.fields()))
		if err != nil {
			problems = append(problems, api.Field{Field: a.From, Reason: err.Error()})
			continue
		}
		// Each is read by itself, too, so that a problem names where it was written.
		alone := &yaml.Node{Kind: yaml.MappingNode, Line: 1}
		put(alone, a.Path, n, a.Add)
		r := &reader{lines: map[string]int{}, budget: MaxFileBytes}
		r.value(alone, typeOf(rules.fields()), "")
		for _, p := range r.problems {
			problems = append(problems, api.Field{Field: a.From, Reason: p.Reason})
		}
		put(root, a.Path, n, a.Add)
	}
	if len(problems) > 0 {
		return Doc{}, invalid(firstProblems(problems))
	}
	d, wrong := readDoc(ref.ID, root)
	return d, invalid(firstProblems(wrong))
}

func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: 1}
}

// node is the value as YAML.
func (a *Assignment) node(t reflect.Type) (*yaml.Node, error) {
	if a.Value == "null" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: 1}, nil
	}
	if a.Add || holdsText(t, a.Path) {
		return textNode(a.Value), nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(a.Value), &doc); err != nil {
		return nil, fmt.Errorf("%.80q is not a value: %w", a.Value, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("the value is missing; null unsets the field")
	}
	return doc.Content[0], nil
}

// holdsText tells whether the field of a path is a text.
func holdsText(t reflect.Type, path []string) bool {
	for _, name := range path {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			found := false
			for _, f := range fieldsOf(t) {
				if f.name == name {
					t, found = f.typ, true
				}
			}
			if !found {
				return false
			}
		default:
			return false
		}
	}
	return t.Kind() == reflect.String
}

// put sets the field of a path in a mapping. Of two values for one field the later one holds.
func put(n *yaml.Node, path []string, value *yaml.Node, add bool) {
	at := field(n, path[0])
	if at == nil {
		at = &yaml.Node{Line: 1}
		n.Content = append(n.Content, textNode(path[0]), at)
	}
	switch {
	case len(path) > 1:
		if at.Kind != yaml.MappingNode {
			*at = yaml.Node{Kind: yaml.MappingNode, Line: 1}
		}
		put(at, path[1:], value, add)
	case add && at.Kind == yaml.SequenceNode:
		at.Content = append(at.Content, value)
	case add:
		*at = yaml.Node{Kind: yaml.SequenceNode, Line: 1, Content: []*yaml.Node{value}}
	default:
		*at = *value
	}
}
