package httpapi

import (
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// usageRoutes are the rows about who still calls version 1.
func (s *server) usageRoutes() []Route {
	return []Route{
		{Method: "GET", Path: "/api/v2/v1-usage", Role: auth.Admin, Summary: "Who still calls version 1 on this server, since it was started", Response: []api.V1Use{}, Has: Pages, Handle: s.v1Usage},
	}
}

func (s *server) v1Usage(w http.ResponseWriter, r *http.Request) error {
	return writePage(w, r, s.oldUses.list(), func(u *api.V1Use) string { return u.ID })
}

// Bounds of what is remembered of clients of version 1: some hundred kilobytes. Who is beyond them is counted together. Strangers have the lesser part, so
// that nobody without a credential can push out those with one.
const (
	maxOldUses     = 2000
	maxStrangeUses = 200
	maxAgent       = 100 // characters
	otherClients   = "(others)"
)

// oldUses counts who calls version 1.
type oldUses struct {
	mu      sync.Mutex
	seen    map[string]*api.V1Use
	strange int
}

// note counts a call, and tells whether its client is new here.
func (o *oldUses) note(who auth.Principal, agent, source string, route *Route, now time.Time) (u api.V1Use, newcomer bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u = api.V1Use{Principal: who.ID, Agent: visible(agent), Route: route.Method + " " + route.Path, Successor: route.Successor, FirstMS: now.UnixMilli()}
	stranger := who.Kind == auth.KindAnonymous
	id := func() string { return strings.Join([]string{u.Principal, u.Agent, u.Route}, "\x1f") }
	if o.seen[id()] == nil && (len(o.seen) >= maxOldUses || stranger && o.strange >= maxStrangeUses) {
		u.Agent = otherClients
		if !stranger {
			u.Principal = otherClients
		}
	}
	u.ID = id()
	at := o.seen[u.ID]
	if at == nil {
		if o.seen == nil {
			o.seen = map[string]*api.V1Use{}
		}
		newcomer = !o.known(u.Principal, u.Agent)
		if stranger {
			o.strange++
		}
		at = &u
		o.seen[u.ID] = at
	}
	at.Calls++
	at.LastMS, at.Source = now.UnixMilli(), source
	return *at, newcomer
}

// known tells whether a client has called any route before.
func (o *oldUses) known(principal, agent string) bool {
	for _, u := range o.seen {
		if u.Principal == principal && u.Agent == agent {
			return true
		}
	}
	return false
}

// list returns what was counted, in the order of who, as what, and where.
func (o *oldUses) list() []api.V1Use {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]api.V1Use, 0, len(o.seen))
	for _, u := range o.seen {
		out = append(out, *u)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// visible is what may be shown and kept of what a stranger has chosen.
func visible(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, "") {
		if n++; n > maxAgent {
			break
		}
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// noteOld counts a call of a row of version 1. The log has a line for each client, not for each call.
func (s *server) noteOld(r *http.Request, route *Route, who auth.Principal) {
	u, newcomer := s.oldUses.note(who, r.UserAgent(), sourceOf(r), route, s.Now())
	if newcomer {
		s.Log.Info("a client calls version 1 of the api", "principal", u.Principal, "agent", u.Agent, "source", u.Source, "route", u.Route, "successor", u.Successor)
	}
}
