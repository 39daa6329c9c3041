package app

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/agent"
	"github.com/nebula-serve/nebula/internal/engine"
	"github.com/nebula-serve/nebula/internal/hw"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
	"github.com/nebula-serve/nebula/internal/supervise"
)

// heartbeat is how often the agent says at least that it is there; servers of large fleets ask for it less often.
const heartbeat = 3 * time.Second

// surroundings are what an agent has around it in this process.
type surroundings struct {
	link      agent.Link
	inFlight  func(uid string, replica uint32) int // requests that are open at a replica, as far as this process can know
	endpoints func([]api.EndpointInfo)             // told of the endpoints at each change; may be nil
	addr      string                               // host:port at which gateways reach the engines; empty: nowhere
	files     *modelfiles.Store
}

// openFiles opens the models of this machine. Peers is how it finds the other nodes; nil: it has none.
func openFiles(o Options, peers *peer.Config) (*modelfiles.Store, error) {
	n := o.Running
	return modelfiles.New(modelfiles.Config{
		CacheDir: o.modelDir(), NodeID: o.NodeID, Endpoint: n.HFEndpoint, Token: n.HFToken, Scope: n.ScopeEndpoint, ScopeToken: n.ScopeToken,
		Offline: n.Offline, LocalRoots: n.LocalRoots, AdoptFrom: n.AdoptFrom,
		Limits: transfer.LimitConfig{Connections: n.Connections, BytesPerSecond: n.BytesPerSecond}, UserAgent: "nebula/" + o.Version.Version,
		Log: o.Log.With("component", "files"), Proxy: http.ProxyFromEnvironment, Peers: peers, Evict: o.Running.Evict,
	})
}

// startAgent runs the agent of this machine.
func startAgent(l *life, o Options, around surroundings) error {
	log := o.Log.With("component", "agent")
	driver, err := supervise.New(supervise.Config{Dir: o.replicaDir(), Shim: []string{o.Exe, shimCommand}, Log: o.Log.With("component", "supervise")})
	if err != nil {
		return err
	}
	l.onStop("engines' driver", func(context.Context) error { driver.Close(); return nil })
	files := around.files
	l.goRun("files", files.Run)
	l.goRun("room for files", files.Keep)
	h := &host{o: o, addr: around.addr, log: log, files: files, hw: &hw.Exec{}}
	l.goRun("agent", func(ctx context.Context) error {
		return agent.Run(ctx, agent.Config{
			NodeID: o.NodeID, Link: around.link, Files: fetcher{files}, Cache: keeper{files}, Runner: runner{driver, log}, Host: h, Log: log,
			Engine: h.installed, InFlight: around.inFlight, Endpoints: around.endpoints, Cores: func() int { return h.coresFor(around.link) }, GPU: h.gpu,
			Port: freePort, BaseEnv: os.Environ(), Client: probeClient(),
			DrainTimeout: o.Running.DrainTimeout, ReportEvery: 100 * time.Millisecond, Heartbeat: heartbeat, HostEvery: 15 * time.Second,
			StopOnExit: !o.Running.KeepEngines,
		})
	})
	return nil
}

// probeClient asks engines on loopback; it keeps no connection, because a health check over an old one proves less.
func probeClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Ports for engines that cannot choose one: below the range from which Linux gives out ports by itself.
const firstPort, portCount = 21000, 1000

// freePort finds a port on loopback that nobody listens on. Somebody may take it before the engine does; that is a failure of its own
// kind, and the next try has another port.
func freePort() (int, error) {
	start := rand.IntN(portCount)
	for i := range portCount {
		port := firstPort + (start+i)%portCount
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, ln.Close()
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, firstPort+portCount-1)
}

// fetcher is modelfiles as the agent sees it.
type fetcher struct{ files *modelfiles.Store }

func (f fetcher) Fetch(ctx context.Context, want agent.FileRequest, progress func(api.DownloadProgress)) (agent.Model, error) {
	req := modelfiles.Request{Spec: want.Spec, Engine: want.Engine}
	if want.Token != nil {
		if m, ok := f.files.Have(req); ok {
			return modelOf(m), nil
		}
		token, err := want.Token(ctx)
		if err != nil {
			return agent.Model{}, err
		}
		req.Token = string(token)
	}
	m, err := f.files.Fetch(ctx, req, func(p modelfiles.Progress) {
		var d api.DownloadProgress
		p.Fill(&d)
		progress(d)
	})
	if err != nil {
		return agent.Model{}, failure(err)
	}
	return modelOf(m), nil
}

// failure is an error of modelfiles as the agent knows them.
func failure(err error) error {
	if e, ok := fail.As(err); ok {
		return &engine.Failure{Code: e.Code, Message: e.Message, Final: e.Final}
	}
	return err
}

func (f fetcher) Hold(ctx context.Context, m agent.Model, owner string) (func(), error) {
	release, err := f.files.Hold(ctx, m.Path, owner)
	return release, failure(err)
}

func modelOf(m modelfiles.Model) agent.Model {
	return agent.Model{Path: m.Path, MMProj: m.MMProj, Embedding: m.Metadata.Embedding, Context: m.Metadata.ContextLength}
}

// keeper is modelfiles as the agent sees it, beyond what replicas fetch.
type keeper struct{ files *modelfiles.Store }

func (k keeper) SetPins(pins []api.ModelSpec) { k.files.SetPins(pins) }

func (k keeper) SetWanted(wanted []api.ModelSpec) { k.files.SetWanted(wanted) }

func (k keeper) SetStopped(stopped []api.ModelSpec) { k.files.SetStopped(stopped) }

func (k keeper) Purge(ctx context.Context, spec api.ModelSpec, before time.Time) (uint64, error) {
	return k.files.Purge(ctx, spec, before)
}

// runner is supervise as the agent sees it.
type runner struct {
	driver *supervise.Driver
	log    *slog.Logger
}

func (r runner) Start(ctx context.Context, id engine.Identity, l engine.Launch, meta []byte) (agent.Process, error) {
	p, err := r.driver.Start(ctx, id, l, meta)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// strayGrace is how long a stray may take to end by itself.
const strayGrace = 5 * time.Second

// Adopt takes over what an earlier agent left and ends what runs in this directory's name without a record.
func (r runner) Adopt(ctx context.Context) ([]agent.Process, error) {
	procs, strays, err := r.driver.Adopt(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range strays {
		r.log.Warn("engine without a record is ended", "model", s.Identity.ModelUID, "replica", s.Identity.ReplicaID, "pids", s.PIDs)
		if err := r.driver.Reap(ctx, s, strayGrace); err != nil {
			r.log.Error("engine without a record did not end", "pids", s.PIDs, "error", err)
		}
	}
	out := make([]agent.Process, 0, len(procs))
	for _, p := range procs {
		out = append(out, p)
	}
	return out, nil
}
