package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// docRoutes are the rows about the API itself.
func (s *server) docRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/openapi.json", Role: auth.Inference, Summary: "This API as an OpenAPI 3.1 document", Response: map[string]any{}, Has: Cached, Handle: s.openAPI},
		{Method: "GET", Path: "/api/docs", Role: auth.Inference, Summary: "This API as a page for people", Media: "text/html", Has: Cached, Handle: s.docs},
	}
}

// Codes lists the codes with which a route may fail: those of its kind, and its own.
func Codes(r Route) []api.Code {
	codes := []api.Code{api.CodeMisdirected, api.CodeInternal, api.CodeUnavailable}
	add := func(when bool, more ...api.Code) {
		if when {
			codes = append(codes, more...)
		}
	}
	inference := openapi.IsInference(r.Path)
	add(r.Role != auth.Public, api.CodeUnauthorized, api.CodeForbidden)
	add(r.Request != nil || inference && r.Method != http.MethodGet, api.CodeInvalidRequest, api.CodeTooLarge, api.CodeUnsupportedMedia)
	add(len(queryOf(r)) > 0 || len(headersOf(r)) > 0, api.CodeInvalidRequest)
	add(strings.Contains(r.Path, "{") && !strings.Contains(r.Path, "{$}"), api.CodeNotFound)
	add(r.Has&Conditional != 0 && r.Method != http.MethodGet, api.CodeRevisionMismatch)
	add(r.Method != http.MethodGet, api.CodeInvalidRequest) // a dry run where there is none
	add(r.Method != http.MethodGet && r.Role <= auth.Admin, api.CodeConflict, api.CodeTimeout)
	add(inference, api.CodeInvalidRequest, api.CodeNotFound, api.CodeTooManyRequests, api.CodeUpstream, api.CodeTimeout)
	codes = append(codes, r.Errors...)
	slices.Sort(codes)
	return slices.Compact(codes)
}

// queryOf lists the parameters of a route's query, those of its traits among them.
func queryOf(r Route) []openapi.Param {
	var out []openapi.Param
	for _, p := range r.Query {
		out = append(out, openapi.Param(p))
	}
	if len(r.Sort) > 0 {
		out = append(out, openapi.Param{
			Name: "sort", Type: "string", Summary: "The order: one of these, with - before it the other way round; " + r.Sort[0] + " when absent", Enum: bothWays(r.Sort),
		})
	}
	add := func(t Trait, name, kind, summary string) {
		if r.Has&t != 0 {
			out = append(out, openapi.Param{Name: name, Type: kind, Summary: summary})
		}
	}
	add(Pages, "limit", "integer", "How many at most, from 1 to 1000; all when absent")
	add(Pages, "cursor", "string", "Go on after the page that gave this cursor")
	add(Watches, "watch", "boolean", "Stay, and send what is and every change as server-sent events")
	add(Watches, "since", "integer", "With watch: go on after this revision, which is the id of the last event that was seen")
	add(DryRuns, "dry_run", "boolean", "Only tell what would happen: nothing is changed")
	add(DryRuns, "validate", "boolean", "The same as dry_run")
	return out
}

// headersOf lists the headers that a route reads.
func headersOf(r Route) []openapi.Param {
	var out []openapi.Param
	add := func(when bool, name, summary string) {
		if when {
			out = append(out, openapi.Param{Name: name, Type: "string", Summary: summary})
		}
	}
	add(r.Has&Conditional != 0 && r.Method != http.MethodGet, "If-Match", "The ETag of what is to be changed: if it has changed since, nothing is done and the answer is 412")
	add(r.Has&Creates != 0, "Idempotency-Key", "A name for this request: sent again with it, it is done once and answered alike")
	add(r.Has&Watches != 0, "Last-Event-ID", "With watch: the same as since")
	add(r.Has&Cached != 0, "If-None-Match", "The ETag of what the caller has: if that is all there is, the answer is 304")
	return out
}

// Operations returns the table as the OpenAPI document needs it.
func Operations(cfg Config) []openapi.Operation { return operations(Routes(cfg)) }

