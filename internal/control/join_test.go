package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// fleet is a Control that lets machines in, and a clock that the test moves.
type fleet struct {
	*world
	ca    *pki.CA
	now   time.Time
	admit func(api.JoinRequest) (*api.JoinServer, error)
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{world: newWorld(t), ca: ca, now: time.Now()}
	f.Control = control.New(f.st, func() time.Time { return f.now }).WithFleet(control.Fleet{
		CA: ca, Leases: f.kv,
		Admit: func(_ context.Context, req api.JoinRequest) (*api.JoinServer, error) { return f.admit(req) },
	})
	if _, err := f.InitCluster(ann(t)); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fleet) token(req api.CreateJoinToken) string {
	f.t.Helper()
	made, err := f.CreateToken(ann(f.t), req)
	if err != nil {
		f.t.Fatal(err)
	}
	return made.Token
}

// request is a request to join with a key of its own.
func (f *fleet) request(role api.MachineRole, id, token string) api.JoinRequest {
	f.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		f.t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		f.t.Fatal(err)
	}
	return api.JoinRequest{Token: token, Role: role, ID: id, CSR: csr}
}

func (f *fleet) state() (members, tokens int) {
	s, _ := f.st.Current()
	return s.Members.Len(), s.JoinTokens.Len()
}

func TestJoin_makesAMemberOnce(t *testing.T) {
	f := newFleet(t)
	token := f.token(api.CreateJoinToken{For: api.MachineNode})
	s, _ := f.st.Current()
	for e := range s.JoinTokens.All() {
		if e.Lease == 0 || strings.Contains(token, e.Value.SecretHash) {
			t.Errorf("the stored token is %+v", e)
		}
	}
	req := f.request(api.MachineNode, "n1", token)
	res, err := f.Join(ann(t), req)
	if err != nil {
		t.Fatal(err)
	}
	info := control.ClusterView(s)
	if res.ClusterID != info.ID || string(res.CA) != string(f.ca.DER()) || res.Server != nil {
		t.Errorf("answer %+v", res)
	}
	s, _ = f.st.Current()
	m, ok := s.Members.Value("node/n1")
	if !ok || len(m.KeyHash) != 64 || s.JoinTokens.Len() != 0 {
		t.Errorf("member %+v, %v; %d tokens left", m, ok, s.JoinTokens.Len())
	}
	_, err = f.Join(ann(t), req)
	if !api.HasCode(err, api.CodeUnauthorized) {
		t.Errorf("the token a second time: %v", err)
	}
}

// TestJoin_oneAnswerForEveryTokenOfNoUse: who tries tokens learns nothing from the answers.
func TestJoin_oneAnswerForEveryTokenOfNoUse(t *testing.T) {
	f := newFleet(t)
	used := f.token(api.CreateJoinToken{For: api.MachineNode})
	if _, err := f.Join(ann(t), f.request(api.MachineNode, "n0", used)); err != nil {
		t.Fatal(err)
	}
	good := f.token(api.CreateJoinToken{For: api.MachineNode})
	revoked := f.token(api.CreateJoinToken{For: api.MachineNode})
	if err := f.RevokeToken(ann(t), strings.Split(revoked, "_")[1]); err != nil {
		t.Fatal(err)
	}
	ended := f.token(api.CreateJoinToken{For: api.MachineNode, TTLSeconds: 1})
	f.await(func() bool { s, _ := f.st.Current(); return !s.JoinTokens.Has(strings.Split(ended, "_")[1]) }) // the lease is what ends it
	part := func(of string, i int) string { return strings.Split(of, "_")[i] }
	foreign := pki.NewToken(pki.Fingerprint(f.ca.DER())).String()
	tokens := map[string]string{
		"used": used, "taken back": revoked, "expired": ended, "unknown": foreign,
		"for another role":                f.token(api.CreateJoinToken{For: api.MachineGateway}),
		"for another name":                f.token(api.CreateJoinToken{For: api.MachineNode, Name: "other"}),
		"of a known id, the wrong secret": "nbj_" + part(good, 1) + "_" + part(foreign, 2) + "_" + part(good, 3),
	}
	members, left := f.state()
	texts := map[string]bool{}
	for name, token := range tokens {
		_, err := f.Join(ann(t), f.request(api.MachineNode, "n1", token))
		if !api.HasCode(err, api.CodeUnauthorized) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		texts[err.Error()] = true
		for i := range 3 {
			if strings.Contains(err.Error(), part(token, i+1)) {
				t.Errorf("%s: the error shows part %d of the token", name, i+1)
			}
		}
	}
	if len(texts) != 1 {
		t.Errorf("the answers differ: %v", texts)
	}
	if m, n := f.state(); m != members || n != left {
		t.Errorf("refused requests left %d members and %d tokens of %d and %d", m, n, members, left)
	}
	f.now = f.now.Add(31 * time.Minute) // before its lease: etcd may have begun that anew
	if _, err := f.Join(ann(t), f.request(api.MachineNode, "n1", good)); err == nil || !texts[err.Error()] {
		t.Errorf("after its time: %v", err)
	}
}

