// Package agent makes one node run what it should: it compares the desired set with what it holds, gives each replica a
// goroutine that climbs the ladder fetch, start, ready, serve, drain, stop, and reports what is true.
//
// It knows the server only through Link. It never reads the store, never decides where a replica runs, and never stops an engine
// because a control link is down.
package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// Config is what an agent is made of.
type Config struct {
	NodeID string
	Link   Link
	Files  Files
	Cache  Cache // nil: wishes for files are not acted upon
	Runner Runner
	Host   Host
	Log    *slog.Logger

	// Engine returns an engine as this node has it, or with what is missing and how to install it.
	Engine func(kind string) api.NodeEngine
	// InFlight is how many requests the gateways have open at a replica.
	InFlight func(uid string, replica uint32) int
	// Endpoints, when set, is told what endpoints there are on every change, before a report says so, and from one goroutine at a time.
	Endpoints func([]api.EndpointInfo)
	// Cores is the number of CPU cores that one more replica may use.
	Cores func() int
	// GPU names a GPU; without a UUID when it is unknown.
	GPU func(index uint32) engine.GPU
	// Port returns a free port on loopback for an engine that cannot choose one itself.
	Port    func() (int, error)
	BaseEnv []string // the node's environment, of which the engine planners let a few keys through
	Client  *http.Client

	DrainTimeout time.Duration // how long streams in flight may take to finish when a replica stops
	ReportEvery  time.Duration // at most one report in this time
	Heartbeat    time.Duration // a report is due after this time even when nothing changed
	HostEvery    time.Duration // how often the machine is looked at
	StopOnExit   bool          // end the engines with the agent (nebula up); otherwise they serve on
}

// held is a replica in hand: what the loop knows of it.
type held struct {
	want     api.DesiredReplica
	state    snapshot
	stopping bool
	cancel   context.CancelCauseFunc
	last     api.EndpointInfo // as last reported
}

// update is a replica's news for the loop; gone means that nothing is left of it.
type update struct {
	key    string
	state  snapshot
	gone   bool
	stored chan struct{} // closed once a report with this state is in the store
}

// loop is the state of Run; its goroutine owns it.
type loop struct {
	cfg      Config
	updates  chan update
	hosts    chan api.NodeStatus
	storages chan Storage
	reports  chan api.NodeObserved // to the reporter
	results  chan error            // from the reporter

	held     map[string]*held
	host     *api.NodeStatus // nil until the machine has been looked at once
	storage  Storage
	pending  []chan struct{} // waiters of the next report
	inflight []chan struct{} // waiters of the report on its way; nil when none is
	sending  bool
	dirty    bool
	sentAt   time.Time
	files    files
	replicas sync.WaitGroup
	helpers  sync.WaitGroup // all other goroutines
}

// Run runs the node until ctx ends. It adopts what an earlier agent left before it reports or starts anything.
func Run(ctx context.Context, cfg Config) error {
	l := &loop{
		cfg: cfg, held: map[string]*held{}, dirty: true, files: newFiles(),
		updates: make(chan update), hosts: make(chan api.NodeStatus), storages: make(chan Storage), reports: make(chan api.NodeObserved), results: make(chan error),
	}
	if err := l.adopt(ctx); err != nil {
		return err
	}
	l.helpers.Go(func() { l.watchHost(ctx) })
	l.helpers.Go(func() { l.watchStorage(ctx) })
	l.helpers.Go(func() { l.report(ctx) })
	for ctx.Err() == nil {
		l.turn(ctx)
	}
	l.settle()
	l.helpers.Wait()
	return l.farewell(ctx)
}

// turn is the loop of the architecture: newest wish, plan, act, report, wait.
func (l *loop) turn(ctx context.Context) {
	want, changed := l.cfg.Link.Desired()
	for _, a := range Plan(want, l.view()) {
		l.act(ctx, a)
	}
	l.lookAfterFiles(ctx, want, time.Now())
	l.publish()
	out, doc, due := l.next(time.Now())
	timer := time.NewTimer(due)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case u := <-l.updates:
		l.take(u)
	case n := <-l.files.news:
		l.takePull(n)
	case p := <-l.files.purged:
		l.takePurged(p, time.Now())
	case h := <-l.hosts:
		l.host, l.dirty = &h, true
	case s := <-l.storages:
		l.storage, l.dirty = s, true
	case out <- doc:
		l.inflight, l.pending, l.dirty, l.sending, l.sentAt = l.pending, nil, false, true, time.Now()
	case err := <-l.results:
		l.sent(err)
	case <-timer.C:
	}
}

