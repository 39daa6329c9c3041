package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

func model(uid string, edit func(*api.ModelView)) api.ModelView {
	m := api.ModelView{ModelUID: uid, ModelName: "acme/" + uid, State: api.StateRunning, CreatedAtMS: 1_700_000_000_123}
	if edit != nil {
		edit(&m)
	}
	return m
}

// TestList_formats: what each format prints of the same list.
func TestList_formats(t *testing.T) {
	t.Parallel()
	server := answer([]api.ModelView{
		model("a", nil),
		model("b", func(m *api.ModelView) {
			m.Labels, m.State = map[string]string{"team": "x"}, api.StateFailed
			m.Reason = &api.Reason{Message: "two\nlines\x1b[31m"}
		}),
	})
	for _, tc := range []struct{ format, want string }{
		{"name", "a\nb\n"},
		{"jsonpath=$[*].model_uid", "a\nb\n"},
		{"jsonpath={[*].model_uid}", "a\nb\n"},
		{"jsonpath=[?@.state=='failed'].labels", "{\"team\":\"x\"}\n"},
		{"jsonpath={.[0]['created_at_ms']}", ""}, // of kubectl, but no JSONPath: refused below
		{"jsonpath=$[0].created_at_ms", "1700000000123\n"},
		{"jsonpath=$[5].created_at_ms", ""},
	} {
		code, out, errs := terminal(t.Context(), t, server, "model", "list", "-o", tc.format)
		if strings.HasPrefix(tc.format, "jsonpath={.[") {
			if code != 2 || !strings.Contains(errs, "write it as in '$.replicas.ready'") {
				t.Errorf("%s: exit %d, %q", tc.format, code, errs)
			}
			continue
		}
		if code != 0 || out != tc.want {
			t.Errorf("%s: exit %d, %q, %q", tc.format, code, out, errs)
		}
	}
	_, out, _ := terminal(t.Context(), t, server, "model", "list", "-o", "wide")
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], "NODES  LABELS  REASON") || !strings.HasSuffix(lines[2], "-      team=x  two lines[31m") {
		t.Errorf("wide:\n%s", out)
	}
}

// TestOutput_isCheckedFirst: a wrong format ends the command before anything is asked of the server.
func TestOutput_isCheckedFirst(t *testing.T) {
	t.Parallel()
	server := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	for _, tc := range []struct{ args, want string }{
		{"model list -o jsno", "did you mean json?"},
		{"model list -o name,yaml", "use one of table, wide, json, yaml, name, jsonpath=EXPR"},
		{"model get x -o name", "use one of table, wide, json, yaml, jsonpath=EXPR"},
		{"model create x -o jsonpath=", "is no JSONPath"},
		{"node cordon x -o jsonpath=$[", "is no JSONPath"},
		{"model list --outptu json", "did you mean --output?"},
	} {
		code, out, errs := terminal(t.Context(), t, server, strings.Fields(tc.args)...)
		if code != 2 || out != "" || !strings.Contains(errs, tc.want) {
			t.Errorf("%s: exit %d, %q, %q", tc.args, code, out, errs)
		}
	}
}

// changing is a server whose list of nodes goes through the given steps, and then ends the command.
func changing(over context.CancelFunc, steps ...[]api.NodeView) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if len(steps) == 0 {
			over()
			return
		}
		answer(steps[0])(w, r)
		steps = steps[1:]
	})
}

// TestWatch_printsWhatChanges: on a pipe the list is followed by what has changed, and by what is gone.
func TestWatch_printsWhatChanges(t *testing.T) {
	t.Parallel()
	n := func(id string, cordoned bool) api.NodeView {
		return api.NodeView{NodeStatus: api.NodeStatus{NodeID: id}, State: api.NodeReady, Cordoned: cordoned}
	}
	steps := [][]api.NodeView{{n("n1", false), n("n2", false)}, {n("n1", false), n("n2", true)}, {n("n2", true)}}
	for format, want := range map[string]string{
		"name":                  "n1\nn2\nn2\nn1\n",
		"jsonpath=$[*].node_id": "n1\nn2\nn2\n",
		"table": "NODE  STATE  CPUS  MEMORY  GPUS  REPLICAS  DISK FREE  ENGINES\n" +
			"n1    ready  0     0 B     0     0         -          none\n" +
			"n2    ready  0     0 B     0     0         -          none\n" +
			"n2    ready, cordoned  0     0 B     0     0         -          none\n" +
			"n1    deleted\n",
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			code, out, errs := terminal(ctx, t, changing(cancel, steps...), "node", "list", "--watch", "-o", format)
			if code != 130 || out != want || errs != "" {
				t.Errorf("exit %d, %q, want %q, %q", code, out, want, errs)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, out, _ := terminal(ctx, t, changing(cancel, steps...), "node", "list", "--watch", "-o", "json")
	if lines := strings.Split(out, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[2], `{"type":"set","key":"n2","object":{"node_id":"n2"`) || lines[3] != `{"type":"deleted","key":"n1"}` {
		t.Errorf("json: %s", out)
	}
}

// TestWatch_firstRefusalIsFinal: what the server says to the first question is no reason to ask again.
func TestWatch_firstRefusalIsFinal(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]int{403: 1, 503: 1, 504: 5} {
		server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, "{}") })
		if got, out, errs := terminal(t.Context(), t, server, "node", "list", "--watch"); got != code || out != "" || !strings.Contains(errs, "Error: ") {
			t.Errorf("%d: exit %d, %q, %q", status, got, out, errs)
		}
	}
}
