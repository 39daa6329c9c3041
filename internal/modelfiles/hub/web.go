// Package hub speaks the wire protocols of model hubs: what a revision is, which files it has, and their bytes. A credential goes to the exact
// scheme, host and port it was given for; redirects are followed by hand. What the bytes are is for others to verify.
package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Default is where models come from when nobody says otherwise.
const Default = "https://huggingface.co"

// Config says which hub to speak with, and how. Only Endpoint is needed.
type Config struct {
	Endpoint   string // of the hub or a mirror of it
	Token      string // for Endpoint only; never logged
	UserAgent  string
	Log        *slog.Logger
	Transport  http.RoundTripper                     // instead of Nebula's own, for tests
	Proxy      func(*http.Request) (*url.URL, error) // e.g. http.ProxyFromEnvironment; nil = none
	Patience   Patience                              // zero = the default
	MaxEntries int                                   // of a listing; 0 = 200,000
}

// Patience says how long to bear with a hub.
type Patience struct {
	FirstDelay, MaxDelay time.Duration // between tries, doubling, with jitter
	Tries                int           // in a row without a new byte
	Stall                time.Duration // without a byte, before the connection is given up
	MaxPark              time.Duration // longest obedience to one Retry-After
}

// DefaultPatience is that of a node.
func DefaultPatience() Patience {
	return Patience{time.Second, 30 * time.Second, 6, 10 * time.Second, 15 * time.Minute}
}

const maxRedirects = 5

// Client speaks HTTP with one hub and wherever it redirects to. It follows redirects by hand, so that the credential goes
// to the hub's exact scheme, host and port and nowhere else, and waits when the hub asks for it.
type Client struct {
	http     *http.Client
	base     string   // of every address, without a trailing slash
	origin   *url.URL // base, parsed
	token    string
	agent    string
	patience Patience
	entries  int // most that a listing may have
	log      *slog.Logger

	parked *parking
}

// parking is until when each bucket of requests to a hub has to wait, whatever their credential.
type parking struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// New returns a client. It touches no network.
func New(cfg Config) (*Client, error) {
	base := strings.TrimRight(cfg.Endpoint, "/")
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is not the address of a hub: use https://HOST or http://HOST", base)
	}
	if cfg.Transport == nil {
		cfg.Transport = Transport(cfg.Proxy)
	}
	if cfg.Patience == (Patience{}) {
		cfg.Patience = DefaultPatience()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = maxEntries
	}
	return &Client{
		http: &http.Client{
			Transport:     cfg.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: base, origin: u, token: strings.TrimSpace(cfg.Token), agent: cfg.UserAgent, patience: cfg.Patience, entries: cfg.MaxEntries, log: cfg.Log,
		parked: &parking{until: map[string]time.Time{}},
	}, nil
}

// As returns a client of the same hub that shows another credential.
func (w *Client) As(token string) *Client {
	other := *w
	other.token = strings.TrimSpace(token)
	return &other
}

// Transport speaks HTTP/1.1 only: over HTTP/2 parallel ranges would share one connection and its speed.
func Transport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
		ReadBufferSize:      64 << 10,
		DisableCompression:  true,
		Protocols:           only1,
	}
}

// answer is what a request led to; its body is a [watched].
type answer struct {
	*http.Response
	at     *url.URL // after redirects
	linked linked
}

// watched is a body that ends the request when no byte comes for too long.
type watched struct {
	body  io.ReadCloser
	alive func()            // tells the watch that a byte came
	stop  func()            // ends the watch
	wrap  func(error) error // explains a broken connection
}

// Read reads the body; its errors, but for io.EOF, are *fail.Error or the context's.
func (b *watched) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if n > 0 {
		b.alive()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.wrap(err)
	}
	return n, err
}

// Close ends the request.
func (b *watched) Close() error {
	defer b.stop()
	return b.body.Close()
}

// linked is what the hub itself said about a file on the way to its content.
type linked struct{ commit, etag, size string }

// get sends one GET and follows redirects. Every error is an *fail.Error or the context's.
func (w *Client) get(ctx context.Context, address string) (*answer, error) {
	return w.follow(ctx, address, "", func(*url.URL) {})
}

// follow is get with a Range header, or "", and tells every address that it goes to.
func (w *Client) follow(ctx context.Context, address, byteRange string, visit func(*url.URL)) (*answer, error) {
	at, err := url.Parse(address)
	if err != nil {
		return nil, fail.Passing(api.FailHub, fail.BadServer, "the hub gave an address that is none").Because(err)
	}
	trusted := true // until the chain leaves the hub; it does not become trusted again
	var l linked
	for range maxRedirects + 1 {
		trusted = trusted && sameOrigin(at, w.origin)
		visit(at)
		resp, err := w.once(ctx, at, byteRange, trusted)
		if err != nil {
			return nil, err
		}
		if trusted {
			l.note(resp.Header)
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusPartialContent:
			return &answer{resp, at, l}, nil
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			next, err := resp.Location()
			_ = resp.Body.Close()
			if err != nil {
				return nil, fail.Passing(api.FailHub, fail.BadServer, "%s redirects to nowhere", at.Host).Because(err)
			}
			if err := w.mayFollow(at, next); err != nil {
				return nil, err
			}
			at = next
		default:
			err := w.refusal(&answer{resp, at, l}, trusted)
			_ = resp.Body.Close()
			return nil, err
		}
	}
	return nil, fail.Final(api.FailHub, fail.Redirect, "%s redirects in circles (more than %d times). Check the hub's address.", w.origin.Host, maxRedirects)
}

