package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestHub_search: what a hub says goes through as it is, and what it does not say is absent; its failures are 502 with what to do.
func TestHub_search(t *testing.T) {
	var fails error
	asked := ""
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Hubs.Search = func(ctx context.Context, source api.ModelSource, words string, limit int) ([]api.HubModel, error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("a search may last for ever")
			}
			asked = fmt.Sprint(source, " ", words, " ", limit)
			none := uint64(0)
			return []api.HubModel{{ID: "acme/m", Source: source, Downloads: &none, Tags: []string{}, UpdatedAtMS: 5}}, fails
		}
	})
	for query, want := range map[string]string{
		"q=qwen": "hugging_face qwen 20", "q=a+b&limit=50&source=model_scope": "model_scope a b 50", "q=%20a%20&source=modelscope": "model_scope a 20", "q=a&source=hf": "hugging_face a 20",
	} {
		got := s.must(200, "GET", "/api/v2/hub/models?"+query, "", "Authorization", "Bearer "+strings.Repeat("v", 40))
		source, _, _ := strings.Cut(want, " ")
		if asked != want || strings.TrimSpace(got) != `[{"id":"acme/m","source":"`+source+`","downloads":0,"tags":[],"updated_at_ms":5}]` {
			t.Errorf("?%s: asked for %q: %s", query, asked, got)
		}
	}
	for _, query := range []string{"", "q=", "q=++", "q=%ff", "q=" + strings.Repeat("a", 201), "q=a&limit=0", "q=a&limit=51", "q=a&limit=x", "q=a&source=local", "q=a&source=ftp"} {
		errorOf(t, s.must(400, "GET", "/api/v2/hub/models?"+query, ""))
	}
	s.must(403, "GET", "/api/v2/hub/models?q=a", "", "Authorization", "Bearer "+strings.Repeat("i", 40))
	for _, c := range []struct {
		err        error
		says, wait string
	}{
		{errors.New("no route to host"), "no route to host. Try again, or declare the model by its name", ""},
		{context.DeadlineExceeded, "did not answer within 15s", ""},
		{&httpapi.HubBusyError{After: 1500 * time.Millisecond, Err: errors.New("hub.example limits the number of requests")}, "hub.example limits the number of requests. Try again in 2 s", "2"},
		{&httpapi.HubBusyError{Err: errors.New("busy")}, "in 1 s", "1"},
	} {
		fails = c.err
		res, body := s.call("GET", "/api/v2/hub/models?q=a", "")
		if e := errorOf(t, body); res.StatusCode != 502 || e.Code != api.CodeUpstream || !strings.Contains(e.Message, c.says) || res.Header.Get("Retry-After") != c.wait {
			t.Errorf("%v: %d %v, Retry-After %q", c.err, res.StatusCode, e, res.Header.Get("Retry-After"))
		}
	}
	offline := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Hubs = httpapi.Hubs{} })
	for _, path := range []string{"/api/v2/hub/models?q=a", "/api/v2/hub/files?name=a/b"} {
		if e := errorOf(t, offline.must(501, "GET", path, "")); !strings.Contains(e.Message, "--offline") {
			t.Errorf("offline: %v", e)
		}
	}
}

// TestHub_files: a repository's files go through; a name that is none and one that the hub does not have are told apart.
func TestHub_files(t *testing.T) {
	var fails error
	asked := ""
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Hubs.Files = func(_ context.Context, source api.ModelSource, name, revision string) (api.HubFiles, error) {
			asked = fmt.Sprint(source, " ", name, " ", revision)
			return api.HubFiles{Name: name, Source: source, Variants: []api.HubVariant{{File: "a-Q4_K_M.gguf", Parts: 1, SizeBytes: 5}}}, fails
		}
	})
	if got := s.must(200, "GET", "/api/v2/hub/files?name=acme/m&source=model_scope&revision=v2", ""); asked != "model_scope acme/m v2" || !strings.Contains(got, `"file":"a-Q4_K_M.gguf","parts":1,"size_bytes":5`) {
		t.Errorf("asked for %q: %s", asked, got)
	}
	s.must(400, "GET", "/api/v2/hub/files", "")
	s.must(400, "GET", "/api/v2/hub/files?name=a/b&source=local", "")
	for status, err := range map[int]error{
		400: &httpapi.HubNameError{Err: errors.New("no name")}, 404: &httpapi.HubNameError{Missing: true, Err: errors.New("not there")}, 502: errors.New("broken"),
	} {
		fails = err
		errorOf(t, s.must(status, "GET", "/api/v2/hub/files?name=a/b", ""))
	}
}
