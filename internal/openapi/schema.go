package openapi

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// direction is which way a document travels. encoding/json writes more than it needs to read: a field without omitempty is in every answer,
// and may still be absent from a request.
type direction int

const (
	in  direction = iota // in a request
	out                  // in an answer
)

// generator makes schemas of Go types, one for each type and direction, or one for both where they are alike.
type generator struct {
	prose    Prose
	named    map[string]*Schema
	owner    map[string]reflect.Type // of a name
	used     [2]map[reflect.Type]bool
	roots    map[reflect.Type]bool // whole bodies of requests: what they do not omit must be there
	failures map[string]failure    // responses that are referred to
}

func newGenerator(p Prose) *generator {
	return &generator{
		prose: p, named: map[string]*Schema{}, owner: map[string]reflect.Type{}, roots: map[reflect.Type]bool{}, failures: map[string]failure{},
		used: [2]map[reflect.Type]bool{{}, {}},
	}
}

// standIns are the shapes of types that write themselves.
var standIns = map[reflect.Type]reflect.Type{
	reflect.TypeFor[api.ModelCreated](): reflect.TypeFor[struct {
		api.ModelSpec
		Deployment *api.ModelDeployment `json:"deployment"`
		api.ModelStatus
		Explanation *api.Explanation `json:"explanation,omitempty"`
	}](),
}

var (
	marshaler = reflect.TypeFor[json.Marshaler]()
	raw       = reflect.TypeFor[json.RawMessage]()
	token     = reflect.TypeFor[api.Token]()

	requestStatus = reflect.TypeFor[api.RequestStatus]()
)

const apiPath = "github.com/nebula-serve/nebula/api"

// learn notes which types an operation needs, before any is described: whether one needs two schemas depends on all of them.
func (g *generator) learn(op Operation) error {
	if IsInference(op.Path) {
		return g.walk(reflect.TypeFor[api.OpenAIEnvelope](), out)
	}
	if op.Request != nil {
		g.roots[op.Request] = true
		if err := g.walk(op.Request, in); err != nil {
			return err
		}
	}
	if op.Response != nil {
		if err := g.walk(op.Response, out); err != nil {
			return err
		}
	}
	for _, code := range op.Errors {
		if shape := failureTypes[FailureOf(op.Path, code.HTTPStatus())]; shape != nil {
			if err := g.walk(shape, out); err != nil {
				return err
			}
		}
	}
	return g.walk(reflect.TypeFor[api.Envelope](), out)
}

func (g *generator) walk(t reflect.Type, dir direction) error {
	switch {
	case t == raw || t == requestStatus:
		return nil
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice, t.Kind() == reflect.Array, t.Kind() == reflect.Map:
		return g.walk(t.Elem(), dir)
	case t.Kind() != reflect.Struct || g.used[dir][t]:
		return nil
	}
	if t.Name() != "" {
		g.used[dir][t] = true
		if t.PkgPath() != apiPath {
			return fmt.Errorf("%s is not a type of package api, which is the only source of documents", t)
		}
	}
	fields, err := fieldsOf(t)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if err := g.walk(f.Type, dir); err != nil {
			return err
		}
	}
	return nil
}

// name is what a type's schema is called; one that is read and written, and not alike, is called ...Input where it is read.
func (g *generator) name(t reflect.Type, dir direction) string {
	name := t.Name()
	if dir == in && g.used[in][t] && g.used[out][t] && g.differs(t, map[reflect.Type]bool{}) {
		name += "Input"
	}
	return name
}

// differs tells whether a type is not the same in a request as in an answer, itself or in something that it holds.
func (g *generator) differs(t reflect.Type, seen map[reflect.Type]bool) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return false
	}
	seen[t] = true
	fields, _ := fieldsOf(t) // walk has been here
	return slices.ContainsFunc(fields, func(f field) bool {
		return g.required(t, f, in) != g.required(t, f, out) || f.null(in) != f.null(out) || f.Type == token || g.differs(f.Type, seen)
	})
}

// schema describes t, by a reference where it has a name.
func (g *generator) schema(t reflect.Type, dir direction) (*Schema, error) {
	switch {
	case t == raw:
		return &Schema{}, nil
	case t == requestStatus:
		return g.requestStatus(), nil
	case t == token:
		return &Schema{Type: "string", Format: "password", WriteOnly: dir == in}, nil
	case t.Kind() == reflect.Pointer:
		return g.schema(t.Elem(), dir)
	case t.Kind() == reflect.Struct && t.Name() != "":
		return g.reference(t, dir)
	}
	switch t.Kind() {
	case reflect.Struct:
		return g.object(t, dir)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: "string", ContentEncoding: "base64"}, nil
		}
		items, err := g.schema(t.Elem(), dir)
		return &Schema{Type: "array", Items: items}, err
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("%s: the keys of a map must be strings", t)
		}
		values, err := g.schema(t.Elem(), dir)
		return &Schema{Type: "object", AdditionalProperties: values}, err
	case reflect.Interface:
		return &Schema{}, nil
	case reflect.String:
		return g.text(t), nil
	}
	s, ok := scalars[t.Kind()]
	if !ok {
		return nil, fmt.Errorf("%s cannot be described", t)
	}
	return &s, nil
}

