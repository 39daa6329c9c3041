package cli_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cli"
)

// TestLogin_makesAndRevokesAToken: the password goes to the server once and is kept nowhere; the token is kept, and revoked by logout.
func TestLogin_makesAndRevokesAToken(t *testing.T) {
	t.Parallel()
	const password, token = "correct horse battery staple", "nb_abc_a-personal-token-that-is-long-enough"
	valid := true
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/auth/token", func(w http.ResponseWriter, r *http.Request) {
		var req struct{ Username, Password, Name string }
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.Header.Get("Authorization") != "" {
			t.Errorf("asked with %v, %v", r.Header, err)
		}
		if req.Username != "ada" || req.Password != password {
			refusing(api.CodeUnauthorized, "user name or password is wrong").ServeHTTP(w, r)
			return
		}
		answer(api.PersonalToken{ID: "abc", Token: token})(w, r)
	})
	authorized := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !valid || r.Header.Get("Authorization") != "Bearer "+token {
				refusing(api.CodeUnauthorized, "not valid here").ServeHTTP(w, r)
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("GET /api/v2/whoami", authorized(answer(map[string]string{"id": "ada", "role": "operator"})))
	mux.HandleFunc("DELETE /api/v2/keys/abc", authorized(func(w http.ResponseWriter, r *http.Request) {
		valid = false
		answer(map[string]string{"id": "abc", "status": "deleted"})(w, r)
	}))
	s := httptest.NewServer(mux)
	defer s.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "nebula", "config.yaml")
	run := func(stdin string, args ...string) (int, string) {
		t.Helper()
		var out text
		env := cli.Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out, Getenv: func(name string) string {
			return map[string]string{"XDG_CONFIG_HOME": dir, "NEBULA_DATA_DIR": filepath.Join(dir, "data")}[name]
		}}
		code := cli.Run(t.Context(), env, args)
		if got := out.String(); strings.Contains(got, token) || strings.Contains(got, password) {
			t.Errorf("%v tells a secret: %s", args, got)
		}
		return code, out.String()
	}
	for _, tc := range []struct {
		stdin, args string
		code        int
		want        string
	}{
		{password, "login URL", 2, "--password-stdin"},
		{password, "login URL --password-stdin", 2, "Give --username"},
		{"", "login URL --username ada --password-stdin", 2, "password is empty"},
		{password, "login URL --username ada --password-stdin --token-stdin", 2, "one of them"},
		{"wrong", "login URL --username ada --password-stdin", 1, "user name or password is wrong"},
		{"", "logout", 2, "not logged in"},
		{password + "\n", "login URL --username ada --password-stdin --name here", 0, "as ada (operator); the context is called here"},
		{"", "whoami", 0, "You are ada (operator)"},
		{"", "logout", 0, "Logged out of"},
		{"", "whoami", 1, "nebula login"},
		{"", "logout here", 0, "not logged in"},
		{"", "logout there", 3, "no context"},
	} {
		code, out := run(tc.stdin, strings.Fields(strings.Replace(tc.args, "URL", s.URL, 1))...)
		if code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%s: exit %d, %q, want %d with %q", tc.args, code, out, tc.code, tc.want)
		}
		b, _ := os.ReadFile(file) // not there yet at first
		if strings.Contains(string(b), password) || strings.Contains(string(b), token) != (tc.args == "whoami" && tc.code == 0 || strings.HasSuffix(tc.args, "--name here")) {
			t.Errorf("after %s the file is\n%s", tc.args, b)
		}
	}
	if valid {
		t.Error("the token was not revoked")
	}
}
