package httpapi

import (
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// withinScopes refuses what the scopes of the caller's key do not name. The models of a key are for the gateway to judge, which knows what a name
// stands for; outside the gateway's routes such a key may look, and change nothing but those models.
func withinScopes(r *http.Request, route *Route, who auth.Principal) error {
	scopes := who.Scopes
	if strings.HasPrefix(route.Path, openapi.V1Gateway) && len(scopes.Routes) > 0 {
		scopes.Routes = append(scopesAtGateway(scopes.Routes), "") // never none: that would be all
	}
	if !scopes.Route(r.URL.Path) {
		return api.Errorf(api.CodeForbidden, "this key may not use %.200s: its scopes name other routes", r.URL.Path)
	}
	if len(who.Scopes.Models) == 0 || route.Role == auth.Inference {
		return nil
	}
	uid := r.PathValue("uid")
	switch {
	case uid != "" && !who.Scopes.Model(uid):
		return api.Errorf(api.CodeForbidden, "this key is for other models: its scopes do not name %.80q", uid)
	case uid == "" && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return api.Errorf(api.CodeForbidden, "this key is for some models alone, and may change nothing else")
	}
	return nil
}

// infer hands a request to the gateway, with the models that the caller's key is limited to.
func (s *server) infer(gateway http.Handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if scopes := principal(r).Scopes; len(scopes.Models) > 0 {
			if s.WithModels == nil {
				return api.Errorf(api.CodeForbidden, "this key is for some models alone, and this process cannot tell which those are: use another gateway")
			}
			r = r.WithContext(s.WithModels(r.Context(), scopes.Model))
		}
		gateway.ServeHTTP(w, r)
		return nil
	}
}

// checkRoutes refuses scopes that no route can ever match: they are slips of the pen, or of a version that has other routes.
func (s *server) checkRoutes(scopes api.Scopes) error {
	table := s.routes()
	for _, scope := range scopes.Routes {
		known := false
		for _, r := range table {
			known = known || r.Role != auth.Public && reaches(scope, r.Path)
		}
		if !known {
			return &api.Error{
				Code: api.CodeInvalidRequest, Message: "the key is not valid: scopes.routes has " + scope + ", and there is no such route; see /api/docs",
				Details: []api.Field{{Field: "scopes.routes", Reason: "names no route"}},
			}
		}
	}
	return nil
}

// reaches tells whether a scope can match a path of the route.
func reaches(scope, route string) bool {
	head, open := strings.CutSuffix(scope, "*")
	have, want := strings.Split(head, "/"), strings.Split(route, "/")
	for i, part := range have {
		last := i == len(have)-1
		switch {
		case i >= len(want):
			return false
		case strings.HasSuffix(want[i], "...}"):
			return true
		case strings.HasPrefix(want[i], "{"), part == want[i]:
		case last && open && strings.HasPrefix(want[i], part):
		default:
			return false
		}
	}
	return open || len(have) == len(want)
}
