package api

// GatewayWindow is how far back figures of a gateway look from now.
type GatewayWindow string

// The windows.
const (
	Window5m  GatewayWindow = "5m"
	Window15m GatewayWindow = "15m"
	Window1h  GatewayWindow = "1h"
	Window6h  GatewayWindow = "6h"
	Window24h GatewayWindow = "24h"
)

// GatewayStep is how much of a window one point of a series is about.
type GatewayStep string

// The steps.
const (
	Step1m  GatewayStep = "1m"
	Step5m  GatewayStep = "5m"
	Step15m GatewayStep = "15m"
	Step1h  GatewayStep = "1h"
)

// GatewayScope says what figures of a gateway are about. They are those of one gateway: the one in the process that answers.
type GatewayScope struct {
	Window GatewayWindow `json:"window"`
	// Gateway is that process, as ROLE/ID: server/a, gateway/g1.
	Gateway string `json:"gateway"`
	// ObservedSeconds is how much of the window the gateway has seen: less than the window when it was started within it, and up to 75 seconds more,
	// because what it has counted is kept every 15 seconds for an hour and every minute for a day. Rates are over this time.
	ObservedSeconds float64 `json:"observed_seconds"`
}

// GatewayOverview is how a gateway did over a window, in a few figures. A ratio of nothing is 0.
type GatewayOverview struct {
	GatewayScope
	// RPS is requests that were answered, per second.
	RPS float64 `json:"rps"`
	// Error5xxRatio is the share of requests that were answered with a status from 500 on.
	Error5xxRatio float64 `json:"error_5xx_ratio"`
	// RetrySuccessRatio is the share of further tries, after a replica had failed on a request, that answered it.
	RetrySuccessRatio float64 `json:"retry_success_ratio"`
	// CircuitOpenCount is how often a replica was given a rest after failing in a row.
	CircuitOpenCount uint64 `json:"circuit_open_count"`
}

// GatewayPoint is a figure at a time.
type GatewayPoint struct {
	// TS is the end of what the figure is about, in RFC 3339.
	TS    string  `json:"ts"`
	Value float64 `json:"value"`
}

// GatewayTraffic is what a gateway was asked over a window.
type GatewayTraffic struct {
	GatewayScope
	Series GatewayTrafficSeries `json:"series"`
}

// GatewayTrafficSeries counts requests for models, by how they were answered. One point each is about the whole window; with ?step= there is one
// for each step, about that step alone.
type GatewayTrafficSeries struct {
	RequestsTotal []GatewayPoint `json:"requests_total"`
	Responses2xx  []GatewayPoint `json:"responses_2xx"`
	// Responses4xx has those whose client left before the end, too.
	Responses4xx []GatewayPoint `json:"responses_4xx"`
	Responses5xx []GatewayPoint `json:"responses_5xx"`
}

// GatewayReliability is how engines failed a gateway over a window, and what it made of that.
type GatewayReliability struct {
	GatewayScope
	Series GatewayReliabilitySeries `json:"series"`
}

// GatewayReliabilitySeries counts tries. One point each is about the whole window; with ?step= there is one for each step, about that step alone.
type GatewayReliabilitySeries struct {
	// RetryTotal is tries after the first, RetrySuccessTotal requests that one of them answered.
	RetryTotal        []GatewayPoint `json:"retry_total"`
	RetrySuccessTotal []GatewayPoint `json:"retry_success_total"`
	// The others are tries that failed: the engine took no connection, was too slow, answered badly, or was lost on the way.
	UpstreamErrorConnect []GatewayPoint `json:"upstream_error_connect"`
	UpstreamErrorTimeout []GatewayPoint `json:"upstream_error_timeout"`
	UpstreamError5xx     []GatewayPoint `json:"upstream_error_5xx"`
	UpstreamErrorOther   []GatewayPoint `json:"upstream_error_other"`
}

// GatewayLatency is how long answers took over a window.
type GatewayLatency struct {
	GatewayScope
	Series GatewayLatencySeries `json:"series"`
}

// GatewayLatencySeries has quantiles in milliseconds. Each is the upper bound of the first bucket below which that share of the requests is: 1, 5, 10,
// 50, 100, 500, 1000, 5000, 10000, 30000 or 60000 ms. 60000 stands also for more, 0 for no request. One point each is about the whole window; with
// ?step= there is one for each step, about that step alone.
type GatewayLatencySeries struct {
	// Latency is from a request for a model that exists to the end of its answer.
	LatencyP50 []GatewayPoint `json:"latency_p50_ms"`
	LatencyP95 []GatewayPoint `json:"latency_p95_ms"`
	LatencyP99 []GatewayPoint `json:"latency_p99_ms"`
	// TTFT is from the request to the first byte that the engine generated, of answers that it sent as a stream.
	TTFTP50 []GatewayPoint `json:"ttft_p50_ms"`
	TTFTP95 []GatewayPoint `json:"ttft_p95_ms"`
}

// GatewayProtection is what a gateway kept from its engines, and from failing ones, over a window.
type GatewayProtection struct {
	GatewayScope
	// RequestTooLargeCount is requests that were refused for their size.
	RequestTooLargeCount uint64 `json:"request_too_large_count"`
	// CircuitSkippedCount is how often a request went to another replica because one rests.
	CircuitSkippedCount uint64 `json:"circuit_skipped_count"`
	// CircuitOpenCount is how often a replica was given a rest after failing in a row.
	CircuitOpenCount uint64 `json:"circuit_open_count"`
}
