package httpapi_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/gateway"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// gatewayServer is a server with a true gateway, whose models run on an engine that answers as it is told.
func gatewayServer(t *testing.T, past *obs.Past, engine http.HandlerFunc) *server {
	t.Helper()
	e := httptest.NewServer(engine)
	t.Cleanup(e.Close)
	kv := storetest.NewMem()
	kv.Put("/models/m/spec", []byte(`{"model_uid":"m","model_name":"acme/m"}`))
	kv.Put("/deployments/m", []byte(`{"model_uid":"m","desired_state":"running","replicas":1}`))
	kv.Put("/endpoints/m/0", fmt.Appendf(nil, `{"model_uid":"m","replica_id":0,"node_id":"n1","status":"ready","engine_type":"vllm","served_name":"m","base_url":%q}`, e.URL))
	return serveOn(t, kv, func(cfg *httpapi.Config) {
		gw := gateway.New(gateway.Config{View: cfg.View, LocalNode: "n1", Log: slog.New(slog.DiscardHandler), Tally: past.Tally(), Limits: gateway.Limits{MaxBody: 1000}})
		cfg.Gateway, cfg.Inference = past, nil
		for _, r := range gw.Routes() {
			cfg.Inference = append(cfg.Inference, httpapi.InferenceRoute{Method: r.Method, Path: r.Path, Summary: r.Summary, Handler: r.Handler})
		}
	})
}

const gatewayBase = "/api/v2/observability/gateway/"

func told[T any](t *testing.T, s *server, path string) T {
	t.Helper()
	return read[T](t, s.must(200, "GET", gatewayBase+path, ""))
}

// one is the value of a series that has a single point, of now.
func one(t *testing.T, name string, series []api.GatewayPoint) float64 {
	t.Helper()
	if len(series) != 1 {
		t.Fatalf("%s has %d points, want 1", name, len(series))
	}
	if at, err := time.Parse(time.RFC3339, series[0].TS); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("%s is of %q: %v", name, series[0].TS, err)
	}
	return series[0].Value
}