func (w *Client) mayFollow(from, to *url.URL) error {
	if to.Scheme == "https" || to.Scheme == "http" && w.origin.Scheme == "http" {
		return nil
	}
	return fail.Final(api.FailHub, fail.Redirect, "%s redirects to %s, which is not encrypted as the hub is. Check the hub's address.", from.Host, to.Scheme+"://"+to.Host)
}

func (l *linked) note(h http.Header) {
	for dst, key := range map[*string]string{&l.commit: "X-Repo-Commit", &l.etag: "X-Linked-Etag", &l.size: "X-Linked-Size"} {
		if v := h.Get(key); v != "" {
			*dst = strings.Trim(strings.TrimPrefix(v, "W/"), `"`)
		}
	}
}

// errStalled is the cause when a connection gave no byte for too long.
var errStalled = errors.New("no byte for too long")

// once sends one request to one address and watches over its connection until the answer is closed.
func (w *Client) once(ctx context.Context, at *url.URL, byteRange string, trusted bool) (*http.Response, error) {
	bucket := w.bucket(at, trusted)
	if err := w.admit(ctx, bucket); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(w.patience.Stall, func() { cancel(errStalled) })
	stop := func() {
		watch.Stop()
		cancel(context.Canceled)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		stop()
		return nil, fail.Passing(api.FailHub, fail.BadServer, "%s redirects to an address that is none", at.Host).Because(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	setHeader(req, "User-Agent", w.agent)
	setHeader(req, "Range", byteRange)
	if trusted && w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	wrap := func(err error) error { return w.broken(ctx, at, err) }
	resp, err := w.http.Do(req)
	if err != nil {
		err = wrap(err)
		stop()
		return nil, err
	}
	watch.Reset(w.patience.Stall)
	resp.Body = &watched{resp.Body, func() { watch.Reset(w.patience.Stall) }, stop, wrap}
	if resp.StatusCode == http.StatusTooManyRequests {
		w.park(bucket, parkFor(resp.Header, time.Now(), w.patience))
	}
	return resp, nil
}

func setHeader(r *http.Request, key, value string) {
	if value != "" {
		r.Header.Set(key, value)
	}
}

// broken says why a connection failed. It names the host only: an address may carry a signature.
func (w *Client) broken(ctx context.Context, at *url.URL, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errStalled):
		return fail.Passing(api.FailDownload, fail.Network, "%s sent nothing for %s", at.Host, w.patience.Stall).Because(errStalled)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fail.Passing(api.FailDownload, fail.Network, "the connection to %s failed: %v", at.Host, err).Because(err)
}

// Retry repeats try while its error may pass: without end while progress grows, else patience.Tries times.
func (w *Client) Retry(ctx context.Context, progress func() int64, try func() error) error {
	wait := &backoff.ExponentialBackOff{
		InitialInterval: w.patience.FirstDelay, MaxInterval: w.patience.MaxDelay, Multiplier: 2, RandomizationFactor: 0.5,
	}
	wait.Reset()
	failures, reached := 0, progress()
	for {
		err := try()
		if err == nil {
			return nil
		}
		e, ok := fail.As(err)
		if !ok || !retryable(e) {
			return err
		}
		if now := progress(); now > reached {
			failures, reached = 0, now
			wait.Reset()
		}
		if failures++; failures >= w.patience.Tries {
			out := *e
			out.Message = fmt.Sprintf("%s, %d times in a row. Nebula keeps what is here and tries again later; check the network and the hub's address.", e.Message, failures)
			out.Err = err
			return &out
		}
		w.log.Info("hub request failed, will retry", "failures", failures, "reason", string(e.Reason), "error", e.Message)
		if e.Reason == fail.RateLimited {
			continue // the bucket is parked
		}
		if err := sleep(ctx, wait.NextBackOff()); err != nil {
			return err
		}
	}
}

func retryable(e *fail.Error) bool {
	switch e.Reason {
	case fail.Network, fail.Server, fail.RateLimited, fail.BadServer, fail.ExpiredAddress:
		return !e.Final
	}
	return false
}

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

// bucket names the limit that a request counts against: the hub counts its API and its files apart.
func (w *Client) bucket(at *url.URL, trusted bool) string {
	path := strings.TrimPrefix(at.Path, w.origin.Path)
	switch {
	case !trusted:
		return at.Host
	case strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/api/resolve-cache/"):
		return "api"
	}
	return "resolvers"
}

// admit waits while the bucket is parked.
func (w *Client) admit(ctx context.Context, bucket string) error {
	for {
		w.parked.mu.Lock()
		until := w.parked.until[bucket]
		w.parked.mu.Unlock()
		d := time.Until(until)
		if d <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

func (w *Client) park(bucket string, d time.Duration) {
	w.parked.mu.Lock()
	defer w.parked.mu.Unlock()
	if until := time.Now().Add(d); until.After(w.parked.until[bucket]) {
		w.parked.until[bucket] = until
	}
}

// sameOrigin compares scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
