package modelfiles

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
)

// Config says where a node keeps models and where it gets them from. Only CacheDir is needed.
type Config struct {
	CacheDir   string               // absolute; models go to hub/, in the layout of $HF_HOME, and Nebula's records to nebula/
	NodeID     string               // for the documents of Scan and Disk
	Endpoint   string               // of the Hugging Face Hub or a mirror; empty = https://huggingface.co
	Token      string               // for Endpoint only; never logged
	Scope      string               // endpoint of ModelScope; empty = https://modelscope.cn
	ScopeToken string               // for Scope only; never logged
	Offline    bool                 // never ask the hub: what is not complete on disk is an error
	LocalRoots []string             // folders that local models must be in; empty = anywhere
	AdoptFrom  []string             // folders of other programs, see [cache.Stock]: files there are verified and used instead of fetched
	KeepFree   uint64               // bytes of disk that no download may use; 0 = 2 % of the disk, at most 5 GiB
	Limits     transfer.LimitConfig // of the network
	UserAgent  string
	Log        *slog.Logger
	Transport  http.RoundTripper                     // instead of Nebula's own, for tests
	Proxy      func(*http.Request) (*url.URL, error) // e.g. http.ProxyFromEnvironment; nil = none
	// Peers is how this node finds and reaches other nodes that have the same files; nil: there are none. Its Shelf is the Store.
	Peers *peer.Config

	// Evict says when files are deleted to make room; the zero value: only when people ask for it.
	Evict Eviction

	step       func(what, name string) error          // before each change of a removal, for tests
	patience   hub.Patience                           // with the hub; zero = the default
	maxEntries int                                    // of a listing; 0 = the default
	exclusive  func(cache.Root) (bool, error)         // the test of locks; nil = a real one
	candidates func(context.Context) []disk.Candidate // what could be deleted, the best first; nil = nobody knows
}

// Request asks for a model's files.
type Request struct {
	Spec   api.ModelSpec
	Engine string // that will open them; empty = the spec's own
	Token  string // of the model's own, in the place of the node's; never logged
	// Refresh asks the hub again what a branch or tag means. Without it a complete copy of the commit that it meant
	// before is used, so that a restart needs no network and never changes a model.
	Refresh bool
}

// Model is a complete, verified model on this node.
type Model struct {
	Path     string // what the engine opens: the first GGUF file, or a folder
	MMProj   string // vision projector, or empty
	Files    []string
	Bytes    uint64
	Commit   string // of the source; empty for a local model
	Format   manifest.Format
	Metadata manifest.Metadata
}

// Store fetches models and knows the cache. All methods may be called at the same time.
type Store struct {
	cfg   Config
	hub   *hub.Client // Hugging Face's
	scope *hub.Client // ModelScope's
	boot  string
	room  *disk.Ledger
	peers *peer.Peers // nil: there are none

	limits  *transfer.Limits
	storage *storage

	mu       sync.Mutex
	flights  map[string]*flight
	purging  map[string]chan struct{}         // by repository's folder: closes when files of it are deleted no more
	partial  map[manifest.Hash]*transfer.Blob // running
	roots    map[cache.Root]bool              // every one that was used, for scans
	excludes map[cache.Root]bool              // whether locks exclude others there
	warned   map[string]bool                  // paths of local models that were warned about
	wishes   wishes

	evicting chan struct{} // holds a token while files are removed
}

// New returns a Store. It touches neither disk nor network.
func New(cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkRoot(cfg.CacheDir); err != nil {
		return nil, err
	}
	face, err := cfg.client(api.SourceHuggingFace, cmp.Or(cfg.Endpoint, hub.Default), cfg.Token)
	if err != nil {
		return nil, err
	}
	scope, err := cfg.client(api.SourceModelScope, cmp.Or(cfg.Scope, hub.DefaultScope), cfg.ScopeToken)
	if err != nil {
		return nil, err
	}
	dir := filepath.Clean(cfg.CacheDir)
	s := &Store{
		cfg: cfg, hub: face, scope: scope, boot: disk.BootID(), room: disk.NewLedger(cfg.KeepFree), limits: transfer.NewLimits(cfg.Limits),
		flights: map[string]*flight{}, warned: map[string]bool{}, purging: map[string]chan struct{}{}, partial: map[manifest.Hash]*transfer.Blob{},
		roots: map[cache.Root]bool{cache.Root(dir): true, cache.Root(scopeDir(dir)): true}, storage: newStorage(cfg),
		evicting: make(chan struct{}, 1), excludes: map[cache.Root]bool{},
	}
	if cfg.exclusive == nil {
		s.cfg.exclusive = cache.Root.Exclusive
	}
	if cfg.candidates == nil {
		s.cfg.candidates = s.candidates
	}
	if cfg.Peers != nil {
		p := *cfg.Peers
		p.Shelf, p.Take, p.Log = shelf{s}, s.limits.Pay, cfg.Log
		s.peers = peer.New(p)
	}
	return s, nil
}

func (cfg Config) client(source api.ModelSource, endpoint, token string) (*hub.Client, error) {
	return hub.New(hub.Config{
		Source: source, Endpoint: endpoint, Token: token, UserAgent: cfg.UserAgent, Log: cfg.Log, Transport: cfg.Transport, Proxy: cfg.Proxy,
		Patience: cfg.patience, MaxEntries: cfg.maxEntries,
	})
}

