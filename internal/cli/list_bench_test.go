package cli_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/internal/cli"
)

// manyModels is the answer to a list of n models that stand still.
func manyModels(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"model_uid":"model-%05d","model_name":"acme/Model-%05d-GGUF","engine_type":"llamacpp","labels":{"team":"search"},"revision":%d,`+
			`"created_at_ms":1764300000000,"updated_at_ms":1764300000000,"state":"stopped","replicas":{"desired":0,"ready":0,"starting":0,"unhealthy":0},`+
			`"reason":null,"endpoints":[],"downloads":[]}`, i, i, i+100)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

// BenchmarkModelList is nebula model list of 10,000 models, without the start of a process.
func BenchmarkModelList(b *testing.B) {
	body := manyModels(10_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	defer server.Close()
	for b.Loop() {
		env := cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }}
		if code := cli.Run(b.Context(), env, []string{"--server", server.URL, "--token", "x", "model", "list"}); code != 0 {
			b.Fatal(code)
		}
	}
}
