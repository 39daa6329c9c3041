package hub

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

func TestSearch(t *testing.T) {
	body, status := `[{"id":"acme/Demo-7B","downloads":7,"likes":1,"tags":["gguf"],"pipeline_tag":"text-generation"},{"id":"b"},{"id":"c"}]`, 200
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Path + "?" + r.URL.RawQuery; got != "/api/models?direction=-1&limit=2&search=a+b%26c&sort=downloads" {
			t.Errorf("asked for %s", got)
		}
		if r.Header.Get("Authorization") != "" {
			t.Error("a credential was sent")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may have left
	}))
	defer h.Close()
	c, err := New(Config{Endpoint: h.URL})
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.Search(t.Context(), "a b&c", 2)
	if err != nil || len(found) != 2 || found[0].ID != "acme/Demo-7B" || found[0].Downloads != 7 || found[0].PipelineTag != "text-generation" {
		t.Errorf("%+v %v", found, err)
	}
	for _, bad := range []string{`{"error":"x"}`, `[{"id":7}]`, "", "<html>", `[{"downloads":-1}]`} {
		body = bad
		if _, err := c.Search(t.Context(), "a b&c", 2); !fail.Has(err, fail.BadServer) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	status = 503
	if _, err := c.Search(t.Context(), "a b&c", 2); !fail.Has(err, fail.Server) {
		t.Errorf("503: %v", err)
	}
	scope, err := New(Config{Endpoint: h.URL, Source: api.SourceModelScope})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scope.Search(t.Context(), "x", 2); !fail.Has(err, fail.Unsupported) {
		t.Errorf("ModelScope: %v", err)
	}
}
