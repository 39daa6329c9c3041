package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/agent"
	"github.com/nebula-serve/nebula/internal/engine"
	"github.com/nebula-serve/nebula/internal/hw"
	"github.com/nebula-serve/nebula/internal/modelfiles"
)

// host is this machine as the agent sees it.
type host struct {
	o     Options
	addr  string // at which gateways reach the engines; empty: nowhere
	log   *slog.Logger
	files *modelfiles.Store
	hw    *hw.Exec // one for good: it remembers a program that hangs

	last       atomic.Pointer[api.NodeStatus] // as last seen; nil at first
	complained error                          // the last thing that hw could not see
	known      []known                        // engine versions asked so far; the agent asks from one goroutine
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
	n.NodeID, n.Version, n.APIAddr = h.o.NodeID, h.o.Version.Version, h.addr
	if n.Hostname, err = os.Hostname(); err != nil {
		n.Hostname = h.o.NodeID
	}
	for _, kind := range api.Engines() {
		e := h.engine(kind)
		e.Version = h.version(ctx, e)
		n.Engines = append(n.Engines, e)
	}
	h.last.Store(&n)
	return n, nil
}

// seen is the machine as last seen; empty at first.
func (h *host) seen() api.NodeStatus {
	if n := h.last.Load(); n != nil {
		return *n
	}
	return api.NodeStatus{}
}

// coresFor shares the machine's cores among the replicas it is to run; idle engines spin when they have more threads than cores.
func (h *host) coresFor(link agent.Link) int {
	want, _ := link.Desired()
	return max(1, int(h.seen().CPUs)/max(1, len(want.Replicas)))
}

func (h *host) gpu(index uint32) engine.GPU {
	for _, g := range h.seen().GPUs {
		if g.Index == index {
			return engine.GPU{Index: index, UUID: g.UUID, Vendor: g.Vendor}
		}
	}
	return engine.GPU{Index: index}
}

// installed finds an engine, with the version that was last seen of it.
func (h *host) installed(kind string) api.NodeEngine {
	e, node := h.engine(kind), h.seen()
	if told, ok := node.Engine(kind); ok && told.Path == e.Path {
		e.Version = told.Version
	}
	return e
}

func (h *host) Storage() (agent.Storage, <-chan struct{}) {
	s, newer := h.files.Storage()
	return agent.Storage(s), newer
}

// engine finds an engine's executable: the one of the options, on the PATH, or where make puts llama-server.
func (h *host) engine(kind string) api.NodeEngine {
	e := api.NodeEngine{Name: kind}
	candidates := engine.Binaries(kind)
	if kind == api.EngineLlamaCPP {
		if h.o.Running.LlamaServer != "" {
			candidates = []string{h.o.Running.LlamaServer}
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
	cmd.Env = engine.Inherited(os.Environ()) // the node's tokens are not its business
	cmd.WaitDelay = time.Second              // a child of it may hold the pipe for ever
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
