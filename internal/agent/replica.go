package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// errUnwanted is the cause of a replica's context when it is not wanted any more, as opposed to an agent that ends.
var errUnwanted = errors.New("replica is not wanted any more")

// snapshot is how a replica stands; its goroutine posts one at every change and the agent's loop reports it.
type snapshot struct {
	Status    api.EndpointStatus
	BaseURL   string
	PID       int
	StartedAt time.Time
	ReadyAt   time.Time
	Restarts  uint32
	// LoadedPercent is how much of the model a starting engine has loaded; nil where it does not tell.
	LoadedPercent *float64
	Failure       *api.ReplicaFailure
	Progress      *api.DownloadProgress
	Capabilities  []string
}

// memory is what a process carries in its record, so that an agent that adopts it knows all that its starter knew.
type memory struct {
	Want  api.DesiredReplica `json:"want"`
	Model Model              `json:"model"`
}

// replica climbs the ladder of one replica, a rung at a time: fetch, start, ready, serve, drain, stop. One goroutine runs it and
// owns everything in it.
type replica struct {
	cfg   *Config
	log   *slog.Logger
	want  api.DesiredReplica
	post  func(snapshot) (stored <-chan struct{})
	ended <-chan struct{} // closes when the agent ends
	proc  Process         // nil when none is left
	model Model
	free  func() // gives the hold of the model's files back; nil: there is none
	state snapshot
	tries Tries
}

// run climbs until the replica is not wanted (ctx ends with errUnwanted) and nothing is left of it, or until the agent ends; then
// the engine is left running for the next agent, unless the agent is to take its engines with it.
func (r *replica) run(ctx context.Context) {
	if r.proc == nil {
		r.set(func(s *snapshot) { s.Status = api.EndpointStarting })
	}
	for ctx.Err() == nil {
		err := r.attempt(ctx)
		if ctx.Err() != nil {
			break
		}
		r.discard(ctx)
		if !r.pause(ctx, err) {
			break
		}
	}
	switch {
	case errors.Is(context.Cause(ctx), errUnwanted):
		r.leave(context.WithoutCancel(ctx))
	case r.cfg.StopOnExit:
		r.discard(context.WithoutCancel(ctx))
	}
}

