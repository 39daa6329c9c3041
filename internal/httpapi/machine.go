package httpapi

import (
	"context"
	"crypto/x509"
	"net/http"
	"sync"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/pki"
)

// machineCert returns the certificate that the caller's connection has proven; nil when it has shown none.
func machineCert(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

// machineIn tells which machine of the cluster a proven certificate speaks for. The members decide: a machine that was removed, or that has
// joined again with another key since, is nobody, however long its certificate is still valid.
func machineIn(s *cluster.State, cert *x509.Certificate) (auth.Principal, error) {
	id, err := pki.IdentityOf(cert)
	if err != nil {
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized, "the certificate of this connection is not one of a machine of the cluster")
	}
	info, known := s.Info.Value(api.ClusterInfoID)
	if !known || info.ID != id.Cluster {
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized,
			"the credential of %s %s is of another cluster: remove it from the machine's data directory, and join this one with a token from: nebula token create --for %s", id.Role, id.ID, id.Role)
	}
	m, member := s.Members.Value(api.MemberKey(id.Role, id.ID))
	if !member || m.KeyHash != pki.KeyHash(cert) {
		return auth.Principal{}, api.Errorf(api.CodeUnauthorized,
			"%s %s is not a member of the cluster any more: if it should be, remove the credential from its data directory and join it again with a token from: nebula token create --for %s", id.Role, id.ID, id.Role)
	}
	return auth.Principal{ID: id.ID, Role: machineRoles[id.Role], Kind: auth.KindMachine}, nil
}

var machineRoles = map[api.MachineRole]auth.Role{
	api.MachineNode: auth.Node, api.MachineGateway: auth.Gateway, api.MachineServer: auth.Server,
}

// ownID refuses a machine that names another one in the path: it acts for itself alone.
func ownID(r *http.Request, who auth.Principal) error {
	if id := r.PathValue("id"); who.IsMachine() && id != "" && id != who.ID {
		return api.Errorf(api.CodeForbidden, "%s %s may not act for another machine", who.Role, who.ID)
	}
	return nil
}

// memberStreams ends the open streams of machines that are members no more. One goroutine looks at the State for all of them, and only
// while there are any: thousands of nodes hold a stream each, and every change of the cluster would wake them all.
type memberStreams struct {
	mu   sync.Mutex
	open map[*memberStream]struct{}
	end  func() // ends the goroutine and waits for it; nil when there is none
}

type memberStream struct {
	cert   *x509.Certificate
	cancel context.CancelFunc
}

// whileMember returns the request's context, which ends too as soon as the calling machine is no member any more. Handlers of streams use
// it; the others are short, and each request is checked when it begins. The returned function is called at the end of the stream.
func (s *server) whileMember(r *http.Request) (context.Context, func()) {
	ctx, cancel := context.WithCancel(r.Context())
	cert := machineCert(r)
	if cert == nil {
		return ctx, cancel
	}
	m, stream := &s.streams, &memberStream{cert, cancel}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.open) == 0 {
		m.open = map[*memberStream]struct{}{}
		stop, done := make(chan struct{}), make(chan struct{})
		m.end = func() { close(stop); <-done }
		go func() {
			defer close(done)
			m.watch(s.View, stop)
		}()
	}
	m.open[stream] = struct{}{}
	// The goroutine may have looked at the newest State before this stream was there.
	if st, _ := s.View.Current(); !isMember(st, cert) {
		cancel()
	}
	return ctx, func() {
		cancel()
		m.leave(stream)
	}
}

func (m *memberStreams) leave(stream *memberStream) {
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

func (m *memberStreams) watch(view View, stop <-chan struct{}) {
	var seen cluster.Set[api.Member]
	for {
		st, changed := view.Current()
		if st.Members != seen {
			seen = st.Members
			m.cut(st)
		}
		select {
		case <-stop:
			return
		case <-changed:
		}
	}
}

func (m *memberStreams) cut(st *cluster.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for stream := range m.open {
		if !isMember(st, stream.cert) {
			stream.cancel()
		}
	}
}

func isMember(st *cluster.State, cert *x509.Certificate) bool {
	_, err := machineIn(st, cert)
	return err == nil
}
