package httpapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

var update = flag.Bool("update", false, "write what the code answers into testdata/v1_view.txt")

// TestV1View runs the text cases of testdata/v1_view.txt. A case is what is stored, a key and a document on each line; how long a server has missed a node
// ("away n1 90s"); a user or an engine's figures; then a line "----", and how version 1 shows all of that. It is a hundred seconds after 1970.
func TestV1View(t *testing.T) {
	const file = "testdata/v1_view.txt"
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for text := range strings.SplitSeq(strings.TrimSpace(string(old)), "\n\n") {
		input, want, isCase := strings.Cut(text, "\n----\n")
		if !isCase && !*update || strings.HasPrefix(input, "# ") && !strings.Contains(input, "\n") {
			out = append(out, text)
			continue
		}
		input = strings.TrimSuffix(input, "\n----")
		got := v1Case(t, input)
		if got != want && !*update {
			t.Errorf("%s\n--- got\n%s\n--- want\n%s", input, got, want)
		}
		out = append(out, input+"\n----\n"+got)
	}
	if fresh := strings.Join(out, "\n\n") + "\n"; *update {
		if err := os.WriteFile(file, []byte(fresh), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func v1Case(t *testing.T, input string) string {
	t.Helper()
	kv, away := storetest.NewMem(), map[string]time.Duration{}
	var shown []string
	for line := range strings.SplitSeq(input, "\n") {
		what, rest, _ := strings.Cut(line, " ")
		switch {
		case what == "#":
		case strings.HasPrefix(what, "/"):
			kv.Put(what, []byte(rest))
		case what == "away":
			node, long, _ := strings.Cut(rest, " ")
			d, err := time.ParseDuration(long)
			if err != nil {
				t.Fatal(line, err)
			}
			away[node] = d
		case what == "user":
			u := documentOf[api.User](t, rest)
			shown = append(shown, lineOf(t, "user", v1User(&u)))
		case what == "figures":
			f := documentOf[api.ReplicaFigures](t, rest)
			shown = append(shown, lineOf(t, "stats", v1Stats(&f)))
		case what == "role":
			shown = append(shown, "role "+string(v1Role(api.Role(rest))))
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	s := stateOf(t, kv)
	o := v1Overview(s, away, time.UnixMilli(100_000))
	shown = append(shown, linesOf(t, "node", o.Nodes)...)
	shown = append(shown, linesOf(t, "endpoint", o.Endpoints)...)
	shown = append(shown, linesOf(t, "placement", o.Placements)...)
	shown = append(shown, linesOf(t, "request", o.ModelRequests)...)
	if len(shown) == 0 {
		return lineOf(t, "overview", o)
	}
	return strings.Join(shown, "\n")
}

func stateOf(t *testing.T, kv store.KV) *cluster.State {
	t.Helper()
	st, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := st.Current()
	return s
}

func documentOf[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func linesOf[T any](t *testing.T, name string, all []T) (out []string) {
	t.Helper()
	for _, v := range all {
		out = append(out, lineOf(t, name, v))
	}
	return out
}

func lineOf(t *testing.T, name string, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s", name, b)
}