// TestGateway_tellsWhatItDid: requests through a true gateway are in every document at once, and those of before the window are in none.
func TestGateway_tellsWhatItDid(t *testing.T) {
	past := obs.NewPast("server/a", &obs.Tally{}, time.Now().Add(-10*time.Second))
	s := gatewayServer(t, past, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "fail"):
			w.WriteHeader(500)
		case strings.Contains(string(body), "stream"):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\ndata: [DONE]\n\n")
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`)
		}
	})
	chat := func(want int, model, text string) {
		t.Helper()
		s.must(want, "POST", "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, text))
	}
	for range 6 {
		chat(200, "m", "hi")
	}
	s.must(200, "POST", "/v1/chat/completions", `{"model":"m","stream":true,"messages":[]}`)
	chat(404, "none", "hi")
	chat(413, "m", strings.Repeat("x", 2000))
	chat(502, "m", "fail")

	overview := told[api.GatewayOverview](t, s, "overview")
	if rate := 10 / overview.ObservedSeconds; overview.Window != api.Window15m || overview.Gateway != "server/a" || overview.RPS != rate || overview.Error5xxRatio != .1 {
		t.Errorf("overview %+v, want 10 requests, one failed", overview)
	}
	traffic := told[api.GatewayTraffic](t, s, "traffic").Series
	got := [4]float64{one(t, "total", traffic.RequestsTotal), one(t, "2xx", traffic.Responses2xx), one(t, "4xx", traffic.Responses4xx), one(t, "5xx", traffic.Responses5xx)}
	if got != [4]float64{10, 7, 2, 1} {
		t.Errorf("traffic %v, want 10 requests: 7, 2, 1", got)
	}
	if r := told[api.GatewayReliability](t, s, "reliability").Series; one(t, "upstream_error_5xx", r.UpstreamError5xx) != 1 || one(t, "connect", r.UpstreamErrorConnect) != 0 {
		t.Errorf("reliability %+v, want one bad answer", r)
	}
	if l := told[api.GatewayLatency](t, s, "latency").Series; one(t, "p50", l.LatencyP50) <= 0 || one(t, "p99", l.LatencyP99) < one(t, "p50", l.LatencyP50) || one(t, "ttft", l.TTFTP95) <= 0 {
		t.Errorf("latency %+v", l)
	}
	if p := told[api.GatewayProtection](t, s, "protection"); p.RequestTooLargeCount != 1 {
		t.Errorf("protection %+v, want one request that was too large", p)
	}
}

func TestGateway_windowsAndSteps(t *testing.T) {
	now := time.Now()
	past := obs.NewPast("server/a", &obs.Tally{}, now.Add(-48*time.Hour))
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Gateway = past; cfg.Now = func() time.Time { return now } })
	defaults := map[string]api.GatewayWindow{"overview": "15m", "traffic": "1h", "reliability": "1h", "latency": "1h", "protection": "15m"}
	for view, def := range defaults {
		steps := view != "overview" && view != "protection"
		for _, window := range []api.GatewayWindow{"", "5m", "15m", "1h", "6h", "24h"} {
			got := told[api.GatewayScope](t, s, view+"?window="+string(window))
			want := window
			if want == "" {
				want = def
			}
			if diff := cmp.Diff(api.GatewayScope{Window: want, Gateway: "server/a", ObservedSeconds: got.ObservedSeconds}, got); diff != "" {
				t.Errorf("%s of %q (-want +got):\n%s", view, window, diff)
			}
		}
		for _, bad := range []string{"1m", "60m", "1H", "0", "-5m", "900", "5m,15m", "a'b", "%00"} {
			res, body := s.call("GET", gatewayBase+view+"?window="+bad, "")
			if e := errorOf(t, body); res.StatusCode != 400 || e.Code != api.CodeInvalidRequest || len(e.Details) != 1 || e.Details[0].Field != "window" {
				t.Errorf("%s with the window %q: %d %s", view, bad, res.StatusCode, body)
			}
		}
		for query, ok := range map[string]bool{"step=1m": true, "window=24h&step=1m": true, "window=5m&step=5m": true, "step=": true, "step=2m": false, "step=0": false, "window=5m&step=15m": false} {
			res, body := s.call("GET", gatewayBase+view+"?"+query, "")
			if !steps {
				ok = true // they have none, and an unknown parameter is nobody's fault
			}
			if (res.StatusCode == 200) != ok || !ok && errorOf(t, body).Details[0].Field != "step" {
				t.Errorf("%s?%s: %d %s", view, query, res.StatusCode, body)
			}
		}
	}
	res, _ := s.call("GET", gatewayBase+"none", "")
	if res.StatusCode != 404 {
		t.Errorf("a view that does not exist: %d", res.StatusCode)
	}
	for role, want := range map[auth.Role]int{auth.Inference: 403, auth.Viewer: 200} {
		if res, _ := s.call("GET", gatewayBase+"overview", "", "Authorization", "Bearer "+secrets[role]); res.StatusCode != want {
			t.Errorf("as %s: %d, want %d", role, res.StatusCode, want)
		}
	}
}

// TestGateway_aProcessWithoutOne says so. A gateway on a machine of its own has these routes, too.
func TestGateway_aProcessWithoutOne(t *testing.T) {
	s := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) { cfg.Gateway = nil })
	if res, body := s.call("GET", gatewayBase+"overview", ""); res.StatusCode != 503 || errorOf(t, body).Code != api.CodeUnavailable {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	alone := serveOn(t, storetest.NewMem(), func(cfg *httpapi.Config) {
		cfg.Control, cfg.Gateway = nil, obs.NewPast("gateway/g1", &obs.Tally{}, time.Now())
	})
	if got := told[api.GatewayOverview](t, alone, "overview"); got.Gateway != "gateway/g1" {
		t.Errorf("%+v", got)
	}
	if e := errorOf(t, alone.must(404, "GET", "/api/v2/models", "")); !strings.Contains(e.Message, "ask a server") {
		t.Errorf("whoever takes a gateway for a server is told %q", e.Message)
	}
}
