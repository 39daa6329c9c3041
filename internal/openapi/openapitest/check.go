package openapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// Checker holds answers against a document. It is strict: where the document is open for fields of later versions, it is not.
type Checker struct {
	doc     *openapi.Document
	mux     *http.ServeMux
	ops     map[string]*openapi.OperationObject // by the pattern in mux
	mu      sync.Mutex
	schemas *jsonschema.Compiler
	known   map[string]*jsonschema.Schema
}

// NewChecker returns the checker of the document of ops.
func NewChecker(ops []openapi.Operation) (*Checker, error) {
	prose, err := apiProse()
	if err != nil {
		return nil, err
	}
	doc, err := openapi.Build(ops, prose)
	if err != nil {
		return nil, err
	}
	c := &Checker{doc: doc, mux: http.NewServeMux(), ops: map[string]*openapi.OperationObject{}, schemas: jsonschema.NewCompiler(), known: map[string]*jsonschema.Schema{}}
	for _, op := range ops {
		pattern := op.Method + " " + op.Path
		c.mux.Handle(pattern, http.NotFoundHandler())
		c.ops[pattern] = doc.Paths[strings.NewReplacer("{$}", "", "...}", "}").Replace(op.Path)][strings.ToLower(op.Method)]
	}
	text, err := doc.JSON()
	if err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	closeObjects(tree)
	return c, c.schemas.AddResource(docURL, tree)
}

const docURL = "https://nebula.test/openapi.json"

// closeObjects forbids, in every schema with properties, fields that it does not name.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, has := v["properties"].(map[string]any); has && v["type"] != nil && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for _, inner := range v {
			closeObjects(inner)
		}
	case []any:
		for _, inner := range v {
			closeObjects(inner)
		}
	}
}

// Document is what answers are held against.
func (c *Checker) Document() *openapi.Document { return c.doc }

// Pattern is the row that a request is for, as method and path; empty: there is none.
func (c *Checker) Pattern(r *http.Request) string {
	_, pattern := c.mux.Handler(r)
	if given, clean := r.URL.EscapedPath(), path.Clean(r.URL.EscapedPath()); given != clean && given != clean+"/" || given == "//" {
		return "" // a mux would lead to what may have been meant, and Nebula does not
	}
	return pattern
}

// Answer is a response as it was seen.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    bool // the body is not whole: its end, or the rest of it, was not seen
}

// Check tells what is wrong with the answer to a request, or nil.
func (c *Checker) Check(r *http.Request, a Answer) error {
	if a.Header.Get("X-Request-Id") == "" {
		return fmt.Errorf("the answer %d has no X-Request-Id", a.Status)
	}
	op := c.ops[c.Pattern(r)]
	if rest, old := strings.CutPrefix(r.URL.Path, openapi.V1Gateway); op == nil && old {
		if c.ops["GET "+openapi.V1Gateway+"whoami"] == nil {
			return nil // a gateway alone: it passes on what it has no document of
		}
		if at, v2 := strings.CutPrefix(rest, "v2/"); v2 && !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
			in := r.Clone(r.Context())
			in.URL.Path, in.URL.RawPath = "/api/v2/"+at, ""
			return c.Check(in, a) // it answers as version 2
		}
	}
	if op == nil {
		return c.stranger(r, a)
	}
	status := strconv.Itoa(a.Status)
	res := op.Responses[status]
	if res == nil {
		return fmt.Errorf("%s answers with %d, which its row does not say: %.200s", op.OperationID, a.Status, a.Body)
	}
	if name, ok := strings.CutPrefix(res.Ref, "#/components/responses/"); ok {
		res = c.doc.Components.Responses[name]
		if err := c.errorCode(a); err != nil && !strings.HasPrefix(name, "V1") { // whose shapes hold no code
			return fmt.Errorf("%s: %w", op.OperationID, err)
		}
	}
	for name := range res.Headers {
		if name == "ETag" && a.Header.Get(name) == "" && a.Status < 300 && !streams(a.Header) && !optionalETag(r) {
			return fmt.Errorf("%s answers with %d and without the header %s, which its row promises", op.OperationID, a.Status, name)
		}
	}
	if err := c.media(op, res, r, a); err != nil {
		return fmt.Errorf("%s answers with %d: %w", op.OperationID, a.Status, err)
	}
	return nil
}

