package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/client"
)

// everything is what the API shows of the old cluster beside the list of models, a line a document; of the bulk, and of what Nebula brings along, nothing.
func everything(t *testing.T, n *nebula) string {
	t.Helper()
	plain := client.New(n.url, n.token()) // a category and a policy that nobody knows are shown as they are, which the OpenAPI document does not promise
	var out strings.Builder
	for _, path := range []string{
		"/api/overview", "/api/v2/models/demo-7b", "/api/v2/nodes", "/api/v2/endpoints", "/api/v2/templates", "/api/images", "/api/images/status",
		"/api/v2/cache/summary", "/api/v2/alerts",
	} {
		res, err := plain.Do(t.Context(), http.MethodGet, path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		var doc any
		if err == nil {
			err = json.Unmarshal(b, &doc)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		fmt.Fprintf(&out, "== %s\n", path)
		if object, ok := doc.(map[string]any); ok && path != "/api/v2/models/demo-7b" {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				fmt.Fprintf(&out, "= %s\n", name)
				documents(&out, object[name])
			}
		} else {
			documents(&out, doc)
		}
	}
	return out.String()
}

var (
	ofBulk  = regexp.MustCompile(`bulk_|"old-\d\d"|"template_id":"(?:[^t]|t[^-_])`) // and the templates that Nebula brings along
	moments = regexp.MustCompile(`:1(?:7[6-9]|[89][0-9])[0-9]{10}\b`)               // all that is later than the old cluster
)

// documents writes a list, one document a line, or the one that it is.
func documents(out *strings.Builder, doc any) {
	list, ok := doc.([]any)
	if !ok {
		list = []any{doc}
	}
	for _, d := range list {
		b, err := json.Marshal(d) // maps, so that the fields are in order of their names
		if err != nil {
			b = []byte(err.Error())
		}
		if !ofBulk.Match(b) {
			fmt.Fprintf(out, "%s\n", moments.ReplaceAll(b, []byte(`:"NOW"`)))
		}
	}
}

// reported is what the server's log says of documents that it cannot read.
func reported(n *nebula) string {
	var lines []string
	for line := range strings.Lines(n.log.String()) {
		var said struct{ Msg, Key, Reason string }
		if json.Unmarshal([]byte(line), &said) == nil && strings.HasPrefix(said.Msg, "stored document cannot be read") {
			lines = append(lines, said.Key+": "+said.Reason+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
