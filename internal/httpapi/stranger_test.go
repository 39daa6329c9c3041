package httpapi_test

import (
	"bufio"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/httpapi"
)

// TestStrangersCannotHoldConnections: who announces a body and never sends it is let go soon, whatever it asks for.
func TestStrangersCannotHoldConnections(t *testing.T) {
	for _, head := range []string{
		"POST /api/v2/join", "GET /healthz", "POST /api/v2/models", "POST /v1/chat/completions", "POST /there/is/nothing", "PUT /api/v2/nodes/n1/observed",
	} {
		t.Run(head, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := &pipes{make(chan net.Conn, 1), make(chan struct{})}
				srv := &http.Server{
					Handler: newAPI(t, httpapi.Config{View: emptyView{}, Control: control.New(nil, time.Now), Keys: auth.Keyring{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)}), ErrorLog: log.New(io.Discard, "", 0),
				}
				served := make(chan struct{})
				go func() { defer close(served); _ = srv.Serve(ln) }()
				client, conn := net.Pipe()
				ln.conns <- conn
				began := time.Now()
				go func() {
					_, _ = io.WriteString(client, head+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
				}()
				res, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = res.Body.Close() }()
				defer func() { _ = res.Body.Close() }()
				_ = client.SetReadDeadline(began.Add(time.Hour))
				if _, err := io.Copy(io.Discard, client); err != nil {
					t.Errorf("%s, and after an hour the connection is still there: %v", res.Status, err)
				}
				_ = client.Close()
				_ = srv.Close()
				<-served
			})
		})
	}
}

// pipes is a listener without a network.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.over); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

type emptyView struct{}

func (emptyView) Current() (*cluster.State, <-chan struct{}) { return &cluster.State{}, nil }