// optionalETag: a change of which nothing is kept leaves nothing to compare with, and neither does one that is answered again when what it made is gone.
func optionalETag(r *http.Request) bool {
	q := r.URL.Query()
	return r.Method == http.MethodDelete || q.Has("dry_run") || q.Has("validate") || q.Has("watch") || r.Header.Get("Idempotency-Key") != ""
}

func streams(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == "text/event-stream" || kind == "application/x-ndjson"
}

// media checks the media type of an answer, and its body.
func (c *Checker) media(op *openapi.OperationObject, res *openapi.Response, r *http.Request, a Answer) error {
	if len(res.Content) == 0 {
		if len(a.Body) > 0 {
			return fmt.Errorf("has a body where none is promised: %.200s", a.Body)
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("has the content type %q", a.Header.Get("Content-Type"))
	}
	m, ok := res.Content[kind]
	if !ok {
		return fmt.Errorf("is %s, which its row does not say", kind)
	}
	if kind != "application/json" || r.Method == http.MethodHead || a.Cut {
		return nil
	}
	return c.valid(m.Schema, a.Body)
}

// errorCode checks that the code of an envelope is one of its status.
func (c *Checker) errorCode(a Answer) error {
	var e api.Envelope
	if len(a.Body) == 0 || a.Cut {
		return nil
	}
	if err := json.Unmarshal(a.Body, &e); err != nil {
		return fmt.Errorf("status %d without an error envelope: %.200s", a.Status, a.Body)
	}
	if e.Error.Code != "" && e.Error.Code.HTTPStatus() != a.Status && e.Error.RequestID != "" {
		return fmt.Errorf("status %d with the code %s, which is one of %d", a.Status, e.Error.Code, e.Error.Code.HTTPStatus())
	}
	return nil
}

// stranger checks the answer to what is no operation at all.
func (c *Checker) stranger(r *http.Request, a Answer) error {
	if page := r.Method == http.MethodGet || r.Method == http.MethodHead; page && a.Status == 200 && strings.Contains(r.Header.Get("Accept"), "text/html") &&
		strings.Contains(a.Header.Get("Content-Security-Policy"), "'nonce-") {
		return nil // the console's page, at an address that it has a page for
	}
	switch a.Status {
	case 401, 403, 404, 405, 421:
	default:
		return fmt.Errorf("%s %s is no operation, and was answered with %d: %.200s", r.Method, r.URL.Path, a.Status, a.Body)
	}
	if openapi.FailureOf(r.URL.Path, a.Status) == openapi.FailureText {
		return nil
	}
	shape := "Envelope"
	if strings.HasPrefix(r.URL.Path, openapi.V1Gateway) {
		shape = string(openapi.FailureDenied)
	} else if r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") {
		shape = "OpenAIEnvelope"
		if c.doc.Components.Schemas[shape] == nil {
			return nil // a server without a gateway
		}
	}
	if r.Method == http.MethodHead || a.Cut {
		return nil
	}
	return c.valid(&openapi.Schema{Ref: "#/components/schemas/" + shape}, a.Body)
}

// valid holds a body against a schema.
func (c *Checker) valid(s *openapi.Schema, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("has a body that is not JSON: %.200s", body)
	}
	schema, err := c.compiled(s)
	if err != nil {
		return err
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("is off its schema: %w\n%.2000s", err, body)
	}
	return nil
}

// compiled returns a schema of the document, ready to use.
func (c *Checker) compiled(s *openapi.Schema) (*jsonschema.Schema, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known[string(text)]; known != nil {
		return known, nil
	}
	tree, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.ReplaceAll(string(text), `"$ref":"#/`, `"$ref":"`+docURL+`#/`)))
	if err != nil {
		return nil, err
	}
	closeObjects(tree)
	url := fmt.Sprintf("https://nebula.test/%d.json", len(c.known))
	if err := c.schemas.AddResource(url, tree); err != nil {
		return nil, err
	}
	out, err := c.schemas.Compile(url)
	if err == nil {
		c.known[string(text)] = out
	}
	return out, err
}
