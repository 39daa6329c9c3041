package control

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// Authority is the cluster's certificate authority; *pki.CA is one.
type Authority interface {
	Issue(csr []byte, id pki.Identity, hosts []string, now time.Time) (*x509.Certificate, error)
	DER() []byte // its own certificate
}

// Leases grants leases; every store.KV does.
type Leases interface {
	Grant(ctx context.Context, ttlSeconds int64) (int64, error)
	Revoke(ctx context.Context, lease int64) error
}

// Fleet is what a Control needs beside the store to let machines in.
type Fleet struct {
	CA     Authority // nil: this process lets nobody in
	Leases Leases    // also for wishes that end by themselves
	// Admit returns what only servers get, for a server whose token was right and which is a member already; nil: no server can join. It
	// may run again for the same server.
	Admit func(ctx context.Context, req api.JoinRequest) (*api.JoinServer, error)
}

// WithFleet returns a Control on the same store that also lets machines in.
func (c *Control) WithFleet(f Fleet) *Control {
	other := *c
	other.fleet = f
	return &other
}

// Lives of join tokens.
const (
	tokenLife    = 30 * time.Minute
	tokenLifeMax = 24 * time.Hour
)

// authority returns the CA and the cluster it is for, or says why nobody can join here.
func (c *Control) authority() (Authority, api.ClusterInfo, error) {
	if c.fleet.CA == nil {
		return nil, api.ClusterInfo{}, api.Errorf(api.CodeConflict,
			"this process lets no machines in: a fleet needs a server with a fleet port, started with: nebula server --fleet-listen HOST:PORT")
	}
	s, _ := c.store.Current()
	info, ok := s.Info.Value(api.ClusterInfoID)
	if !ok {
		return nil, info, api.Errorf(api.CodeUnavailable, "the cluster is not set up yet: its first server is still starting; try again in a moment")
	}
	return c.fleet.CA, info, nil
}

// CreateToken makes a join token. Only this answer has it; the store keeps a digest, for as long as the token lives.
func (c *Control) CreateToken(ctx context.Context, req api.CreateJoinToken) (api.JoinTokenCreated, error) {
	ca, _, err := c.authority()
	if err != nil {
		return api.JoinTokenCreated{}, err
	}
	life := time.Duration(req.TTLSeconds) * time.Second
	if req.TTLSeconds == 0 {
		life = tokenLife
	}
	switch {
	case !slices.Contains(api.MachineRoles(), req.For):
		return api.JoinTokenCreated{}, invalid("for", "must be node, server or gateway")
	case req.Name != "" && !api.ValidNodeID(req.Name):
		return api.JoinTokenCreated{}, invalid("name", `must be a machine's id: letters, digits, ".", "_" and "-"`)
	case req.TTLSeconds < 0 || req.TTLSeconds > int64(tokenLifeMax/time.Second):
		return api.JoinTokenCreated{}, invalid("ttl_seconds", "must be between 1 and 86400, a day")
	}
	token, now := pki.NewToken(pki.Fingerprint(ca.DER())), c.now()
	doc := api.JoinToken{
		ID: token.ID, For: req.For, Name: req.Name, SecretHash: token.SecretHash(),
		CreatedAtMS: now.UnixMilli(), ExpiresAtMS: now.Add(life).UnixMilli(),
	}
	lease, err := c.grant(ctx, life)
	if err != nil {
		return api.JoinTokenCreated{}, err
	}
	made, err := create(ctx, c, "token.create", "token/"+doc.ID, func(tx *store.Tx) (api.JoinTokenCreated, error) {
		made := api.JoinTokenCreated{Token: token.String(), ID: doc.ID, For: doc.For, Name: doc.Name, ExpiresAtMS: doc.ExpiresAtMS}
		return made, store.JoinTokens.PutLeased(tx, doc.ID, doc, lease)
	})
	switch {
	case dryRun(ctx):
		made.Token = ""
	case err != nil || made.ID != doc.ID: // answered as before
		// Whatever became of the write, nobody gets to know the token. When this fails too, the lease ends by itself.
		_ = c.fleet.Leases.Revoke(context.WithoutCancel(ctx), lease)
	}
	return made, err
}