// attempt is one climb. It returns why the replica does not serve any more.
func (r *replica) attempt(ctx context.Context) error {
	if r.proc == nil {
		if err := r.fetch(ctx); err != nil {
			return err
		}
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	if err := r.awaitReady(ctx); err != nil {
		return err
	}
	return r.serve(ctx)
}

// fetch brings the model's files here. A download that moved is shown until the replica is ready, so that whoever watches it sees its end.
func (r *replica) fetch(ctx context.Context) error {
	req := FileRequest{Spec: r.want.Spec, Engine: engineOf(r.want)}
	if req.Spec.TokenSecret != "" {
		req.Token = r.token
	}
	moved := false
	m, err := r.cfg.Files.Fetch(ctx, req, moderated(func(p api.DownloadProgress) {
		moved = moved || p.DownloadedBytes < p.TotalBytes
		p.ModelUID, p.ReplicaID, p.NodeID = r.want.Spec.ModelUID, r.want.Assignment.ReplicaID, r.cfg.NodeID
		p.ModelName, p.UpdatedAtMS = r.want.Spec.ModelName, time.Now().UnixMilli()
		r.set(func(s *snapshot) { s.Progress = &p })
	}))
	if err != nil {
		return err
	}
	r.model = m
	if r.state.Progress != nil && !moved {
		r.set(func(s *snapshot) { s.Progress = nil })
	}
	return nil
}

// token gets the model's own credential from the servers. Whatever they answer is no final word: they may be away, know less than this node
// does, or be given the secret later.
func (r *replica) token(ctx context.Context) (api.Token, error) {
	return token(ctx, r.cfg.Link, r.want.Spec)
}

func token(ctx context.Context, link Link, spec api.ModelSpec) (api.Token, error) {
	t, err := link.Secret(ctx, spec.ModelUID)
	if err == nil || ctx.Err() != nil {
		return t, err
	}
	return "", &engine.Failure{Code: api.FailHubAuth, Message: fmt.Sprintf(
		"the download needs the secret %s, which this node has not got yet, and waits for it: %v", spec.TokenSecret, err)}
}

// start plans and runs the engine.
func (r *replica) start(ctx context.Context) error {
	kind := engineOf(r.want)
	have := r.cfg.Engine(kind)
	if have.Missing != "" {
		return &engine.Failure{Code: api.FailEngineMissing, Message: have.Missing, Final: true}
	}
	id := engine.Identity{
		ModelUID: r.want.Spec.ModelUID, ReplicaID: r.want.Assignment.ReplicaID,
		PlanVersion: r.want.PlanVersion, NodeID: r.cfg.NodeID,
	}
	in, err := r.input(have, id)
	if err != nil {
		return err
	}
	launch, err := engine.Plan(kind, in)
	if err != nil {
		if e, ok := api.AsError(err); ok {
			return &engine.Failure{Code: api.FailBadFlag, Message: e.Message, Final: true}
		}
		return err
	}
	if err := r.hold(ctx); err != nil {
		return err
	}
	meta, err := json.Marshal(memory{r.want, r.model})
	if err != nil {
		return fmt.Errorf("write the replica's memory: %w", err)
	}
	p, err := r.cfg.Runner.Start(ctx, id, launch, meta)
	if err != nil {
		return err
	}
	r.proc = p
	r.log.Info("engine started", "engine", kind, "pid", p.PID())
	return nil
}

// hold keeps the files that the engine has open, or is about to open.
func (r *replica) hold(ctx context.Context) error {
	r.letGo()
	free, err := r.cfg.Files.Hold(ctx, r.model, fmt.Sprintf("the engine of %s, replica %d", r.want.Spec.ModelUID, r.want.Assignment.ReplicaID))
	if err != nil {
		return err
	}
	r.free = free
	return nil
}

// letGo gives the hold back: no engine is there.
func (r *replica) letGo() {
	if r.free != nil {
		r.free()
		r.free = nil
	}
}

func (r *replica) input(have api.NodeEngine, id engine.Identity) (engine.Input, error) {
	in := engine.Input{
		ServedName: r.want.Spec.ModelUID, Path: r.model.Path, MMProj: r.model.MMProj, Config: r.want.Config,
		ExtraArgs: r.want.Assignment.ExtraArgs, Binary: have.Path, Version: have.Version, Cores: r.cfg.Cores(),
		Embedding: r.model.Embedding, Pooling: r.model.Pooling,
		TrainedContext: int(r.model.Context), BaseEnv: r.cfg.BaseEnv, Identity: id,
	}
	for _, i := range r.want.Assignment.GPUs() {
		in.GPUs = append(in.GPUs, r.cfg.GPU(i))
	}
	if have.Name == api.EngineLlamaCPP {
		return in, nil // takes a free one by itself
	}
	var err error
	in.Port, err = r.cfg.Port()
	return in, err
}

// awaitReady waits until the engine answers. It may take any time as long as the engine shows signs of life.
func (r *replica) awaitReady(ctx context.Context) error {
	l := r.proc.Launch()
	if r.answers(ctx, l.Ready) { // adopted, and serving all the while
		return nil
	}
	began := time.Now()
	alive, activity, looked := began, r.proc.Activity(), began
	r.set(func(s *snapshot) {
		s.Status, s.PID, s.StartedAt, s.LoadedPercent = api.EndpointStarting, r.proc.PID(), r.proc.StartedAt(), nil
	})
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		if r.answers(ctx, l.Ready) {
			return nil
		}
		now := time.Now()
		if a := r.proc.Activity(); a != activity {
			alive, activity = now, a
		}
		if now.Sub(looked) >= lookEvery {
			looked = now
			r.tellLoaded()
		}
		if now.Sub(alive) > l.StallTimeout {
			return &engine.Failure{Code: api.FailStalled, Message: fmt.Sprintf(
				"the engine showed no sign of life for %s while it started; see: nebula model logs %s", l.StallTimeout, r.want.Spec.ModelUID)}
		}
		if now.Sub(began) > l.StartTimeout {
			return &engine.Failure{Code: api.FailStalled, Message: fmt.Sprintf(
				"the engine was not ready after %s; see: nebula model logs %s", l.StartTimeout, r.want.Spec.ModelUID)}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.proc.Done():
			return r.diagnose()
		case <-tick.C:
		}
	}
}

