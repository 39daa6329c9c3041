// Package apply decides what "nebula apply" does: it reads documents out of YAML, compares them with what a cluster has, and says which changes
// lead from one to the other. It never opens a file, asks a server or writes anything; the command line does that.
//
// A document is a merge patch (RFC 7396) on the object it names: a field that it does not mention stays as it is, null unsets a field, a list is
// replaced whole. So applying a document twice changes nothing the second time, and what "nebula export" prints changes nothing at all.
package apply

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// APIVersion is what documents may name as api_version.
const APIVersion = "nebula/v2"

// Kind is a kind of object that documents declare.
type Kind string

// The kinds.
const (
	KindModel    Kind = "Model"
	KindTemplate Kind = "Template"
)

// Ref names an object of the cluster.
type Ref struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id"`
}

func (r Ref) String() string { return noun(r.Kind) + "/" + r.ID }

// Object is a declared thing of the cluster as a document.
type Object struct {
	Ref
	// Revision is that of the object where it was read; 0 for one that is not there.
	Revision int64
	// Doc is the whole document in JSON, without nulls and with sorted fields.
	Doc json.RawMessage
}

// Doc is one document of a file.
type Doc struct {
	Ref
	// At is where the document begins.
	At Position
	// Patch holds the fields that the document mentions, in JSON.
	Patch json.RawMessage
	lines map[string]int // of each field, by its path with dots
}

// Position is a place in a file.
type Position struct {
	File string
	Line int // 1 is the first
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// line is the place of a field, or of the nearest thing around it that the document mentions.
func (d *Doc) line(path string) Position {
	for p := path; p != ""; p = parent(p) {
		if n, ok := d.lines[p]; ok {
			return Position{d.At.File, n}
		}
	}
	return d.At
}

// kindRules are what differs between the kinds.
type kindRules struct {
	noun   string     // how commands call one
	id     string     // the field that names it
	fields func() any // a new document, whose fields are those that may be written
	// derive makes a name for an object whose document has none; "" when there is nothing to make it of.
	derive func(doc map[string]any) string
	// fresh is the document of an object of which nothing has been said but its name.
	fresh func(id string) any
	// expand writes the short forms of a patch out, before it meets the object.
	expand func(patch, object map[string]any)
	// settle brings a document into the one spelling that the server stores, and says what is wrong with it.
	settle func(doc []byte, isNew bool) (any, error)
	// verbs says what a change from one document to another amounts to.
	verbs func(live, wished []byte) []Verb
	// lasting lists the fields that have a value always, so that null is no answer and a whole document may leave them as they are.
	lasting []string
}

func rulesOf(k Kind) (kindRules, bool) {
	switch k {
	case KindModel:
		return modelRules(), true
	case KindTemplate:
		return templateRules(), true
	}
	return kindRules{}, false
}

// Kinds lists the kinds of documents in the order in which they are printed.
func Kinds() []Kind { return []Kind{KindTemplate, KindModel} }

func noun(k Kind) string {
	r, _ := rulesOf(k)
	return r.noun
}

// canonical writes a document in JSON without nulls and with sorted fields, so that equal documents are equal bytes.
func canonical(doc any) (json.RawMessage, error) {
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode a document: %w", err)
	}
	fields, err := object(b)
	if err != nil {
		return nil, err
	}
	dropNulls(fields)
	if b, err = json.Marshal(fields); err != nil {
		return nil, fmt.Errorf("encode a document: %w", err)
	}
	return b, nil
}

func dropNulls(fields map[string]any) {
	for k, v := range fields {
		switch v := v.(type) {
		case nil:
			delete(fields, k)
		case map[string]any:
			dropNulls(v)
		}
	}
}

// object decodes a JSON object and keeps its numbers as they are written.
func object(b []byte) (map[string]any, error) {
	if len(b) == 0 {
		return map[string]any{}, nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("decode a document: %w", err)
	}
	return out, nil
}

// mergePatch applies a patch as RFC 7396 says. Neither input changes.
func mergePatch(target, patch map[string]any) map[string]any {
	out := make(map[string]any, len(target)+len(patch))
	maps.Copy(out, target)
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			inner, _ := out[k].(map[string]any) // anything else gives way
			out[k] = mergePatch(inner, v)
		default:
			out[k] = v
		}
	}
	return out
}

// invalid is an error about what people wrote.
func invalid(fields []api.Field) error {
	if len(fields) == 0 {
		return nil
	}
	lines := make([]string, len(fields))
	for i, f := range fields {
		lines[i] = f.Field + ": " + f.Reason
	}
	return &api.Error{Code: api.CodeInvalidRequest, Message: strings.Join(lines, "\n"), Details: fields}
}
