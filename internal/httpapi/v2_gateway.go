package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/obs"
)

// gatewayRoutes are the rows about how the gateway of this process did. Each process that routes requests has them, for its own.
func (s *server) gatewayRoutes() []Route {
	const base = "/api/v2/observability/gateway/"
	window := func(def api.GatewayWindow) Param {
		return Param{Name: "window", Type: "string", Summary: "How far back to look; " + string(def) + " when absent", Enum: texts(ascending(obs.Windows()))}
	}
	step := Param{Name: "step", Type: "string", Summary: "A point for each part of the window that is so long, instead of one for the whole: " + api.Spellings(ascending(obs.Steps())) + "; 60 and 60s are understood as 1m, and so on"}
	return []Route{
		{Method: "GET", Path: base + "overview", Role: auth.Viewer, Summary: "How this gateway did, in a few figures", Query: []Param{window(api.Window15m)}, Response: api.GatewayOverview{}, Handle: overSpan(s, api.Window15m, obs.Overview)},
		{Method: "GET", Path: base + "traffic", Role: auth.Viewer, Summary: "What this gateway was asked, by how it answered", Query: []Param{window(api.Window1h), step}, Response: api.GatewayTraffic{}, Handle: overCurve(s, api.Window1h, obs.Traffic)},
		{Method: "GET", Path: base + "reliability", Role: auth.Viewer, Summary: "How engines failed this gateway, and what it made of that", Query: []Param{window(api.Window1h), step}, Response: api.GatewayReliability{}, Handle: overCurve(s, api.Window1h, obs.Reliability)},
		{Method: "GET", Path: base + "latency", Role: auth.Viewer, Summary: "How long this gateway's answers took", Query: []Param{window(api.Window1h), step}, Response: api.GatewayLatency{}, Handle: overCurve(s, api.Window1h, obs.Latency)},
		{Method: "GET", Path: base + "protection", Role: auth.Viewer, Summary: "What this gateway kept from its engines, and from failing ones", Query: []Param{window(api.Window15m)}, Response: api.GatewayProtection{}, Handle: overSpan(s, api.Window15m, obs.Protection)},
	}
}

// ascending are the names of durations, the shortest first.
func ascending[E ~string](of map[E]time.Duration) []E {
	return slices.SortedFunc(maps.Keys(of), func(a, b E) int { return int(of[a] - of[b]) })
}

// overSpan answers with a document about the whole window.
func overSpan[T any](s *server, def api.GatewayWindow, document func(api.GatewayScope, obs.Span) T) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		scope, long, err := s.gatewayScope(r, def)
		if err != nil {
			return err
		}
		span := s.Gateway.Over(s.Now(), long)
		scope.ObservedSeconds = span.Seconds()
		writeJSON(w, http.StatusOK, document(scope, span))
		return nil
	}
}

// overCurve answers with a document about the steps of the window; without ?step= that is one.
func overCurve[T any](s *server, def api.GatewayWindow, document func(api.GatewayScope, []obs.Span) T) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		scope, long, err := s.gatewayScope(r, def)
		if err != nil {
			return err
		}
		step, err := stepOf(r, long)
		if err != nil {
			return err
		}
		spans := s.Gateway.Curve(s.Now(), long, step)
		for i := range spans {
			scope.ObservedSeconds += spans[i].Seconds()
		}
		writeJSON(w, http.StatusOK, document(scope, spans))
		return nil
	}
}

// gatewayScope reads ?window=, and returns how long that is.
func (s *server) gatewayScope(r *http.Request, def api.GatewayWindow) (api.GatewayScope, time.Duration, error) {
	if s.Gateway == nil {
		return api.GatewayScope{}, 0, api.Errorf(api.CodeUnavailable, "this process has no gateway: ask another one of the cluster")
	}
	window, err := queryEnum(r, "window", ascending(obs.Windows()))
	if err != nil {
		return api.GatewayScope{}, 0, err
	}
	if window == "" {
		window = def
	}
	return api.GatewayScope{Window: window, Gateway: s.Gateway.Name()}, obs.Windows()[window], nil
}

// stepOf reads ?step=; the whole window when it is absent.
func stepOf(r *http.Request, window time.Duration) (time.Duration, error) {
	given := r.URL.Query().Get("step")
	if given == "" {
		return window, nil
	}
	step, ok := readStep(given)
	if !ok {
		known := api.Spellings(ascending(obs.Steps()))
		return 0, &api.Error{
			Code: api.CodeInvalidRequest, Message: "step is unknown: use one of " + known, Details: []api.Field{{Field: "step", Reason: "is none of " + known}},
		}
	}
	if step > window {
		return 0, &api.Error{
			Code: api.CodeInvalidRequest, Message: "step is longer than the window: use a shorter one, or none for the window as a whole",
			Details: []api.Field{{Field: "step", Reason: "is longer than the window"}},
		}
	}
	return step, nil
}

// readStep reads one of the steps, as it is called or as old clients write it: 60s, and 60, are 1m.
func readStep(text string) (time.Duration, bool) {
	long, err := time.ParseDuration(text)
	if n, e := strconv.ParseUint(text, 10, 16); e == nil {
		long, err = time.Duration(n)*time.Second, nil
	}
	for _, step := range obs.Steps() {
		if err == nil && step == long {
			return step, true
		}
	}
	return 0, false
}
