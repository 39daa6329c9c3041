package nodeapi

import (
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nebula-serve/nebula/api"
)

// replica is one replica of this node, in all its incarnations.
type replica struct {
	where    atomic.Pointer[where] // nil: it takes no requests
	inflight atomic.Int64
	status   atomic.Value // of type api.EndpointStatus; empty: there is no such replica any more
}

// where an engine listens.
type where struct{ addr, prefix string }

// take counts a request in and returns where it goes; nil: the replica takes none. The count comes first and the look second, so whoever
// has withdrawn the offer and then finds the count at zero knows that nothing follows.
func (r *replica) take() *where {
	r.inflight.Add(1)
	if w := r.where.Load(); w != nil {
		return w
	}
	r.inflight.Add(-1)
	return nil
}

func (r *replica) release() { r.inflight.Add(-1) }

// replicas are those of this node, by [api.EndpointKey].
type replicas struct {
	mu  sync.RWMutex
	all map[string]*replica
}

func (s *replicas) get(uid string, id uint32) *replica {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all[api.EndpointKey(uid, id)]
}

// SetEndpoints says which replicas the node has now. Requests go to those that are ready; what is in flight at others goes on.
func (a *API) SetEndpoints(now []api.EndpointInfo) {
	s := &a.replicas
	s.mu.Lock()
	defer s.mu.Unlock()
	listed := make(map[string]bool, len(now))
	for i := range now {
		e := &now[i]
		key := e.Key()
		listed[key] = true
		r := s.all[key]
		if r == nil {
			r = &replica{}
			s.all[key] = r
		}
		r.status.Store(e.Status)
		to := whereOf(e)
		if old := r.where.Load(); to == nil || old == nil || *old != *to {
			r.where.Store(to)
		}
	}
	for key, r := range s.all {
		if listed[key] {
			continue
		}
		r.where.Store(nil)
		r.status.Store(api.EndpointStatus(""))
		if r.inflight.Load() == 0 {
			delete(s.all, key)
		}
	}
}

// whereOf returns where a replica takes requests, or nil. Engines listen on loopback: nothing else is ever dialed.
func whereOf(e *api.EndpointInfo) *where {
	if e.Status != api.EndpointReady || e.BaseURL == nil {
		return nil
	}
	u, err := url.Parse(*e.BaseURL)
	if err != nil || u.Scheme != "http" || u.Port() == "" || u.User != nil || !loopback(u.Hostname()) {
		return nil
	}
	return &where{u.Host, strings.TrimRight(u.EscapedPath(), "/")}
}

// InFlight tells how many requests a replica is answering. It counts one more while the replica may yet be chosen, so 0 means that the
// replica can be stopped.
func (a *API) InFlight(uid string, id uint32) int {
	r := a.replicas.get(uid, id)
	if r == nil {
		return 0
	}
	n := 0
	if r.where.Load() != nil {
		n++
	}
	return n + int(r.inflight.Load())
}
