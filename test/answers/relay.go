package answers

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// Relay stands between a program, which has nothing of tests in it, and a server: what passes is not changed, and every answer is held against the OpenAPI document.
type Relay struct {
	*httptest.Server
	answers atomic.Int64
}

// NewRelay returns a relay to the server at an address, http://HOST:PORT. The caller closes it.
func NewRelay(t testing.TB, server string) *Relay {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	r, next := &Relay{}, &http.Transport{DisableCompression: true} // as it was sent, whatever the program asked for
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport:      Checked(t, next),
		FlushInterval:  -1,
		ModifyResponse: func(*http.Response) error { r.answers.Add(1); return nil },
		// A server that is away is as far away for the program: it sees a connection that breaks, and no answer of ours.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	r.Server = httptest.NewServer(proxy)
	r.Config.RegisterOnShutdown(next.CloseIdleConnections)
	return r
}

// Answers is how many answers have passed.
func (r *Relay) Answers() int64 { return r.answers.Load() }

// Close ends the relay when what it passes on has ended.
func (r *Relay) Close() {
	r.CloseClientConnections()
	r.Server.Close()
}
