package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// openStreams ends the streams of callers who may not have them any more: a machine that was removed, a login that has ended, a key that was revoked.
// One goroutine looks at the State for all of them, and only while there are any: thousands of nodes hold a stream each, and every change of the
// cluster would wake them all.
type openStreams struct {
	mu   sync.Mutex
	open map[*openStream]struct{}
	end  func() // ends the goroutine and waits for it; nil when there is none
}

type openStream struct {
	allowed func() bool
	cancel  context.CancelFunc
}

// expiryEvery bounds how long a stream outlives its login or its key where they end by the clock alone: no change of the State tells that.
const expiryEvery = 5 * time.Second

// identities are the parts of a State by which callers are known.
type identities struct {
	members  cluster.Set[api.Member]
	users    cluster.Set[api.User]
	sessions cluster.Set[api.Session]
	keys     cluster.Set[api.APIKey]
	info     cluster.Set[api.ClusterInfo]
}

func identitiesOf(st *cluster.State) identities {
	return identities{st.Members, st.Users, st.Sessions, st.APIKeys, st.Info}
}

// whileAllowed returns the request's context, which ends too as soon as its caller may not have what it streams any more. Handlers of streams get it;
// the others are short, and each request is checked when it begins. The returned function is called at the end of the stream.
func (s *server) whileAllowed(r *http.Request, allowed func() bool) (context.Context, func()) {
	ctx, cancel := context.WithCancel(r.Context())
	m, stream := &s.streams, &openStream{allowed, cancel}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.open) == 0 {
		m.open = map[*openStream]struct{}{}
		stop, done := make(chan struct{}), make(chan struct{})
		m.end = func() { close(stop); <-done }
		go func() {
			defer close(done)
			m.watch(s.View, stop)
		}()
	}
	m.open[stream] = struct{}{}
	// The goroutine may have looked at the newest State before this stream was there.
	if !allowed() {
		cancel()
	}
	return ctx, func() {
		cancel()
		m.leave(stream)
	}
}

func (m *openStreams) leave(stream *openStream) {
	m.mu.Lock()
	var end func()
	if delete(m.open, stream); len(m.open) == 0 {
		end, m.end = m.end, nil
	}
	m.mu.Unlock()
	if end != nil {
		end()
	}
}

func (m *openStreams) watch(view View, stop <-chan struct{}) {
	expiry := time.NewTicker(expiryEvery)
	defer expiry.Stop()
	var seen identities
	for {
		st, changed := view.Current()
		if now := identitiesOf(st); now != seen {
			seen = now
			m.cut()
		}
		select {
		case <-stop:
			return
		case <-changed:
		case <-expiry.C:
			m.cut()
		}
	}
}

func (m *openStreams) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for stream := range m.open {
		if !stream.allowed() {
			stream.cancel()
		}
	}
}

// stays tells whether a request is for a stream, on a route that is not for everybody.
func stays(r *http.Request, route *Route) bool {
	return route.Role != auth.Public && (route.Has&Watches != 0 && watching(r) || r.Method == http.MethodGet && queryBool(r, "follow"))
}

// serveStream serves a stream to its end, or until its caller may not have it any more: the answer ends then, and who asks again is told why.
func (s *server) serveStream(w http.ResponseWriter, r *http.Request, route *Route) error {
	who := principal(r)
	ctx, end := s.whileAllowed(r, func() bool {
		now, err := s.identify(r)
		return err == nil && now.ID == who.ID && now.Kind == who.Kind && now.May(route.Role) && withinScopes(r, route, now) == nil
	})
	defer end()
	return route.Handle(w, r.WithContext(ctx))
}
