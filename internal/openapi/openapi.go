// Package openapi describes the API as an OpenAPI 3.1 document and as a page for people. It is a function from rows to a document: it serves
// nothing, and it knows no handler, no store and no clock.
package openapi

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Operation is what the document needs to know of one route.
type Operation struct {
	Method  string
	Path    string // as http.ServeMux takes it: {name}, {name...} and {$}
	Summary string
	// Access is who may call it.
	Access Access
	Role   string  // the least role, in words
	Query  []Param // what may follow "?"
	Header []Param // headers of the request
	// Request is the type of the body, Response that of the answer; nil: there is none, and the answer is not JSON.
	Request, Response reflect.Type
	OptionalBody      bool
	Media             []string // of an answer that is not JSON, or not always
	Status            int      // of success
	NotModified       bool     // 304 is an answer, too
	Errors            []api.Code
	Sends             []string // names of headers of the answer, of those in [Headers]
	Deprecated        bool     // old clients alone should call it
}

// Access is who may call an operation, as far as it decides which credential is shown.
type Access int

// The kinds of access.
const (
	ForPublic   Access = iota // everybody: no credential
	ForPeople                 // people and their programs, with a token, a key or a session
	ForMachines               // machines of the cluster, with their certificate
)

// Param is a parameter of a query, or a header.
type Param struct {
	Name, Summary string
	Type          string   // string, integer or boolean
	Enum          []string // of a string; nil = any
}

// Build makes the document of ops. It fails on what it cannot describe: a row without an answer, a type that is not of package api.
func Build(ops []Operation, prose Prose) (*Document, error) {
	g := newGenerator(prose)
	for _, op := range ops {
		if err := g.learn(op); err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.Method, op.Path, err)
		}
	}
	d := &Document{
		OpenAPI: "3.1.0",
		Info: Info{
			Title: "Nebula", Version: "2",
			Summary:     "Declare, run and call models on your own machines.",
			Description: about,
			License:     &License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers: []Server{{URL: "/"}},
		Paths:   map[string]PathItem{},
	}
	ids := map[string]string{}
	for _, op := range ops {
		o, err := g.operation(op)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.Method, op.Path, err)
		}
		if was, taken := ids[o.OperationID]; taken {
			return nil, fmt.Errorf("%s %s and %s have the same operation id %s", op.Method, op.Path, was, o.OperationID)
		}
		ids[o.OperationID] = op.Method + " " + op.Path
		path := pathTemplate(op.Path)
		if d.Paths[path] == nil {
			d.Paths[path] = PathItem{}
		}
		d.Paths[path][strings.ToLower(op.Method)] = o
	}
	d.Tags = usedTags(d)
	d.Components = g.components()
	return d, nil
}

const about = "Every request but those for health, login and set-up carries a credential. Every error has the same shape, with a code for programs, a " +
	"message that says what to do next, and the id of the request. Fields that are not in this document may come with later versions: ignore them."

// pathTemplate is a path as OpenAPI writes it.
func pathTemplate(path string) string {
	return strings.NewReplacer("{$}", "", "...}", "}").Replace(path)
}

// operation describes one row.
func (g *generator) operation(op Operation) (*OperationObject, error) {
	if op.Summary == "" {
		return nil, fmt.Errorf("has no summary")
	}
	o := &OperationObject{
		OperationID: operationID(op), Summary: op.Summary, Tags: []string{tagOf(op)}, Role: op.Role,
		Security: securityOf(op), Deprecated: op.Deprecated, Responses: map[string]*Response{},
	}
	o.Parameters = pathParams(op.Path)
	for _, p := range op.Query {
		o.Parameters = append(o.Parameters, p.parameter("query"))
	}
	for _, p := range op.Header {
		o.Parameters = append(o.Parameters, p.parameter("header"))
	}
	if IsInference(op.Path) {
		describeInference(op, o)
	} else if err := g.bodies(op, o); err != nil {
		return nil, err
	}
	return o, g.errors(op, o)
}

func (p Param) parameter(in string) Parameter {
	s := &Schema{Type: p.Type}
	for _, v := range p.Enum {
		s.Enum = append(s.Enum, v)
	}
	return Parameter{Name: p.Name, In: in, Description: p.Summary, Schema: s}
}

// bodies describes what an operation takes and what it answers with.
func (g *generator) bodies(op Operation, o *OperationObject) error {
	if op.Request != nil {
		s, err := g.schema(op.Request, in)
		if err != nil {
			return err
		}
		o.RequestBody = &RequestBody{Required: !op.OptionalBody, Content: map[string]Media{"application/json": {Schema: s}}}
	}
	res := &Response{Description: "Done", Headers: headersOf(op.Sends), Content: map[string]Media{}}
	if op.Response != nil {
		s, err := g.schema(op.Response, out)
		if err != nil {
			return err
		}
		res.Content["application/json"] = Media{Schema: s}
	}
	for _, media := range op.Media {
		res.Content[media] = Media{Schema: &Schema{Type: "string", Description: mediaWords[media]}}
	}
	if (len(res.Content) == 0) != (op.Status == http.StatusNoContent || op.Status == http.StatusSeeOther) {
		return fmt.Errorf("must have a Response, a Media, or one of the statuses 204 and 303, and not both")
	}
	o.Responses[strconv.Itoa(op.Status)] = res
	if op.NotModified {
		o.Responses["304"] = &Response{Description: "What the caller has is what there is", Headers: headersOf(op.Sends)}
	}
	return nil
}

