package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	metric "github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

// Limits of asking engines for their figures.
const (
	figuresFresh   = time.Second     // however many people look, engines are asked once in this time
	figuresWait    = 2 * time.Second // for one engine's answer
	figuresAtOnce  = 32
	maxFigureBytes = 4 << 20
)

// figures asks the engines what they count, when somebody wants to know. Nothing is stored, and where nobody looks nobody is asked.
type figures struct {
	s    *server
	mu   sync.Mutex // held while engines are asked: who comes meanwhile gets the same answer
	last api.EngineFigures
	at   time.Time
}

func newFigures(s *server) *figures { return &figures{s: s} }

func (f *figures) get(ctx context.Context) api.EngineFigures {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.at.IsZero() && time.Since(f.at) < figuresFresh {
		return f.last
	}
	f.last = f.ask(context.WithoutCancel(ctx)) // it is for those who wait, too
	f.at = time.Now()
	return f.last
}

// ask asks every engine that is ready, all those of a node over the same connections.
func (f *figures) ask(ctx context.Context) api.EngineFigures {
	st, _ := f.s.store.Current()
	out := api.EngineFigures{AtMS: time.Now().UnixMilli()}
	var ready []api.EndpointInfo
	for e := range st.Endpoints.All() {
		if e.Value.Status == api.EndpointReady {
			ready = append(ready, e.Value)
		}
	}
	slices.SortFunc(ready, func(a, b api.EndpointInfo) int {
		return cmp.Or(cmp.Compare(a.ModelUID, b.ModelUID), cmp.Compare(a.ReplicaID, b.ReplicaID))
	})
	out.Replicas = make([]api.ReplicaFigures, len(ready))
	ways := map[string]*http.Transport{}
	var g errgroup.Group
	g.SetLimit(figuresAtOnce)
	for i := range ready {
		e := &ready[i]
		way := ways[e.NodeID]
		if way == nil {
			way = f.way(e.NodeID)
			ways[e.NodeID] = way
		}
		g.Go(func() error {
			out.Replicas[i] = f.askOne(ctx, way, e)
			return nil
		})
	}
	_ = g.Wait() // none of them fails: what failed is in its figures
	for _, t := range ways {
		t.CloseIdleConnections()
	}
	return out
}

// way is how the engines of a node are reached: this machine's own directly, others through their node's port.
func (f *figures) way(node string) *http.Transport {
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: figuresWait}).DialContext, TLSHandshakeTimeout: figuresWait, MaxIdleConnsPerHost: 4,
		DisableCompression: true,
	}
	if node != f.s.localNode && f.s.cred != nil {
		t.TLSClientConfig = f.s.cred.ClientTLS(f.s.keys.clock, api.MachineNode, node)
	}
	return t
}

func (f *figures) askOne(ctx context.Context, way http.RoundTripper, e *api.EndpointInfo) api.ReplicaFigures {
	out := api.ReplicaFigures{ModelUID: e.ModelUID, ReplicaID: e.ReplicaID, NodeID: e.NodeID, EngineType: e.EngineType, AtMS: time.Now().UnixMilli()}
	address, err := f.address(e)
	if err != nil {
		out.Failure = err.Error()
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, figuresWait)
	defer cancel()
	families, err := scrape(ctx, way, address)
	if err != nil {
		out.Failure = err.Error()
		return out
	}
	fillFigures(&out, families)
	return out
}

// address is where a replica's engine tells what it counts.
func (f *figures) address(e *api.EndpointInfo) (string, error) {
	if e.NodeID != f.s.localNode {
		if e.NodeAddr == "" || f.s.cred == nil {
			return "", fmt.Errorf("node %s has told no address", e.NodeID)
		}
		return (&url.URL{Scheme: "https", Host: e.NodeAddr, Path: fmt.Sprintf("/engines/%s/%d/metrics", e.ModelUID, e.ReplicaID)}).String(), nil
	}
	if e.BaseURL == nil {
		return "", fmt.Errorf("node %s has told no address of the engine", e.NodeID)
	}
	u, err := url.Parse(*e.BaseURL)
	if ip := net.ParseIP(hostOf(u)); err != nil || u.Scheme != "http" || u.User != nil || ip == nil || !ip.IsLoopback() {
		return "", errors.New("the engine's address is not one of this machine")
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/metrics"
	return u.String(), nil
}

func hostOf(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.Hostname()
}

// scrape reads metrics in Prometheus' text format.
func scrape(ctx context.Context, way http.RoundTripper, address string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("ask an engine what it counts: %w", err)
	}
	res, err := way.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("the engine does not answer: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the engine tells nothing: status %d", res.StatusCode)
	}
	parser := expfmt.NewTextParser(metric.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(res.Body, maxFigureBytes))
	if err != nil {
		return nil, fmt.Errorf("what the engine tells cannot be read: %w", err)
	}
	return families, nil
}

// fillFigures takes from an engine's metrics the figures that it exports; what it does not export stays absent.
func fillFigures(out *api.ReplicaFigures, families map[string]*dto.MetricFamily) {
	names := engine.Metrics(out.EngineType)
	for gauge, to := range map[engine.Gauge]**float64{
		engine.RequestsRunning: &out.RequestsRunning, engine.RequestsWaiting: &out.RequestsWaiting, engine.KVUsedRatio: &out.KVUsedRatio,
		engine.PromptTokens: &out.PromptTokensTotal, engine.CachedTokens: &out.PromptTokensCachedTotal, engine.OutputTokens: &out.OutputTokensTotal,
	} {
		for _, name := range names[gauge] {
			if v, ok := valueOf(families[name], gauge == engine.KVUsedRatio); ok {
				*to = &v
				break
			}
		}
	}
}

// valueOf is the sum of a metric over its label sets, or their mean. What is no number, or less than none, is no figure.
func valueOf(f *dto.MetricFamily, mean bool) (float64, bool) {
	sum, n := 0.0, 0
	for _, m := range f.GetMetric() {
		switch {
		case m.Counter != nil:
			sum += m.GetCounter().GetValue()
		case m.Gauge != nil:
			sum += m.GetGauge().GetValue()
		case m.Untyped != nil:
			sum += m.GetUntyped().GetValue()
		default:
			continue
		}
		n++
	}
	if mean && n > 0 {
		sum /= float64(n)
	}
	return sum, n > 0 && !math.IsNaN(sum) && !math.IsInf(sum, 0) && sum >= 0
}
