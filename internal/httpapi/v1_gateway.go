package httpapi

import (
	"strings"

	"github.com/nebula-serve/nebula/internal/openapi"
)

// v1GatewayRows says which row of version 1 each path under /v1/admin/ stands for: the gateway of the existing Nebula had the same under other names.
func v1GatewayRows() []struct{ method, path, of string } {
	const images, image, request = "/api/images", "/api/images/{id}", "/api/models/requests/{id}"
	return []struct{ method, path, of string }{
		{"GET", "whoami", "/api/whoami"},
		{"GET", "cluster/status", "/api/overview"},
		{"GET", "metrics", "/api/metrics"},
		{"GET", "logs", "/api/logs"},
		{"GET", "models/requests", "/api/requests"},
		{"POST", "models/load", "/api/models/load"},
		{"DELETE", "models/requests/{id}", request},
		{"POST", "models/requests/{id}", request},
		{"PUT", "models/requests/{id}/scale", request + "/scale"},
		{"POST", "endpoints/drain", "/api/endpoints/drain"},
		{"GET", "audit-logs", "/api/audit-logs"},
		{"GET", "images", images},
		{"GET", "images/status", images + "/status"},
		{"GET", "images/{id}", image},
		{"PUT", "images/{id}", image},
		{"DELETE", "images/{id}", image},
	}
}

// atGateway gives rows of version 1 the paths that the existing Nebula's gateway had for them. Whatever else they are stays: there is one handler.
func atGateway(rows []Route) []Route {
	of := map[string]Route{}
	for _, r := range rows {
		of[r.Method+" "+r.Path] = r
	}
	var out []Route
	for _, g := range v1GatewayRows() {
		method := g.method
		if method == "POST" && g.path == "models/requests/{id}" {
			method = "DELETE" // its clients may say so, or so
		}
		r, there := of[method+" "+g.of]
		if !there {
			continue // of a server, and this is a gateway
		}
		r.Method, r.Path = g.method, openapi.V1Gateway+g.path
		out = append(out, r)
	}
	return out
}

// scopesAtGateway leaves out the scopes of a key that are for the routes of models, such as /v1/*, and would reach those under /v1/admin/, too: they were
// given for the former, and the latter need to be named.
func scopesAtGateway(routes []string) []string {
	var out []string
	for _, s := range routes {
		if !strings.HasPrefix(s, "/v1") || strings.HasPrefix(s, strings.TrimSuffix(openapi.V1Gateway, "/")) {
			out = append(out, s)
		}
	}
	return out
}
