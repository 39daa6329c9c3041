package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// Limits of one record, so that it always fits the store beside the change itself.
const (
	MaxChanges    = 64
	MaxValueBytes = 2 << 10
)

// stars stands for a value that nobody is to see.
var stars = json.RawMessage(`"***"`)

// Document is what a change does to one stored document: JSON before and after, nil where there is none, and the top-level fields that are
// private.
type Document struct {
	Name          string // "model spec qwen"
	Before, After []byte
	Private       []string
}

// Diff returns the fields that changed, in order of document and field, with private ones masked, and whether it left some out for their number
// or size.
func Diff(docs []Document) (changes []api.DocumentChange, truncated bool) {
	for i := range docs {
		d := &docs[i]
		before, after := fields(d.Before), fields(d.After)
		for _, path := range slices.Sorted(maps.Keys(union(before, after))) {
			b, a := before[path], after[path]
			if bytes.Equal(b, a) {
				continue
			}
			if len(changes) == MaxChanges {
				return changes, true
			}
			c := api.DocumentChange{Document: d.Name, Field: path, Before: shown(d, path, b), After: shown(d, path, a)}
			truncated = truncated || len(c.Before) > MaxValueBytes || len(c.After) > MaxValueBytes
			c.Before, c.After = bounded(c.Before), bounded(c.After)
			changes = append(changes, c)
		}
	}
	return changes, truncated
}

func union(a, b map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// fields flattens a JSON object: one entry a leaf, lists are leaves. What is no object is one entry under "".
func fields(doc []byte) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if doc != nil {
		flatten(out, "", doc)
	}
	return out
}

func flatten(out map[string]json.RawMessage, path string, v json.RawMessage) {
	var object map[string]json.RawMessage
	if v = bytes.TrimSpace(v); len(v) == 0 || v[0] != '{' || json.Unmarshal(v, &object) != nil {
		out[path] = v
		return
	}
	for name, field := range object {
		if path != "" {
			name = path + "." + name
		}
		flatten(out, name, field)
	}
}

func shown(d *Document, path string, v json.RawMessage) json.RawMessage {
	if v == nil {
		return nil
	}
	for _, p := range d.Private {
		if path == p || len(path) > len(p) && path[:len(p)] == p && path[len(p)] == '.' {
			return stars
		}
	}
	return v
}

func bounded(v json.RawMessage) json.RawMessage {
	if len(v) <= MaxValueBytes {
		return v
	}
	b, _ := json.Marshal(fmt.Sprintf("(%d bytes of JSON)", len(v))) // a string
	return b
}
