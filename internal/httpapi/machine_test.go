package httpapi

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

const (
	testCluster = "c1"
	person      = "pppppppppppppppppppppppppppppppppppppppp"
)

// fleet is routes of every kind of caller behind a real fleet port.
type fleet struct {
	t    *testing.T
	ca   *pki.CA
	st   *store.Store
	url  string
	open chan struct{} // gets a value for each stream that has begun
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, storetest.NewMem(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, ca: ca, st: st, open: make(chan struct{}, 8)}
	s := &server{Config: Config{
		View: st, Keys: auth.Keyring{}.With(person, auth.Principal{ID: "admin", Role: auth.Admin}), Log: slog.New(slog.DiscardHandler),
	}}
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, caller(r))
		return err
	}
	for path, role := range map[string]auth.Role{
		"/node/{id}": auth.Node, "/gateway": auth.Gateway, "/machine": auth.Machine, "/people": auth.Viewer, "/public": auth.Public,
	} {
		mux.Handle("GET "+path, s.wrap(Route{Role: role, Handle: ok}))
	}
	mux.Handle("GET /stream", s.wrap(Route{Role: auth.Machine, Handle: func(w http.ResponseWriter, r *http.Request) error {
		ctx, end := s.whileMember(r)
		defer end()
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		f.open <- struct{}{}
		<-ctx.Done()
		return nil
	}}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cred := f.credential(testCluster, api.MachineServer, "s1", ca)
	srv := &http.Server{Handler: s.outer(mux), TLSConfig: cred.ServerTLS(pki.NewClock(time.Now)), ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	f.url = "https://" + ln.Addr().String()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		cancel()
		<-done
	})
	f.update(func(tx *store.Tx) error {
		return store.Info.Put(tx, api.ClusterInfoID, api.ClusterInfo{ID: testCluster, History: "h"})
	})
	return f
}

func (f *fleet) update(fn func(*store.Tx) error) {
	f.t.Helper()
	if _, err := f.st.Update(f.t.Context(), store.OwnerControl, fn); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) credential(cluster string, role api.MachineRole, id string, ca *pki.CA) *pki.Credential {
	f.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		f.t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		f.t.Fatal(err)
	}
	cert, err := ca.Issue(csr, pki.Identity{Cluster: cluster, Role: role, ID: id}, nil, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	cred, err := pki.NewCredential("", key, cert.Raw, ca.Cert.Raw)
	if err != nil {
		f.t.Fatal(err)
	}
	return cred
}

// member makes a machine a member and returns a client that speaks for it.
func (f *fleet) member(role api.MachineRole, id string) *http.Client {
	cred := f.credential(testCluster, role, id, f.ca)
	f.update(func(tx *store.Tx) error {
		m := api.Member{Role: role, ID: id, KeyHash: cred.KeyHash()}
		return store.Members.Put(tx, m.Key(), m)
	})
	return f.client(cred)
}

func (f *fleet) remove(role api.MachineRole, id string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error { return store.Members.Delete(tx, api.MemberKey(role, id)) })
}

