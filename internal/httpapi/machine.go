package httpapi

import (
	"context"
	"crypto/x509"
	"net/http"

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

// whileMember returns the request's context, which ends too as soon as the calling machine is no member any more.
func (s *server) whileMember(r *http.Request) (context.Context, func()) {
	cert := machineCert(r)
	if cert == nil {
		return context.WithCancel(r.Context())
	}
	return s.whileAllowed(r, func() bool {
		st, _ := s.View.Current()
		return isMember(st, cert)
	})
}

func isMember(st *cluster.State, cert *x509.Certificate) bool {
	_, err := machineIn(st, cert)
	return err == nil
}