// transferPatience is the patience with a hub, as a transfer has it.
func (cfg Config) transferPatience() transfer.Patience {
	p := transfer.DefaultPatience()
	if h := cfg.patience; h != (hub.Patience{}) {
		p.FirstDelay, p.MaxDelay, p.Stall, p.Slow, p.BadAnswers = h.FirstDelay, h.MaxDelay, h.Stall, h.Stall, h.Tries
	}
	return p
}

// checkRoot refuses a folder that would land somewhere else than it says.
func checkRoot(dir string) error {
	if !filepath.IsAbs(dir) || strings.ContainsRune(dir, 0) || filepath.Clean(dir) != strings.TrimSuffix(dir, "/") && dir != "/" {
		return fail.Final(api.FailInvalidModel, fail.UnsafeName, "%q is no folder for models: it must be an absolute path without \"..\"", fail.Clip(dir))
	}
	return nil
}

// Fetch returns when the model is complete on this node, from disk where it is. It may be called again at any time and
// goes on where it stopped. Calls for the same files share one transfer: each gets its progress, and one that is
// cancelled does not stop it for the others. progress, which may be nil, is called from this goroutine at most five
// times a second and at every change of phase; not at all for a local model. An error is an *fail.Error or the context's.
func (s *Store) Fetch(ctx context.Context, req Request, progress func(Progress)) (Model, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	want := wanted(req)
	switch req.Spec.ModelSource {
	case api.SourceLocal:
		return s.openLocal(ctx, req.Spec, want)
	case api.SourceHuggingFace, api.SourceModelScope, "":
		return s.fetchShared(ctx, req, want, progress)
	}
	return Model{}, fail.Final(api.FailUnsupportedModel, fail.Unsupported,
		"this version cannot fetch from %q. Use model_source huggingface or modelscope, or download the model yourself and use model_source local with its path on the node.",
		fail.Clip(string(req.Spec.ModelSource)))
}

func wanted(req Request) manifest.Want {
	want := manifest.Want{Engine: api.CanonicalEngine(req.Engine), Patterns: req.Spec.Files}
	if req.Engine == "" {
		want.Engine = req.Spec.Engine()
	}
	return want
}

// Have returns a hub's model that is complete on this node, by our own record and a look at its files. It asks nobody and needs no token.
func (s *Store) Have(req Request) (Model, bool) {
	if req.Spec.ModelSource == api.SourceLocal {
		return Model{}, false
	}
	j, err := s.newJob(req, wanted(req))
	if err != nil || s.isPurged(j.dir) {
		return Model{}, false // Fetch says why, or waits
	}
	r, ok := j.dir.Find(j.revision, cache.Selection(j.want))
	if !ok || !j.dir.Whole(r) {
		return Model{}, false
	}
	s.mu.Lock()
	s.roots[j.dir.Root] = true
	s.mu.Unlock()
	j.dir.Used(r, time.Now())
	return j.model(r), true
}

// fetchShared joins or starts the transfer of these files and reports it until it ends.
func (s *Store) fetchShared(ctx context.Context, req Request, want manifest.Want, progress func(Progress)) (Model, error) {
	job, err := s.newJob(req, want)
	if err != nil {
		return Model{}, err
	}
	f, err := s.join(ctx, job)
	if err != nil {
		return Model{}, err
	}
	defer s.leave(f)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var told Progress
	tell := func() <-chan struct{} {
		p, changed := f.meter.at(time.Now())
		if p != told {
			told = p
			progress(p)
		}
		return changed
	}
	for {
		changed := tell()
		select {
		case <-f.done:
			tell()
			return f.model, f.err
		case <-ctx.Done():
			return Model{}, context.Cause(ctx)
		case <-changed:
		case <-tick.C:
		}
	}
}

// flight is one transfer and everybody who waits for it.
type flight struct {
	key     string
	meter   *meter
	waiting int // guarded by Store.mu
	cancel  context.CancelFunc
	done    chan struct{} // closes after model and err are set
	model   Model
	err     error
}

// join finds the flight of a job or starts it, once no files of its repository are being deleted. Every join needs its leave.
func (s *Store) join(ctx context.Context, j job) (*flight, error) {
	for {
		f, purge := s.tryJoin(ctx, j)
		if f != nil {
			return f, nil
		}
		select {
		case <-purge:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Store) tryJoin(ctx context.Context, j job) (*flight, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots[j.dir.Root] = true
	if purge := s.purging[j.dir.Path()]; purge != nil {
		return nil, purge
	}
	if f, ok := s.flights[j.key()]; ok {
		f.waiting++
		return f, nil
	}
	// The flight belongs to all who wait, so it ends with the last of them and not with the first.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{key: j.key(), meter: newMeter(), waiting: 1, cancel: cancel, done: make(chan struct{})}
	s.flights[f.key] = f
	go func() {
		defer close(f.done)
		f.model, f.err = s.run(ctx, j, f.meter)
		if f.err != nil {
			f.meter.enter(api.PhaseFailed)
		} else {
			f.meter.enter(api.PhaseComplete)
		}
		s.forget(f)
	}()
	return f, nil
}

// leave gives up waiting. The last to leave stops the flight and waits until it has put everything down.
func (s *Store) leave(f *flight) {
	s.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	if last && s.flights[f.key] == f { // nobody may join a flight that is being stopped
		delete(s.flights, f.key)
	}
	s.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

// forget lets the next one who asks start anew.
func (s *Store) forget(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
}
