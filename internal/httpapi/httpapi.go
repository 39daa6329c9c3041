// Package httpapi is Nebula's HTTP surface: one table of routes, one middleware that the table feeds, and handlers that decode,
// call a verb and encode. It decides nothing and holds no state of the cluster.
package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/live"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/openapi"
	"github.com/nebula-serve/nebula/internal/openid"
)

// View is the state that answers every GET.
type View interface {
	Current() (*cluster.State, <-chan struct{})
}

// Keys knows people's credentials.
type Keys interface {
	Authenticate(secret string) (auth.Principal, bool)
}

// Sessions knows who is logged in.
type Sessions interface {
	Session(cookie string) (auth.Principal, bool)
	TokenSession(token string) (auth.Principal, bool)
}

// Logs opens the log of a replica's engine.
type Logs interface {
	OpenLog(ctx context.Context, uid string, replica uint32, o LogOptions) (io.ReadCloser, error)
}

// LogOptions choose a part of a log.
type LogOptions struct {
	Node     string // whose file; empty: where the replica is
	Tail     int    // last lines; 0 = all that is kept
	Follow   bool   // go on until the caller leaves
	Previous bool   // the incarnation before this one
}

// Config is what the HTTP surface needs.
type Config struct {
	View    View
	Control *control.Control // nil: the process is a gateway alone, and has no routes but its own and the gateway's
	Keys    Keys
	// Sessions knows people by their logins; nil: nobody is known by one.
	Sessions Sessions
	Setup    *auth.Setup      // who may make the first user; nil: nobody
	OpenID   *openid.Provider // where people may log in, too; nil: nowhere
	// LoginKey signs what browsers keep of logins under way there: the same on all servers, so that the way back may lead to another one; nil: one made here.
	LoginKey []byte
	Logs     Logs
	Caches   Caches // nil: this process reaches none
	Nodes    Nodes  // nil: this server takes no nodes
	// Explain says why a model stands as it does in a State, by the scheduler's rules.
	Explain func(s *cluster.State, uid string, now time.Time) api.Explanation
	// Figures asks the engines that run what they say of themselves; nil: this process asks none.
	Figures func(ctx context.Context) api.EngineFigures
	Hubs    Hubs       // what asks the hubs that models come from
	Store   StoreAdmin // nil: this server does not look after the store
	// Feed brings the store to gateways on other machines; nil: there are none.
	Feed http.Handler
	// Inference are the routes of the gateway, which the table takes in with the role inference.
	Inference []InferenceRoute
	// WithModels returns a context for the gateway's routes in which only models for which may is true are there. Nil: keys that are limited to
	// some models are refused.
	WithModels func(ctx context.Context, may func(uid string) bool) context.Context
	// Servers passes on to the servers what a gateway alone cannot answer of version 1; nil: nothing is passed on.
	Servers http.RoundTripper
	// KeyUsed is told of every use of a key that is let through; it must not wait. Nil: nobody wants to know.
	KeyUsed func(keyID, source string)
	Metrics http.Handler
	// Gateway is what the gateway of this process has counted; nil: it has none.
	Gateway *obs.Past
	// Tail is the end of this process's log; nil: it is not kept.
	Tail  *obs.Tail
	Ready func() error // nil when this process can serve
	// Absent tells how long this server has missed each node, by its own monotonic clock; nil: it has missed none.
	Absent func() map[string]time.Duration
	// LostAfter is how long a node may be missed before it is shown as lost; 0 = cluster.LostAfter.
	LostAfter time.Duration
	// SlowAfter is how long one write to a watcher may take before it is dropped; 0 = 10 s.
	SlowAfter time.Duration
	// Historians is how many watches of histories may be open at once; 0 = 1000.
	Historians int64
	// Denied takes what was refused, for the audit log; it must not block. nil: nobody records it.
	Denied func(api.AuditRecord)
	// Closing closes when the process is about to end: watches and logs that follow end then, so that nothing waits for them.
	Closing <-chan struct{}
	Version api.ServerVersion
	Hosts   []string // names, beside IP addresses and localhost, that callers may use for this server
	// Console are the files of the web console, index.html at the top; nil: this binary was built without it.
	Console fs.FS
	// Proxies are the networks of reverse proxies that are believed about whom they speak for.
	Proxies []netip.Prefix
	Now     func() time.Time
	Log     *slog.Logger
}

