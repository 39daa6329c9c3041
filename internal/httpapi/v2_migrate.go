package httpapi

import (
	"net/http"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// migrateRoutes are the rows about what the existing Nebula has left.
func (s *server) migrateRoutes() []Route {
	return []Route{
		{Method: "POST", Path: "/api/v2/migrate", Role: auth.Admin, Summary: "Store, as models, what requests of version 1 declare", Response: api.Migration{}, Has: DryRuns, Handle: s.migrate},
	}
}

func (s *server) migrate(w http.ResponseWriter, r *http.Request) error {
	m, err := s.Control.Migrate(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, m)
	return nil
}
