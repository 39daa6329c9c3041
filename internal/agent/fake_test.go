package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// world is everything around an agent: the server, the hub, the processes and the machine. Engines are stood in for, because time
// is; test/e2e runs the real ones.
type world struct {
	mu       sync.Mutex
	want     api.NodeDesired
	changed  chan struct{}
	reports  []api.NodeObserved
	down     bool // the server takes no reports
	fetch    func(ctx context.Context, progress func(api.DownloadProgress)) (Model, error)
	behave   func(n int, p *fakeProc) // called for the n-th engine start, from 1
	procs    []*fakeProc
	left     []*fakeProc // of an earlier agent
	inFlight int
	secret   api.Token
	noSecret error    // why there is none
	refused  error    // what the source says of the token
	tokens   []string // that fetches were made with
	missing  string   // why the engine cannot be started here
	storage  Storage
	stored   chan struct{} // closes when storage is another
	holds    map[string]int
	noHold   error // why files cannot be held
}

func newWorld() *world {
	return &world{
		changed: make(chan struct{}), want: api.NodeDesired{NodeID: "n1", Revision: 1},
		fetch: func(context.Context, func(api.DownloadProgress)) (Model, error) { return Model{Path: "/m/a.gguf"}, nil },
	}
}

func (w *world) Desired() (api.NodeDesired, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.want, w.changed
}

func (w *world) wish(replicas ...api.DesiredReplica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want.Replicas = replicas
	w.want.Revision++
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) Report(_ context.Context, o api.NodeObserved) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return errors.New("no server")
	}
	w.reports = append(w.reports, o)
	return nil
}

func (w *world) Secret(context.Context, string) (api.Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.secret, w.noSecret
}

func (w *world) Fetch(ctx context.Context, req FileRequest, progress func(api.DownloadProgress)) (Model, error) {
	if req.Token != nil {
		token, err := req.Token(ctx)
		if err != nil {
			return Model{}, err
		}
		w.mu.Lock()
		w.tokens = append(w.tokens, string(token))
		refused := w.refused
		w.mu.Unlock()
		if refused != nil {
			return Model{}, refused
		}
	}
	return w.fetch(ctx, progress)
}

// cacheOf records what an agent asks of the cache.
type cacheOf struct {
	mu     sync.Mutex
	pins   [][]api.ModelSpec
	wanted []api.ModelSpec
	purges []string
	purge  func(ctx context.Context) error // how a purge goes; nil: well
}

func (c *cacheOf) SetStopped([]api.ModelSpec) {}

func (c *cacheOf) SetPins(pins []api.ModelSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pins = append(c.pins, pins)
}

func (c *cacheOf) SetWanted(wanted []api.ModelSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = wanted
}

func (c *cacheOf) Purge(ctx context.Context, spec api.ModelSpec, before time.Time) (uint64, error) {
	c.mu.Lock()
	c.purges = append(c.purges, fmt.Sprintf("%s before %d", spec.ModelName, before.UnixMilli()))
	purge := c.purge
	c.mu.Unlock()
	if purge != nil {
		return 0, purge(ctx)
	}
	return 1, nil
}

func (c *cacheOf) purged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.purges)
}

// wishFiles replaces the wishes for files.
func (w *world) wishFiles(wishes ...api.CacheWish) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want.CacheWishes = wishes
	w.want.Revision++
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) Hold(_ context.Context, m Model, owner string) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noHold != nil {
		return nil, w.noHold
	}
	if w.holds == nil {
		w.holds = map[string]int{}
	}
	w.holds[m.Path+" by "+owner]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.holds[m.Path+" by "+owner]--
	}, nil
}

// heldFor is how many holds of a model's files there are.
func (w *world) heldFor(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holds[what]
}

func (w *world) Node(context.Context) (api.NodeStatus, error) { return api.NodeStatus{CPUs: 2}, nil }

func (w *world) Storage() (Storage, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.storage, w.stored
}

func (w *world) Start(_ context.Context, id engine.Identity, l engine.Launch, meta []byte) (Process, error) {
	w.mu.Lock()
	p := &fakeProc{id: id, launch: l, meta: meta, pid: 100 + len(w.procs), done: make(chan struct{}), started: time.Now()}
	w.procs = append(w.procs, p)
	n, behave := len(w.procs), w.behave
	w.mu.Unlock()
	p.listen(engine.AnswerOK)
	if behave != nil {
		behave(n, p)
	}
	return p, nil
}

func (w *world) Adopt(context.Context) ([]Process, error) {
	var out []Process
	for _, p := range w.left {
		out = append(out, p)
	}
	return out, nil
}