func (r *replica) answers(ctx context.Context, p engine.Probe) bool {
	return r.proc.Port() != 0 && r.proc.Probe(ctx, r.cfg.Client, p) == engine.AnswerOK
}

// tellLoaded posts how much of the model the engine has loaded, where its log tells.
func (r *replica) tellLoaded() {
	pct, ok := engine.Progress(r.proc.Tail(20))
	if ok && (r.state.LoadedPercent == nil || *r.state.LoadedPercent != pct) {
		r.set(func(s *snapshot) { s.LoadedPercent = &pct })
	}
}

const (
	readyEvery = 100 * time.Millisecond
	lookEvery  = time.Second // at the log of an engine that starts
	// hungAfter probes in a row without an answer the engine is restarted; it has long been out of rotation.
	hungAfter = 15
)

// serve watches a ready engine until it ends, hangs, or is not wanted.
func (r *replica) serve(ctx context.Context) error {
	probe := r.proc.Launch().Live
	ready := time.Now()
	defer func() { r.tries = r.tries.Served(time.Since(ready)) }()
	r.setReady(ready)
	r.log.Info("replica ready", "port", r.proc.Port(), "took", ready.Sub(r.proc.StartedAt()).Round(time.Millisecond))
	tick := time.NewTicker(max(probe.Every, readyEvery)) // a record on disk may hold anything
	defer tick.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.proc.Done():
			return r.diagnose()
		case <-tick.C:
		}
		switch r.proc.Probe(ctx, r.cfg.Client, probe) {
		case engine.AnswerOK:
			if failed >= probe.Failures {
				r.setReady(time.Now())
			}
			failed = 0
			continue
		default:
			failed++
		}
		switch {
		case ctx.Err() != nil:
		case failed == hungAfter:
			return &engine.Failure{Code: api.FailProbe, Message: fmt.Sprintf(
				"the engine answered none of %d health checks and is being restarted", failed)}
		case failed == probe.Failures:
			r.log.Warn("replica does not answer", "failed_probes", failed)
			r.set(func(s *snapshot) {
				s.Status = api.EndpointUnhealthy
				s.Failure = &api.ReplicaFailure{Code: api.FailProbe, AtMS: time.Now().UnixMilli(), Message: "the engine does not answer its health check; it takes no requests until it does, " +
					"and is restarted if it stays silent"}
			})
		}
	}
}

func (r *replica) setReady(at time.Time) { r.set(func(s *snapshot) { *s = r.ready(at) }) }

// ready is the state of a replica that serves.
func (r *replica) ready(at time.Time) snapshot {
	caps := []string{"chat", "completions"}
	if r.model.Embedding {
		caps = []string{"embeddings"}
	}
	return snapshot{
		Status: api.EndpointReady, BaseURL: fmt.Sprintf("http://127.0.0.1:%d", r.proc.Port()), PID: r.proc.PID(),
		StartedAt: r.proc.StartedAt(), ReadyAt: at, Restarts: r.state.Restarts, Capabilities: caps,
	}
}

// diagnose reads from the ended engine's log why it ended.
func (r *replica) diagnose() error {
	exit := r.proc.Exit()
	exit.Served = !r.state.ReadyAt.IsZero()
	f := engine.Diagnose(r.proc.Launch().Engine, r.proc.Tail(200), exit)
	return &f
}

