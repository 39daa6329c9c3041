package httpapi_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
)

// newAPI is the one way to the HTTP surface for the tests of this package: whatever it answers is held against the OpenAPI document of its table,
// and what the document does not say fails the test that asked.
func newAPI(t testing.TB, cfg httpapi.Config) http.Handler {
	t.Helper()
	c, err := openapitest.NewChecker(httpapi.Operations(cfg))
	if err != nil {
		t.Fatalf("the table cannot be described: %v", err)
	}
	return openapitest.Wrap(t, c, httpapi.New(cfg))
}

// TestSurface_isAlwaysChecked: no test of this package goes past newAPI.
func TestSurface_isAlwaysChecked(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if f != "surface_test.go" && bytes.Contains(text, []byte("httpapi.New(")) {
			t.Errorf("%s calls httpapi.New: use newAPI(t, cfg), which holds every answer against the OpenAPI document", f)
		}
	}
}
