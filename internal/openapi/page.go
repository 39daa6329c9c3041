package openapi

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// PageStyle is the style of the page: its colours, in light and dark, and its text. Other pages of Nebula have it, too.
func PageStyle() string { return pageStyle }

// WritePage writes d as one HTML page that needs nothing else: no script, no font, no network.
func WritePage(w io.Writer, d *Document) error {
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, pageOf(d))
}

// page is the document in the order in which people read it.
type page struct {
	Style   template.CSS
	Info    Info
	Groups  []pageGroup
	Schemas []pageSchema
}

type pageGroup struct {
	Tag
	Operations []pageOperation
}

type pageOperation struct {
	*OperationObject
	Method, Path, Curl string
	Body, Answer       []pageBody
	Failures           []pageFailure
	Sends              []string
}

type pageBody struct {
	Media   string
	Type    pageType
	Example string
}

type pageFailure struct{ Status, Words string }

type pageSchema struct {
	Name, Words string
	Enum        []any
	Fields      []pageField
}

type pageField struct {
	Name, Words string
	Type        pageType
	Required    bool
}

// pageType is a type in words, and the schema that it links to.
type pageType struct{ Before, Link, After string }

var methods = []string{"get", "post", "put", "patch", "delete"}

func pageOf(d *Document) page {
	p := page{Style: template.CSS(pageStyle), Info: d.Info} //nolint:gosec // our own file
	paths := sortedKeys(d.Paths)
	for _, tag := range d.Tags {
		g := pageGroup{Tag: tag}
		for _, path := range paths {
			for _, m := range methods {
				if o := d.Paths[path][m]; o != nil && o.Tags[0] == tag.Name {
					g.Operations = append(g.Operations, d.pageOperation(strings.ToUpper(m), path, o))
				}
			}
		}
		p.Groups = append(p.Groups, g)
	}
	for _, name := range sortedKeys(d.Components.Schemas) {
		s := d.Components.Schemas[name]
		ps := pageSchema{Name: name, Words: s.Description, Enum: s.Enum}
		for _, f := range s.Properties {
			ps.Fields = append(ps.Fields, pageField{f.Name, f.Schema.Description, typeOf(f.Schema), slices.Contains(s.Required, f.Name)})
		}
		p.Schemas = append(p.Schemas, ps)
	}
	return p
}

func (d *Document) pageOperation(method, path string, o *OperationObject) pageOperation {
	out := pageOperation{OperationObject: o, Method: method, Path: path, Curl: d.curl(method, path, o)}
	if o.RequestBody != nil {
		out.Body = d.pageBodies(o.RequestBody.Content)
	}
	for _, status := range sortedKeys(o.Responses) {
		res := o.Responses[status]
		if name, ok := strings.CutPrefix(res.Ref, "#/components/responses/"); ok {
			out.Failures = append(out.Failures, pageFailure{status, d.Components.Responses[name].Description})
			continue
		}
		out.Answer = append(out.Answer, d.pageBodies(res.Content)...)
		out.Sends = sortedKeys(res.Headers)
		if len(res.Content) == 0 {
			out.Answer = append(out.Answer, pageBody{Media: status + " without a body"})
		}
	}
	return out
}

func (d *Document) pageBodies(content map[string]Media) []pageBody {
	var out []pageBody
	for _, media := range sortedKeys(content) {
		s := content[media].Schema
		b := pageBody{Media: media, Type: typeOf(s)}
		if media == "application/json" {
			b.Example = d.exampleJSON(s)
		} else {
			b.Type = pageType{Before: s.Description}
		}
		out = append(out, b)
	}
	return out
}

// curl is a request that a person can try.
func (d *Document) curl(method, path string, o *OperationObject) string {
	var b strings.Builder
	b.WriteString("curl")
	if method != "GET" {
		b.WriteString(" -X " + method)
	}
	switch {
	case len(o.Security) == 0:
	case o.Security[0]["certificate"] != nil:
		b.WriteString(" --cert machine.crt --key machine.key --cacert ca.crt")
	default:
		b.WriteString(` -H "Authorization: Bearer $NEBULA_TOKEN"`)
	}
	if o.RequestBody != nil {
		if s := o.RequestBody.Content["application/json"].Schema; s != nil {
			body := strings.Join(strings.Fields(d.exampleJSON(s)), " ")
			fmt.Fprintf(&b, " \\\n  -H 'Content-Type: application/json' \\\n  -d '%s'", strings.ReplaceAll(body, "'", `'\''`))
		}
	}
	url := "http://localhost:8080" + strings.NewReplacer("{", "", "}", "").Replace(upperParams(path))
	b.WriteString(" \\\n  '" + url + "'")
	return b.String()
}

// upperParams writes {uid} as {UID}, so that what is to be replaced is seen.
func upperParams(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = strings.ToUpper(s)
		}
	}
	return strings.Join(segments, "/")
}

func typeOf(s *Schema) pageType {
	if s == nil {
		return pageType{}
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return pageType{Link: name}
	}
	if len(s.AnyOf) == 2 {
		t := typeOf(s.AnyOf[0])
		t.After += " or null"
		return t
	}
	kinds, _ := s.Type.([]string)
	kind, _ := s.Type.(string)
	null := ""
	if len(kinds) > 0 {
		kind, null = kinds[0], " or null"
	}
	switch {
	case kind == "array":
		t := typeOf(s.Items)
		t.Before, t.After = "list of "+t.Before, t.After+null
		return t
	case kind == "object" && s.AdditionalProperties != nil:
		values, ok := s.AdditionalProperties.(*Schema)
		if !ok {
			return pageType{Before: "object" + null}
		}
		t := typeOf(values)
		t.Before, t.After = "map of text to "+t.Before, t.After+null
		return t
	case s.Enum != nil:
		var words []string
		for _, v := range s.Enum {
			if v != nil {
				words = append(words, fmt.Sprintf("%q", v))
			}
		}
		return pageType{Before: strings.Join(words, " | ") + null}
	case kind == "":
		return pageType{Before: "anything"}
	case s.ContentEncoding != "":
		return pageType{Before: s.ContentEncoding + " " + kind + null}
	}
	return pageType{Before: kind + null}
}
