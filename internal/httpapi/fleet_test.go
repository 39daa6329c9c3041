package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/registry"
	"github.com/nebula-serve/nebula/internal/secret"
)

// fleet is a server with all its routes on a real fleet port, and machines that have really joined.
type fleet struct {
	*server
	cfg httpapi.Config
	ca  *pki.CA
	url string
	log *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return newFleetOn(t, serve(t), func(*httpapi.Config) {})
}

// newFleetOn is one on the store of a server, with what change makes of its configuration.
func newFleetOn(t *testing.T, s *server, change func(*httpapi.Config)) *fleet {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{server: s, ca: ca, cfg: config(s.st), log: &safeBuffer{}}
	key, err := secret.NewKey(bytes.Repeat([]byte("k"), secret.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	f.cfg.Control = control.New(s.st, time.Now).WithFleet(control.Fleet{CA: ca, Leases: s.kv}).WithSecrets(key)
	f.cfg.Nodes = registry.New(registry.Config{
		Store: s.st, Leases: s.kv, Log: slog.New(slog.NewTextHandler(f.log, nil)),
		Open: func(v api.Secret) (api.Token, error) { return key.Open(v.Name, v.Version, v.Sealed) },
	})
	f.cfg.Feed = says("application/x-ndjson", "{}")
	f.cfg.Log = slog.New(slog.NewTextHandler(f.log, nil))
	change(&f.cfg)
	info, err := f.cfg.Control.InitCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	people := httptest.NewServer(newAPI(t, f.cfg))
	t.Cleanup(func() { people.CloseClientConnections(); people.Close() })
	f.server = &server{people, t, s.kv, s.st}
	cred := f.issue(pki.Identity{Cluster: info.ID, Role: api.MachineServer, ID: "s1"})
	if err := f.cfg.Control.RegisterLocal(t.Context(), api.Member{Role: api.MachineServer, ID: "s1", Addr: "s1:8443", KeyHash: cred.KeyHash()}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "https://" + ln.Addr().String()
	srv := &http.Server{
		Handler: newAPI(t, f.cfg), TLSConfig: cred.WithCA(cred.ServerTLS(pki.NewClock(time.Now))), ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return f
}

// request is a fresh key's certificate request, and what makes a credential of the answer.
func (f *fleet) request() (csr []byte, finish func(cert []byte) *pki.Credential) {
	f.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		f.t.Fatal(err)
	}
	if csr, err = pki.Request(key); err != nil {
		f.t.Fatal(err)
	}
	return csr, func(cert []byte) *pki.Credential {
		f.t.Helper()
		cred, err := pki.NewCredential("", key, cert, f.ca.DER())
		if err != nil {
			f.t.Fatal(err)
		}
		return cred
	}
}

func (f *fleet) issue(id pki.Identity) *pki.Credential {
	f.t.Helper()
	csr, finish := f.request()
	cert, err := f.ca.Issue(csr, id, nil, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	return finish(cert.Raw)
}

func (f *fleet) client(cred *pki.Credential) *http.Client {
	config := pki.JoinTLS(pki.Fingerprint(f.ca.DER()), time.Now)
	if cred != nil {
		config = cred.ClientTLS(pki.NewClock(time.Now), api.MachineServer, "")
	}
	tr := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (f *fleet) do(c *http.Client, method, path string, body []byte) (answer, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header}, string(b)
}

func (f *fleet) token(role api.MachineRole) string {
	f.t.Helper()
	var made api.JoinTokenCreated
	text := f.post(201, "/api/v2/tokens", api.CreateJoinToken{For: role})
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		f.t.Fatal(err)
	}
	return made.Token
}

// post sends v as admin, as people do, and insists on a status.
func (f *fleet) post(status int, path string, v any) string {
	f.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.must(status, "POST", path, string(b))
}

// join lets a machine join over the wire.
func (f *fleet) join(role api.MachineRole, id string) *http.Client {
	f.t.Helper()
	csr, finish := f.request()
	body, err := json.Marshal(api.JoinRequest{Token: f.token(role), Role: role, ID: id, CSR: csr})
	if err != nil {
		f.t.Fatal(err)
	}
	res, text := f.do(f.client(nil), "POST", "/api/v2/join", body)
	var joined api.JoinResponse
	if err := json.Unmarshal([]byte(text), &joined); err != nil || res.StatusCode != 200 {
		f.t.Fatalf("join: %d %s", res.StatusCode, text)
	}
	return f.client(finish(joined.Cert))
}

// TestMachine_triesEverything calls every route of the table with the credential of each kind of machine, for its own id and for another
// one's. What is not meant for it is refused, whatever it is, and nothing is written.
func TestMachine_triesEverything(t *testing.T) {
	f := newFleet(t)
	f.join(api.MachineNode, "other")
	f.must(201, "POST", "/api/v2/models", `{"model_name":"acme/m","model_uid":"m"}`)
	allowed := map[string][]string{
		"node": {
			"GET /api/v2/nodes/me/desired", "PUT /api/v2/nodes/me/observed", "POST /api/v2/nodes/me/heartbeat", "POST /api/v2/nodes/me/blobs",
			"POST /api/v2/renew",
		},
		"gateway": {"POST /api/v2/gateways/me/key-uses", "POST /api/v2/renew", "GET /api/v2/feed"},
	}
	var public []string
	for _, role := range []api.MachineRole{api.MachineNode, api.MachineGateway} {
		c := f.join(role, "me")
		before, _ := f.st.Current()
		var may []string
		for _, r := range httpapi.Routes(f.cfg) {
			if r.Role == auth.Public {
				public = append(public, r.Method+" "+r.Path)
				continue
			}
			for _, id := range []string{"me", "other", "nobody"} {
				path := strings.NewReplacer("{uid}", "m", "{id}", id, "{token}", "aaaaaaaaaaaa", "{role}", "node").Replace(r.Path)
				res, text := f.do(c, r.Method, path, nil)
				call := r.Method + " " + path
				switch res.StatusCode {
				case 401, 403:
					if strings.HasPrefix(path, "/api/") && !deniedAsV1(r.Path, text) {
						errorOf(t, text)
					}
				default:
					if len(may) == 0 || may[len(may)-1] != call {
						may = append(may, call)
					}
				}
			}
		}
		if diff := cmp.Diff(allowed[string(role)], may); diff != "" {
			t.Errorf("a %s may call (-want +got):\n%s", role, diff)
		}
		if after, _ := f.st.Current(); after.Revision != before.Revision {
			t.Errorf("a %s that tried everything without a body changed the store", role)
		}
		if res, _ := f.do(c, "GET", "/api/v2/no-such-thing", nil); res.StatusCode != 404 {
			t.Errorf("an unknown path: %d", res.StatusCode)
		}
		// Without a credential, and after it was taken away, on the connection that is open.
		if role == api.MachineNode {
			f.must(200, "DELETE", "/api/v2/nodes/me", "")
		} else {
			f.must(200, "DELETE", "/api/v2/members/gateway/me", "")
		}
		for _, call := range allowed[string(role)] {
			method, path, _ := strings.Cut(call, " ")
			for who, c := range map[string]*http.Client{"removed": c, "nobody": f.client(nil)} {
				if res, text := f.do(c, method, path, nil); res.StatusCode != 401 {
					t.Errorf("%s by %s: %d %s", call, who, res.StatusCode, text)
				}
			}
		}
	}
	if diff := cmp.Diff([]string{
		"GET /healthz", "GET /readyz", "GET /{$}", "POST /api/v2/auth/login", "POST /api/v2/auth/token", "GET /setup", "GET /api/v2/setup", "POST /api/v2/setup", "GET /assets/{file}", "GET /favicon.svg",
		"GET /api/v2/auth/oidc/login", "GET /api/v2/auth/oidc/callback", "POST /api/v2/join", "GET /api/healthz", "POST /api/auth/login",
	}, public[:len(public)/2]); diff != "" {
		t.Errorf("routes that need no credential (-want +got):\n%s", diff)
	}
}

// TestNode_writesItsOwnDocumentsAlone: a report may name no other node, whatever path it comes by.
func TestNode_writesItsOwnDocumentsAlone(t *testing.T) {
	f := newFleet(t)
	n1 := f.join(api.MachineNode, "n1")
	f.join(api.MachineNode, "n2")
	send := func(o api.NodeObserved, path string) (answer, string) {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return f.do(n1, "PUT", path, b)
	}
	own := api.NodeObserved{Node: api.NodeStatus{NodeID: "n1", Epoch: 1, Seq: 1}}
	if res, text := send(own, "/api/v2/nodes/n1/observed"); res.StatusCode != 204 {
		t.Fatalf("its own report: %d %s", res.StatusCode, text)
	}
	before, _ := f.st.Current()
	foreign := map[string]func(*api.NodeObserved){
		"node": func(o *api.NodeObserved) { o.Node.NodeID = "n2" },
		"endpoint": func(o *api.NodeObserved) {
			o.Endpoints = []api.EndpointInfo{{ModelUID: "m", ReplicaID: 1, NodeID: "n2"}}
		},
		"download": func(o *api.NodeObserved) {
			o.Downloads = []api.DownloadProgress{{ModelUID: "m", ReplicaID: 1, NodeID: "n2"}}
		},
		"disk": func(o *api.NodeObserved) { o.Disk = &api.NodeDiskStatus{NodeID: "n2"} },
		"cache": func(o *api.NodeObserved) {
			o.Disk, o.Cache = &api.NodeDiskStatus{NodeID: "n1"}, []api.ModelCacheEntry{{NodeID: "n2", ModelName: "a/b"}}
		},
		"alert": func(o *api.NodeObserved) { o.Alerts = []api.DiskAlert{{NodeID: "n2", AlertType: "disk_warning"}} },
	}
	for name, edit := range foreign {
		o := own
		o.Node.Seq = 2
		edit(&o)
		if res, text := send(o, "/api/v2/nodes/n1/observed"); res.StatusCode != 403 && res.StatusCode != 400 {
			t.Errorf("a report with another's %s: %d %s", name, res.StatusCode, text)
		}
	}
	if res, _ := send(own, "/api/v2/nodes/n2/observed"); res.StatusCode != 403 {
		t.Errorf("a report by another's path: %d", res.StatusCode)
	}
	if after, _ := f.st.Current(); after.Nodes != before.Nodes || after.Endpoints != before.Endpoints || after.Disks != before.Disks || after.Alerts != before.Alerts {
		t.Error("a refused report changed the store")
	}
}

// TestJoin_overTheWire: limits for whoever asks, and no secret in the log.
func TestJoin_overTheWire(t *testing.T) {
	f := newFleet(t)
	good := f.token(api.MachineNode)
	c := f.client(nil)
	csr, _ := f.request()
	body := func(token string) []byte {
		b, err := json.Marshal(api.JoinRequest{Token: token, Role: api.MachineNode, ID: "n1", CSR: csr})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if res, _ := f.do(c, "POST", "/api/v2/join", bytes.Repeat([]byte(" "), 17<<10)); res.StatusCode != 413 {
		t.Errorf("a body of 17 KiB: %d", res.StatusCode)
	}
	if text := f.post(421, "/api/v2/join", json.RawMessage(body(good))); !strings.Contains(text, "fleet port") {
		t.Errorf("without TLS: %s", text)
	}
	wrong := pki.NewToken(pki.Fingerprint(f.ca.DER())).String()
	refused := 0
	for {
		res, text := f.do(c, "POST", "/api/v2/join", body(wrong))
		if strings.Contains(text, strings.Split(wrong, "_")[2]) {
			t.Fatalf("the answer shows the token: %s", text)
		}
		if res.StatusCode == 429 {
			if res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			break
		}
		if refused++; res.StatusCode != 401 || refused > 1000 {
			t.Fatalf("try %d: %d %s", refused, res.StatusCode, text)
		}
	}
	if refused < 10 {
		t.Errorf("only %d tries before the limit: people mistype", refused)
	}
	for _, token := range []string{good, wrong} {
		if strings.Contains(f.log.String(), strings.Split(token, "_")[2]) {
			t.Error("the log shows a token")
		}
	}
}
