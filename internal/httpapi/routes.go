package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// Route is one row of the table: what may be called, by whom, with what, and what comes back. The middleware, the OpenAPI document, the audit
// log and the tests of roles all read it here and nowhere else.
type Route struct {
	Method, Path string
	Role         auth.Role
	Summary      string
	Query        []Param    // what may follow "?", beside what Has and Sort bring
	Sort         []string   // the orders that ?sort takes; the first one is that of who asks for none
	Request      any        // zero value of the body's type; nil = none
	Response     any        // zero value of the answer's type; nil = not JSON
	Media        string     // of an answer that is not JSON; of several kinds, with a comma between
	Status       int        // of success; 0 = 200
	Errors       []api.Code // beside those of Codes, which every route of its kind has
	Has          Trait
	Successor    string // of a row of version 1: the path of what has taken its place
	Handle       func(http.ResponseWriter, *http.Request) error
}

// Param is a parameter of a query.
type Param struct {
	Name, Summary string
	Type          string   // string, integer or boolean
	Enum          []string // of a string; nil = any
}

// Trait is what many routes have alike.
type Trait uint16

// The traits.
const (
	OwnBody      Trait = 1 << iota // the handler limits the body itself
	OptionalBody                   // no body is {}
	Pages                          // ?limit and ?cursor; the next page is in Link and Nebula-Next-Cursor, and how many there are in all in Nebula-Total
	Watches                        // ?watch=1: server-sent events, from ?since= or Last-Event-ID on
	Conditional                    // If-Match, and an ETag in the answer
	Creates                        // Idempotency-Key
	DryRuns                        // ?dry_run=1 (or ?validate=1): what would happen, without doing it
	Resumes                        // Nebula-Revision in a list, from which a watch goes on
	Cached                         // an ETag in the answer, and 304 for who has it already
)

// Routes returns the whole table of a server, for documents and tests.
func Routes(cfg Config) []Route { return (&server{Config: cfg}).routes() }

// routes is the one table of all routes. The middleware takes the role from here and nowhere else.
func (s *server) routes() []Route {
	table := slices.Concat(s.processRoutes(), s.docRoutes(), s.gatewayRoutes())
	if s.Control != nil { // what servers have and a gateway alone has not; each group stands beside its handlers
		for _, rows := range [][]Route{
			s.modelRoutes(),
			s.summaryRoutes(),
			s.explainRoutes(),
			s.nodeRoutes(),
			s.cacheRoutes(),
			s.templateRoutes(),
			s.hubRoutes(),
			s.secretRoutes(),
			s.authRoutes(),
			s.setupRoutes(),
			s.consoleRoutes(),
			s.oidcRoutes(),
			s.userRoutes(),
			s.keyRoutes(),
			s.linkRoutes(),
			s.fleetRoutes(),
			s.adminRoutes(),
			s.migrateRoutes(),
			s.auditRoutes(),
			s.eventRoutes(),
			s.v1Routes(),
		} {
			table = append(table, rows...)
		}
	}
	if s.Control == nil {
		rows := s.v1ProcessRoutes()
		for _, r := range append(rows, atGateway(rows)...) {
			if strings.HasPrefix(r.Path, openapi.V1Gateway) {
				table = append(table, r)
			}
		}
	}
	if s.Feed != nil {
		table = append(table, Route{
			Method: "GET", Path: "/api/v2/feed", Role: auth.Gateway, Summary: "What gateways route by, as a list or from a revision on", Media: "application/x-ndjson",
			Handle: func(w http.ResponseWriter, q *http.Request) error { s.Feed.ServeHTTP(w, q); return nil },
		})
	}
	for _, r := range s.Inference {
		table = append(table, Route{
			Method: r.Method, Path: r.Path, Role: auth.Inference, Summary: r.Summary, Has: OwnBody,
			Handle: s.infer(r.Handler),
		})
	}
	for i := range table {
		if table[i].Status == 0 {
			table[i].Status = http.StatusOK
		}
	}
	return table
}

// processRoutes are the rows about this process, which every role has.
func (s *server) processRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/healthz", Role: auth.Public, Summary: "This process lives", Response: api.Health{}, Handle: s.healthz},
		{Method: "GET", Path: "/readyz", Role: auth.Public, Summary: "This process can serve", Response: api.Health{}, Handle: s.readyz},
		{Method: "GET", Path: "/metrics", Role: auth.Viewer, Summary: "Metrics in Prometheus' format", Media: "text/plain", Handle: s.metrics},
		{Method: "GET", Path: "/{$}", Role: auth.Public, Summary: "The web console, or what this is", Media: "text/html, text/plain", Handle: s.index},
		{Method: "GET", Path: "/api/v2/version", Role: auth.Viewer, Summary: "Version of the server", Response: api.ServerVersion{}, Handle: s.version},
	}
}
