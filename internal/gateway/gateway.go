// Package gateway is the data plane: it serves OpenAI's API on /v1 from the replicas that the cluster's state shows.
//
// A request costs one look into a table that was built when the state last changed, one pass over its body, and one connection to an
// engine. The gateway never writes anything, never reads the store, and never checks who is asking: authentication stands in front of
// it, and no credential passes it. DESIGN.md says how a request goes and why it is built like this.
package gateway

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
	"github.com/nebula-serve/nebula/internal/obs"
)

// View is the state that requests are routed by: the newest one, and a channel that closes when it is outdated.
type View interface {
	Current() (*cluster.State, <-chan struct{})
}

// Limits bound what one request may take; a zero field takes its default.
type Limits struct {
	MaxBody   int64         // bytes of a request's body; default 32 MiB
	MaxAnswer int64         // bytes of an answer that is not a stream, which is held until it is complete; default 64 MiB
	Tries     int           // replicas that one request may be sent to; default 3, at most 4
	BodyRead  time.Duration // for a client to send its body; default 60 s
	// ClientWrite is how long a client may take nothing of its answer; default 60 s. Up to a quarter more passes.
	ClientWrite time.Duration
	Upstream    upstream.Limits
}

func (l Limits) withDefaults() Limits {
	if l.MaxBody <= 0 {
		l.MaxBody = 32 << 20
	}
	if l.MaxAnswer <= 0 {
		l.MaxAnswer = 64 << 20
	}
	if l.Tries <= 0 {
		l.Tries = 3
	}
	l.Tries = min(l.Tries, maxTries)
	if l.BodyRead <= 0 {
		l.BodyRead = time.Minute
	}
	if l.ClientWrite <= 0 {
		l.ClientWrite = time.Minute
	}
	return l
}

// Config is what a gateway needs.
type Config struct {
	View     View
	Log      *slog.Logger
	Registry prometheus.Registerer // takes the gateway's series; nil = nobody reads them
	// Tally takes what is counted over all models; nil = nobody reads it.
	Tally  *obs.Tally
	Limits Limits
	// LocalNode is the node of this very machine, whose engines are reached on loopback; empty: there is none.
	LocalNode string
	// NodeTLS makes the TLS configuration for reaching a node, which lets no other machine pass; nil when there are no other nodes.
	NodeTLS func(nodeID string) *tls.Config
}

// Gateway routes requests. Its handlers may be called before Run and after it: they serve by the last table there was.
type Gateway struct {
	view    View
	local   string
	log     *slog.Logger
	limits  Limits
	metrics *metrics
	live    *live
	client  *upstream.Client
	bodies  bodyPool
	storm   *obs.Sampler // over the log of failed tries
	born    time.Time
	table   atomic.Pointer[table]
}

// New returns a gateway that knows the View's present state.
func New(cfg Config) *Gateway {
	reg := cfg.Registry
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	g := &Gateway{
		view: cfg.View, local: cfg.LocalNode, log: cfg.Log, limits: cfg.Limits.withDefaults(),
		live:   newLive(),
		client: upstream.New(cfg.Limits.Upstream, cfg.NodeTLS), storm: obs.NewSampler(10), born: time.Now(),
	}
	tally := cfg.Tally
	if tally == nil {
		tally = &obs.Tally{}
	}
	g.metrics = newMetrics(reg, g.live, tally)
	g.live.metrics = g.metrics
	state, _ := g.view.Current()
	g.route(state)
	return g
}

// Intervals of Run.
const (
	// settle is the least time between two tables, and pause how much longer than the building of one it is at least: however fast a
	// large cluster changes, following it takes a tenth of a core.
	settle = 20 * time.Millisecond
	pause  = 10
	prune  = 2 * time.Second
)

// Run follows the state until ctx ends. Requests in flight are not its business: whoever runs the HTTP server waits for them.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.client.Close()
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helpers.Go(func() { g.watchPeers(ctx) })
	tick := time.NewTicker(prune)
	defer tick.Stop()
	for {
		state, changed := g.view.Current()
		if state != g.table.Load().state {
			from := time.Now()
			g.route(state)
			if !sleep(ctx, max(settle, pause*time.Since(from))) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case now := <-tick.C:
			g.client.Prune(now)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// route builds a table aside and swaps it in.
func (g *Gateway) route(s *cluster.State) {
	t := buildTable(s, g.local)
	silent := g.live.bind(t)
	g.table.Store(t)
	for _, r := range silent {
		r.abandon() // the next try sees the new table
	}
}

// InFlight tells how many requests a replica is answering. It counts one more while the replica may yet be chosen, so 0 means that
// the replica can be stopped.
func (g *Gateway) InFlight(uid string, replica uint32) int { return g.live.inFlight(uid, replica) }

// Route is one route of the gateway, to be mounted behind authentication.
type Route struct {
	Method, Path, Summary string
	Handler               http.Handler
}

// Routes returns the routes. The handlers read bodies of up to Limits.MaxBody themselves.
func (g *Gateway) Routes() []Route {
	routes := []Route{
		{http.MethodGet, "/v1/models", "Models that answer requests now", http.HandlerFunc(g.listModels)},
		{http.MethodGet, "/v1/models/{model...}", "One model that answers requests now", http.HandlerFunc(g.getModel)},
	}
	for _, k := range []*kind{
		{path: "/v1/chat/completions", summary: "Answer a conversation", need: canChat, form: &chatForm},
		{path: "/v1/completions", summary: "Continue a text", need: canComplete, form: &textForm},
		{path: "/v1/embeddings", summary: "Turn texts into vectors", need: canEmbed},
	} {
		routes = append(routes, Route{http.MethodPost, k.path, k.summary, http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) { g.serve(k, w, r) },
		)})
	}
	return routes
}

// kind is one of the APIs that requests are routed for.
type kind struct {
	path, summary string
	need          capability
	form          *form // of the answer that a stream is collected into; nil where the API has no streams
}

func (g *Gateway) listModels(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, g.table.Load().list(allowed(r.Context())))
}

func (g *Gateway) getModel(w http.ResponseWriter, r *http.Request) {
	t := g.table.Load()
	m, f := t.find(r.PathValue("model"), allowed(r.Context()))
	if f == nil && len(m.ready) == 0 {
		f = t.notServing(m, time.Now())
	}
	if f != nil {
		f.write(w)
		return
	}
	writeJSON(w, http.StatusOK, encode(m.listed()))
}

// serve answers one request for a model, and counts it.
func (g *Gateway) serve(k *kind, w http.ResponseWriter, r *http.Request) {
	x := &exchange{g: g, kind: k, w: w, start: time.Now()}
	defer x.dropBody()
	x.identify(r)
	m, f := x.open(r)
	if f == nil {
		f = x.serve(r.Context(), m)
	}
	status := x.status
	if f != nil {
		status = f.status
		if x.status == 0 {
			f.write(w)
		}
	}
	if status == statusClientGone {
		g.metrics.clientGone.Inc()
	}
	g.metrics.count(m, status)
	if m != nil {
		g.metrics.took(m, time.Since(x.start))
	}
	if g.log.Enabled(r.Context(), slog.LevelDebug) {
		g.log.Debug("request answered", "request_id", x.id, "path", k.path, "model", x.req.model, "status", status, "took", time.Since(x.start))
	}
}
