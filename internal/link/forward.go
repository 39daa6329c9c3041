package link

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Times of a request that is passed on. What people ask for may take longer than what machines say to each other.
const (
	forwardAnswer = 65 * time.Second // until an answer begins
	forwardQuiet  = time.Minute      // of an answer that has begun: streams for people show a sign of life every 15 s
)

// OfCallers returns what passes requests of people on to the servers, with the same choice among them. It shows no certificate: a server judges
// the caller by what the request itself carries, and nobody is taken for this machine. A request that may have reached a server is sent to no other one, unless
// it only asks. Its errors tell nobody where the servers are: callers may be strangers. Bodies must be such that they can be read again (GetBody). Without any server the error is one of CodeUpstream.
func (s *Servers) OfCallers() http.RoundTripper {
	t := s.transport()
	t.TLSClientConfig = s.cfg.Credential.ClientTLS(s.cfg.Clock, api.MachineServer, "")
	t.TLSClientConfig.GetClientCertificate = nil
	t.ResponseHeaderTimeout = forwardAnswer
	return &forwarder{s, t}
}

type forwarder struct {
	servers *Servers
	http    *http.Transport
}

// CloseIdleConnections drops idle connections.
func (f *forwarder) CloseIdleConnections() { f.http.CloseIdleConnections() }

// RoundTrip sends r to the current server, and to the others in turn as long as no one can have got it.
func (f *forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, addr := range f.servers.order() {
		res, sent, err := f.send(r, addr)
		if err == nil {
			f.servers.succeed(addr)
			return res, nil
		}
		if over := r.Context().Err(); over != nil {
			return nil, over
		}
		f.servers.fail(addr, err)
		if sent && r.Method != http.MethodGet && r.Method != http.MethodHead {
			return nil, api.Errorf(api.CodeUpstream, "the server that was asked gave no answer, and may have done it: look before you try again")
		}
	}
	return nil, api.Errorf(api.CodeUpstream, "no server of the cluster answers: check that they run and that this machine reaches them; its log has the reason")
}

// send sends r to one server. Sent tells, with an error, whether the server may have got it.
func (f *forwarder) send(r *http.Request, addr string) (res *http.Response, sent bool, err error) {
	var connected atomic.Bool
	ctx, cancel := context.WithCancel(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}))
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.Host = "https", addr, addr
	if r.GetBody != nil {
		if out.Body, err = r.GetBody(); err != nil {
			cancel()
			return nil, false, fmt.Errorf("read the body again: %w", err)
		}
	}
	res, err = f.http.RoundTrip(out)
	if err != nil {
		cancel()
		return nil, connected.Load(), err
	}
	res.Body = &watched{body: res.Body, cancel: cancel, idle: time.AfterFunc(forwardQuiet, cancel)}
	return res, true, nil
}

// watched is the body of an answer, which is given up when it is silent for too long.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	idle   *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if err == nil {
		w.idle.Reset(forwardQuiet)
	}
	return n, err
}

func (w *watched) Close() error {
	w.idle.Stop()
	w.cancel()
	return w.body.Close()
}
