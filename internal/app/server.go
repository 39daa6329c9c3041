package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/feed"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/openid"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/scheduler"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/web"
)

// server is the parts of a process that holds the cluster's state.
type server struct {
	o        Options
	life     *life
	keys     *authority
	hosts    []string        // under which machines reach this server
	cred     *pki.Credential // nil: no machine connects
	kv       *etcd.Client
	store    *store.Store
	registry *registry.Registry
	gateway  *gateway.Gateway
	control  *control.Control
	handler  http.Handler
	ready    atomic.Bool

	files         *modelfiles.Store // of the node in this process; nil: there is none
	localNode     string            // the node in this process; empty: there is none
	people, fleet net.Listener      // fleet may be nil
	info          Info
}

// startServer builds and starts the parts in the order in which they depend on each other; nobody is let in before open.
// LocalNode is the node that will run in this process, or empty. It is long because it is the list of parts.
func startServer(ctx context.Context, l *life, o Options, localNode string) (*server, error) {
	s := &server{o: o, life: l, localNode: localNode}
	provider, err := openID(o)
	if err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil { // early, so that a taken port is known before anything runs
		return nil, err
	}
	if err := s.takeKeys(ctx); err != nil {
		return nil, err
	}
	if s.cred, err = s.formerCredential(); err != nil {
		return nil, err
	}
	token, created, err := auth.AdminToken(o.DataDir)
	if err != nil {
		return nil, err
	}
	s.info.TokenFile, s.info.TokenCreated = filepath.Join(o.DataDir, auth.TokenFile), created
	if s.kv, err = s.startStore(ctx); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := forgetInitial(o); err != nil {
		return nil, err
	}
	s.control = control.New(s.store, time.Now).WithFleet(s.admission()).WithSecrets(s.keys.secrets)
	if err := s.enrol(ctx, token); err != nil {
		return nil, err
	}
	if s.cred != nil {
		l.goRun("server's credential", s.keys.keepRenewed(s.cred, s.hosts, o.Log))
		kept := snapshot(o, s.cred)
		l.goRun("snapshot", func(ctx context.Context) error { return s.store.Keep(ctx, kept) })
	}

	// What decides and what serves.
	s.registry = registry.New(registry.Config{
		Store: s.store, Leases: s.kv, Log: o.Log.With("component", "registry"), Open: s.keys.openSecret(o.keyDir("")),
	})
	l.goRun("registry", s.registry.Run)
	l.goRun("scheduler", schedulerLoop(s.store, s.kv, s.control, s.registry, o))
	metrics, past := obs.NewRegistry(), keepPast(l, api.MachineServer, o.NodeID)
	s.gateway = gateway.New(gateway.Config{
		View: s.store, LocalNode: s.localNode, NodeTLS: s.nodeTLS(), Log: o.Log.With("component", "gateway"), Registry: metrics, Tally: past.Tally(),
	})
	l.goRun("gateway", s.gateway.Run)

	known := auth.Directory{View: s.store, Fixed: withStatic(auth.Keyring{}.With(token, admin), o), Now: time.Now}
	setup, err := s.permitSetup()
	if err != nil {
		return nil, err
	}
	hubs, err := newHubs(o)
	if err != nil {
		return nil, err
	}
	loginKey, err := s.keys.ca.Derive("nebula logins under way 1", 32)
	if err != nil {
		return nil, err
	}
	console, _ := web.Console()
	uses := &auth.Uses{}
	l.goRun("key uses", storeUses(uses, s.control.StoreKeyUses, true, s.o.Log.With("component", "keys")))
	s.handler = httpapi.New(httpapi.Config{
		View: s.store, Control: s.control, Keys: known, Sessions: known, Setup: setup, OpenID: provider, LoginKey: loginKey, Denied: s.recordDenials(),
		Explain: scheduler.Explain, Figures: newFigures(s).get, Hubs: hubs, Logs: s, Caches: s, Nodes: s.registry, Absent: s.registry.Absent, LostAfter: o.Serving.LostAfter, Feed: s.feed(ctx),
		Store: storeAdmin{s.kv}, Inference: inferenceRoutes(s.gateway), WithModels: gateway.WithModels, KeyUsed: noteUse(uses), Metrics: obs.Handler(metrics, o.Log), Gateway: past, Tail: o.tail,
		Ready: s.readiness, Closing: ctx.Done(), Version: o.Version, Console: console, Hosts: o.AllowedHosts, Proxies: o.Proxies, Now: time.Now, Log: o.Log.With("component", "api"),
	})
	return s, nil
}

