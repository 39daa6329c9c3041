// Package link is a machine's side of its connection to the servers: which of them to speak to, what a node is told to run, and what it
// tells in return. It never decides that something runs or stops: silence changes nothing.
package link

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

// Times of a connection. A server that is dead, cut off or paused is given up after silence, whatever is under way.
const (
	dialTimeout = 2 * time.Second
	patience    = 10 * time.Second // for the answer of the only server
	callTimeout = 3 * time.Second  // for one server's answer to a call: a caller has time for a second one
	silence     = 4 * time.Second  // of a stream, unless Quiet allows more
	pingAfter   = 5 * time.Second  // a connection that is quiet for so long is asked for a sign of life,
	pingWithin  = 3 * time.Second  // which must come within this
	// A server that failed is tried last for a while, which grows with each failure.
	avoidFirst = time.Second
	avoidLast  = 30 * time.Second
	// moveJitter spreads the machines that move to another server when theirs goes.
	moveJitter = 200 * time.Millisecond
)

// Limits of what is read and written.
const (
	maxAnswer = 4 << 20 // bytes of an answer that is not a stream
	packFrom  = 4 << 10 // bytes from which a request's body is compressed; only a node's report grows so large
)

// ServersConfig is what Servers is made of.
type ServersConfig struct {
	Addrs      []string // host:port each; at least one
	Credential *pki.Credential
	Clock      *pki.Clock
	Log        *slog.Logger
}

// Servers are all servers of the cluster, as one that is there as long as any of them is. It keeps to one server and goes to another when
// that one fails. All calls must be repeatable: one whose answer is lost is sent again to another server. All methods are for
// any goroutine.
type Servers struct {
	cfg  ServersConfig
	http *http.Client

	allowed atomic.Int64 // see Quiet

	mu       sync.Mutex
	addrs    []string // the current one first
	troubles map[string]trouble
}

// trouble is a server's recent failures.
type trouble struct {
	times int
	until time.Time
}

// NewServers makes no connection yet.
func NewServers(cfg ServersConfig) *Servers {
	s := &Servers{cfg: cfg, troubles: map[string]trouble{}, addrs: slices.Clone(cfg.Addrs)}
	// Machines start with different servers, so that they do not all sit at the first.
	rand.Shuffle(len(s.addrs), func(i, j int) { s.addrs[i], s.addrs[j] = s.addrs[j], s.addrs[i] })
	s.http = &http.Client{
		Transport:     s.transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// transport is how a server is reached, as this machine.
func (s *Servers) transport() *http.Transport {
	return &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: s.cfg.Credential.ClientTLS(s.cfg.Clock, api.MachineServer, ""), TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWithin, WriteByteTimeout: silence},
	}
}

// Close drops idle connections.
func (s *Servers) Close() { s.http.CloseIdleConnections() }

// Learn replaces the known addresses, never by none. The current server stays the current one if it is among them.
func (s *Servers) Learn(addrs []string) {
	addrs = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(addrs))), func(a string) bool { return a == "" })
	if len(addrs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := slices.DeleteFunc(slices.Clone(s.addrs), func(a string) bool { return !slices.Contains(addrs, a) })
	fresh := slices.DeleteFunc(addrs, func(a string) bool { return slices.Contains(known, a) })
	rand.Shuffle(len(fresh), func(i, j int) { fresh[i], fresh[j] = fresh[j], fresh[i] })
	s.addrs = append(known, fresh...)
}

// Addrs returns the known addresses, the current server's first.
func (s *Servers) Addrs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addrs)
}

// JSON sends in (unless nil) to the current server, and to the others in turn when that one fails, and decodes the answer into out (unless
// nil). An answer that is an error comes back as the *api.Error that it is; when no server answers, it is one of CodeUnavailable. That a server
// does not know this machine, CodeUnauthorized, counts when all of them answer so.
func (s *Servers) JSON(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	return s.each(ctx, func(addr string) error {
		ctx, cancel := s.bound(ctx)
		defer cancel()
		answer, err := s.send(ctx, addr, method, path, body)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Close() }()
		b, err := io.ReadAll(io.LimitReader(answer, maxAnswer))
		if err != nil || out == nil {
			return err
		}
		if err := json.Unmarshal(b, out); err != nil {
			return fmt.Errorf("the answer to %s %s cannot be read: %w", method, path, err)
		}
		return nil
	})
}

// bound gives one server its time. Where there is no other to ask it gets more: to break off and begin again would only add to the work of a
// server that is slow because it has much.
func (s *Servers) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if len(s.Addrs()) == 1 {
		return context.WithTimeout(ctx, patience)
	}
	return context.WithTimeout(ctx, callTimeout)
}

