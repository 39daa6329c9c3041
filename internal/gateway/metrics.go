package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the series of one gateway. A model appears in them only while it exists, whatever names clients ask for.
type metrics struct {
	requests   *prometheus.CounterVec   // model, code
	latency    *prometheus.HistogramVec // model_uid
	ttft       *prometheus.HistogramVec // model_uid
	upstream   *prometheus.CounterVec   // kind
	tooLarge   prometheus.Counter
	retries    prometheus.Counter
	retriesOK  prometheus.Counter
	ejections  prometheus.Counter
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

func newMetrics(reg prometheus.Registerer, l *live) *metrics {
	buckets := []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nebula_gateway_requests_total", Help: "Requests by model and status; model is empty when the request named none that exists.",
		}, []string{"model", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nebula_route_latency_seconds", Help: "From the request to the end of its answer.", Buckets: buckets,
		}, []string{"model_uid"}),
		ttft: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nebula_route_ttft_seconds", Help: "From the request to the first byte that the engine generated.", Buckets: buckets,
		}, []string{"model_uid"}),
		upstream: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nebula_gateway_upstream_error_total", Help: "Tries that failed at an engine, by kind.",
		}, []string{"kind"}),
		tooLarge:   counter("nebula_gateway_request_too_large_total", "Requests refused for their size."),
		retries:    counter("nebula_gateway_retry_total", "Tries after the first."),
		retriesOK:  counter("nebula_gateway_retry_success_total", "Requests answered by a try after the first."),
		ejections:  counter("nebula_gateway_circuit_open_total", "Times that a replica was given a rest after failing in a row."),
		brokenOff:  counter("nebula_gateway_streams_broken_total", "Streams that ended with an error after they had begun."),
		clientGone: counter("nebula_gateway_client_gone_total", "Requests whose client left before the end."),
	}
	reg.MustRegister(m.requests, m.latency, m.ttft, m.upstream, m.tooLarge, m.retries, m.retriesOK, m.ejections,
		m.brokenOff, m.clientGone, inflightCollector{l, prometheus.NewDesc("nebula_gateway_requests_inflight",
			"Requests being answered.", []string{"model"}, nil)})
	return m
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
	switch {
	case m == nil:
		ms.requests.WithLabelValues("", strconv.Itoa(status)).Inc()
	case status == 200:
		ms.of(m).ok.Inc()
	default:
		ms.requests.WithLabelValues(m.uid, strconv.Itoa(status)).Inc()
	}
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
