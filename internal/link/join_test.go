package link_test

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/link"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// cluster is one with a real server in it, on a real fleet port, and a log that must never show a secret.
type cluster struct {
	*control.Control
	t    *testing.T
	ca   *pki.CA
	addr string
	log  *logBook
}

// logBook is what a log says, for several goroutines.
type logBook struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newCluster(t *testing.T, now func() time.Time) *cluster {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	kv := storetest.NewMem()
	st, err := store.Open(ctx, kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	ca, err := pki.NewCA("test", now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Control: control.New(st, now).WithFleet(control.Fleet{CA: ca, Leases: kv}), t: t, ca: ca, log: &logBook{}}
	info, err := c.InitCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cred := issue(t, ca, pki.Identity{Cluster: info.ID, Role: api.MachineServer, ID: "s1"}, now())
	h := httpapi.New(httpapi.Config{
		View: st, Control: c.Control, Keys: auth.Keyring{}, Now: now, Log: slog.New(slog.NewTextHandler(c.log, nil)),
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = ln.Addr().String()
	srv := &http.Server{Handler: h, TLSConfig: cred.WithCA(cred.ServerTLS(pki.NewClock(now))), ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		cancel()
		<-done
	})
	if err := c.RegisterLocal(t.Context(), api.Member{Role: api.MachineServer, ID: "s1", KeyHash: cred.KeyHash(), Addr: c.addr}); err != nil {
		t.Fatal(err)
	}
	return c
}

func issue(t *testing.T, ca *pki.CA, id pki.Identity, now time.Time) *pki.Credential {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(csr, id, []string{"127.0.0.1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := pki.NewCredential("", key, cert.Raw, ca.DER())
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func (c *cluster) token(req api.CreateJoinToken) string {
	c.t.Helper()
	made, err := c.CreateToken(control.System(c.t.Context(), "test"), req)
	if err != nil {
		c.t.Fatal(err)
	}
	return made.Token
}

func (c *cluster) config(token string) link.JoinConfig {
	return link.JoinConfig{
		Server: c.addr, Token: token, Role: api.MachineNode, ID: "n1", Dir: filepath.Join(c.t.TempDir(), "node"), Clock: pki.NewClock(time.Now),
	}
}

// says insists on the code, on one line, and on no part of a secret.
func says(t *testing.T, err error, code api.Code, token string, parts ...string) {
	t.Helper()
	if !api.HasCode(err, code) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v; want %s in one line", err, code)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
	if secret := strings.Split(token, "_"); len(secret) == 4 && strings.Contains(err.Error(), secret[2]) {
		t.Errorf("the error shows the token: %v", err)
	}
}

func TestJoin_once(t *testing.T) {
	c := newCluster(t, time.Now)
	token := c.token(api.CreateJoinToken{For: api.MachineNode})
	cfg := c.config(token)
	cred, res, err := link.Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if id := cred.Identity(); id.Role != api.MachineNode || id.ID != "n1" || id.Cluster != res.ClusterID || len(res.Servers) != 1 || res.Servers[0] != c.addr {
		t.Errorf("joined as %+v: %+v", id, res)
	}
	for _, f := range []string{"machine.key", "machine.crt", "cluster-ca.crt"} {
		if info, err := os.Stat(filepath.Join(cfg.Dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	// A machine that has a credential needs neither token nor server, and a token that is still on its command line does no harm.
	for _, again := range []link.JoinConfig{{Role: cfg.Role, ID: cfg.ID, Dir: cfg.Dir, Clock: cfg.Clock}, cfg} {
		if kept, res, err := link.Join(t.Context(), again); err != nil || kept.KeyHash() != cred.KeyHash() || res.ClusterID != cred.Identity().Cluster {
			t.Errorf("the kept credential: %v", err)
		}
	}
	other := cfg
	other.Dir = filepath.Join(t.TempDir(), "other")
	other.ID = "n2"
	_, _, err = link.Join(t.Context(), other)
	says(t, err, api.CodeUnauthorized, token, "no use", "nebula token create --for node")
	other.Dir = cfg.Dir
	_, _, err = link.Join(t.Context(), other)
	says(t, err, api.CodeConflict, token, "holds the credential of node n1", "--data-dir")
	if strings.Contains(c.log.String(), strings.Split(token, "_")[2]) {
		t.Error("the server's log shows the token")
	}
}

func TestJoin_errorsSayWhatToDo(t *testing.T) {
	c := newCluster(t, time.Now)
	other := newCluster(t, time.Now)
	token := c.token(api.CreateJoinToken{For: api.MachineNode})
	plain, closed := plainServer(t), closedPort(t)
	for name, e := range map[string]struct {
		edit  func(*link.JoinConfig)
		code  api.Code
		parts []string
	}{
		"no token":           {func(j *link.JoinConfig) { j.Token = "" }, api.CodeUnauthorized, []string{"--token", "nebula token create --for node"}},
		"half a token":       {func(j *link.JoinConfig) { j.Token = token[:60] }, api.CodeInvalidRequest, []string{"copied whole"}},
		"no server":          {func(j *link.JoinConfig) { j.Server = "" }, api.CodeInvalidRequest, []string{"HOST:PORT"}},
		"no port":            {func(j *link.JoinConfig) { j.Server = "somewhere" }, api.CodeInvalidRequest, []string{"HOST:PORT"}},
		"nobody there":       {func(j *link.JoinConfig) { j.Server = closed }, api.CodeUnavailable, []string{"no server answers at " + closed, "--fleet-listen"}},
		"a port without TLS": {func(j *link.JoinConfig) { j.Server = plain }, api.CodeUnavailable, []string{"does not speak TLS", "--fleet-listen"}},
		"another cluster":    {func(j *link.JoinConfig) { j.Server = other.addr }, api.CodeUnavailable, []string{"not of the cluster that the token is for"}},
		"a clock days ahead": {func(j *link.JoinConfig) { j.Clock = ahead(72 * time.Hour) }, api.CodeUnavailable, []string{"set the clock", "NTP"}},
		"a clock years ago":  {func(j *link.JoinConfig) { j.Clock = ahead(-20 * 365 * 24 * time.Hour) }, api.CodeUnavailable, []string{"set the clock"}},
		"another role's":     {func(j *link.JoinConfig) { j.Role = api.MachineGateway }, api.CodeUnauthorized, []string{"no use", "--for gateway"}},
		"an id that is taken": {func(j *link.JoinConfig) {
			j.Role, j.ID, j.Addr, j.Token = api.MachineServer, "s1", "h:1", c.token(api.CreateJoinToken{For: api.MachineServer})
		}, api.CodeConflict, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.config(token)
			e.edit(&cfg)
			_, _, err := link.Join(t.Context(), cfg)
			says(t, err, e.code, token, e.parts...)
			if entries, err := os.ReadDir(cfg.Dir); err == nil {
				t.Errorf("a failed join left %v", entries)
			}
		})
	}
	// An hour of difference is no trouble, and none of the failures has used the token up.
	cfg := c.config(token)
	cfg.Clock = ahead(-50 * time.Minute)
	if _, _, err := link.Join(t.Context(), cfg); err != nil {
		t.Errorf("the token after all that: %v", err)
	}
	if off := time.Until(cfg.Clock.Now()).Abs(); off > 10*time.Second {
		t.Errorf("the clock is %s off after a server has told the time", off)
	}
}

func ahead(d time.Duration) *pki.Clock {
	return pki.NewClock(func() time.Time { return time.Now().Add(d) })
}

func plainServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return ln.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// TestJoin_whatWasKept: a credential that has run out or is damaged is replaced, by who has a token; a machine is never stopped by it.
func TestJoin_whatWasKept(t *testing.T) {
	past := func() time.Time { return time.Now().Add(-48 * time.Hour) }
	old := newCluster(t, past)
	cfg := old.config(old.token(api.CreateJoinToken{For: api.MachineNode}))
	cfg.Clock = pki.NewClock(past)
	first, _, err := link.Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Clock, cfg.Token = pki.NewClock(time.Now), ""
	if kept, _, err := link.Join(t.Context(), cfg); err != nil || kept.KeyHash() != first.KeyHash() {
		t.Fatalf("one that has run out, without a token: %v", err)
	}
	c := newCluster(t, time.Now)
	cfg.Server, cfg.Token = c.addr, c.token(api.CreateJoinToken{For: api.MachineNode})
	second, _, err := link.Join(t.Context(), cfg)
	if err != nil || second.KeyHash() == first.KeyHash() {
		t.Fatalf("one that has run out, with a token: %v", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "machine.crt"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Token = ""
	_, _, err = link.Join(t.Context(), cfg)
	says(t, err, api.CodeConflict, "", "cannot be used", "nebula token create --for node --name n1")
	cfg.Token = c.token(api.CreateJoinToken{For: api.MachineNode, Name: "n1"})
	if _, _, err := link.Join(t.Context(), cfg); err != nil {
		t.Errorf("a damaged one, with a token: %v", err)
	}
}

// issuer is a server that renews, or fails.
type issuer struct {
	ca      *pki.CA
	id      pki.Identity
	fails   atomic.Pointer[api.Error]
	calls   atomic.Int32
	learned atomic.Int32
}

func (i *issuer) Learn([]string) { i.learned.Add(1) }

func (i *issuer) JSON(_ context.Context, _, path string, in, out any) error {
	i.calls.Add(1)
	if err := i.fails.Load(); err != nil {
		return err
	}
	cert, err := i.ca.Issue(in.(api.RenewRequest).CSR, i.id, nil, time.Now())
	if err != nil || path != "/api/v2/renew" {
		return errors.Join(err, errors.New(path))
	}
	*out.(*api.RenewResponse) = api.RenewResponse{Cert: cert.Raw, Servers: []string{"s1:1"}}
	return nil
}

// TestRenew lives through some days of a machine.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := pki.NewCA("test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		id := pki.Identity{Cluster: "c", Role: api.MachineNode, ID: "n1"}
		cred := issue(t, ca, id, time.Now())
		i := &issuer{ca: ca, id: id}
		var text strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- link.Renew(ctx, link.RenewConfig{
				Credential: cred, Clock: pki.NewClock(time.Now), Servers: i, Log: slog.New(slog.NewTextHandler(&text, nil)),
			})
		}()
		sleep := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		sleep(13 * time.Hour)
		if i.calls.Load() != 0 {
			t.Fatal("renewed before its time")
		}
		sleep(3*time.Hour + time.Minute)
		if i.calls.Load() != 1 || time.Until(cred.NotAfter()) < 20*time.Hour || i.learned.Load() != 1 {
			t.Fatalf("after two thirds: %d calls, valid for %s", i.calls.Load(), time.Until(cred.NotAfter()))
		}
		// Servers are away for longer than the certificate lives: the tries go on, and the log stays short.
		i.fails.Store(api.Errorf(api.CodeUnavailable, "nobody there"))
		sleep(48 * time.Hour)
		if n := strings.Count(text.String(), "not renewed yet"); n != 1 || i.calls.Load() < 100 {
			t.Errorf("%d complaints about %d tries", n, i.calls.Load())
		}
		i.fails.Store(api.Errorf(api.CodeUnauthorized, "node n1 is not a member of the cluster any more"))
		sleep(time.Hour)
		if n := strings.Count(text.String(), "does not know this machine any more"); n != 1 || !strings.Contains(text.String(), "not a member") {
			t.Errorf("%d words about the removal: %s", n, text.String())
		}
		i.fails.Store(nil)
		sleep(6 * time.Minute)
		if time.Until(cred.NotAfter()) < 20*time.Hour {
			t.Errorf("the servers are back, and the certificate is valid for %s", time.Until(cred.NotAfter()))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
