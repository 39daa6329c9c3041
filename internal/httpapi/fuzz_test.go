package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/httpapi"
	"github.com/nebula-serve/nebula/internal/obs"
	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
	"github.com/nebula-serve/nebula/internal/pki"
	"github.com/nebula-serve/nebula/internal/store"
)

// Bounds of the fuzzer: how long it goes on where nobody says so, how many calls one server gets, and how long one call may take. A call that
// takes longer has missed its deadline.
const (
	fuzzSeconds  = 12
	fuzzEpisode  = 1000
	fuzzDeadline = 20 * time.Second
	fuzzStream   = 20 * time.Millisecond
	deedsEvery   = 4 // episodes
	// enoughTries is after how many an operation must have been done once: one that needs the id of what is there is done in every tenth, or so.
	enoughTries = 80
)

// TestFuzz_everyOperation makes requests out of the OpenAPI document, with objects that earlier answers have shown, and sends them to a whole
// server on a store in memory. Whatever it is sent, it answers within the deadline, with a status, a media type and a schema that the document
// has for the operation, never with 5xx, and never by a panic.
//
// FUZZ_SECONDS says how long, FUZZ_SEED where to begin; a failure names the seed of its episode, and its calls.
func TestFuzz_everyOperation(t *testing.T) {
	seconds := number(t, "FUZZ_SECONDS", fuzzSeconds)
	if testing.Short() {
		seconds = min(seconds, 2)
	}
	seed := number(t, "FUZZ_SEED", 1)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	tally := &tally{statuses: map[int]int{}, done: map[string]int{}, tried: map[string]int{}}
	for ; time.Now().Before(end) && !t.Failed(); seed++ {
		t.Run("seed "+strconv.Itoa(seed), func(t *testing.T) { fuzzOnce(t, uint64(seed), end, tally) })
	}
	var never []string
	for op, n := range tally.tried {
		if tally.done[op] == 0 && n > enoughTries {
			never = append(never, op)
		}
	}
	slices.Sort(never)
	t.Logf("%d calls, up to seed %d: %v; never done: %v", tally.calls, seed-1, tally.statuses, never)
	for _, op := range never {
		if neverDone[op] == "" {
			t.Errorf("the fuzzer does not get anywhere with %s: is it in deeds?", op)
		}
	}
}

// neverDone are the operations at which the fuzzer does not succeed, with the reason.
var neverDone = map[string]string{
	"loginByOIDC": "it has no provider: test/oidc has one", "finishLoginByOIDC": "it has no provider: test/oidc has one",
	"getV1AuthMe": "it is of somebody who is logged in, and the fuzzer comes with keys", "getV1AuthSettings": "the same",
	"drainV1Endpoints": "the fuzzer has no scheduler, and no replicas but by deeds", "drainV1GatewayEndpoints": "the same", "drainModelReplica": "the same",
	"getV1ObserveTraces": "it says what else to ask", "getV1ObserveTrace": "the same",
	"getV1ObserveMetricsQuery": "the same", "getV1ObserveMetricsNames": "the same",
}

// tally counts calls, answers, and what was done how often.
type tally struct {
	calls       int
	statuses    map[int]int
	tried, done map[string]int // by operation
}

func (y *tally) count(c openapitest.Call, a openapitest.Answer) {
	y.calls++
	y.statuses[a.Status]++
	y.tried[c.Operation]++
	if a.Status < 300 {
		y.done[c.Operation]++
	}
}

func number(t *testing.T, name string, otherwise int) int {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		t.Fatalf("%s must be a number, not %q", name, s)
	}
	return n
}