// InferenceRoute is one route of the gateway.
type InferenceRoute struct {
	Method, Path, Summary string
	Handler               http.Handler
}

// server carries the handlers.
type server struct {
	Config
	streams  openStreams
	refusals throttle   // of attempts to join
	models   *live.List // what lists and watches of models show
	logins   *logins
	oldUses  oldUses // who calls version 1
	// historians counts the open watches of histories.
	historians atomic.Int64
	// attemptKey signs the cookies of logins at the OpenID provider.
	attemptKey []byte
	// described is the API as a document and as a page, made when it is first asked for.
	described func() (described, error)
	// console is what browsers are shown; nil: there is none.
	console *console
	// setupPages are the pages for the first user, made when one is first asked for.
	setupPages func() (setupPages, error)
}

// New returns the handler of all routes.
func New(cfg Config) http.Handler {
	if cfg.LostAfter == 0 {
		cfg.LostAfter = cluster.LostAfter
	}
	if cfg.SlowAfter == 0 {
		cfg.SlowAfter = slowAfter
	}
	if len(cfg.LoginKey) == 0 {
		cfg.LoginKey = []byte(rand.Text())
	}
	if cfg.Historians == 0 {
		cfg.Historians = historians
	}
	s := &server{Config: cfg, models: live.New(cfg.View, cfg.Now, live.Models()), logins: newLogins(), attemptKey: cfg.LoginKey}
	s.setupPages = sync.OnceValues(makeSetupPages)
	if cfg.Console != nil {
		c, err := newConsole(cfg.Console)
		if err != nil {
			cfg.Log.Error("the web console cannot be served", "error", err)
		} else if s.console = c; len(c.left) > 0 {
			cfg.Log.Warn("files of the web console are of kinds that are not served", "files", c.left)
		}
	}
	s.described = sync.OnceValues(func() (described, error) { return describe(s.routes()) })
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.Method+" "+r.Path, s.wrap(r))
	}
	fallback := s.fallback()
	mux.Handle("/", fallback)
	s.mountV1Gateway(mux, fallback)
	return s.behindProxies(s.outer(s.exact(mux)))
}

