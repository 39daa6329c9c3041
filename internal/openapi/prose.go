package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// Prose is what reflection does not know of package api: what its comments say, and which values its kinds have.
type Prose struct {
	Types map[string]TypeProse `json:"types"`
	Enums map[string][]Value   `json:"enums"` // of named strings
}

// TypeProse is what is said about a type, and about its fields by their Go names.
type TypeProse struct {
	Doc    string            `json:"doc,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
}

// Value is one value of a kind.
type Value struct {
	Value string `json:"value"`
	Doc   string `json:"doc,omitempty"`
}

// prose is written from the source of package api by `go test ./internal/openapi -update`.
//
//go:embed prose.json
var prose []byte

// APIProse returns what the source of package api said when this program was built.
func APIProse() (Prose, error) {
	var p Prose
	if err := json.Unmarshal(prose, &p); err != nil {
		return p, fmt.Errorf("read prose.json: %w", err)
	}
	return p, nil
}