// pause posts the failure and waits for the next try. False: the replica is not wanted any more.
func (r *replica) pause(ctx context.Context, err error) bool {
	now := time.Now()
	r.tries = r.tries.Failed(now)
	delay := r.tries.Delay()
	fail := describe(err)
	fail.AtMS = now.UnixMilli()
	if !fail.Final {
		fail.RetryAtMS = now.Add(delay).UnixMilli()
		if r.tries.Looping() {
			fail.Message = fmt.Sprintf("failed %d times in 10 minutes (%s), last: %s", loopCount, fail.Code, fail.Message)
			fail.Code = api.FailCrashLoop
		}
	}
	r.log.Warn("replica failed", "code", fail.Code, "error", fail.Message, "final", fail.Final, "retry_in", delay)
	r.set(func(s *snapshot) {
		*s = snapshot{Status: api.EndpointUnhealthy, Failure: &fail, Restarts: s.Restarts}
	})
	if fail.Final {
		<-ctx.Done()
		return false
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		r.set(func(s *snapshot) { s.Restarts++; s.Status = api.EndpointStarting })
		return true
	}
}

func describe(err error) api.ReplicaFailure {
	if f, ok := errors.AsType[*engine.Failure](err); ok {
		return api.ReplicaFailure{Code: f.Code, Message: f.Message, Final: f.Final}
	}
	return api.ReplicaFailure{Code: api.FailEngineCrash, Message: err.Error()}
}

// leave drains the replica at the gateway and then ends the engine; llama-server cuts every open stream on TERM.
func (r *replica) leave(ctx context.Context) {
	if r.proc != nil && r.state.Status == api.EndpointReady {
		stored := r.set(func(s *snapshot) { s.Status = api.EndpointDraining })
		r.drain(ctx, stored)
	} else {
		r.set(func(s *snapshot) { s.Status, s.Progress = api.EndpointDraining, nil })
	}
	select {
	case <-r.ended:
		if !r.cfg.StopOnExit {
			return // the next agent adopts the engine and finds it unwanted
		}
	default:
	}
	r.discard(ctx)
}

// drain returns when the gateway has nothing in flight here, or after the drain time-out.
func (r *replica) drain(ctx context.Context, stored <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.DrainTimeout)
	defer cancel()
	select {
	case <-stored: // from now on gateways choose others
	case <-r.proc.Done():
		return
	case <-r.ended:
		return
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for quiet := 0; quiet < 3; { // a gateway may have chosen us a moment before it saw that we drain
		select {
		case <-r.proc.Done():
			return
		case <-r.ended:
			return
		case <-ctx.Done():
			r.log.Warn("drain timed out; the streams that are left are cut", "after", r.cfg.DrainTimeout)
			return
		case <-tick.C:
		}
		quiet++
		if r.cfg.InFlight(r.want.Spec.ModelUID, r.want.Assignment.ReplicaID) > 0 {
			quiet = 0
		}
	}
}

const drainEvery = 50 * time.Millisecond

// discard ends what is left of the process and forgets it once it is gone. One that does not go stays in hand, and is tried again
// until it does or the agent ends: it may still hold its GPUs, so nothing takes its place. Then its record is there for the next agent.
func (r *replica) discard(ctx context.Context) {
	if r.proc == nil {
		r.letGo() // it was not started after all
		return
	}
	for !r.stop(ctx) {
		fail := api.ReplicaFailure{
			Code: api.FailProbe, AtMS: time.Now().UnixMilli(),
			Message: fmt.Sprintf("the engine (process %d) does not end, even when killed; Nebula goes on trying", r.proc.PID()),
		}
		select {
		case <-r.ended:
			return
		case <-time.After(stopAgain):
			r.set(func(s *snapshot) { s.Status, s.Failure = api.EndpointUnhealthy, &fail })
		}
	}
	if err := r.proc.Remove(); err != nil {
		r.log.Warn("engine record not removed", "error", err)
	}
	r.proc = nil
	r.letGo()
}

func (r *replica) stop(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := r.proc.Stop(ctx)
	if err != nil {
		r.log.Error("engine did not stop", "pid", r.proc.PID(), "error", err)
	}
	return err == nil
}

// stopAgain is the pause before an engine that does not go is stopped once more.
const stopAgain = 10 * time.Second

// stopTimeout bounds a stop; the launch's own rules end with KILL long before.
const stopTimeout = 60 * time.Second

// set changes the state and posts it; the channel closes when the cluster shows it.
func (r *replica) set(change func(*snapshot)) <-chan struct{} {
	change(&r.state)
	return r.post(r.state)
}