func TestJoin_refusesBadRequestsAndKeepsTheToken(t *testing.T) {
	f := newFleet(t)
	token := f.token(api.CreateJoinToken{For: api.MachineNode})
	server := f.token(api.CreateJoinToken{For: api.MachineServer})
	for name, c := range map[string]struct {
		edit func(*api.JoinRequest)
		code api.Code
		says string
	}{
		"no token":                {func(r *api.JoinRequest) { r.Token = "" }, api.CodeInvalidRequest, "nebula token create"},
		"token with more":         {func(r *api.JoinRequest) { r.Token += "x" }, api.CodeInvalidRequest, "copied whole"},
		"no role":                 {func(r *api.JoinRequest) { r.Role = "" }, api.CodeInvalidRequest, "role"},
		"an invented role":        {func(r *api.JoinRequest) { r.Role = "admin" }, api.CodeInvalidRequest, "role"},
		"an id that is a path":    {func(r *api.JoinRequest) { r.ID = "../x" }, api.CodeInvalidRequest, "id"},
		"no id":                   {func(r *api.JoinRequest) { r.ID = "" }, api.CodeInvalidRequest, "id"},
		"no request":              {func(r *api.JoinRequest) { r.CSR = nil }, api.CodeInvalidRequest, "csr"},
		"a damaged request":       {func(r *api.JoinRequest) { r.CSR[len(r.CSR)-1] ^= 1 }, api.CodeInvalidRequest, "certificate"},
		"a server without addr":   {func(r *api.JoinRequest) { r.Token, r.Role = server, api.MachineServer }, api.CodeInvalidRequest, "HOST:PORT"},
		"a server without a port": {func(r *api.JoinRequest) { r.Token, r.Role, r.Addr = server, api.MachineServer, "host" }, api.CodeInvalidRequest, "HOST:PORT"},
	} {
		req := f.request(api.MachineNode, "n1", token)
		c.edit(&req)
		if _, err := f.Join(ann(t), req); !api.HasCode(err, c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %s with %q", name, err, c.code, c.says)
		}
	}
	if _, err := f.Join(ann(t), f.request(api.MachineNode, "n1", token)); err != nil {
		t.Errorf("the token after bad requests: %v", err)
	}
}