// errors adds every status that an operation may fail with.
func (g *generator) errors(op Operation, o *OperationObject) error {
	for _, code := range op.Errors {
		shape := FailureOf(op.Path, code.HTTPStatus())
		if of := failureTypes[shape]; of != nil {
			if _, err := g.schema(of, out); err != nil {
				return err
			}
		}
		status := strconv.Itoa(code.HTTPStatus())
		o.Responses[status] = &Response{Ref: "#/components/responses/" + string(shape) + status}
		g.failures[string(shape)+status] = failure{shape, code.HTTPStatus()}
	}
	return nil
}

func headersOf(names []string) map[string]*Header {
	out := map[string]*Header{}
	for _, name := range names {
		out[name] = &Header{Ref: "#/components/headers/" + name}
	}
	return out
}

// pathParams describes the parts of a path that callers fill in, by the word before each: in /nodes/{id} it is the id of the node.
func pathParams(path string) []Parameter {
	var out []Parameter
	noun := ""
	for seg := range strings.SplitSeq(path, "/") {
		name, ok := strings.CutPrefix(seg, "{")
		switch {
		case !ok:
			noun = singular(seg)
		case name != "$}":
			name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
			what := name
			if name == noun {
				what = "id"
			}
			out = append(out, Parameter{Name: name, In: "path", Required: true, Description: what + " of the " + noun, Schema: &Schema{Type: "string"}})
		}
	}
	return out
}

func securityOf(op Operation) []map[string][]string {
	switch op.Access {
	case ForPublic:
		return []map[string][]string{}
	case ForMachines:
		return []map[string][]string{{"certificate": {}}}
	}
	return []map[string][]string{{"bearer": {}}, {"key": {}}, {"session": {}}}
}

// components are the named parts that operations refer to.
func (g *generator) components() Components {
	c := Components{
		Schemas: g.named, Headers: map[string]*Header{}, Responses: map[string]*Response{},
		SecuritySchemes: map[string]SecurityScheme{
			"bearer":      {Type: "http", Scheme: "bearer", Description: "A personal token, an API key, or the admin credential of the first start"},
			"key":         {Type: "apiKey", In: "header", Name: "x-api-key", Description: "The same, as some clients send it"},
			"session":     {Type: "apiKey", In: "cookie", Name: SessionCookie, Description: "The session of a person who has logged in"},
			"certificate": {Type: "mutualTLS", Description: "The certificate that a machine got when it joined, on the servers' fleet port"},
		},
	}
	for name, words := range Headers {
		c.Headers[name] = &Header{Description: words, Schema: &Schema{Type: "string"}}
	}
	for name, f := range g.failures {
		status, words := f.status, []string{}
		for _, v := range g.prose.Enums["Code"] {
			if api.Code(v.Value).HTTPStatus() == status {
				words = append(words, v.Value)
			}
		}
		slices.Sort(words)
		c.Responses[name] = &Response{
			Description: http.StatusText(status) + ": " + strings.Join(words, ", "), Headers: headersOf([]string{"X-Request-Id"}),
			Content: map[string]Media{"text/plain": {Schema: &Schema{Type: "string", Description: mediaWords["text/plain"]}}},
		}
		if of := failureTypes[f.shape]; of != nil {
			c.Responses[name].Content = map[string]Media{"application/json": {Schema: &Schema{Ref: "#/components/schemas/" + of.Name()}}}
		}
	}
	return c
}

// SessionCookie is the name of the cookie that holds a session; over TLS it has the prefix __Host-.
const SessionCookie = "nebula-session"

// Headers are the headers that answers may have, and what they say.
var Headers = map[string]string{
	"X-Request-Id":       "The id of the request, also in Nebula's log",
	"ETag":               "The revision of what was read or written: send it as If-Match with a change",
	"Location":           "Where the new object is",
	"Link":               "The next page, with rel=\"next\", but on the last one; with rel=\"successor-version\" what has taken the place of a route of version 1",
	"Nebula-Next-Cursor": "The cursor of the next page; absent on the last one",
	"Nebula-Total":       "How many there are on all pages; absent where nobody counts them, as in the audit log",
	"Nebula-Revision":    "The revision that the list is of: a watch with the same filter goes on after it with ?since=",
	"Retry-After":        "Seconds to wait before another try",
	"Deprecation":        "Since when this is for old clients alone, as RFC 9745 has it",
}

var mediaWords = map[string]string{
	"text/event-stream":        "Server-sent events; each has the name of its kind, the revision as its id, and JSON as its data",
	"application/x-ndjson":     "A JSON object on each line",
	"application/octet-stream": "Bytes",
	"text/plain":               "Text",
	"text/html":                "A page",
}