// fuzzOnce is one episode on a server of its own.
func fuzzOnce(t *testing.T, seed uint64, end time.Time, tally *tally) {
	target := newDoer(t)
	f, rng := openapitest.NewFuzzer(target.checker.Document(), seed), rand.New(rand.NewPCG(seed, 1))
	var story []string
	if seed%deedsEvery == 1 { // a server on which everything was done once; the others begin with nothing
		target.doAll(t, f, tally)
	}
	for range fuzzEpisode {
		if time.Now().After(end) || t.Failed() {
			break
		}
		c := f.Next()
		if rng.IntN(20) == 0 {
			c = bend(rng, target.call(pickOf(rng, deeds())))
		}
		r := target.httpRequest(c)
		if r == nil {
			continue // no client can send that
		}
		story = append(story, c.String())
		a := target.send(t, r, c)
		if t.Failed() {
			break
		}
		if a.Cut && len(a.Body) == 0 && a.Header.Get("Content-Type") == "" {
			continue // it left before there was an answer
		}
		tally.count(c, a)
		if a.Status >= 500 && a.Status != http.StatusNotImplemented {
			t.Errorf("answered with %d: %.1000s", a.Status, a.Body)
		} else if err := target.checker.Check(r, a); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
		f.Learn(c, a)
		if m, ok := target.machines[c.As]; ok && a.Status == http.StatusUnauthorized { // it was removed: it joins again
			if err := target.control.RegisterLocal(t.Context(), m.member); err != nil {
				t.Fatal(err)
			}
		}
	}
	if t.Failed() {
		t.Logf("again with: FUZZ_SEED=%d go test ./internal/httpapi -run TestFuzz\nwhat went wrong inside:\n%s\nthe last calls:\n%s",
			seed, target.log.errors(), strings.Join(story[max(0, len(story)-6):], "\n"))
	}
}

// doAll does all deeds, and lets the fuzzer learn of what they make.
func (d *doer) doAll(t *testing.T, f *openapitest.Fuzzer, tally *tally) {
	d.t = t
	for _, one := range deeds() {
		if one.before != nil {
			one.before(d)
		}
		c := d.call(one)
		a := d.do(t, one)
		tally.count(c, a)
		if a.Status >= 300 {
			t.Fatalf("%s: %d %.300s", one.row, a.Status, a.Body)
		}
		f.Learn(c, a)
		if one.after != nil {
			one.after(d, a)
		}
	}
}