// TestJoin_race: of many machines with one token exactly one gets in, and nothing is left of the others.
func TestJoin_race(t *testing.T) {
	f := newFleet(t)
	token := f.token(api.CreateJoinToken{For: api.MachineNode})
	var mu sync.Mutex
	var in int
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		req := f.request(api.MachineNode, id, token)
		wg.Go(func() {
			_, err := f.Join(ann(t), req)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				in++
			case !api.HasCode(err, api.CodeUnauthorized):
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	wg.Wait()
	if members, tokens := f.state(); in != 1 || members != 1 || tokens != 0 {
		t.Errorf("%d got in, %d members, %d tokens left", in, members, tokens)
	}
}

// TestJoin_aTakenName: only a token for that very name says that the old machine is given up.
func TestJoin_aTakenName(t *testing.T) {
	f := newFleet(t)
	if _, err := f.Join(ann(t), f.request(api.MachineNode, "n1", f.token(api.CreateJoinToken{For: api.MachineNode}))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CordonNode(ann(t), "n1"); err != nil {
		t.Fatal(err)
	}
	s, _ := f.st.Current()
	before, _ := s.Members.Value("node/n1")

	_, err := f.Join(ann(t), f.request(api.MachineNode, "n1", f.token(api.CreateJoinToken{For: api.MachineNode})))
	if !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "nebula node delete n1") {
		t.Errorf("a taken name: %v", err)
	}
	if _, err := f.Join(ann(t), f.request(api.MachineNode, "n1", f.token(api.CreateJoinToken{For: api.MachineNode, Name: "n1"}))); err != nil {
		t.Fatalf("with a token for the name: %v", err)
	}
	s, _ = f.st.Current()
	if m, _ := s.Members.Value("node/n1"); m.KeyHash == before.KeyHash || !m.Cordoned {
		t.Errorf("the member is %+v after %+v; want a new key, and the cordon kept", m, before)
	}
	if err := f.RegisterLocal(ann(t), api.Member{Role: api.MachineNode, ID: "local"}); err != nil {
		t.Fatal(err)
	}
	_, err = f.Join(ann(t), f.request(api.MachineNode, "local", f.token(api.CreateJoinToken{For: api.MachineNode, Name: "local"})))
	if !api.HasCode(err, api.CodeConflict) {
		t.Errorf("the name of a server's own node: %v", err)
	}
	if _, err := f.Join(ann(t), f.request(api.MachineGateway, "n1", f.token(api.CreateJoinToken{For: api.MachineGateway}))); err != nil {
		t.Errorf("a gateway with a node's name: %v", err)
	}
}

func TestJoin_server(t *testing.T) {
	f := newFleet(t)
	join := func() (api.JoinResponse, error) {
		req := f.request(api.MachineServer, "s2", f.token(api.CreateJoinToken{For: api.MachineServer}))
		req.Addr = "10.0.0.2:8443"
		return f.Join(ann(t), req)
	}
	broken := errors.New("etcd has no quorum")
	f.admit = func(api.JoinRequest) (*api.JoinServer, error) { return nil, broken }
	if _, err := join(); !errors.Is(err, broken) {
		t.Fatalf("a server that could not be admitted: %v", err)
	}
	if members, _ := f.state(); members != 0 {
		t.Error("a server that was not admitted is a member")
	}
	f.admit = func(req api.JoinRequest) (*api.JoinServer, error) {
		return &api.JoinServer{InitialCluster: req.ID}, nil
	}
	res, err := join()
	if err != nil || res.Server == nil || res.Server.InitialCluster != "s2" || len(res.Servers) != 1 || res.Servers[0] != "10.0.0.2:8443" {
		t.Errorf("joined: %+v, %v", res, err)
	}
	// Without anybody to admit servers, and without an authority.
	none := control.New(f.st, time.Now).WithFleet(control.Fleet{CA: f.ca, Leases: f.kv})
	req := f.request(api.MachineServer, "s3", f.token(api.CreateJoinToken{For: api.MachineServer}))
	req.Addr = "10.0.0.3:8443"
	if _, err := none.Join(ann(t), req); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("a server where none can join: %v", err)
	}
	if _, err := control.New(f.st, time.Now).CreateToken(ann(t), api.CreateJoinToken{For: api.MachineNode}); !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "--fleet-listen") {
		t.Errorf("a token where nobody can join: %v", err)
	}
}