// Stream opens a long answer. It is broken off when nothing comes for a few seconds: who serves one sends an empty line at least every
// second. After a broken stream the next call goes to another server; closing a stream is no failure.
func (s *Servers) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	var opened *stream
	err := s.each(ctx, func(addr string) error {
		ctx, cancel := context.WithCancelCause(ctx)
		st := &stream{servers: s, addr: addr, cancel: cancel, idle: time.AfterFunc(s.quiet(), func() { cancel(errSilent) })}
		body, err := s.send(ctx, addr, http.MethodGet, path, nil)
		if err != nil {
			st.idle.Stop()
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			cancel(nil)
			return err
		}
		st.cause, st.body = func() error { return context.Cause(ctx) }, body
		opened = st
		return nil
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

var errSilent = errors.New("the server has been silent for too long")

// Quiet says how long streams may be silent, at least the usual time.
func (s *Servers) Quiet(d time.Duration) { s.allowed.Store(int64(d)) }

func (s *Servers) quiet() time.Duration { return max(silence, time.Duration(s.allowed.Load())) }

// each calls do for one server after the other until one has answered.
func (s *Servers) each(ctx context.Context, do func(addr string) error) error {
	var failed []string
	var unknown error // of a server that does not know this machine: it may lag, so all that there are must say so
	for i, addr := range s.order() {
		if i > 0 && sleep(ctx, rand.N(moveJitter)) != nil {
			break
		}
		err := do(addr)
		if api.HasCode(err, api.CodeUnauthorized) {
			unknown = err
			continue
		}
		if err == nil || answered(err) {
			s.succeed(addr)
			return err
		}
		if ctx.Err() != nil {
			failed = append(failed, addr+": "+err.Error())
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				s.fail(addr, err) // it has used up the caller's time
			}
			break
		}
		s.fail(addr, err)
		failed = append(failed, addr+": "+err.Error())
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if unknown != nil && len(failed) == 0 {
		return unknown
	}
	return api.Errorf(api.CodeUnavailable,
		"no server of the cluster answers; what runs here goes on: check that they run and that this machine reaches them (%s)", strings.Join(failed, "; "))
}

// answered tells an answer, which another server would give too, from a server that fails.
func answered(err error) bool {
	e, ok := errors.AsType[*api.Error](err)
	return ok && e.Code.HTTPStatus() < http.StatusInternalServerError
}

// order returns the servers to try: the current one, then the others in an order of their own for each call; those that have just failed last.
func (s *Servers) order() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.addrs)
	if len(out) > 1 {
		rand.Shuffle(len(out)-1, func(i, j int) { out[i+1], out[j+1] = out[j+1], out[i+1] })
	}
	now := time.Now()
	slices.SortStableFunc(out, func(a, b string) int {
		return cmp.Compare(max(s.troubles[a].until.Sub(now), 0), max(s.troubles[b].until.Sub(now), 0))
	})
	return out
}

func (s *Servers) succeed(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.troubles, addr)
	if i := slices.Index(s.addrs, addr); i > 0 {
		s.addrs[0], s.addrs[i] = s.addrs[i], s.addrs[0]
		s.cfg.Log.Info("speaking to another server now", "server", addr)
	}
}

func (s *Servers) fail(addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.troubles[addr]
	avoid := min(avoidFirst<<min(t.times, 8), avoidLast)
	s.troubles[addr] = trouble{t.times + 1, time.Now().Add(avoid/2 + rand.N(avoid/2))}
	if t.times == 0 {
		s.cfg.Log.Warn("a server is of no use now, and others are tried first", "server", addr, "error", err)
	}
}

// send sends one request to one server and returns the body of its answer. An answer other than 2xx is an error.
func (s *Servers) send(ctx context.Context, addr, method, path string, body []byte) (io.ReadCloser, error) {
	packed := len(body) >= packFrom
	if packed {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // a bytes.Buffer takes everything
		_ = z.Close()
		body = b.Bytes()
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%q is not the address of a server: %w", addr, err)
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if packed {
		r.Header.Set("Content-Encoding", "gzip")
	}
	res, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	if told, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		s.cfg.Clock.Heard(told)
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, answerError(res)
}

// answerError is the error that an answer tells.
func answerError(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // what is missing makes it unreadable, which is told
	var e api.Envelope
	if err := json.Unmarshal(b, &e); err != nil || e.Error.Code == "" {
		return fmt.Errorf("an answer %d that is not one of a Nebula server", res.StatusCode)
	}
	return &e.Error
}

// stream is a long answer that is given up when it is silent.
type stream struct {
	servers *Servers
	addr    string
	cause   func() error // why it was ended from this side; nil when it was not
	cancel  context.CancelCauseFunc
	idle    *time.Timer
	body    io.ReadCloser
}

// Read returns what has come. An end of the stream, whichever, is a failure of its server.
func (st *stream) Read(p []byte) (int, error) {
	n, err := st.body.Read(p)
	if err == nil {
		st.idle.Reset(st.servers.quiet())
		return n, nil
	}
	if cause := st.cause(); cause != nil {
		err = cause
	}
	st.failed(err)
	return n, err
}

func (st *stream) failed(err error) {
	if !errors.Is(err, context.Canceled) {
		st.servers.fail(st.addr, err)
	}
}

// Close ends the stream.
func (st *stream) Close() error {
	st.idle.Stop()
	st.cancel(nil)
	return st.body.Close()
}

// sleep waits for d; its error is that ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
