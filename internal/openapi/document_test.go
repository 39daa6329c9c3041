package openapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
)

var update = flag.Bool("update", false, "write prose.json and docs/openapi.json anew")

// whole are the operations of a server that has everything.
func whole() []openapi.Operation {
	cfg := httpapi.Config{Control: control.New(nil, time.Now), Feed: http.NotFoundHandler()}
	for _, r := range (&gateway.Gateway{}).Routes() {
		cfg.Inference = append(cfg.Inference, httpapi.InferenceRoute{Method: r.Method, Path: r.Path, Summary: r.Summary, Handler: r.Handler})
	}
	return httpapi.Operations(cfg)
}

func build(t *testing.T) *openapi.Document {
	t.Helper()
	prose, err := openapitest.ReadProse(openapitest.APISource())
	if err != nil {
		t.Fatal(err)
	}
	d, err := openapi.Build(whole(), prose)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocument_isFresh: the files that were written from the code say what the code says.
func TestDocument_isFresh(t *testing.T) {
	prose, err := openapitest.ReadProse(openapitest.APISource())
	if err != nil {
		t.Fatal(err)
	}
	words, err := json.MarshalIndent(prose, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	document, err := build(t).JSON()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]byte{"prose.json": append(words, '\n'), filepath.Join("..", "..", "docs", "openapi.json"): document} {
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is older than the code: run go test ./internal/openapi -update", path)
		}
	}
}

// TestDocument_isOpenAPI holds the document against the schema of OpenAPI 3.1, and its own schemas against that of JSON Schema.
func TestDocument_isOpenAPI(t *testing.T) {
	text, err := build(t).JSON()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile(filepath.Join("testdata", "oas31-schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(meta))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://spec.openapis.org/oas/3.1/schema/2022-10-07", tree); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("https://spec.openapis.org/oas/3.1/schema/2022-10-07")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("the document is not OpenAPI 3.1: %v", err)
	}
	d := build(t)
	own := jsonschema.NewCompiler()
	if err := own.AddResource("https://nebula.test/openapi.json", document); err != nil {
		t.Fatal(err)
	}
	for name := range d.Components.Schemas {
		if _, err := own.Compile("https://nebula.test/openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	for _, ref := range refs(document) {
		at := any(document)
		for seg := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			m, _ := at.(map[string]any)
			at = m[seg]
		}
		if at == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	}
}

func refs(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			out = append(out, ref)
		}
		for _, inner := range v {
			out = append(out, refs(inner)...)
		}
	case []any:
		for _, inner := range v {
			out = append(out, refs(inner)...)
		}
	}
	return out
}

// TestDocument_saysEverything: an operation that people see has words for each of its parameters, and a tag that has words, too.
func TestDocument_saysEverything(t *testing.T) {
	d := build(t)
	for path, item := range d.Paths {
		for method, o := range item {
			for _, p := range o.Parameters {
				if p.Description == "" {
					t.Errorf("%s %s: nothing is said about the parameter %s", method, path, p.Name)
				}
			}
		}
	}
	for _, tag := range d.Tags {
		if tag.Description == "" {
			t.Errorf("the tag %s has no words: give it its row in tags", tag.Name)
		}
	}
	if diff := cmp.Diff(build(t), d); diff != "" {
		t.Errorf("built twice it is not the same: %s", diff)
	}
}
