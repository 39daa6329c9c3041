package httpapi

import (
	"net/http"

	"github.com/nebula-serve/nebula/api"
)

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, api.Health{Status: "ok"})
	return nil
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) error {
	if err := s.Ready(); err != nil {
		return api.Errorf(api.CodeUnavailable, "not ready: %s", err)
	}
	writeJSON(w, http.StatusOK, api.Health{Status: "ready"})
	return nil
}

func (s *server) metrics(w http.ResponseWriter, r *http.Request) error {
	s.Metrics.ServeHTTP(w, r)
	return nil
}

func (s *server) version(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, s.Version)
	return nil
}