// openID is where people may log in beside here; nil: nowhere. It is not called yet: a server starts without it.
func openID(o Options) (*openid.Provider, error) {
	if o.OpenID.Issuer == "" {
		return nil, nil
	}
	o.OpenID.Now, o.OpenID.Log = time.Now, o.Log.With("component", "openid")
	return openid.New(o.OpenID)
}

// withStatic adds the credentials of NEBULA_AUTH_TOKENS.
func withStatic(k auth.Keyring, o Options) auth.Keyring {
	k, warnings := k.WithStatic(o.AuthTokens)
	for _, w := range warnings {
		o.Log.Warn("check the tokens of NEBULA_AUTH_TOKENS", "reason", w)
	}
	return k
}

// permitSetup lets whoever sees this process's output, or may read its data directory, make the first user, while there is none.
func (s *server) permitSetup() (*auth.Setup, error) {
	state, _ := s.store.Current()
	if !control.SetupNeeded(state) {
		return nil, auth.KeepSetup(s.o.DataDir, "")
	}
	setup, token, err := auth.NewSetup(time.Now())
	if err != nil {
		return nil, err
	}
	s.info.SetupToken = token
	return setup, auth.KeepSetup(s.o.DataDir, token)
}

// openStore brings the store's state into this process. A server that was one before begins with its last state when the store does not
// answer; one that has just joined waits until its member votes, and one without a snapshot until enough of the others are there.
func (s *server) openStore(ctx context.Context) error {
	log := s.o.Log.With("component", "store")
	for waiting := false; ; waiting = true {
		var err error
		if s.cred == nil {
			s.store, err = store.Open(ctx, s.kv, log)
		} else {
			s.store, err = store.OpenSnapshot(ctx, s.kv, log, snapshot(s.o, s.cred))
		}
		if err == nil {
			s.life.goRun("store", s.store.Run)
			state, _ := s.store.Current()
			s.keys.warnOfSecrets(state, s.o.keyDir(""), s.o.Log)
			return nil
		}
		if s.cred == nil || ctx.Err() != nil {
			return err
		}
		if !waiting {
			s.o.Log.Warn("waiting for the store: are most of the servers there?", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// recordDenials returns where the API tells what it has refused; a loop records it.
func (s *server) recordDenials() func(api.AuditRecord) {
	denials := &audit.Denials{}
	s.life.goRun("denials", func(ctx context.Context) error { return s.control.KeepDenials(ctx, denials) })
	return func(rec api.AuditRecord) { denials.Add(rec, time.Now()) }
}

// feed brings the store to gateways on other machines; nil: none can connect.
func (s *server) feed(ctx context.Context) http.Handler {
	if s.fleet == nil {
		return nil
	}
	return feed.Handler(feed.Config{KV: s.kv, Log: s.o.Log.With("component", "feed"), Closing: ctx.Done()})
}

func (s *server) readiness() error {
	if !s.ready.Load() {
		return errors.New("it is still starting")
	}
	return nil
}

func (s *server) listen(ctx context.Context) error {
	var err error
	if s.people, err = listen(ctx, s.o.Listen, "--listen"); err != nil {
		return err
	}
	s.life.onStop("listener", func(context.Context) error { return ignoreClosed(s.people.Close()) })
	if s.o.Serving.FleetListen == "" {
		return nil
	}
	if s.fleet, err = listen(ctx, s.o.Serving.FleetListen, "--fleet-listen"); err != nil {
		return err
	}
	s.life.onStop("fleet listener", func(context.Context) error { return ignoreClosed(s.fleet.Close()) })
	if s.info.FleetAddr, err = advertised(s.o.Serving.Advertise, s.fleet.Addr(), ""); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(s.info.FleetAddr)
	s.hosts = []string{host, "localhost", "127.0.0.1"}
	return err
}

// open lets people and machines in.
func (s *server) open() error {
	people, err := peopleTLS(s.o)
	if err != nil {
		return err
	}
	serve(s.life, "http", limited(s.people, s.o.PerAddress, s.o.Proxies, people != nil), s.handler, people)
	if s.fleet != nil {
		serve(s.life, "fleet", s.fleet, s.handler, s.cred.WithCA(s.cred.ServerTLS(s.keys.clock)))
	}
	s.info.URL = localURL(s.people.Addr(), people != nil)
	if err := writeServerAddress(s.o.DataDir, s.info.URL); err != nil {
		return err
	}
	s.life.onStop("server address", func(context.Context) error { return removeServerAddress(s.o.DataDir) })
	if a, ok := s.people.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && people == nil {
		s.o.Log.Warn("other machines can reach this server, and without TLS credentials travel in clear: give --tls-cert and --tls-key", "listen", a.String())
	}
	s.ready.Store(true)
	if s.o.Started != nil {
		s.o.Started(s.info)
	}
	return nil
}