// last returns the newest report and its one endpoint, if there is one.
func (w *world) last() (api.NodeObserved, api.EndpointInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.reports) == 0 {
		return api.NodeObserved{}, api.EndpointInfo{}
	}
	o := w.reports[len(w.reports)-1]
	if len(o.Endpoints) == 0 {
		return o, api.EndpointInfo{}
	}
	return o, o.Endpoints[0]
}

func (w *world) proc(i int) *fakeProc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[i]
}

func (w *world) started() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.procs)
}

func (w *world) config() Config {
	return Config{
		NodeID: "n1", Link: w, Files: w, Runner: w, Host: w, Log: slog.New(slog.DiscardHandler),
		Engine: func(kind string) api.NodeEngine {
			return api.NodeEngine{Name: kind, Path: "/usr/bin/llama-server", Missing: w.missing}
		},
		InFlight: func(string, uint32) int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.inFlight
		},
		Cores: func() int { return 1 }, GPU: func(i uint32) engine.GPU { return engine.GPU{Index: i} }, Client: http.DefaultClient,
		DrainTimeout: time.Minute, ReportEvery: 100 * time.Millisecond, Heartbeat: 3 * time.Second, HostEvery: 10 * time.Second,
	}
}

// within runs an agent in a bubble of fake time, hands it to body, and ends it.
func within(t *testing.T, w *world, change func(*Config), body func()) {
	synctest.Test(t, func(t *testing.T) {
		cfg := w.config()
		if change != nil {
			change(&cfg)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w.changed, w.stored = make(chan struct{}), make(chan struct{})
		over := make(chan error, 1)
		go func() { over <- Run(ctx, cfg) }()
		body()
		cancel()
		if err := <-over; err != nil {
			t.Errorf("agent ended with %v", err)
		}
	})
}

// after lets time pass and everything that is due happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fakeProc is an engine process.
type fakeProc struct {
	mu      sync.Mutex
	id      engine.Identity
	launch  engine.Launch
	meta    []byte
	pid     int
	started time.Time
	answer  engine.Answer
	tail    []string
	done    chan struct{}
	ended   bool
	stops   int
	removed bool
	stopped time.Time
	stuck   error // what Stop comes back with while it is set
}

func (p *fakeProc) Identity() engine.Identity { return p.id }
func (p *fakeProc) Meta() []byte              { return p.meta }
func (p *fakeProc) Launch() engine.Launch     { return p.launch }
func (p *fakeProc) PID() int                  { return p.pid }
func (p *fakeProc) StartedAt() time.Time      { return p.started }
func (p *fakeProc) Port() int                 { return 4000 + p.pid }
func (p *fakeProc) Done() <-chan struct{}     { return p.done }
func (p *fakeProc) Exit() engine.Exit         { return engine.Exit{} }
func (p *fakeProc) Activity() uint64          { return 0 }

func (p *fakeProc) Tail(int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tail
}

func (p *fakeProc) Probe(context.Context, *http.Client, engine.Probe) engine.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answer
}

func (p *fakeProc) Stop(context.Context) error {
	p.mu.Lock()
	p.stops++
	p.stopped = time.Now()
	stuck := p.stuck
	p.mu.Unlock()
	if stuck != nil {
		return stuck
	}
	p.end()
	return nil
}

func (p *fakeProc) Remove() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		return errors.New("it has not ended")
	}
	p.removed = true
	return nil
}

func (p *fakeProc) listen(a engine.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = a
}

// end ends the process, with a log.
func (p *fakeProc) end(tail ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.ended, p.tail, p.answer = true, tail, engine.AnswerRefused
		close(p.done)
	}
}

func (p *fakeProc) gone() (stops int, removed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stops, p.removed && p.ended
}

// leftOver is a process that an earlier agent started for want.
func leftOver(t *testing.T, want api.DesiredReplica) *fakeProc {
	t.Helper()
	meta, err := json.Marshal(memory{want, Model{Path: "/m/a.gguf"}})
	if err != nil {
		t.Fatal(err)
	}
	probe := engine.Probe{Every: 2 * time.Second, Failures: 2}
	return &fakeProc{
		id: engine.Identity{ModelUID: want.Spec.ModelUID, ReplicaID: want.Assignment.ReplicaID}, meta: meta, pid: 77, answer: engine.AnswerOK,
		launch: engine.Launch{Engine: "llamacpp", Ready: probe, Live: probe, StallTimeout: time.Minute, StartTimeout: time.Hour}, done: make(chan struct{}),
	}
}
