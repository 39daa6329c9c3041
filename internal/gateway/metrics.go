package gateway

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nebula-serve/nebula/internal/obs"
)

// metrics are the series of one gateway. A model appears in them only while it exists, whatever names clients ask for.
type metrics struct {
	tally      *obs.Tally               // over all models, also those that are gone
	requests   *prometheus.CounterVec   // model, code
	latency    *prometheus.HistogramVec // model_uid
	ttft       *prometheus.HistogramVec // model_uid
	brokenOff  prometheus.Counter
	clientGone prometheus.Counter
}

// modelMetrics are the series of one model that nearly every request touches, looked up once.
type modelMetrics struct {
	ok            prometheus.Counter
	latency, ttft prometheus.Observer
}

// statusClientGone is the code that a request is counted under when nobody was left to answer; nginx has made it customary.
const statusClientGone = 499

func newMetrics(reg prometheus.Registerer, l *live, tally *obs.Tally) *metrics {
	buckets := obs.Buckets()
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		tally: tally,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nebula_gateway_requests_total", Help: "Requests by model and status; model is empty when the request named none that exists.",
		}, []string{"model", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nebula_route_latency_seconds", Help: "From the request to the end of its answer.", Buckets: buckets,
		}, []string{"model_uid"}),
		ttft: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nebula_route_ttft_seconds", Help: "From the request to the first byte that the engine generated.", Buckets: buckets,
		}, []string{"model_uid"}),
		brokenOff:  counter("nebula_gateway_streams_broken_total", "Streams that ended with an error after they had begun."),
		clientGone: counter("nebula_gateway_client_gone_total", "Requests whose client left before the end."),
	}
	registerTally(reg, tally)
	reg.MustRegister(m.requests, m.latency, m.ttft, m.brokenOff, m.clientGone, inflightCollector{l, prometheus.NewDesc("nebula_gateway_requests_inflight",
		"Requests being answered.", []string{"model"}, nil)})
	return m
}

// registerTally shows what is counted over all models.
func registerTally(reg prometheus.Registerer, tally *obs.Tally) {
	for _, c := range []struct {
		of               obs.Counter
		name, help, kind string
	}{
		{obs.FailedConnect, "nebula_gateway_upstream_error_total", "Tries that failed at an engine, by kind.", "connect"},
		{obs.FailedTimeout, "nebula_gateway_upstream_error_total", "Tries that failed at an engine, by kind.", "timeout"},
		{obs.Failed5xx, "nebula_gateway_upstream_error_total", "Tries that failed at an engine, by kind.", "upstream_5xx"},
		{obs.FailedOther, "nebula_gateway_upstream_error_total", "Tries that failed at an engine, by kind.", "other"},
		{obs.TooLarge, "nebula_gateway_request_too_large_total", "Requests refused for their size.", ""},
		{obs.Retries, "nebula_gateway_retry_total", "Tries after the first.", ""},
		{obs.RetriesOK, "nebula_gateway_retry_success_total", "Requests answered by a try after the first.", ""},
		{obs.Rested, "nebula_gateway_circuit_open_total", "Times that a replica was given a rest after failing in a row.", ""},
		{obs.Skipped, "nebula_gateway_circuit_skipped_total", "Times that a request went to another replica because one rests.", ""},
	} {
		opts := prometheus.CounterOpts{Name: c.name, Help: c.help}
		if c.kind != "" {
			opts.ConstLabels = prometheus.Labels{"kind": c.kind}
		}
		reg.MustRegister(prometheus.NewCounterFunc(opts, func() float64 { return float64(tally.Get(c.of)) }))
	}
}

// of returns the series of a model. They begin with its first request: most of ten thousand models are silent.
func (ms *metrics) of(m *model) *modelMetrics {
	if mm := m.live.metrics.Load(); mm != nil {
		return mm
	}
	mm := &modelMetrics{
		ok:      ms.requests.WithLabelValues(m.uid, "200"),
		latency: ms.latency.WithLabelValues(m.uid),
		ttft:    ms.ttft.WithLabelValues(m.uid),
	}
	m.live.metrics.Store(mm)
	return mm
}

// forget removes the series of a model that is gone.
func (ms *metrics) forget(uid string) {
	ms.requests.DeletePartialMatch(prometheus.Labels{"model": uid})
	ms.latency.DeleteLabelValues(uid)
	ms.ttft.DeleteLabelValues(uid)
}

// count counts a finished request; m is nil when it named no model that exists.
func (ms *metrics) count(m *model, status int) {
	ms.tally.Answered(status)
	switch {
	case m == nil:
		ms.requests.WithLabelValues("", strconv.Itoa(status)).Inc()
	case status == 200:
		ms.of(m).ok.Inc()
	default:
		ms.requests.WithLabelValues(m.uid, strconv.Itoa(status)).Inc()
	}
}

// took counts how long a request for a model took to the end of its answer, and firstByte how long it waited for the engine's first byte.
func (ms *metrics) took(m *model, d time.Duration) {
	ms.tally.Latency(d)
	ms.of(m).latency.Observe(d.Seconds())
}

func (ms *metrics) firstByte(m *model, d time.Duration) {
	ms.tally.TTFT(d)
	ms.of(m).ttft.Observe(d.Seconds())
}

// inflightCollector reads the counters that routing keeps anyway, when somebody asks.
type inflightCollector struct {
	live *live
	desc *prometheus.Desc
}

func (c inflightCollector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

func (c inflightCollector) Collect(to chan<- prometheus.Metric) {
	for uid, n := range c.live.active() {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), uid)
	}
}
