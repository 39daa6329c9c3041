package hub

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// searched is a hub with one answer to every request.
type searched struct {
	asked, body string
	status      int
	header      http.Header
}

func (s *searched) client(t *testing.T, source api.ModelSource) *Client {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked = r.URL.Path + "?" + r.URL.RawQuery
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Error("a credential was sent")
		}
		for key := range s.header {
			w.Header().Set(key, s.header.Get(key))
		}
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.body) // the client may have left
	}))
	t.Cleanup(h.Close)
	c, err := New(Config{Source: source, Endpoint: h.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSearch_huggingFace(t *testing.T) {
	s := &searched{status: 200, body: `[{"_id":"1","id":"acme/Demo-7B","author":"acme","downloads":7,"likes":0,"tags":["gguf","license:apache-2.0"],"pipeline_tag":"text-generation",` +
		`"library_name":"gguf","gated":"manual","createdAt":"2025-01-02T03:04:05.000Z","lastModified":"2025-06-01T00:00:00.000Z"},{"id":"b","gated":false},{"id":"c"}]`}
	c := s.client(t, api.SourceHuggingFace)
	found, err := c.Search(t.Context(), "a b&c", 2)
	if err != nil {
		t.Fatal(err)
	}
	const want = "/api/models?direction=-1&expand%5B%5D=author&expand%5B%5D=createdAt&expand%5B%5D=downloads&expand%5B%5D=gated&expand%5B%5D=lastModified" +
		"&expand%5B%5D=library_name&expand%5B%5D=likes&expand%5B%5D=pipeline_tag&expand%5B%5D=tags&limit=2&search=a+b%26c&sort=downloads"
	if s.asked != want {
		t.Errorf("asked for %s", s.asked)
	}
	if diff := cmp.Diff([]Found{
		{
			ID: "acme/Demo-7B", Author: "acme", Task: "text-generation", Library: "gguf", Licence: "apache-2.0", Downloads: new(uint64(7)), Likes: new(uint64(0)),
			Tags: []string{"gguf", "license:apache-2.0"}, Created: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), Updated: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), Gated: new(true),
		},
		{ID: "b", Gated: new(false)},
	}, found); diff != "" {
		t.Error(diff)
	}
	s.body = "[]"
	if found, err := c.Search(t.Context(), "x", 500); err != nil || found == nil || len(found) != 0 {
		t.Errorf("nothing found: %v %v", found, err)
	}
	for _, bad := range []string{`{"error":"x"}`, `[{"id":7}]`, "", "null", "<html>", `[{"downloads":-1}]`, `[{"id":"a","lastModified":"yesterday"}]`} {
		s.body = bad
		if _, err := c.Search(t.Context(), "x", 2); !fail.Has(err, fail.BadServer) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for status, want := range map[int]fail.Reason{503: fail.Server, 404: fail.BadServer, 400: fail.BadServer, 401: fail.BadServer} {
		s.status = status
		if _, err := c.Search(t.Context(), "x", 2); !fail.Has(err, want) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestSearch_modelScope: the answer is one that ModelScope gives to GET /openapi/v1/models, with fields that nobody reads.
func TestSearch_modelScope(t *testing.T) {
	s := &searched{status: 200, body: `{"success":true,"request_id":"r","data":{"models":[{"id":"Qwen/Qwen3-0.6B","display_name":"Qwen3","description":"","downloads":12,"likes":3,` +
		`"license":"apache-2.0","tasks":["text-generation","chat"],"created_at":"2025-04-27T03:17:31Z","last_modified":"2025-07-26T17:40:28Z","file_size":1503300328,"params":751632384,` +
		`"tags":["library:transformers"],"private":false,"gated":false}],"total_count":51,"page_number":1,"page_size":20}}`}
	c := s.client(t, api.SourceModelScope)
	found, err := c.Search(t.Context(), "qwen 3", 500)
	if err != nil {
		t.Fatal(err)
	}
	if s.asked != "/openapi/v1/models?page_number=1&page_size=50&search=qwen+3&sort=downloads" {
		t.Errorf("asked for %s", s.asked)
	}
	if diff := cmp.Diff([]Found{{
		ID: "Qwen/Qwen3-0.6B", Task: "text-generation", Library: "transformers", Licence: "apache-2.0", Downloads: new(uint64(12)), Likes: new(uint64(3)), Tags: []string{"library:transformers"},
		Created: time.Date(2025, 4, 27, 3, 17, 31, 0, time.UTC), Updated: time.Date(2025, 7, 26, 17, 40, 28, 0, time.UTC), Gated: new(false), Parameters: 751632384, Bytes: 1503300328,
	}}, found); diff != "" {
		t.Error(diff)
	}
	s.body = `{"success":true,"data":{"models":null,"total_count":0}}`
	if found, err := c.Search(t.Context(), "x", 5); err != nil || found == nil || len(found) != 0 {
		t.Errorf("nothing found: %v %v", found, err)
	}
	for _, bad := range []string{`[]`, `{"success":false,"message":"no"}`, `{"success":true}`, `{"success":true,"data":{"models":[{"id":1}]}}`, "", "<html>"} {
		s.body = bad
		if _, err := c.Search(t.Context(), "x", 2); !fail.Has(err, fail.BadServer) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestSearch_waitsForNobody: a hub that asks for patience is left alone for that long, and whoever searches is told at once.
func TestSearch_waitsForNobody(t *testing.T) {
	for _, source := range []api.ModelSource{api.SourceHuggingFace, api.SourceModelScope} {
		s := &searched{status: 429, header: http.Header{"Retry-After": {"90"}}}
		c := s.client(t, source)
		for range 2 {
			if _, err := c.Search(t.Context(), "x", 2); !fail.Has(err, fail.RateLimited) || c.Busy() < time.Minute || c.Busy() > 90*time.Second {
				t.Errorf("%s: %v, busy for %s", source, err, c.Busy())
			}
			if s.asked == "" {
				t.Errorf("%s was asked again", source)
			}
			s.asked = "not again"
		}
		if s.asked != "not again" {
			t.Errorf("%s was asked for %s", source, s.asked)
		}
	}
}
