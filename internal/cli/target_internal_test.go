package cli

import (
	"strings"
	"testing"
)

// TestChooseTarget: who wins, and that a context's credential never goes to another server.
func TestChooseTarget(t *testing.T) {
	t.Parallel()
	all := contexts{Current: "prod", Contexts: map[string]contextItem{
		"prod":  {Server: "https://prod.example:8081", Token: "prod-token", CA: "prod-ca"},
		"stage": {Server: "http://stage.example", Token: "stage-token"},
	}}
	flags := func(names ...string) map[string]bool {
		out := map[string]bool{}
		for _, n := range names {
			out[n] = true
		}
		return out
	}
	for name, tc := range map[string]struct {
		given given
		all   contexts
		want  string // server token ca context, or the error
	}{
		"nothing: this machine":                     {given{}, contexts{}, "   "},
		"the current context":                       {given{}, all, "https://prod.example:8081 prod-token prod-ca prod"},
		"a context of the environment":              {given{context: "stage"}, all, "http://stage.example stage-token  stage"},
		"a server elsewhere gets no token":          {given{server: "http://other", flags: flags("server")}, all, "http://other   "},
		"not even with a context beside it":         {given{server: "http://other", context: "prod"}, all, "http://other   "},
		"nor by another scheme":                     {given{server: "http://prod.example:8081", context: "prod"}, all, "http://prod.example:8081   "},
		"nor on another port":                       {given{server: "https://prod.example:8082", context: "prod"}, all, "https://prod.example:8082   "},
		"its own server gets it":                    {given{server: "https://PROD.example:8081/", context: "prod"}, all, "https://PROD.example:8081/ prod-token prod-ca "},
		"the environment's token before the own":    {given{token: "env"}, all, "https://prod.example:8081 env prod-ca prod"},
		"the environment's server before the own":   {given{server: "http://env"}, all, "http://env   "},
		"--context before the environment's server": {given{server: "http://env", token: "env", context: "stage", flags: flags("context")}, all, "http://stage.example stage-token  stage"},
		"--context with --token":                    {given{token: "flag", context: "stage", flags: flags("context", "token")}, all, "http://stage.example flag  stage"},
		"--context and --server":                    {given{server: "http://x", context: "stage", flags: flags("context", "server")}, all, "error: give one of them"},
		"no such context":                           {given{context: "prdo"}, all, "error: did you mean prod?"},
	} {
		got, err := chooseTarget(tc.given, tc.all)
		text := strings.Join([]string{got.server, got.token, string(got.ca), got.context}, " ")
		if want, isError := strings.CutPrefix(tc.want, "error: "); isError {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || text != tc.want {
			t.Errorf("%s: %q, %v, want %q", name, text, err, tc.want)
		}
	}
}

func TestServerURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"10.0.0.1:8081": "http://10.0.0.1:8081", "localhost": "http://localhost", "https://x/nebula/": "https://x/nebula", "http://[::1]:80": "http://[::1]:80",
		"": "", "ftp://x": "", "http://": "", "http://:80": "", "http://u:secret@x": "", "http://x?a=b": "", "http://x#y": "", "http://x y": "", "::": "",
	} {
		u, err := serverURL(in)
		switch {
		case want == "" && (err == nil || strings.Contains(err.Error(), "secret")):
			t.Errorf("%q is taken or repeated: %v, %v", in, u, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q is %v, %v, want %q", in, u, err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"list", "get", "create", "start", "stop", "scale", "delete", "qwen2.5-0.5b-instruct", "qwen2.5-7b-instruct"}
	for typed, want := range map[string]string{
		"lst": "list", "sotp": "stop", "starr": "start", "DELETE": "delete", "qwen2.5-0.5b-instrct": "qwen2.5-0.5b-instruct", "qwen2.5-7b": "qwen2.5-7b-instruct",
		"": "", "x": "", "banana": "", "list": "", strings.Repeat("l", 10_000): "",
	} {
		if got := strings.Join(nearest(typed, known, 1), ""); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// TestClean: nothing that a name holds moves the cursor, colours, hides or turns text.
func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                     "plain",
		"\x1b[31mred\x1b[0m":        "[31mred[0m",
		"\x1b]0;title\x07x":         "]0;titlex",
		"a\u202egnp.exe":            "agnp.exe",
		"\u2066a\u2069\u200e\u061c": "a",
		"zero\u200bwidth\ufeff":     "zerowidth",
		"\u0085\u009b31m":           "31m",
		"line\u2028para\u2029":      "linepara",
		"می\u200cخواهم":             "می\u200cخواهم", // the non-joiner belongs to the word
		"日本 é":                      "日本 é",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTableText(t *testing.T) {
	t.Parallel()
	rows := func() [][]string {
		return [][]string{{"a", "日本", "one"}, {"long-uid", "x", "a text that is\nlonger than a narrow terminal"}}
	}
	for width, want := range map[int]string{
		0:   "UID       N     TEXT\na         日本  one\nlong-uid  x     a text that is longer than a narrow terminal\n",
		200: "UID       N     TEXT\na         日本  one\nlong-uid  x     a text that is longer than a narrow terminal\n",
		30:  "UID       N     TEXT\na         日本  one\nlong-uid  x     a text that i…\n",
		3:   "UID       N     TEXT\na         日本  one\nlong-uid  x     a text …\n",
	} {
		got := strings.NewReplacer("\x1b[1m", "", "\x1b[m", "").Replace(tableText([]string{"UID", "N", "TEXT"}, rows(), width))
		if got != want {
			t.Errorf("width %d:\n%s\nwant\n%s", width, got, want)
		}
	}
}
