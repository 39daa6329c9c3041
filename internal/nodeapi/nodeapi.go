// Package nodeapi is the one port of a node: it serves the node's engines, which listen on loopback only, to the gateways of the
// cluster, their logs to its servers, and verified model files to its other nodes.
//
// Everything on it is mutual TLS with the cluster's own certificates, and everything is on a list of allowed paths. It passes requests on and
// decides nothing but whether a replica takes them; it never reads or changes a body, and never makes an answer of its own
// that could be taken for an engine's.
package nodeapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/pki"
)

// LogOptions choose a part of a log.
type LogOptions struct {
	Tail     int  // last lines; 0 = all that is kept
	Follow   bool // go on until the caller leaves
	Previous bool // the incarnation before this one
}

// Config is what the port of a node needs.
type Config struct {
	Cluster string // its id; machines of others are refused, whoever issued their certificates
	// OpenLog opens the log of a replica's engine. Its errors that are *api.Error are for the caller.
	OpenLog func(ctx context.Context, uid string, replica uint32, o LogOptions) (io.ReadCloser, error)
	// Prune, Evict and Verify look after this node's files, for its servers; nil: there are none. Errors that are *api.Error are for the caller.
	Prune  func(ctx context.Context, req api.CachePrune) (api.CachePruned, error)
	Evict  func(ctx context.Context, req api.CacheEvict) (api.CachePruned, error)
	Verify func(ctx context.Context, req api.CacheVerify, tell func(api.VerifyEvent) error) error
	// Blobs answers GET and HEAD of a file by its hash for a machine that has shown a node's certificate; nil: this node gives none.
	Blobs func(w http.ResponseWriter, r *http.Request, algo, hash string, who api.BlobCaller)
	Log   *slog.Logger

	MaxBody     int64         // bytes of a request's body; default 33 MiB: what a gateway takes, and what it adds
	BodyRead    time.Duration // for a gateway to send a body; default 60 s
	CallerWrite time.Duration // how long a caller may take nothing of its answer; default 60 s. Up to a quarter more passes
	Engines     upstream.Limits
}

// API is the port of a node. Its methods are for any goroutine.
type API struct {
	cfg      Config
	client   *upstream.Client
	bodies   bodyPool
	storm    *obs.Sampler // over the log of failed requests
	replicas replicas
}

// New returns a port that has no replicas yet: see [API.SetEndpoints].
func New(cfg Config) *API {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 33 << 20
	}
	if cfg.BodyRead <= 0 {
		cfg.BodyRead = time.Minute
	}
	if cfg.CallerWrite <= 0 {
		cfg.CallerWrite = time.Minute
	}
	a := &API{cfg: cfg, client: upstream.New(cfg.Engines, nil), storm: obs.NewSampler(10)}
	a.replicas.all = map[string]*replica{}
	return a
}

// Times of Serve.
const (
	headerRead = 10 * time.Second
	idleKept   = 2 * time.Minute // longer than gateways keep connections, so that none is closed while a request is written to it
	pruneEvery = 2 * time.Second
)

// Serve answers on the listener until ctx ends; then no new request is taken, and those in flight may go on for the grace time. The
// TLS configuration is that of the node's credential, which renews itself.
func (a *API) Serve(ctx context.Context, ln net.Listener, secure *tls.Config, grace time.Duration) error {
	secure = secure.Clone()
	secure.ClientAuth = tls.RequireAndVerifyClientCert // there is nothing here for people
	secure.NextProtos = []string{"http/1.1"}           // what gateways speak; one request at a time costs the least
	secure.DynamicRecordSizingDisabled = true          // every flush is a token or an answer: small records would only cost more
	srv := &http.Server{
		Handler: a, ReadHeaderTimeout: headerRead, IdleTimeout: idleKept, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug), // handshakes of strangers
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(tls.NewListener(ln, secure)) }()
	defer a.client.Close()
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case now := <-tick.C:
			a.client.Prune(now)
			continue
		case <-ctx.Done():
		}
		break
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(last); err != nil { // streams are left: they are cut, and their gateways say so to the clients
		_ = srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP answers one request of a machine.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := a.caller(r)
	if err != nil {
		refuse(w, err)
		return
	}
	t, ok := parseTarget(r)
	if !ok {
		refuse(w, api.Errorf(api.CodeNotFound, "there is nothing here at %.100q", r.URL.Path))
		return
	}
	if !t.allows(who.Role) {
		refuse(w, api.Errorf(api.CodeForbidden, "this is not for the role %s", who.Role))
		return
	}
	switch t.what {
	case health:
		_, _ = io.WriteString(w, "ok\n") // the caller may have left
	case engineLog:
		a.log(w, r, t)
	case cachePrune:
		change(w, r, a.cfg.Prune)
	case cacheEvict:
		change(w, r, a.cfg.Evict)
	case cacheVerify:
		a.verify(w, r)
	case blobGet:
		if a.cfg.Blobs == nil {
			refuse(w, api.Errorf(api.CodeNotFound, "this node gives no files to others"))
			return
		}
		a.cfg.Blobs(w, r, t.algo, t.hash, api.BlobCaller{NodeID: who.ID, KeyHash: pki.KeyHash(r.TLS.VerifiedChains[0][0])})
	default:
		a.proxy(w, r, t)
	}
}

// caller is the machine at the other end, by its verified certificate. Which members have been removed is not known to a node: a
// certificate counts until it ends, within a day.
func (a *API) caller(r *http.Request) (pki.Identity, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return pki.Identity{}, api.Errorf(api.CodeUnauthorized, "this port is for machines of the cluster, with their certificates")
	}
	who, err := pki.IdentityOf(r.TLS.VerifiedChains[0][0])
	if err != nil {
		return pki.Identity{}, api.Errorf(api.CodeUnauthorized, "%s", err)
	}
	if who.Cluster != a.cfg.Cluster {
		return pki.Identity{}, api.Errorf(api.CodeUnauthorized, "this certificate is of another cluster")
	}
	return who, nil
}
