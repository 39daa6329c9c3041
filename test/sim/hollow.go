package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/agent"
	"github.com/nebula-serve/nebula/internal/engine"
)

// hollow is a machine that is not there: the real agent runs on it, with engines that cost nothing and answer at once.
type hollow struct {
	id   string
	cpus uint32
	pids atomic.Int64
	seen func(id string, d api.NodeDesired) // told of every desired set; may be nil
}

// probeEvery is how often an engine's health is asked. Twenty thousand stubs would otherwise be all that the machine does.
const probeEvery = time.Minute

// config is the agent's configuration on this machine.
func (h *hollow) config(link agent.Link, log *slog.Logger) agent.Config {
	return agent.Config{
		NodeID: h.id, Link: link, Files: h, Runner: h, Host: h, Log: log,
		Engine: func(kind string) api.NodeEngine {
			return api.NodeEngine{Name: kind, Path: "/usr/bin/" + kind, Version: "1"}
		},
		InFlight: func(string, uint32) int { return 0 },
		Cores:    func() int { return 1 }, GPU: func(i uint32) engine.GPU { return engine.GPU{Index: i} },
		Port: func() (int, error) { return 21000, nil }, Client: http.DefaultClient,
		DrainTimeout: time.Second, ReportEvery: time.Second, Heartbeat: 3 * time.Second, HostEvery: time.Hour,
	}
}

// Fetch finds every model on the disk already.
func (h *hollow) Fetch(context.Context, agent.FileRequest, func(api.DownloadProgress)) (agent.Model, error) {
	return agent.Model{Path: "/models/stub.gguf"}, nil
}

func (h *hollow) Hold(context.Context, agent.Model, string) (func(), error) { return func() {}, nil }

// Node describes a machine without GPUs: placement counts replicas then, which is what it costs most to get right.
func (h *hollow) Node(context.Context) (api.NodeStatus, error) {
	return api.NodeStatus{
		NodeID: h.id, Hostname: h.id, Version: "sim", CPUs: h.cpus, MemoryTotalMB: 1 << 20, MemoryFreeMB: 1 << 20, OS: "linux", Arch: "amd64",
		APIAddr: "192.0.2.1:8083", Engines: []api.NodeEngine{{Name: api.EngineLlamaCPP, Path: "/usr/bin/llama-server", Version: "1"}},
	}, nil
}

// Storage describes an empty disk.
func (h *hollow) Storage() (agent.Storage, <-chan struct{}) {
	return agent.Storage{
		Disk: &api.NodeDiskStatus{NodeID: h.id, ModelDir: "/models", TotalBytes: 1 << 40, AvailableBytes: 1 << 40}, Models: []api.ModelCacheEntry{},
	}, nil
}

// Start starts an engine that is ready.
func (h *hollow) Start(_ context.Context, id engine.Identity, l engine.Launch, meta []byte) (agent.Process, error) {
	l.Live.Every, l.Ready.Every = probeEvery, probeEvery
	return &stub{id: id, launch: l, meta: meta, pid: int(h.pids.Add(1)), started: time.Now(), done: make(chan struct{})}, nil
}

// Adopt finds nothing: a hollow node has no past.
func (h *hollow) Adopt(context.Context) ([]agent.Process, error) { return nil, nil }

// stub is an engine that only says that it is well.
type stub struct {
	id      engine.Identity
	launch  engine.Launch
	meta    []byte
	pid     int
	started time.Time
	end     sync.Once
	done    chan struct{}
}

func (p *stub) Identity() engine.Identity { return p.id }
func (p *stub) Meta() []byte              { return p.meta }
func (p *stub) Launch() engine.Launch     { return p.launch }
func (p *stub) PID() int                  { return p.pid }
func (p *stub) StartedAt() time.Time      { return p.started }
func (p *stub) Port() int                 { return 21000 }
func (p *stub) Done() <-chan struct{}     { return p.done }
func (p *stub) Exit() engine.Exit         { return engine.Exit{Stopped: true} }
func (p *stub) Activity() uint64          { return 0 }
func (p *stub) Tail(int) []string         { return nil }

func (p *stub) Probe(context.Context, *http.Client, engine.Probe) engine.Answer {
	select {
	case <-p.done:
		return engine.AnswerRefused
	default:
		return engine.AnswerOK
	}
}

func (p *stub) Stop(context.Context) error {
	p.end.Do(func() { close(p.done) })
	return nil
}

func (p *stub) Remove() error {
	select {
	case <-p.done:
		return nil
	default:
		return errors.New("it has not ended")
	}
}

// watched is a link that tells of each desired set as it comes, for measuring how long changes take.
type watched struct {
	agent.Link
	h *hollow
}

func (w watched) Desired() (api.NodeDesired, <-chan struct{}) {
	d, changed := w.Link.Desired()
	if w.h.seen != nil && d.Revision != 0 {
		w.h.seen(w.h.id, d)
	}
	return d, changed
}
