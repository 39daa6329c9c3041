package cli_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// refusing is a server that refuses everything in one way, and says nothing of what to do.
func refusing(code api.Code, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code.HTTPStatus())
		answer(api.Envelope{Error: api.Error{Code: code, Message: message, RequestID: "req_7"}})(w, r)
	})
}

// TestErrors_haveAHint: whatever the server says, people are told what to do next, and the command fails.
func TestErrors_haveAHint(t *testing.T) {
	t.Parallel()
	for _, code := range append(api.Codes(), "of_tomorrow") {
		for _, args := range []string{"node cordon n1", "model get m", "model create x/y", "whoami", "admin status", "chat -m m hello"} {
			got, _, errs := terminal(t.Context(), t, refusing(code, "it did not work"), strings.Fields(args)...)
			lines := strings.Split(strings.TrimSpace(errs), "\n")
			last := lines[len(lines)-1]
			if got == 0 || got != code.ExitCode() && code != "of_tomorrow" {
				if args == "whoami" && code == api.CodeNotFound {
					continue // an earlier server: it knows the credential, and no more
				}
				t.Errorf("%s, %s: exit %d", code, args, got)
			}
			if !strings.HasPrefix(last, "Hint: ") && !strings.HasPrefix(last, "See: ") {
				t.Errorf("%s, %s: no hint in %q", code, args, errs)
			}
			if code.HTTPStatus() >= 500 != strings.Contains(errs, "req_7") {
				t.Errorf("%s, %s: the request id is for errors of the server: %q", code, args, errs)
			}
		}
	}
	// An error that says what to do is left alone.
	if _, _, errs := terminal(t.Context(), t, refusing(api.CodeConflict, "stop it with: nebula model stop m"), "node", "cordon", "n1"); strings.Contains(errs, "Hint") {
		t.Errorf("said twice: %q", errs)
	}
}

// TestErrors_nameWhatIsNear: an object that is not there is compared with those that are.
func TestErrors_nameWhatIsNear(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v2/models", answer([]api.ModelView{model("qwen2.5-0.5b-instruct", nil), model("other", nil)}))
	mux.HandleFunc("GET /api/v2/nodes", answer([]api.NodeView{{NodeStatus: api.NodeStatus{NodeID: "gpu-7"}}}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		refusing(api.CodeNotFound, "there is no "+parts[4]).ServeHTTP(w, r)
	})
	for args, want := range map[string]string{
		"model get qwen2.5-0.5-instruct": "Did you mean: qwen2.5-0.5b-instruct?",
		"model start qwen":               "Did you mean: qwen2.5-0.5b-instruct?",
		"node cordon gpu7":               "Did you mean: gpu-7?",
		"model get banana":               "Hint: look with nebula model list",
	} {
		code, _, errs := terminal(t.Context(), t, mux, strings.Fields(args)...)
		if code != 3 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %q, want %q", args, code, errs, want)
		}
	}
}