// settle takes the replicas' last news until the last of them is done.
func (l *loop) settle() {
	done := make(chan struct{})
	go func() { l.replicas.Wait(); close(done) }()
	for {
		select {
		case u := <-l.updates:
			l.take(u)
		case <-done:
			return
		}
	}
}

// farewell tells the cluster that this node's engines are gone, when they are.
func (l *loop) farewell(ctx context.Context) error {
	if !l.cfg.StopOnExit || l.host == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	if err := l.cfg.Link.Report(ctx, l.document(time.Now())); err != nil {
		l.cfg.Log.Warn("last report not stored", "error", err)
	}
	return nil
}

const (
	adoptProbe      = 2 * time.Second
	farewellTimeout = 3 * time.Second
)

// adopt takes over the processes of an earlier agent. Each becomes a replica with the wish it was started for; the next plan
// decides whether it stays. A process without a readable record is ended: nobody could ever tell whose it is.
func (l *loop) adopt(ctx context.Context) error {
	procs, err := l.cfg.Runner.Adopt(ctx)
	if err != nil {
		return err
	}
	var probes sync.WaitGroup
	var adopted []*replica
	for _, p := range procs {
		var m memory
		id := p.Identity()
		if err := json.Unmarshal(p.Meta(), &m); err != nil || m.Want.Key() != api.EndpointKey(id.ModelUID, id.ReplicaID) || l.held[m.Want.Key()] != nil {
			l.cfg.Log.Warn("left-over engine has no usable record and is ended", "pid", p.PID(), "error", err)
			r := &replica{cfg: &l.cfg, log: l.cfg.Log, proc: p}
			probes.Go(func() { // one that does not go keeps its record for the next agent
				if r.stop(ctx) {
					_ = p.Remove() // what cannot be removed is seen by the next agent again
				}
			})
			continue
		}
		r := l.hold(m.Want)
		r.proc, r.model, r.state = p, m.Model, l.held[m.Want.Key()].state
		adopted = append(adopted, r)
		if err := r.hold(ctx); err != nil { // it runs all the same
			r.log.Warn("the files of an adopted engine are not held", "path", r.model.Path, "error", err)
		}
		probes.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, adoptProbe)
			defer cancel()
			if r.answers(ctx, p.Launch().Live) {
				r.state = r.ready(p.StartedAt())
			}
		})
		r.log.Info("engine adopted", "pid", p.PID())
	}
	probes.Wait()
	for _, r := range adopted {
		l.held[r.want.Key()].state = r.state
		l.launch(ctx, r)
	}
	return nil
}

// act carries out one step of a plan.
func (l *loop) act(ctx context.Context, a Action) {
	switch a.Verb {
	case VerbStart:
		l.launch(ctx, l.hold(a.Want))
	case VerbReplace, VerbStop:
		h := l.held[a.Key]
		h.stopping = true
		h.cancel(errUnwanted)
	case VerbRetarget:
		l.held[a.Key].want = a.Want
	}
	l.dirty = true
}

// hold takes a replica in hand.
func (l *loop) hold(want api.DesiredReplica) *replica {
	key := want.Key()
	l.held[key] = &held{want: want, state: snapshot{Status: api.EndpointStarting}}
	return &replica{
		cfg: &l.cfg, want: want,
		log: l.cfg.Log.With("model", want.Spec.ModelUID, "replica", want.Assignment.ReplicaID),
		post: func(s snapshot) <-chan struct{} {
			stored := make(chan struct{})
			l.updates <- update{key: key, state: s, stored: stored}
			return stored
		},
	}
}

// launch starts a replica's goroutine.
func (l *loop) launch(ctx context.Context, r *replica) {
	key := r.want.Key()
	r.ended = ctx.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	l.held[key].cancel = cancel
	l.replicas.Go(func() {
		defer cancel(nil)
		r.run(ctx)
		if r.proc == nil {
			l.updates <- update{key: key, gone: true}
		}
	})
}

// take applies a replica's news.
func (l *loop) take(u update) {
	h := l.held[u.key]
	l.dirty = true
	if u.gone {
		delete(l.held, u.key)
		l.publish()
		return
	}
	h.state = u.state
	l.pending = append(l.pending, u.stored)
	l.publish() // also while the agent ends and only waits for its replicas
}

// view is what the plan needs to know of the held replicas.
func (l *loop) view() map[string]Held {
	out := make(map[string]Held, len(l.held))
	for key, h := range l.held {
		f := h.state.Failure
		failed := f != nil && (f.Final || f.RetryAtMS > 0)
		out[key] = Held{h.want, h.state.Status == api.EndpointReady, h.stopping, failed}
	}
	return out
}