func (f *fleet) client(cred *pki.Credential) *http.Client {
	tr := &http.Transport{TLSClientConfig: cred.ClientTLS(pki.NewClock(time.Now), api.MachineServer, "s1"), ForceAttemptHTTP2: true}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get returns status and body, and insists on HTTP/2.
func (f *fleet) get(c *http.Client, path string, bearer string) (int, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := c.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if res.ProtoMajor != 2 {
		f.t.Errorf("the fleet port speaks %s", res.Proto)
	}
	return res.StatusCode, string(b)
}

func TestMachines_haveTheirOwnRoutesAlone(t *testing.T) {
	f := newFleet(t)
	node, gateway := f.member(api.MachineNode, "n1"), f.member(api.MachineGateway, "g1")
	for name, c := range map[string]struct {
		who          *http.Client
		bearer, path string
		status       int
		body         string
	}{
		"a node, itself":                    {node, "", "/node/n1", 200, "n1"},
		"a node, another":                   {node, "", "/node/n2", 403, "may not act for another machine"},
		"a node, what all machines may":     {node, "", "/machine", 200, "n1"},
		"a node, a gateway's route":         {node, "", "/gateway", 403, "needs the role gateway; you are node"},
		"a node, a person's route":          {node, "", "/people", 403, "needs the role viewer; you are node"},
		"a node with a person's token":      {node, person, "/people", 403, "you are node"},
		"a node, what needs no credential":  {node, "", "/public", 200, ""},
		"a gateway, its own":                {gateway, "", "/gateway", 200, "g1"},
		"a gateway, a node's route":         {gateway, "", "/node/g1", 403, "needs the role node"},
		"a gateway, a person's route":       {gateway, "", "/people", 403, "needs the role viewer"},
		"a machine that never joined":       {f.client(f.credential(testCluster, api.MachineNode, "n9", f.ca)), "", "/node/n9", 401, "not a member"},
		"another key under a known name":    {f.client(f.credential(testCluster, api.MachineNode, "n1", f.ca)), "", "/node/n1", 401, "not a member"},
		"a known name in another role":      {f.client(f.credential(testCluster, api.MachineGateway, "n1", f.ca)), "", "/machine", 401, "not a member"},
		"a machine of another cluster's id": {f.client(f.credential("c2", api.MachineNode, "n1", f.ca)), "", "/node/n1", 401, "another cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := f.get(c.who, c.path, c.bearer); status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("%d %s; want %d with %q", status, body, c.status, c.body)
			}
		})
	}
}

// TestPeople_onTheFleetPort: people bring their tokens, and get no machine's route.
func TestPeople_onTheFleetPort(t *testing.T) {
	f := newFleet(t)
	plain := f.client(f.credential(testCluster, api.MachineNode, "n1", f.ca))
	plain.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = nil
	for path, want := range map[string]int{"/people": 200, "/machine": 403, "/node/admin": 403, "/node/n1": 403, "/gateway": 403} {
		if status, body := f.get(plain, path, person); status != want {
			t.Errorf("%s by an admin: %d %s, want %d", path, status, body, want)
		}
	}
	if status, _ := f.get(plain, "/people", ""); status != 401 {
		t.Errorf("without any credential: %d", status)
	}
}

// TestForeignCertificate_isRefused: a certificate of another authority does not even make a connection.
func TestForeignCertificate_isRefused(t *testing.T) {
	f := newFleet(t)
	other, err := pki.NewCA("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := f.client(f.credential(testCluster, api.MachineNode, "n1", f.ca))
	config := foreign.Transport.(*http.Transport).TLSClientConfig
	config.GetClientCertificate = f.credential(testCluster, api.MachineNode, "n1", other).ClientTLS(pki.NewClock(time.Now), api.MachineServer, "").GetClientCertificate
	f.member(api.MachineNode, "n1")
	res, err := foreign.Get(f.url + "/public")
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("a certificate of another authority got %s", res.Status)
	}
}

// TestRemovedMember_isOutAtOnce: on its open connection the next request is refused and its streams end; those of others go on.
func TestRemovedMember_isOutAtOnce(t *testing.T) {
	f := newFleet(t)
	n1, n2 := f.member(api.MachineNode, "n1"), f.member(api.MachineNode, "n2")
	ended := func(c *http.Client) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			res, err := c.Get(f.url + "/stream")
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = res.Body.Close() }()
			_, _ = io.Copy(io.Discard, res.Body) // until the server ends it, in whatever way
		}()
		<-f.open
		return done
	}
	first, second, other := ended(n1), ended(n1), ended(n2)
	f.remove(api.MachineNode, "n1")
	<-first
	<-second
	if status, body := f.get(n1, "/machine", ""); status != 401 || !strings.Contains(body, "not a member of the cluster any more") {
		t.Errorf("a removed node on its open connection: %d %s", status, body)
	}
	if status, _ := f.get(n2, "/machine", ""); status != 200 {
		t.Errorf("the other node: %d", status)
	}
	select {
	case <-other:
		t.Error("the other node's stream ended too")
	default:
	}
	f.remove(api.MachineNode, "n2")
	<-other
	again := ended(f.member(api.MachineNode, "n3")) // after the last stream has left, the next is watched too
	f.remove(api.MachineNode, "n3")
	<-again
}
