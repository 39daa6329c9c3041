package app

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/test/hub"
)

// TestHubs_askTheHubs: both hubs are searched, and a repository's GGUF files are told with their sizes, over their own protocols.
func TestHubs_askTheHubs(t *testing.T) {
	h := hub.Start(t, hub.Repo{ID: "Acme/Demo-GGUF", Gated: true, Files: map[string][]byte{
		"demo-Q8_0.gguf": make([]byte, 900), "demo-Q4_K_M-00001-of-00002.gguf": make([]byte, 300), "demo-Q4_K_M-00002-of-00002.gguf": make([]byte, 100),
		"lost-00001-of-00002.gguf": make([]byte, 1), "README.md": []byte("hello"),
	}}, hub.Repo{ID: "Acme/Secret", Private: true})
	hubs, err := newHubs(Options{Running: NodeOptions{HFEndpoint: h.URL, ScopeEndpoint: h.ScopeURL}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []api.ModelSource{api.SourceHuggingFace, api.SourceModelScope} {
		found, err := hubs.Search(t.Context(), source, "acme", 500)
		if err != nil || len(found) != 1 || found[0].ID != "Acme/Demo-GGUF" || found[0].Source != source || found[0].Gated == nil || !*found[0].Gated ||
			found[0].UpdatedAtMS != 1767225600000 || found[0].Licence != "apache-2.0" || found[0].Author != "Acme" {
			t.Errorf("%s: %+v %v", source, found, err)
		}
		files, err := hubs.Files(t.Context(), source, "Acme/Demo-GGUF", "")
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if diff := cmp.Diff([]api.HubVariant{{File: "demo-Q4_K_M-00001-of-00002.gguf", Parts: 2, SizeBytes: 400}, {File: "demo-Q8_0.gguf", Parts: 1, SizeBytes: 900}}, files.Variants); diff != "" {
			t.Errorf("%s: %s", source, diff)
		}
		if files.Files < 5 || files.SizeBytes < 1306 || files.Commit == "" || files.Revision == "" {
			t.Errorf("%s: %+v", source, files)
		}
		for name, missing := range map[string]bool{"../x": false, "a b": false, "Acme/none": true, "Acme/Secret": true} {
			_, err := hubs.Files(t.Context(), source, name, "")
			if wrong, ok := errors.AsType[*httpapi.HubNameError](err); !ok || wrong.Missing != missing {
				t.Errorf("%s %q: %v", source, name, err)
			}
		}
		if _, err := hubs.Files(t.Context(), source, "Acme/Demo-GGUF", "no-such"); err == nil || !strings.Contains(err.Error(), "revision") {
			t.Errorf("%s, no such revision: %v", source, err)
		}
	}
	off, err := newHubs(Options{Running: NodeOptions{Offline: true}})
	if err != nil || off.Search != nil || off.Files != nil {
		t.Error("an offline process asks hubs")
	}
}
