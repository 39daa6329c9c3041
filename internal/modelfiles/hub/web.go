package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

const maxRedirects = 5

// answer is what a request led to; its body is a [watched].
type answer struct {
	*http.Response
	at      *url.URL // after redirects
	trusted bool     // the chain never left the hub
	linked  linked
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

// ask is one GET.
type ask struct {
	at      *url.URL
	trusted bool            // at may see the credential: it is the hub's, and the chain that led to it never left the hub
	span    string          // Range header, or ""
	file    *manifest.Entry // that is asked for; nil = none
	found   func(place)     // told where a chain leads that leaves the hub, before that is asked; may be nil
}

// get asks the hub itself. Every error is an *fail.Error or the context's.
func (w *Client) get(ctx context.Context, address string) (*answer, error) {
	at, err := url.Parse(address)
	if err != nil {
		return nil, fail.Passing(api.FailHub, fail.BadServer, "the hub gave an address that is none").Because(err)
	}
	return w.follow(ctx, ask{at: at, trusted: true})
}

// follow sends one GET and follows redirects. Every error is an *fail.Error or the context's.
func (w *Client) follow(ctx context.Context, q ask) (*answer, error) {
	at := q.at
	trusted := q.trusted // until the chain leaves the hub; it does not become trusted again
	var l linked
	for range maxRedirects + 1 {
		trusted = trusted && sameOrigin(at, w.origin)
		resp, err := w.once(ctx, at, q.span, trusted)
		if err != nil {
			return nil, err
		}
		if trusted {
			l.note(resp.Header)
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusPartialContent:
			return &answer{resp, at, trusted, l}, nil
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			next, err := w.redirect(at, resp)
			_ = resp.Body.Close()
			if err != nil {
				return nil, err
			}
			if q.found != nil && trusted && !sameOrigin(next, w.origin) {
				q.found(place{at: next, until: usableUntil(next, resp.Header, time.Now())})
			}
			at = next
		default:
			err := w.refusal(&answer{resp, at, trusted, l}, q.file)
			_ = resp.Body.Close()
			return nil, err
		}
	}
	return nil, fail.Final(api.FailHub, fail.Redirect, "%s redirects in circles (more than %d times). Check the hub's address.", w.origin.Host, maxRedirects)
}

// redirect returns where an answer leads, if that may be followed.
func (w *Client) redirect(from *url.URL, resp *http.Response) (*url.URL, error) {
	to, err := resp.Location()
	if err != nil || to.Host == "" && to.Scheme != "file" {
		return nil, fail.Passing(api.FailHub, fail.BadServer, "%s redirects to nowhere", from.Host).Because(err)
	}
	if to.Scheme != "https" && (to.Scheme != "http" || w.origin.Scheme != "http") {
		return nil, fail.Final(api.FailHub, fail.Redirect, "%s redirects to %s, which is not encrypted as the hub is. Check the hub's address.", from.Host, to.Scheme+"://"+to.Host)
	}
	if strings.HasPrefix(resp.Header.Get("Location"), "/") {
		to = w.below(to)
	}
	return to, nil
}

// below puts an address of the hub's own kind, such as /api/…, under the folder of a mirror that has one: mirrors pass on
// the paths of the hub that they mirror.
func (w *Client) below(u *url.URL) *url.URL {
	prefix := w.origin.EscapedPath()
	path := u.EscapedPath()
	own := strings.HasPrefix(path, "/api/") || strings.Contains(path, "/resolve/")
	if prefix == "" || !own || !sameOrigin(u, w.origin) || strings.HasPrefix(path, prefix+"/") {
		return u
	}
	out, err := u.Parse(prefix + path)
	if err != nil {
		return u
	}
	out.RawQuery = u.RawQuery
	return out
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
		if w.source == api.SourceModelScope { // its older services look there
			req.Header.Set("Cookie", "m_session_id="+w.token)
		}
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
