package link_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// forwarded is a request of somebody, with a body that can be read again.
func forwarded(t *testing.T, method string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://servers/path?a=1", bytes.NewReader([]byte("a body")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestForward_goesOnWhileNobodyHasIt: a server that cannot be reached costs nothing; one that broke off with a request that changes something ends it, because
// it may have been done.
func TestForward_goesOnWhileNobodyHasIt(t *testing.T) {
	f := newFleet(t, mem(t))
	var asked atomic.Int64
	good := f.handler(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		if len(r.TLS.PeerCertificates) != 0 {
			t.Error("the machine shows who it is")
		}
		w.WriteHeader(http.StatusTeapot) // an answer is an answer, whatever it says
		_, _ = w.Write(append(body, r.URL.RequestURI()...))
	})
	broken := f.handler(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, c := range map[string]struct {
		first, method string
		reaches       bool
	}{
		"a change, server away":     {closed(t), "POST", true},
		"a change, server broke":    {broken, "POST", false},
		"a question, server broke":  {broken, "GET", true},
		"a deletion, server broke":  {broken, "DELETE", false},
		"a question, server is not": {closed(t), "GET", true},
	} {
		t.Run(name, func(t *testing.T) {
			for range 6 { // which of them is asked first is chance
				s := f.servers(c.first, good)
				before := asked.Load()
				res, err := s.OfCallers().RoundTrip(forwarded(t, c.method))
				if err != nil {
					if e, ok := api.AsError(err); c.reaches || !ok || e.Code != api.CodeUpstream || strings.Contains(e.Message, c.first) || asked.Load() != before {
						t.Fatalf("%v, and the other server was asked %d times", err, asked.Load()-before)
					}
					continue
				}
				body, err := io.ReadAll(res.Body)
				if _ = res.Body.Close(); err != nil || res.StatusCode != http.StatusTeapot || string(body) != "a body/path?a=1" {
					t.Fatalf("%d %q %v", res.StatusCode, body, err)
				}
			}
		})
	}
}