// TestJoin_namesAreForServers: a node cannot get a certificate that people's programs would take for a server's.
func TestJoin_namesAreForServers(t *testing.T) {
	f := newFleet(t)
	req := f.request(api.MachineNode, "n1", f.token(api.CreateJoinToken{For: api.MachineNode}))
	req.Addr = "server.example:443"
	res, err := f.Join(ann(t), req)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, res.Cert)
	if len(cert.DNSNames)+len(cert.IPAddresses) != 0 {
		t.Errorf("the node's certificate is for %v %v", cert.DNSNames, cert.IPAddresses)
	}
	s, _ := f.st.Current()
	if m, _ := s.Members.Value("node/n1"); m.Addr != "" {
		t.Errorf("the node counts as reachable at %q", m.Addr)
	}
}

func TestRenew(t *testing.T) {
	f := newFleet(t)
	req := f.request(api.MachineNode, "n1", f.token(api.CreateJoinToken{For: api.MachineNode}))
	first, err := f.Join(ann(t), req)
	if err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(16 * time.Hour)
	next, err := f.Renew(ann(t), api.MachineNode, "n1", api.RenewRequest{CSR: req.CSR})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := parse(t, first.Cert), parse(t, next.Cert); !b.NotAfter.After(a.NotAfter) || pki.KeyHash(a) != pki.KeyHash(b) {
		t.Errorf("renewed until %v after %v", b.NotAfter, a.NotAfter)
	}
	if _, err := f.Renew(ann(t), api.MachineNode, "n1", api.RenewRequest{CSR: f.request(api.MachineNode, "n1", "").CSR}); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := f.Renew(ann(t), api.MachineNode, "n1", api.RenewRequest{CSR: []byte("x")}); !api.HasCode(err, api.CodeInvalidRequest) {
		t.Errorf("with nonsense: %v", err)
	}
	if err := f.RemoveMember(ann(t), api.MachineNode, "n1", false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Renew(ann(t), api.MachineNode, "n1", api.RenewRequest{CSR: req.CSR}); !api.HasCode(err, api.CodeUnauthorized) {
		t.Errorf("of a removed node: %v", err)
	}
}

func TestCreateToken_refuses(t *testing.T) {
	f := newFleet(t)
	for name, req := range map[string]api.CreateJoinToken{
		"no role": {}, "an invented role": {For: "admin"}, "a name that is a path": {For: api.MachineNode, Name: "a/b"},
		"a negative life": {For: api.MachineNode, TTLSeconds: -1}, "more than a day": {For: api.MachineNode, TTLSeconds: 86401},
		"a life that overflows": {For: api.MachineNode, TTLSeconds: 1 << 62},
	} {
		if _, err := f.CreateToken(ann(t), req); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, tokens := f.state(); tokens != 0 {
		t.Errorf("%d tokens were made", tokens)
	}
	if err := f.RevokeToken(ann(t), "../x"); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("taking back nonsense: %v", err)
	}
}

func TestInitCluster_isForGood(t *testing.T) {
	f := newFleet(t)
	first, err := f.InitCluster(ann(t))
	if err != nil || len(first.ID) != 32 || first.History == "" || !first.HistoryAccepted {
		t.Fatalf("%+v, %v", first, err)
	}
	restored := first
	restored.History, restored.HistoryAccepted = "other", false
	if _, err := f.st.Update(ann(t), store.OwnerControl, func(tx *store.Tx) error {
		return store.Info.Put(tx, api.ClusterInfoID, restored)
	}); err != nil {
		t.Fatal(err)
	}
	if again, err := f.InitCluster(ann(t)); err != nil || again != restored {
		t.Errorf("after a restore: %+v, %v", again, err)
	}
	if got, err := f.AcceptHistory(ann(t)); err != nil || !got.HistoryAccepted || got.History != "other" || got.ID != first.ID {
		t.Errorf("accepted: %+v, %v", got, err)
	}
	// Said again, it frees what nodes hold although no restore was noted: another history, accepted.
	if got, err := f.AcceptHistory(ann(t)); err != nil || !got.HistoryAccepted || got.History == "other" || got.ID != first.ID {
		t.Errorf("accepted again: %+v, %v", got, err)
	}
}
