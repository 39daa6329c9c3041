// Package client is the typed HTTP client of Nebula's REST API. The CLI uses it, and so can any Go program.
//
//	c := client.New("http://127.0.0.1:8081", token)
//	models, next, err := c.Models(ctx, client.ListOptions{State: api.StateRunning})
//
// An answer that is an error comes back as an *api.Error with the server's code, message and request id. So does a server that cannot be
// reached (api.CodeUnavailable) and one that takes longer than ctx allows (api.CodeTimeout). The client never tries again by itself.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Client talks to one Nebula server. It is safe for concurrent use.
type Client struct {
	base  string
	shown string // base as it may be printed: without a password
	token string
	http  *http.Client
	on    Write
}

// New returns a client of the server at base, for example http://127.0.0.1:8081. The token goes to that server only: redirects are not
// followed.
func New(base, token string) *Client {
	c := &Client{
		base: strings.TrimRight(base, "/"), shown: "that address", token: strings.TrimSpace(token),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if u, err := url.Parse(c.base); err == nil {
		c.shown = u.Redacted()
	}
	return c
}

// WithHTTP returns a client of the same server that sends its calls through h, for example over a connection of another kind. Time-outs and
// redirects are h's matter then.
func (c *Client) WithHTTP(h *http.Client) *Client {
	other := *c
	other.http = h
	return &other
}

// Through returns a client of the same server whose calls go through what wrap makes of the transport, to count them for example.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) *Client {
	h := *c.http
	if h.Transport == nil {
		h.Transport = http.DefaultTransport
	}
	h.Transport = wrap(h.Transport)
	return c.WithHTTP(&h)
}

// Base returns the server's address.
func (c *Client) Base() string { return c.base }

// Do sends a request with the client's credential and a JSON body, when req is not nil. An answer other than 2xx is closed and comes back
// as an error; the caller closes any other.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, req any) (*http.Response, error) {
	r, err := c.newRequest(ctx, method, path, req)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, header)
	res, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, c.answerError(res)
}

func (c *Client) newRequest(ctx context.Context, method, path string, req any) (*http.Request, error) {
	var body io.Reader
	if req != nil {
		b, err := json.Marshal(req)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil || r.URL.Host == "" || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return nil, api.Errorf(api.CodeInvalidRequest, "%.200q is not a usable server address: it should look like http://127.0.0.1:8081", c.shown)
	}
	if req != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, api.Errorf(api.CodeUnauthorized, "the token contains characters that no token has: give it again with --token or NEBULA_TOKEN")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, nil
}

// request is one whose answer is a JSON value.
type request struct {
	method, path string
	body         any
}

// maxExpected is how many bytes an answer may announce so that room is made for all of them at once.
const maxExpected = 64 << 20

// call sends req and decodes the answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, req request, out any) (http.Header, error) {
	h := http.Header{}
	if req.method != http.MethodGet {
		req.path = c.on.condition(h, req.path)
	}
	res, err := c.Do(ctx, req.method, req.path, h, req.body)
	if err != nil {
		return http.Header{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if c.on.Revision != nil {
		*c.on.Revision = revisionOf(res.Header)
	}
	var b bytes.Buffer
	if n := res.ContentLength; n > 0 && n < maxExpected { // a long list is not copied over and over while it grows
		b.Grow(int(n) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(res.Body); err != nil {
		return res.Header, c.broken(ctx, err)
	}
	if out == nil {
		return res.Header, nil
	}
	if err := decode(b.Bytes(), out); err != nil {
		return res.Header, api.Errorf(api.CodeUpstream,
			"the answer to %s %s is not one of a Nebula server (%v): does another program listen at %s?", req.method, req.path, err, c.shown)
	}
	return res.Header, nil
}