// RevokeToken takes back a join token that was not used.
func (c *Control) RevokeToken(ctx context.Context, id string) error {
	err := c.update(ctx, "token.revoke", "token/"+id, func(tx *store.Tx) error {
		if !tx.State().JoinTokens.Has(id) {
			return api.Errorf(api.CodeNotFound, "there is no join token %s: it may have been used, or have expired; list them with: nebula token list", asGiven(id))
		}
		return store.JoinTokens.Delete(tx, id)
	})
	return err
}

// Join makes a machine a member and issues its first certificate. Only the token authenticates the request. It is used up in the
// transaction that writes the member, so of two machines with one token one gets in. CodeUnauthorized says nothing but that the token is of
// no use: not whether it exists, nor what it would be good for.
func (c *Control) Join(ctx context.Context, req api.JoinRequest) (api.JoinResponse, error) {
	ca, info, err := c.authority()
	if err != nil {
		return api.JoinResponse{}, err
	}
	token, err := pki.ParseToken(req.Token)
	if err != nil {
		return api.JoinResponse{}, err
	}
	hosts, err := checkJoin(req)
	if err != nil {
		return api.JoinResponse{}, err
	}
	s, _ := c.store.Current()
	if stored, ok := s.JoinTokens.Value(token.ID); !c.permits(stored, ok, token, req) {
		return api.JoinResponse{}, noUse(req) // before any work for whoever asks
	}
	if req.Role == api.MachineServer && c.fleet.Admit == nil {
		return api.JoinResponse{}, api.Errorf(api.CodeConflict, "this cluster takes no further server: start its first one with: nebula server --cluster-init")
	}
	cert, err := ca.Issue(req.CSR, pki.Identity{Cluster: info.ID, Role: req.Role, ID: req.ID}, hosts, c.now())
	if err != nil {
		return api.JoinResponse{}, api.Errorf(api.CodeInvalidRequest, "no certificate can be issued: %v", err)
	}
	ctx = joining(ctx, req, token)
	if err := c.admit(ctx, token, req, pki.KeyHash(cert)); err != nil {
		return api.JoinResponse{}, err
	}
	out := api.JoinResponse{ClusterID: info.ID, Cert: cert.Raw, CA: ca.DER(), Servers: c.servers()}
	if req.Role != api.MachineServer {
		return out, nil
	}
	if out.Server, err = c.fleet.Admit(ctx, req); err != nil {
		return api.JoinResponse{}, c.takeBack(ctx, req, err)
	}
	return out, nil
}

// joining is the context of a machine that is about to become a member: who asks is known by its token.
func joining(ctx context.Context, req api.JoinRequest, token pki.Token) context.Context {
	who := Caller{}
	if c := CallerOf(ctx); c != nil {
		who = *c
	}
	who.Actor = api.Actor{ID: string(req.Role) + " " + req.ID, Kind: "machine", KeyID: token.ID}
	return WithCaller(ctx, &who)
}

// checkJoin refuses what no token would allow, and returns the names under which people's programs reach the machine. Only servers have
// some: with a name of its choice in its certificate a node could stand for a server before people.
func checkJoin(req api.JoinRequest) (hosts []string, err error) {
	switch {
	case !slices.Contains(api.MachineRoles(), req.Role):
		return nil, invalid("role", "must be node, server or gateway")
	case !api.ValidNodeID(req.ID):
		return nil, invalid("id", `must be letters, digits, ".", "_" and "-"`)
	case len(req.CSR) == 0:
		return nil, invalid("csr", "is missing")
	case req.Role != api.MachineServer:
		return nil, nil
	}
	return hostsOf(req.Addr)
}

func hostsOf(addr string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" || len(addr) > 300 {
		return nil, invalid("addr", "must be HOST:PORT, at which machines reach the server")
	}
	return []string{host}, nil
}

// permits tells whether a token that was shown is the stored one and allows what is asked. It does the same work when there is none.
func (c *Control) permits(stored api.JoinToken, found bool, shown pki.Token, req api.JoinRequest) bool {
	right := shown.Matches(stored.SecretHash)
	return right && found && stored.For == req.Role && (stored.Name == "" || stored.Name == req.ID) && c.now().UnixMilli() < stored.ExpiresAtMS
}

