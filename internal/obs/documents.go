package obs

import (
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Windows are those that figures can be asked for, and how long they are.
func Windows() map[api.GatewayWindow]time.Duration {
	return map[api.GatewayWindow]time.Duration{
		api.Window5m: 5 * time.Minute, api.Window15m: 15 * time.Minute, api.Window1h: time.Hour, api.Window6h: 6 * time.Hour, api.Window24h: 24 * time.Hour,
	}
}

// Steps are those that a window can be cut into, and how long they are.
func Steps() map[api.GatewayStep]time.Duration {
	return map[api.GatewayStep]time.Duration{api.Step1m: time.Minute, api.Step5m: 5 * time.Minute, api.Step15m: 15 * time.Minute, api.Step1h: time.Hour}
}

// Overview is the few figures of a span.
func Overview(scope api.GatewayScope, s Span) api.GatewayOverview {
	out := api.GatewayOverview{
		GatewayScope: scope, CircuitOpenCount: s.N[Rested],
		Error5xxRatio:     ratio(s.N[Answered5xx], s.requests()),
		RetrySuccessRatio: ratio(s.N[RetriesOK], s.N[Retries]),
	}
	if t := s.Seconds(); t > 0 {
		out.RPS = float64(s.requests()) / t
	}
	return out
}

// Protection is what was kept from engines in a span.
func Protection(scope api.GatewayScope, s Span) api.GatewayProtection {
	return api.GatewayProtection{GatewayScope: scope, RequestTooLargeCount: s.N[TooLarge], CircuitSkippedCount: s.N[Skipped], CircuitOpenCount: s.N[Rested]}
}

// Traffic is the requests of each span.
func Traffic(scope api.GatewayScope, spans []Span) api.GatewayTraffic {
	return api.GatewayTraffic{GatewayScope: scope, Series: api.GatewayTrafficSeries{
		RequestsTotal: points(spans, func(s *Span) float64 { return float64(s.requests()) }),
		Responses2xx:  points(spans, count(Answered2xx)),
		Responses4xx:  points(spans, count(Answered4xx)),
		Responses5xx:  points(spans, count(Answered5xx)),
	}}
}

// Reliability is the tries of each span.
func Reliability(scope api.GatewayScope, spans []Span) api.GatewayReliability {
	return api.GatewayReliability{GatewayScope: scope, Series: api.GatewayReliabilitySeries{
		RetryTotal:           points(spans, count(Retries)),
		RetrySuccessTotal:    points(spans, count(RetriesOK)),
		UpstreamErrorConnect: points(spans, count(FailedConnect)),
		UpstreamErrorTimeout: points(spans, count(FailedTimeout)),
		UpstreamError5xx:     points(spans, count(Failed5xx)),
		UpstreamErrorOther:   points(spans, count(FailedOther)),
	}}
}

// Latency is how long the requests of each span took.
func Latency(scope api.GatewayScope, spans []Span) api.GatewayLatency {
	latency := func(q float64) []api.GatewayPoint {
		return points(spans, func(s *Span) float64 { return s.Latency.quantile(q) })
	}
	ttft := func(q float64) []api.GatewayPoint {
		return points(spans, func(s *Span) float64 { return s.TTFT.quantile(q) })
	}
	return api.GatewayLatency{GatewayScope: scope, Series: api.GatewayLatencySeries{
		LatencyP50: latency(.50), LatencyP95: latency(.95), LatencyP99: latency(.99), TTFTP50: ttft(.50), TTFTP95: ttft(.95),
	}}
}

func (c *Counts) requests() uint64 { return c.N[Answered2xx] + c.N[Answered4xx] + c.N[Answered5xx] }

func count(c Counter) func(*Span) float64 { return func(s *Span) float64 { return float64(s.N[c]) } }

func points(spans []Span, value func(*Span) float64) []api.GatewayPoint {
	out := make([]api.GatewayPoint, 0, len(spans))
	for i := range spans {
		out = append(out, api.GatewayPoint{TS: spans[i].To.UTC().Format(time.RFC3339), Value: value(&spans[i])})
	}
	return out
}

// ratio of nothing is 0.
func ratio(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// quantile is, in milliseconds, the upper bound of the first bucket up to which there are at least q of all. What is in the last one, which has no
// bound, is given as the greatest bound there is; of nothing it is 0.
func (d *durations) quantile(q float64) float64 {
	var total, seen uint64
	for _, n := range d {
		total += n
	}
	if total == 0 {
		return 0
	}
	for i, bound := range buckets {
		if seen += d[i]; float64(seen) >= q*float64(total) {
			return bound * 1000
		}
	}
	return buckets[len(buckets)-1] * 1000
}
