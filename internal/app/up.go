package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
)

// Times of the whole in one process.
const (
	nodeTTL       = 15 * time.Second // a node's documents outlive its last sign of life by this
	leaderTTL     = 5                // seconds; a dead scheduler's successor waits this long
	shutdownGrace = 5 * time.Second  // for answers in flight when the process ends in order
)

// Up runs everything in one process until ctx ends: store, API, gateway, scheduler and the agent of this machine.
func Up(ctx context.Context, o Options) error {
	l := newLife(o.Log)
	err := up(ctx, l, o)
	l.stop()
	return err
}

// up builds and starts the parts, in order. It is long because it is the list of parts, in the order in which they depend on each other.
func up(ctx context.Context, l *life, o Options) error {
	release, err := lockDir(o.DataDir)
	if err != nil {
		return err
	}
	l.onStop("data directory", func(context.Context) error { return release() })

	token, created, err := auth.AdminToken(o.DataDir)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, o.Listen) // early, so that a taken port is known before anything runs
	if err != nil {
		return err
	}
	l.onStop("listener", func(context.Context) error { return ignoreClosed(listener.Close()) })
	if o.NodeID, err = nodeID(o.NodeID); err != nil {
		return err
	}

	// The store: etcd as a child of ours, because etcd ends its process when the disk is full.
	kv, err := startEtcd(ctx, l, o)
	if err != nil {
		return err
	}
	l.goRun("store space", func(ctx context.Context) error { return kv.WatchSpace(ctx, o.Log.With("component", "etcd")) })
	st, err := store.Open(ctx, kv, o.Log.With("component", "store"))
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	l.goRun("store", st.Run)
	verbs := control.New(st, time.Now)
	if _, err := verbs.InitCluster(ctx); err != nil {
		return fmt.Errorf("set the cluster up: %w", err)
	}
	if err := verbs.RegisterLocal(ctx, api.Member{Role: api.MachineNode, ID: o.NodeID}); err != nil {
		return fmt.Errorf("make this machine's node a member: %w", err)
	}

	// What decides and what serves.
	nodes := registry.New(registry.Config{Store: st, Leases: kv, TTL: nodeTTL, Log: o.Log.With("component", "registry")})
	l.goRun("registry", nodes.Run)
	l.goRun("scheduler", schedulerLoop(st, kv, o))
	metrics := obs.NewRegistry()
	gw := gateway.New(gateway.Config{View: st, LocalNode: o.NodeID, Log: o.Log.With("component", "gateway"), Registry: metrics})
	l.goRun("gateway", gw.Run)

	logs := replicaLogs{dir: o.replicaDir()}
	var ready atomic.Bool
	handler := httpapi.New(httpapi.Config{
		View: st, Control: verbs, Keys: auth.Keyring{}.With(token, auth.Principal{ID: "admin", Role: auth.Admin}),
		Logs: logs, Nodes: nodes, Store: storeAdmin{kv}, Inference: inferenceRoutes(gw), Metrics: obs.Handler(metrics, o.Log),
		Ready: func() error {
			if !ready.Load() {
				return errors.New("it is still starting")
			}
			return nil
		},
		Closing: ctx.Done(), Version: o.Version, Hosts: o.AllowedHosts, Now: time.Now, Log: o.Log.With("component", "api"),
	})

	// The agent goes down before the store, and after the last answer has been sent.
	if err := startAgent(l, o, nodes.Node(o.NodeID), gw.InFlight); err != nil {
		return err
	}
	serve(l, listener, handler)
	url := localURL(listener.Addr())
	if err := writeServerAddress(o.DataDir, url); err != nil {
		return err
	}
	l.onStop("server address", func(context.Context) error { return removeServerAddress(o.DataDir) })
	if a, ok := listener.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		o.Log.Warn("other machines can reach this server, and without TLS credentials travel in clear", "listen", a.String())
	}
	ready.Store(true)
	if o.Started != nil {
		o.Started(Info{URL: url, TokenFile: filepath.Join(o.DataDir, auth.TokenFile), TokenCreated: created})
	}
	return l.wait(ctx)
}

func (o Options) replicaDir() string { return filepath.Join(o.DataDir, "replicas") }

func (o Options) modelDir() string {
	if o.ModelDir != "" {
		return o.ModelDir
	}
	return filepath.Join(o.DataDir, "models")
}

// listen opens the one port. Without TLS it is for this machine; the fleet's ports come with their own credentials.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, api.Errorf(api.CodeConflict, "%s is taken by another program: stop that one, or choose another port with --listen, for example --listen 127.0.0.1:0 for any", addr)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeInvalidRequest, "cannot listen on %q: %v; --listen wants HOST:PORT, for example 127.0.0.1:8081", addr, err)
	}
	return ln, nil
}

// localURL is where this machine reaches a listener: one on every address is reached over loopback, where the CLI may use its credential.
func localURL(addr net.Addr) string {
	if a, ok := addr.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", a.Port)
	}
	return "http://" + addr.String()
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

func startEtcd(ctx context.Context, l *life, o Options) (*etcd.Client, error) {
	dir := filepath.Join(o.DataDir, "etcd")
	sup, err := etcd.Supervise(ctx, etcd.SuperviseConfig{
		Command: []string{o.Exe, etcdCommand, dir}, Dir: dir, Log: o.Log.With("component", "etcd"),
	})
	if err != nil {
		return nil, fmt.Errorf("start the store: %w%s", err, diskHint(o.DataDir))
	}
	l.onStop("etcd", func(context.Context) error { sup.Stop(); return nil })
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: []string{sup.Endpoint()}, Log: o.Log.With("component", "etcd-client")})
	if err != nil {
		return nil, fmt.Errorf("connect to the store: %w", err)
	}
	l.onStop("etcd client", func(context.Context) error { return kv.Close() })
	return kv, nil
}

// storeNeeds is what etcd takes of a disk before it can start: it lays out its log ahead, 64 MiB a file.
const storeNeeds = 150 << 20

// diskHint says that the disk is full, when it is.
func diskHint(dir string) string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return ""
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free >= storeNeeds {
		return ""
	}
	return fmt.Sprintf("; the disk of %s has %d MiB free, and the store needs %d: free some, or choose another --data-dir", dir, free>>20, storeNeeds>>20)
}

func inferenceRoutes(gw *gateway.Gateway) []httpapi.InferenceRoute {
	var out []httpapi.InferenceRoute
	for _, r := range gw.Routes() {
		out = append(out, httpapi.InferenceRoute{Method: r.Method, Path: r.Path, Summary: r.Summary, Handler: r.Handler})
	}
	return out
}

// serve answers requests until it is taken down: then no new one is taken, and those in flight may finish.
func serve(l *life, ln net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	l.goRun("http", func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- srv.Serve(ln) }()
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