// admit uses the token up and writes the member, in one transaction.
func (c *Control) admit(ctx context.Context, token pki.Token, req api.JoinRequest, keyHash string) error {
	err := c.update(ctx, "machine.join", api.MemberKey(req.Role, req.ID), func(tx *store.Tx) error {
		stored, found, err := store.JoinTokens.Get(tx, token.ID)
		if err != nil {
			return err
		}
		if !c.permits(stored, found, token, req) {
			return noUse(req) // somebody else was faster
		}
		key := api.MemberKey(req.Role, req.ID)
		m, exists, err := store.Members.Get(tx, key)
		switch {
		case err != nil:
			return err
		case exists && m.KeyHash == "":
			return api.Errorf(api.CodeConflict, "%s %s runs inside a server: choose another id", req.Role, req.ID)
		case exists && stored.Name != req.ID: // a token for this very name says that the old machine is given up
			return api.Errorf(api.CodeConflict, "there is a %s %s already: remove it first with: nebula %s, "+
				"or, when this is the same machine, join with a token that is bound to its name: nebula token create --for %s --name %s",
				req.Role, req.ID, removal(req.Role, req.ID), req.Role, req.ID)
		}
		m.Role, m.ID, m.KeyHash, m.Addr, m.JoinedAtMS = req.Role, req.ID, keyHash, "", c.now().UnixMilli()
		if req.Role == api.MachineServer {
			m.Addr = req.Addr
		}
		if err := store.JoinTokens.Delete(tx, token.ID); err != nil {
			return err
		}
		return store.Members.Put(tx, key, m)
	})
	return err
}

// takeBack removes a server that could not be admitted, so that it can join with another token.
func (c *Control) takeBack(ctx context.Context, req api.JoinRequest, cause error) error {
	err := c.update(context.WithoutCancel(ctx), "machine.join-failed", api.MemberKey(req.Role, req.ID), func(tx *store.Tx) error {
		return store.Members.Delete(tx, api.MemberKey(req.Role, req.ID))
	})
	if err != nil {
		return err
	}
	return cause
}

// noUse is the one answer to every token that does not allow what is asked.
func noUse(req api.JoinRequest) error {
	return api.Errorf(api.CodeUnauthorized, "this join token is of no use here for a %s named %s: it may be used up, expired, taken back, for another role "+
		"or name, or wrong; make a new one with: nebula token create --for %s", req.Role, req.ID, req.Role)
}

// Renew issues the next certificate of a machine, for the key that it has joined with.
func (c *Control) Renew(_ context.Context, role api.MachineRole, id string, req api.RenewRequest) (api.RenewResponse, error) {
	ca, info, err := c.authority()
	if err != nil {
		return api.RenewResponse{}, err
	}
	s, _ := c.store.Current()
	m, ok := s.Members.Value(api.MemberKey(role, id))
	if !ok {
		return api.RenewResponse{}, api.Errorf(api.CodeUnauthorized, "%s %s is not a member of the cluster any more", role, id)
	}
	var hosts []string
	if role == api.MachineServer {
		if hosts, err = hostsOf(m.Addr); err != nil {
			return api.RenewResponse{}, err
		}
	}
	cert, err := ca.Issue(req.CSR, pki.Identity{Cluster: info.ID, Role: role, ID: id}, hosts, c.now())
	if err != nil {
		return api.RenewResponse{}, api.Errorf(api.CodeInvalidRequest, "no certificate can be issued: %v", err)
	}
	if pki.KeyHash(cert) != m.KeyHash {
		return api.RenewResponse{}, api.Errorf(api.CodeForbidden, "a certificate is renewed for the key that the machine has joined with, and for no other")
	}
	return api.RenewResponse{Cert: cert.Raw, Servers: c.servers()}, nil
}

// servers are the addresses at which machines reach the servers.
func (c *Control) servers() []string {
	s, _ := c.store.Current()
	out := []string{}
	for m := range s.Members.Prefix(string(api.MachineServer) + "/") {
		if m.Value.Addr != "" {
			out = append(out, m.Value.Addr)
		}
	}
	return out
}

// Tokens lists the tokens that have not been used, without their secrets.
func Tokens(s *cluster.State) []api.JoinTokenView {
	out := []api.JoinTokenView{}
	for e := range s.JoinTokens.All() {
		t := &e.Value
		out = append(out, api.JoinTokenView{ID: t.ID, For: t.For, Name: t.Name, CreatedAtMS: t.CreatedAtMS, ExpiresAtMS: t.ExpiresAtMS})
	}
	return out
}

func invalid(field, reason string) error {
	return &api.Error{Code: api.CodeInvalidRequest, Message: field + " " + reason, Details: []api.Field{{Field: field, Reason: reason}}}
}
