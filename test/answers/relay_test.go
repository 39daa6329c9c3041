package answers

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// witness keeps what a test would have failed with.
type witness struct {
	testing.TB
	said []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func TestRelay_passesOnAndLooks(t *testing.T) {
	const fine = `{"error":{"code":"not_found","message":"there is no such model","request_id":"req_1"}}`
	for name, c := range map[string]struct {
		status int
		id     string
		body   string
		fault  string // empty: the document promises this
	}{
		"as promised":       {404, "req_1", fine, ""},
		"a code of another": {404, "req_1", strings.Replace(fine, "not_found", "conflict", 1), "conflict"},
		"a strange status":  {418, "req_1", fine, "418"},
		"a strange field":   {200, "req_1", `{"bogus":1}`, "bogus"},
		"without an id":     {404, "", fine, "X-Request-Id"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("ETag", `"1"`)
				if c.id != "" {
					w.Header().Set("X-Request-Id", c.id)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			w := &witness{TB: t}
			relay := NewRelay(w, server.URL)
			defer relay.Close()
			status, body := get(t, relay.URL+"/api/v2/models/m")
			if status != c.status || body != c.body || relay.Answers() != 1 {
				t.Errorf("passed on %d %s, the answer no. %d", status, body, relay.Answers())
			}
			said := strings.Join(w.said, "\n")
			if (c.fault == "") != (said == "") || !strings.Contains(said, c.fault) {
				t.Errorf("it says %q; want %q", said, c.fault)
			}
		})
	}
}

// A server that is away gets no answer made for it.
func TestRelay_serverAway(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	relay := NewRelay(t, away.URL)
	defer relay.Close()
	res, err := http.Get(relay.URL + "/api/v2/models")
	if err == nil {
		res.Body.Close()
		t.Errorf("an answer %d of nobody", res.StatusCode)
	}
	if relay.Answers() != 0 {
		t.Errorf("%d answers of a server that is away", relay.Answers())
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