// exact lets through only paths as they are written in the table. ServeMux would answer others, with // or .. in them, by a redirect to what
// they may have meant: to strangers, and in a shape that is not ours.
func (s *server) exact(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !asWritten(r.URL) {
			s.failPath(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func asWritten(u *url.URL) bool {
	given := u.EscapedPath()
	clean := path.Clean(given)
	return given == clean || clean != "/" && given == clean+"/"
}

func (s *server) failPath(w http.ResponseWriter, r *http.Request) {
	_, err := s.authenticate(r)
	if err == nil {
		err = api.Errorf(api.CodeNotFound, "there is nothing at %.200q: write paths without //, . and ..", r.URL.Path)
	}
	s.fail(w, r, err)
}

// Limits of a request outside /v1.
const (
	maxBody      = 1 << 20
	maxRequestID = 128
)

type contextKey int

const (
	keyRequestID contextKey = iota
	keyPrincipal
	keyForwarded
	keyCalledAs
)

// outer is around everything: request id, safe headers, host check, panics.
func (s *server) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID(r)
		r = r.WithContext(context.WithValue(r.Context(), keyRequestID, id))
		hurry(w, r)
		h := w.Header()
		h.Set("X-Request-Id", id)
		guardHeaders(h, overTLS(r))
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.Log.Error("handler panicked", "request_id", id, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				s.fail(w, r, api.Errorf(api.CodeInternal, "something went wrong inside Nebula; its log has the details under this request id"))
			}
		}()
		if !s.answersTo(r) {
			s.fail(w, r, &api.Error{Code: api.CodeMisdirected, Message: "this server does not answer to that host name; call it by its address, " +
				"or start it with --allowed-host"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	})
	if ok {
		return id
	}
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails, by its documentation
	return "req_" + hex.EncodeToString(b)
}

func (s *server) knownHost(hostport string) bool {
	host := hostport
	if h, port, err := net.SplitHostPort(hostport); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil ||
		slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// wrap puts authentication, role and body limit around one route. A thousand watchers sleep on its stack, so what is needed only before the
// handler lives in functions of its own.
func (s *server) wrap(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if openapi.IsV1(route.Path) {
			deprecate(w.Header(), route)
		}
		r, err := s.admit(w, r, &route)
		switch {
		case err != nil:
		case stays(r, &route):
			err = s.serveStream(w, r, &route)
		default:
			err = route.Handle(w, r)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// admit returns the request as the route's handler gets it, or why its caller is not let in.
func (s *server) admit(w http.ResponseWriter, r *http.Request, route *Route) (*http.Request, error) {
	who := anonymous
	if route.Role != auth.Public {
		var err error
		who, err = s.authenticate(r)
		if err == nil && !who.May(route.Role) {
			err = api.Errorf(api.CodeForbidden, "this needs the role %s; you are %s", route.Role, who.Role)
		}
		if err == nil {
			err = ownID(r, who)
		}
		if err == nil {
			err = withinScopes(r, route, who)
		}
		if err != nil {
			if who.ID != "" {
				r = r.WithContext(context.WithValue(r.Context(), keyPrincipal, who)) // for the record of the denial
			}
			return r, err
		}
		unhurried(w, r)
		if who.KeyID != "" && s.KeyUsed != nil {
			s.KeyUsed(who.KeyID, sourceOf(r))
		}
	}
	if old := oldRow(r, route); old != nil {
		s.noteOld(r, old, who)
	}
	if route.Has&OwnBody == 0 {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	return withCaller(r, route, who)
}

// strangerRead is how long a caller who has proven nothing may take to send its body, also one that nobody reads: else strangers could hold
// connections, for nothing, for as long as they like.
const strangerRead = 15 * time.Second

func hurry(w http.ResponseWriter, r *http.Request) { readWithin(w, r, time.Now().Add(strangerRead)) }

// unhurried is for a caller who is known, or whose body is here: the handler may take its time.
func unhurried(w http.ResponseWriter, r *http.Request) { readWithin(w, r, time.Time{}) }

func readWithin(w http.ResponseWriter, r *http.Request, at time.Time) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(at) // where deadlines are not supported the connection has its own
	}
}

// fallback answers what no route matches: a browser with the console, which has pages of its own. It lets nobody without a credential find out which paths exist.
func (s *server) fallback() http.Handler {
	table := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.console != nil && wantsPage(r) {
			s.console.send(w)
			return
		}
		if _, err := s.authenticate(r); err != nil {
			s.fail(w, r, err)
			return
		}
		var methods []string
		probe := http.NewServeMux()
		for _, route := range table {
			pattern := route.Method + " " + route.Path
			probe.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
			q := r.Clone(r.Context())
			q.Method = route.Method
			if _, got := probe.Handler(q); got == pattern {
				methods = append(methods, route.Method)
			}
		}
		if len(methods) > 0 {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			s.fail(w, r, api.Errorf(api.CodeMethodNotAllowed, "%s is not possible here; use %s", r.Method, strings.Join(methods, " or ")))
			return
		}
		where := "the API is under /api/v2 and /v1"
		if s.Control == nil {
			where = "this process is a gateway alone: it has /v1 and what old clients call under /v1/admin/, for all else ask a server of the cluster"
		}
		s.fail(w, r, api.Errorf(api.CodeNotFound, "there is nothing at %.200q; %s", r.URL.Path, where))
	})
}
