// Package obs is what a process tells about itself: the registry of its metrics, the page that shows them, and a limit for
// log lines that a storm would repeat. It knows no component and keeps no series of its own.
package obs

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns a registry that holds the figures of the process and of the Go runtime. Each part of Nebula adds its own
// series when it is built, so that two servers in one process do not meet in a global registry.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return r
}

// Handler shows what g gathers in Prometheus' text format. A collector that fails costs its own series and a line in the log,
// not the page.
func Handler(g prometheus.Gatherer, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
	})
}
