package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/agent"
	"github.com/nebula-serve/nebula/internal/engine"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/hw"
	"github.com/nebula-serve/nebula/internal/modelfiles"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/supervise"
)

// startAgent runs the agent of this machine against the registry in the same process.
func startAgent(l *life, o Options, node *registry.Node, st *store.Store, gw *gateway.Gateway) error {
	log := o.Log.With("component", "agent")
	driver, err := supervise.New(supervise.Config{Dir: o.replicaDir(), Shim: []string{o.Exe, shimCommand}, Log: o.Log.With("component", "supervise")})
	if err != nil {
		return err
	}
	l.onStop("engines' driver", func(context.Context) error { driver.Close(); return nil })
	files, err := modelfiles.New(modelfiles.Config{
		CacheDir: o.modelDir(), NodeID: o.NodeID, Endpoint: o.HFEndpoint, Token: o.HFToken, UserAgent: "nebula/" + o.Version.Version,
		Log: o.Log.With("component", "files"), Proxy: http.ProxyFromEnvironment,
	})
	if err != nil {
		return err
	}
	h := &host{o: o, log: log, files: files, hw: &hw.Exec{}}
	l.goRun("agent", func(ctx context.Context) error {
		return agent.Run(ctx, agent.Config{
			NodeID: o.NodeID, Link: node, Files: fetcher{files}, Runner: runner{driver, log}, Host: h, Log: log,
			Engine: installed(h, st), InFlight: gw.InFlight, Cores: func() int { return coresFor(st, o.NodeID) }, GPU: gpuOf(st, o.NodeID),
			Port: freePort, BaseEnv: os.Environ(), Client: probeClient(),
			DrainTimeout: o.DrainTimeout, ReportEvery: 100 * time.Millisecond, Heartbeat: nodeTTL / 5, HostEvery: 15 * time.Second,
			StopOnExit: !o.KeepEngines,
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

// coresFor shares the machine's cores among the replicas it is to run; idle engines spin when they have more threads than cores.
func coresFor(st *store.Store, nodeID string) int {
	s, _ := st.Current()
	node, _ := s.Nodes.Value(nodeID)
	replicas := 0
	for e := range s.Placements.All() {
		for _, a := range e.Value.Assignments {
			if a.NodeID == nodeID {
				replicas++
			}
		}
	}
	return max(1, int(node.CPUs)/max(1, replicas))
}

func gpuOf(st *store.Store, nodeID string) func(uint32) engine.GPU {
	return func(index uint32) engine.GPU {
		s, _ := st.Current()
		node, _ := s.Nodes.Value(nodeID)
		for _, g := range node.GPUs {
			if g.Index == index {
				return engine.GPU{Index: index, UUID: g.UUID, Vendor: g.Vendor}
			}
		}
		return engine.GPU{Index: index}
	}
}

// installed finds an engine, with the version that the node has reported for it.
func installed(h *host, st *store.Store) func(kind string) api.NodeEngine {
	return func(kind string) api.NodeEngine {
		e := h.engine(kind)
		s, _ := st.Current()
		node, _ := s.Nodes.Value(h.o.NodeID)
		if told, ok := node.Engine(kind); ok && told.Path == e.Path {
			e.Version = told.Version
		}
		return e
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

func (f fetcher) Fetch(ctx context.Context, spec api.ModelSpec, engineName string, progress func(api.DownloadProgress)) (agent.Model, error) {
	m, err := f.files.Fetch(ctx, modelfiles.Request{Spec: spec, Engine: engineName}, func(p modelfiles.Progress) {
		var d api.DownloadProgress
		p.Fill(&d)
		progress(d)
	})
	if e, ok := modelfiles.AsError(err); ok {
		return agent.Model{}, &engine.Failure{Code: e.Code, Message: e.Message, Final: e.Final}
	}
	if err != nil {
		return agent.Model{}, err
	}
	return agent.Model{Path: m.Path, MMProj: m.MMProj, Embedding: m.Metadata.Embedding, Context: m.Metadata.ContextLength}, nil
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

// replicaLogs opens the logs of this machine's engines.
type replicaLogs struct{ dir string }

func (r replicaLogs) OpenLog(ctx context.Context, uid string, replica uint32, o httpapi.LogOptions) (io.ReadCloser, error) {
	return supervise.OpenLog(ctx, r.dir, uid, replica, supervise.LogOptions{Tail: o.Tail, Follow: o.Follow, Previous: o.Previous})
}

// host is this machine as the agent sees it.
type host struct {
	o     Options
	log   *slog.Logger
	files *modelfiles.Store
	hw    *hw.Exec // one for good: it remembers a program that hangs

	complained error   // the last thing that hw could not see
	known      []known // engine versions asked so far; the agent asks from one goroutine
}

// known is the version of an engine's executable, which is asked again only when the file changes.
type known struct {
	path    string
	changed time.Time
	version string
}

func (h *host) Node(ctx context.Context) (api.NodeStatus, error) {
	n, err := hw.Detect(ctx, h.hw)
	if err != nil { // what could be read is in n all the same
		if h.complained == nil || h.complained.Error() != err.Error() {
			h.log.Warn("cannot see all of this machine's hardware", "error", err)
		}
	}
	h.complained = err
	n.NodeID, n.Version = h.o.NodeID, h.o.Version.Version
	if n.Hostname, err = os.Hostname(); err != nil {
		n.Hostname = h.o.NodeID
	}
	for _, kind := range api.Engines() {
		e := h.engine(kind)
		e.Version = h.version(ctx, e)
		n.Engines = append(n.Engines, e)
	}
	return n, nil
}

func (h *host) Storage(ctx context.Context) (api.NodeDiskStatus, []api.ModelCacheEntry, []api.DiskAlert, error) {
	return h.files.Storage(ctx)
}

// engine finds an engine's executable: the one of the options, on the PATH, or where make puts llama-server.
func (h *host) engine(kind string) api.NodeEngine {
	e := api.NodeEngine{Name: kind}
	candidates := engine.Binaries(kind)
	if kind == api.EngineLlamaCPP {
		if h.o.LlamaServer != "" {
			candidates = []string{h.o.LlamaServer}
		} else if cache, err := os.UserCacheDir(); err == nil {
			candidates = append(slices.Clone(candidates), filepath.Join(cache, "nebula", "llama-server", "llama-server"))
		}
	}
	var problem error
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err == nil {
			e.Path = path
			return e
		}
		if problem == nil || !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			problem = err
		}
	}
	e.Missing = fmt.Sprintf("%s cannot be started on this node (%v). %s", kind, problem, engine.Install(kind))
	return e
}

// versionTimeout bounds asking an engine for its version; Python engines take their time.
const versionTimeout = 20 * time.Second

// version asks an executable for its version, once for each state of its file.
func (h *host) version(ctx context.Context, e api.NodeEngine) string {
	info, err := os.Stat(e.Path)
	if e.Path == "" || err != nil {
		return ""
	}
	for _, k := range h.known {
		if k.path == e.Path && k.changed.Equal(info.ModTime()) {
			return k.version
		}
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.Path, "--version")
	cmd.WaitDelay = time.Second // a child of it may hold the pipe for ever
	out, err := cmd.CombinedOutput()
	version := ""
	if err == nil {
		version = firstVersion(string(out))
	}
	h.known = append(h.known, known{e.Path, info.ModTime(), version})
	return version
}

// firstVersion finds the first word that looks like a version.
func firstVersion(text string) string {
	for word := range strings.FieldsSeq(text) {
		word = strings.Trim(word, "(),:")
		digits := strings.TrimPrefix(strings.TrimPrefix(word, "v"), "b")
		if digits != "" && digits[0] >= '0' && digits[0] <= '9' && len(word) <= 40 {
			return word
		}
	}
	return ""
}
