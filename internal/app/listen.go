package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
)

// listen opens the port of a flag, which the error names.
func listen(ctx context.Context, addr, flag string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, api.Errorf(api.CodeConflict, "%[1]s is taken by another program: stop that one, or choose another port with %[2]s, for example %[2]s 127.0.0.1:0 for any", addr, flag)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeInvalidRequest, "cannot listen on %q: %v; %s wants HOST:PORT, for example 127.0.0.1:8081", addr, err, flag)
	}
	return ln, nil
}

// localURL is where this machine reaches a listener: one on every address is reached over loopback, where the CLI may use its credential.
func localURL(addr net.Addr, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	if a, ok := addr.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return fmt.Sprintf("%s://127.0.0.1:%d", scheme, a.Port)
	}
	return scheme + "://" + addr.String()
}

// peopleTLS is the certificate that people's port shows; nil: plain HTTP.
func peopleTLS(o Options) (*tls.Config, error) {
	if o.TLSCert == "" && o.TLSKey == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalidRequest, "the certificate of --tls-cert and --tls-key cannot be used: %v", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, nil
}

// nodeID is the given name, else the host's.
func nodeID(given string) (string, error) {
	if given != "" {
		if !api.ValidNodeID(given) {
			return "", api.Errorf(api.CodeInvalidRequest, "%q is not a usable --node-id: use letters, digits, \".\", \"_\" and \"-\"", given)
		}
		return given, nil
	}
	host, err := os.Hostname()
	if err != nil || !api.ValidNodeID(host) {
		return "local", nil
	}
	return host, nil
}

func inferenceRoutes(gw *gateway.Gateway) []httpapi.InferenceRoute {
	var out []httpapi.InferenceRoute
	for _, r := range gw.Routes() {
		out = append(out, httpapi.InferenceRoute{Method: r.Method, Path: r.Path, Summary: r.Summary, Handler: r.Handler})
	}
	return out
}

// serve answers requests until it is taken down: then no new one is taken, and those in flight may finish. Without TLS settings it is
// plain HTTP.
func serve(l *life, name string, ln net.Listener, h http.Handler, secure *tls.Config) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, TLSConfig: secure,
		// A machine whose cable was pulled says no goodbye: its streams end when it answers no ping.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		ErrorLog: slog.NewLogLogger(l.log.With("component", name).Handler(), slog.LevelDebug), // what strangers get wrong
	}
	listen := srv.Serve
	if secure != nil {
		listen = func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") }
	}
	l.goRun(name, func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- listen(ln) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil { // streams are left: cut them, their clients see an error event or the end
			_ = srv.Close()
		}
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
