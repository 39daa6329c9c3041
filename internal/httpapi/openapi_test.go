package httpapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
)

func TestOpenAPI_isServed(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/api/openapi.json", "/api/docs"} {
		res, body := s.call("GET", path, "", "Authorization", "Bearer "+secrets[auth.Inference])
		tag := res.Header.Get("ETag")
		if res.StatusCode != 200 || tag == "" || !strings.Contains(body, "createModel") {
			t.Errorf("%s: %d, ETag %s", path, res.StatusCode, tag)
		}
		if res, body := s.call("GET", path, "", "If-None-Match", `"x", W/`+tag); res.StatusCode != 304 || body != "" {
			t.Errorf("%s with the fresh ETag: %d %.80s", path, res.StatusCode, body)
		}
		if res, _ := s.call("GET", path, "", "If-None-Match", `"x"`); res.StatusCode != 200 {
			t.Errorf("%s with an old ETag: %d", path, res.StatusCode)
		}
		if res, _ := s.call("GET", path, "", "Authorization", ""); res.StatusCode != 401 {
			t.Errorf("%s without a credential: %d", path, res.StatusCode)
		}
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Role string `json:"x-nebula-role"`
		}
	}
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/openapi.json", "")), &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range httpapi.Routes(config(s.st)) {
		path := strings.Replace(r.Path, "{$}", "", 1)
		if got := doc.Paths[path][strings.ToLower(r.Method)].Role; got != r.Role.String() {
			t.Errorf("%s %s has the role %q in the document, and %s in the table", r.Method, path, got, r.Role)
		}
	}
}

// TestDocs_needNothing: the page works without a network and without scripts, and browsers are told to hold it to that.
func TestDocs_needNothing(t *testing.T) {
	s := serve(t)
	res, body := s.call("GET", "/api/docs", "")
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
	for _, bad := range []string{"<script", "http:", "https:", "<link", "<img", "style=", "onclick", "@import", "url("} {
		if strings.Contains(strings.ReplaceAll(body, "http://localhost:8080", ""), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestCodes(t *testing.T) {
	for name, c := range map[string]struct {
		route httpapi.Route
		has   []api.Code
		not   []api.Code
	}{
		"public":     {httpapi.Route{Method: "GET", Path: "/x", Role: auth.Public}, []api.Code{api.CodeMisdirected}, []api.Code{api.CodeUnauthorized, api.CodeNotFound}},
		"one object": {httpapi.Route{Method: "GET", Path: "/x/{id}", Role: auth.Viewer}, []api.Code{api.CodeForbidden, api.CodeNotFound}, []api.Code{api.CodeRevisionMismatch, api.CodeConflict}},
		"a list":     {httpapi.Route{Method: "GET", Path: "/x", Role: auth.Viewer, Has: httpapi.Pages}, []api.Code{api.CodeInvalidRequest}, []api.Code{api.CodeTooLarge}},
		"a change":   {httpapi.Route{Method: "PUT", Path: "/x/{id}", Role: auth.Admin, Request: api.PutSecret{}, Has: httpapi.Conditional}, []api.Code{api.CodeRevisionMismatch, api.CodeTooLarge, api.CodeConflict}, nil},
		"its own":    {httpapi.Route{Method: "GET", Path: "/x", Errors: []api.Code{api.CodeUpstream}}, []api.Code{api.CodeUpstream}, nil},
	} {
		got := httpapi.Codes(c.route)
		for _, code := range c.has {
			if !slices.Contains(got, code) {
				t.Errorf("%s: %v lacks %s", name, got, code)
			}
		}
		for _, code := range c.not {
			if slices.Contains(got, code) {
				t.Errorf("%s: %v has %s", name, got, code)
			}
		}
	}
}
