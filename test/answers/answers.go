// Package answers holds what real servers answer in tests against the OpenAPI document: every answer to the command line in terminal sessions, and to
// the clients of end-to-end tests. It is in no program that people get.
package answers

import (
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
)

// NewChecker returns the checker of a server that has every route.
func NewChecker() (*openapitest.Checker, error) {
	return openapitest.NewChecker(httpapi.Operations(Config()))
}

// Config is that of a server that has every route, for its table alone: it serves nothing.
func Config() httpapi.Config {
	cfg := httpapi.Config{Control: control.New(nil, time.Now), Feed: http.NotFoundHandler()}
	for _, r := range (&gateway.Gateway{}).Routes() {
		cfg.Inference = append(cfg.Inference, httpapi.InferenceRoute{Method: r.Method, Path: r.Path, Summary: r.Summary, Handler: r.Handler})
	}
	return cfg
}

// Folder is the variable that names the folder in which Keeping keeps answers.
const Folder = "NEBULA_TEST_ANSWERS"

// Keeping is what a test's own nebula puts around its transport: answers are kept for CheckAtEnd, which runs in the test.
func Keeping() func(http.RoundTripper) http.RoundTripper {
	dir := os.Getenv(Folder)
	if dir == "" {
		return nil
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return openapitest.Through(next, openapitest.ToFolder(dir))
	}
}

// CheckAtEnd returns a folder for Keeping, and holds what is in it against the document when the test and its subtests are over.
func CheckAtEnd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		c, err := NewChecker()
		if err != nil {
			t.Fatal(err)
		}
		n, err := openapitest.CheckFolder(c, dir)
		if err != nil {
			t.Errorf("answers that the API's document does not promise: %v", err)
		}
		if n == 0 && !t.Skipped() {
			t.Error("no answer was seen: nothing has been held against the API's document")
		}
		t.Logf("%d answers held against the API's document", n)
	})
	return dir
}

// checker is made once: it takes a while, and never changes.
var checker = sync.OnceValues(NewChecker)

// Checked returns a transport that fails the test when an answer is not as the document says.
func Checked(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	return openapitest.Through(next, func(s openapitest.Seen) {
		if err := s.Check(c); err != nil {
			t.Errorf("an answer that the API's document does not promise: %v", err)
		}
	})
}