// requestStatus is a word, or an object with the reason of a failure.
func (g *generator) requestStatus() *Schema {
	const failed = string(api.RequestFailed)
	word := g.text(reflect.TypeFor[api.RequestPhase]())
	word.Enum = slices.DeleteFunc(word.Enum, func(v any) bool { return v == failed })
	return &Schema{AnyOf: []*Schema{word, {
		Type: "object", Properties: Properties{{failed, &Schema{Type: "string", Description: "Why"}}}, Required: []string{failed},
	}}}
}

// text is a string: any, or one of the values that its type has.
func (g *generator) text(t reflect.Type) *Schema {
	s := &Schema{Type: "string"}
	if t.PkgPath() == apiPath {
		for _, v := range g.prose.Enums[t.Name()] {
			s.Enum = append(s.Enum, v.Value)
		}
	}
	return s
}

func (g *generator) reference(t reflect.Type, dir direction) (*Schema, error) {
	name := g.name(t, dir)
	if was, known := g.owner[name]; known && was != t {
		return nil, fmt.Errorf("%s and %s have the same name", was, t)
	}
	if _, known := g.named[name]; !known {
		g.owner[name], g.named[name] = t, nil // a type that holds itself ends here
		s, err := g.object(t, dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
		s.Description = g.prose.Types[t.Name()].Doc
		g.named[name] = s
	}
	return &Schema{Ref: "#/components/schemas/" + name}, nil
}

func (g *generator) object(t reflect.Type, dir direction) (*Schema, error) {
	fields, err := fieldsOf(t)
	if err != nil {
		return nil, err
	}
	s := &Schema{Type: "object"}
	for _, f := range fields {
		p, err := g.schema(f.Type, dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if p.Ref == "" || !f.null(dir) {
			c := *p
			p = &c
		}
		if f.null(dir) {
			p = orNull(p)
		}
		p.Description = g.prose.Types[f.of].Fields[f.Name]
		s.Properties = append(s.Properties, Property{f.name, p})
		if g.required(t, f, dir) {
			s.Required = append(s.Required, f.name)
		}
	}
	return s, nil
}

func orNull(s *Schema) *Schema {
	kind, ok := s.Type.(string)
	switch {
	case !ok && s.Ref == "": // anything
		return &Schema{}
	case !ok:
		return &Schema{AnyOf: []*Schema{s, {Type: "null"}}}
	}
	c := *s
	c.Type = []string{kind, "null"}
	if c.Enum != nil {
		c.Enum = append(slices.Clone(c.Enum), nil)
	}
	return &c
}

// required tells whether a field is always there. In a request that is what makes no sense without: of the body itself every field that is not
// marked as one to omit, deeper down those that have no way to be nothing.
func (g *generator) required(t reflect.Type, f field, dir direction) bool {
	if f.omit {
		return false
	}
	return dir == out || g.roots[t] || !nillable(f.Type)
}

func nillable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return true
	}
	return false
}

// field is a field as encoding/json sees it.
type field struct {
	reflect.StructField
	name string
	of   string // name of the type that declares it
	omit bool   // absent when it is empty
}

// null tells whether the field may be null. Nothing that is omitted when empty is ever written as null, and lists of the type List are never.
func (f field) null(dir direction) bool {
	if !nillable(f.Type) || f.Type == raw {
		return false
	}
	return dir == in || !f.omit && !f.Type.Implements(marshaler)
}

// fieldsOf lists the fields that encoding/json writes, those of embedded structs among them, with the rule that the shallower one of two of
// a name counts.
func fieldsOf(t reflect.Type) ([]field, error) {
	if s, ok := standIns[t]; ok {
		t = s
	} else if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
		return nil, fmt.Errorf("%s writes itself: say in standIns what comes of it", t)
	}
	var own, inner []field
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		embedded := f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct
		switch {
		case tag == "-" || !f.IsExported() && !embedded:
		case embedded:
			fields, err := fieldsOf(f.Type)
			if err != nil {
				return nil, err
			}
			inner = append(inner, fields...)
			own = append(own, fields...)
		default:
			if name == "" {
				name = f.Name
			}
			omit := slices.ContainsFunc(strings.Split(options, ","), func(o string) bool { return o == "omitempty" || o == "omitzero" })
			if omit && strings.Contains(options, "omitempty") && f.Type.Kind() == reflect.Struct {
				omit = strings.Contains(options, "omitzero") // omitempty does nothing for a struct
			}
			own = append(own, field{f, name, t.Name(), omit})
		}
	}
	return slices.DeleteFunc(own, func(f field) bool {
		isInner := slices.ContainsFunc(inner, func(i field) bool { return i.name == f.name && i.of == f.of })
		return isInner && slices.ContainsFunc(own, func(o field) bool { return o.name == f.name && o.of != f.of })
	}), nil
}

func limits(lo, hi int64) Schema { return Schema{Type: "integer", Minimum: &lo, Maximum: &hi} }

var zero int64

// scalars are the kinds that need no look at the type.
var scalars = map[reflect.Kind]Schema{
	reflect.Bool:    {Type: "boolean"},
	reflect.Int:     {Type: "integer", Format: "int64"},
	reflect.Int64:   {Type: "integer", Format: "int64"},
	reflect.Int32:   {Type: "integer", Format: "int32"},
	reflect.Uint:    {Type: "integer", Minimum: &zero},
	reflect.Uint64:  {Type: "integer", Minimum: &zero},
	reflect.Uint32:  limits(0, math.MaxUint32),
	reflect.Uint16:  limits(0, math.MaxUint16),
	reflect.Uint8:   limits(0, math.MaxUint8),
	reflect.Float32: {Type: "number"},
	reflect.Float64: {Type: "number"},
}