func operations(table []Route) []openapi.Operation {
	out := make([]openapi.Operation, 0, len(table))
	for _, r := range table {
		op := openapi.Operation{
			Method: r.Method, Path: r.Path, Summary: r.Summary, Access: openapi.ForPeople, Role: r.Role.String(), Query: queryOf(r), Header: headersOf(r),
			OptionalBody: r.Has&OptionalBody != 0, Status: r.Status, NotModified: r.Has&Cached != 0, Errors: Codes(r), Sends: []string{"X-Request-Id"},
			Deprecated: openapi.IsV1(r.Path),
		}
		switch {
		case r.Role == auth.Public:
			op.Access = openapi.ForPublic
		case r.Role > auth.Admin:
			op.Access = openapi.ForMachines
		}
		if r.Request != nil {
			op.Request = reflect.TypeOf(r.Request)
		}
		if r.Response != nil {
			op.Response = reflect.TypeOf(r.Response)
		}
		if r.Media != "" {
			op.Media = strings.Split(r.Media, ", ")
		}
		add := func(when bool, names ...string) {
			if when {
				op.Sends = append(op.Sends, names...)
			}
		}
		if r.Has&Watches != 0 {
			op.Media = append(op.Media, "text/event-stream")
		}
		add(r.Has&(Conditional|Cached) != 0, "ETag")
		add(r.Has&Pages != 0, "Link", "Nebula-Next-Cursor", "Nebula-Total")
		add(r.Has&Resumes != 0, "Nebula-Revision")
		add(op.Deprecated, "Link", "Deprecation")
		add(r.Status == http.StatusCreated || r.Status == http.StatusSeeOther, "Location")
		out = append(out, op)
	}
	return out
}

// described is the API as it is served.
type described struct {
	document, page       []byte
	documentTag, pageTag string
}

// describe makes the document and the page of a table.
func describe(table []Route) (described, error) {
	prose, err := openapi.APIProse()
	if err != nil {
		return described{}, err
	}
	doc, err := openapi.Build(operations(table), prose)
	if err != nil {
		return described{}, fmt.Errorf("describe the API: %w", err)
	}
	var d described
	if d.document, err = doc.JSON(); err != nil {
		return described{}, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var page bytes.Buffer
	if err := openapi.WritePage(&page, doc); err != nil {
		return described{}, fmt.Errorf("write the page about the API: %w", err)
	}
	d.page = page.Bytes()
	d.documentTag, d.pageTag = contentTag(d.document), contentTag(d.page)
	return d, nil
}

func contentTag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

func (s *server) openAPI(w http.ResponseWriter, r *http.Request) error {
	d, err := s.described()
	if err != nil {
		return err
	}
	return sendCached(w, r, "application/json", d.documentTag, d.document)
}

// docs sends the page. It holds no scripts, and takes nothing from anywhere: the browser is told to hold it to that.
func (s *server) docs(w http.ResponseWriter, r *http.Request) error {
	d, err := s.described()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", pagePolicy([]string{openapi.PageStyle()}, nil))
	return sendCached(w, r, "text/html; charset=utf-8", d.pageTag, d.page)
}

// sendCached sends what changes with the program alone, or tells the caller that it has it.
func sendCached(w http.ResponseWriter, r *http.Request, media, tag string, body []byte) error {
	return sendKept(w, r, kept{media: media, tag: tag, keep: "private, no-cache", body: body}) // kept by the caller, and asked about each time
}

// kept is an answer that callers may keep.
type kept struct {
	media, tag string
	keep       string // Cache-Control
	body       []byte
}

// sendKept sends an answer, or tells the caller that it has it.
func sendKept(w http.ResponseWriter, r *http.Request, k kept) error {
	h := w.Header()
	h.Set("ETag", k.tag)
	h.Set("Cache-Control", k.keep)
	for known := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == k.tag || known == "*" {
			h.Del("Content-Length")
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	h.Set("Content-Type", k.media)
	_, _ = w.Write(k.body) // the caller may have left
	return nil
}
