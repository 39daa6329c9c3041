package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// v1ProcessRoutes are the rows of version 1 about this process, which servers and gateways have alike.
func (s *server) v1ProcessRoutes() []Route {
	const successor = "/api/v2/models/{uid}/logs"
	lines := []Param{{Name: "lines", Type: "integer", Summary: "How many of the last lines: 200 when absent, 2000 at most"}}
	gone := []api.Code{api.CodeNotImplemented}
	return []Route{
		{Method: "GET", Path: "/api/metrics", Role: auth.Viewer, Summary: "Metrics in Prometheus' format", Media: "text/plain", Successor: "/metrics", Handle: s.metrics},
		{Method: "GET", Path: "/api/logs", Role: auth.Viewer, Summary: "The last lines that this process has logged", Query: lines, Media: "text/plain", Errors: gone, Successor: successor, Handle: s.v1Logs},
		{Method: "GET", Path: openapi.V1Gateway + "logs/stream", Role: auth.Viewer, Summary: "What this process logs from now on, each line as data", Media: "text/event-stream", Errors: gone, Successor: successor, Handle: s.v1LogStream},
	}
}

const tailLines = 200

var errNoTail = &api.Error{Code: api.CodeNotImplemented, Message: "this process keeps no log in memory: look where it was started; the log of a model's engine is at /api/v2/models/{uid}/logs"}

func (s *server) v1Logs(w http.ResponseWriter, r *http.Request) error {
	n, err := queryInt(r, "lines", tailLines, 1, 1<<31-1)
	if err != nil {
		return err
	}
	if s.Tail == nil {
		return errNoTail
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var b strings.Builder
	for _, line := range s.Tail.Last(min(n, obs.MaxTail)) {
		b.WriteString(line + "\n")
	}
	_, _ = w.Write([]byte(b.String())) // the caller may have left
	return nil
}

func (s *server) v1LogStream(w http.ResponseWriter, r *http.Request) error {
	if s.Tail == nil {
		return errNoTail
	}
	at := s.Tail.End()
	e := s.startEvents(w)
	defer e.end()
	if r.Method == http.MethodHead {
		return nil
	}
	alive := time.NewTicker(keepAliveEvery)
	defer alive.Stop()
	for e.err == nil {
		lines, next, changed := s.Tail.After(at)
		for _, line := range lines {
			e.buf = append(e.buf, "data: "+line+"\n\n"...)
		}
		if at = next; len(lines) > 0 {
			e.flush()
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-s.Closing:
			return nil
		case <-changed:
		case <-alive.C:
			e.alive(sameID)
		}
	}
	return nil
}