func pickOf[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// bend makes half of the calls wrong in their body: a piece is lost, doubled, or something else.
func bend(rng *rand.Rand, c openapitest.Call) openapitest.Call {
	n := len(c.Body)
	if n == 0 || rng.IntN(2) == 0 {
		return c
	}
	from := rng.IntN(n)
	to := from + rng.IntN(n-from)
	with := pickOf(rng, []string{"", "0", "-1", "1e999", "null", `""`, `"\u0000"`, "{}", "[]", "\xff", string(c.Body[from:to]) + string(c.Body[from:to]), `"../.."`, strings.Repeat("9", 400)})
	c.Body = slices.Concat(c.Body[:from], []byte(with), c.Body[to:])
	return c
}

// target is a whole server, called without a network.
type target struct {
	*fleet
	handler http.Handler
	checker *openapitest.Checker
	control *control.Control
	admin   *storeAdmin
	// machines are members by their role; each has one id.
	machines map[string]machine
}

type machine struct {
	cert   *x509.Certificate
	csr    []byte // with the certificate's key
	member api.Member
}

// goodPassword is ann's.
const goodPassword = "correct horse battery staple 7"

// newTargetOn is one on a store, with what change makes of its configuration.
func newTargetOn(t *testing.T, kv store.KV, change func(*httpapi.Config)) *target {
	t.Helper()
	f := newFleetOn(t, serveOn(t, kv, func(*httpapi.Config) {}), change)
	admin := &storeAdmin{backup: func(w io.Writer) error { _, err := io.WriteString(w, "backup"); return err }}
	f.cfg.Store, f.cfg.Caches, f.cfg.Tail = admin, fakeCaches{admin}, obs.NewTail()
	checker, err := openapitest.NewChecker(httpapi.Operations(f.cfg))
	if err != nil {
		t.Fatal(err)
	}
	out := &target{f, newAPI(t, f.cfg), checker, f.cfg.Control, admin, map[string]machine{}}
	info, _ := f.st.Current()
	cluster, _ := info.Info.Value(api.ClusterInfoID)
	for role, id := range map[api.MachineRole]string{api.MachineNode: "n1", api.MachineGateway: "g1", api.MachineServer: "s2"} {
		csr, finish := f.request()
		cert, err := f.ca.Issue(csr, pki.Identity{Cluster: cluster.ID, Role: role, ID: id}, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		m := machine{cert, csr, api.Member{Role: role, ID: id, KeyHash: finish(cert.Raw).KeyHash()}}
		if err := out.control.RegisterLocal(t.Context(), m.member); err != nil {
			t.Fatal(err)
		}
		out.machines[string(role)] = m
	}
	hash, err := auth.NewPasswords().Hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.control.CreateUser(control.System(t.Context(), "test"), api.CreateUser{Name: "ann", Role: api.RoleAdmin}, hash); err != nil { // who may log in, and own keys
		t.Fatal(err)
	}
	return out
}

// httpRequest is a call as a server gets it; nil where it cannot be written as one.
func (x *target) httpRequest(c openapitest.Call) *http.Request {
	r, err := http.NewRequest(c.Method, "http://localhost"+c.Path, bytes.NewReader(c.Body))
	if err != nil {
		return nil
	}
	r.RequestURI, r.RemoteAddr = c.Path, "192.0.2.1:1234"
	for name, value := range c.Header {
		if name == "Host" {
			r.Host = value
		} else if strings.ContainsAny(value, "\n\r\x00") {
			return nil
		} else {
			r.Header.Set(name, value)
		}
	}
	switch cert := x.machines[c.As].cert; {
	case cert != nil:
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	case c.As == "stranger":
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("s", 40))
	case c.As != "nobody":
		for role, secret := range secrets {
			if role.String() == c.As {
				r.Header.Set("Authorization", "Bearer "+secret)
			}
		}
	}
	if strings.HasPrefix(c.Path, "/api/v2/join") {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return r
}

func (x *target) send(t *testing.T, r *http.Request, c openapitest.Call) openapitest.Answer {
	limit := fuzzDeadline
	if c.Stays {
		limit = fuzzStream
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.handler.ServeHTTP(w, r.WithContext(ctx))
	}()
	select {
	case <-done:
	case <-time.After(fuzzDeadline + limit):
		t.Fatalf("no end, long after the deadline: %s", c)
	}
	if ctx.Err() != nil && !c.Stays {
		t.Errorf("it took until the deadline: %s", c)
	}
	return openapitest.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes(), Cut: ctx.Err() != nil}
}

// fakeCaches are caches in which there is nothing.
type fakeCaches struct{ asked *storeAdmin }

func (c fakeCaches) PruneCache(_ context.Context, node string, req api.CachePrune) (api.CachePruned, error) {
	if err := c.asked.note("prune"); err != nil {
		return api.CachePruned{}, err
	}
	return api.CachePruned{NodeID: node, DryRun: req.DryRun}, nil
}

func (c fakeCaches) EvictCache(_ context.Context, node string, req api.CacheEvict) (api.CachePruned, error) {
	if err := c.asked.note("evict"); err != nil {
		return api.CachePruned{}, err
	}
	return api.CachePruned{NodeID: node, DryRun: req.DryRun}, nil
}

func (c fakeCaches) VerifyCache(_ context.Context, node string, _ api.CacheVerify, tell func(api.VerifyEvent) error) error {
	if err := c.asked.note("verify"); err != nil {
		return err
	}
	return tell(api.VerifyEvent{Type: api.VerifyEnd, NodeID: node})
}

// errors are the lines of a log that tell of something wrong.
func (s *safeBuffer) errors() string {
	var out []string
	for line := range strings.Lines(s.String()) {
		if strings.Contains(line, "level=ERROR") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
