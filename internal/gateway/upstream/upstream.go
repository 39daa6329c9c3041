// Package upstream is a lean HTTP/1.1 client for the engines behind the gateway: pooled plain connections, a body that is sent
// from the pieces it lies in, an answer that is read in place.
//
// It exists because it costs a third of net/http's client per request (see ../DESIGN.md), and it is only fit for its one use:
// POSTs of JSON to servers that Nebula itself started. It follows no redirect, decodes no content coding, knows no TLS, no proxy and
// no cookie, and refuses whatever is not plainly HTTP/1.1. It never logs, and starts no goroutine.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Limits of a [Client]; a zero field takes its default.
type Limits struct {
	Dial      time.Duration // to connect; default 3 s
	Write     time.Duration // to send a request; default 30 s
	FirstByte time.Duration // from the request to the first byte of the answer's body; default 10 min, for a long prompt takes that
	Idle      time.Duration // between two reads of a body; default 60 s. Up to a quarter more passes: deadlines are set seldom
	// Keep is how long an unused connection is kept; default 4 s. llama-server and uvicorn close theirs after 5, and a request
	// written at that moment would be lost.
	Keep    time.Duration
	MaxIdle int // unused connections kept for one address; default 256
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&l.Dial, 3 * time.Second},
		{&l.Write, 30 * time.Second},
		{&l.FirstByte, 10 * time.Minute},
		{&l.Idle, time.Minute},
		{&l.Keep, 4 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
	if l.MaxIdle <= 0 {
		l.MaxIdle = 256
	}
	return l
}

// Kind says how far a request came before it failed.
type Kind int

// The kinds of failure.
const (
	Refused   Kind = iota + 1 // no connection: the engine has seen nothing
	Lost                      // the connection ended before the answer was complete
	Timeout                   // silence for longer than the limits allow
	Malformed                 // the answer is not HTTP as this client reads it
)

// Error is a failed request.
type Error struct {
	Kind Kind
	Err  error
}

// Error returns what happened, for the log of the operator.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func malformed(format string, args ...any) *Error {
	return &Error{Malformed, fmt.Errorf("malformed answer: "+format, args...)}
}

// broken classifies an error of the connection itself.
func broken(during string, err error) *Error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Timeout, fmt.Errorf("%s: %w", during, err)}
	}
	return &Error{Lost, fmt.Errorf("%s: %w", during, err)}
}

// Request is a POST. Nothing in it is kept once [Client.Do] has returned, and nothing is changed.
type Request struct {
	Addr   string   // host:port
	Path   string   // as it goes on the wire
	Header []byte   // further header lines, each ended by CRLF; Host and Content-Length are added
	Body   [][]byte // sent one after the other
}

// Client sends requests over connections that it keeps. Its methods may be called at the same time.
type Client struct {
	limits Limits
	dialer net.Dialer
	bufs   sync.Pool // of *buffer

	mu     sync.Mutex
	idle   map[string][]*conn // by address; the one used last is at the end
	closed bool
}

// New returns a client without connections.
func New(l Limits) *Client {
	l = l.withDefaults()
	return &Client{
		limits: l,
		dialer: net.Dialer{Timeout: l.Dial},
		bufs:   sync.Pool{New: func() any { return new(buffer) }},
		idle:   map[string][]*conn{},
	}
}

// Call is a request under way, for whoever may want to end it. The zero Call is ready; it serves one request.
type Call struct {
	mu    sync.Mutex
	conn  *conn
	cause error
}

// Abort closes the connection of the call at once, which is what tells an engine to stop. The call fails from now on, also when it
// has not begun. The first cause counts.
func (c *Call) Abort(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
	if c.conn != nil {
		c.conn.abort()
	}
}

// Err returns why the call was aborted, or nil.
func (c *Call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// hold puts the connection, which may be nil, under the call's control. It returns why not, when the call has been aborted.
func (c *Call) hold(cn *conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = cn
	return c.cause
}

// Do sends a request and returns when the head of the answer is there. The caller must close the Response. The end of ctx only ends
// the dialing; call ends everything, until the Response is closed.
//
// A kept connection that turns out to be dead before a byte of the answer came is replaced once by a fresh one. Errors are an
// [*Error], or the cause of an abort, or that of ctx's end.
func (c *Client) Do(ctx context.Context, call *Call, req *Request) (*Response, error) {
	cn := c.take(req.Addr)
	for {
		kept := cn != nil
		if !kept {
			var err error
			if cn, err = c.dial(ctx, req.Addr); err != nil {
				return nil, err
			}
		}
		cn.buf = c.bufs.Get().(*buffer)
		if cause := call.hold(cn); cause != nil {
			c.discard(cn)
			return nil, cause
		}
		res, err := cn.roundTrip(req, c.limits)
		if err == nil {
			res.client, res.call = c, call
			return res, nil
		}
		stale := kept && err.Kind == Lost && cn.w == 0
		cause := call.hold(nil)
		c.discard(cn)
		switch {
		case cause != nil:
			return nil, cause
		case !stale:
			return nil, err
		}
		c.drop(req.Addr) // the others are as dead
		cn = nil
	}
}

func (c *Client) dial(ctx context.Context, addr string) (*conn, error) {
	nc, err := c.dialer.DialContext(ctx, "tcp", addr)
	if err == nil {
		return newConn(nc, addr), nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &Error{Refused, err}
}

// take returns a kept connection that is still open, or nil.
func (c *Client) take(addr string) *conn {
	for {
		cn := c.pop(addr)
		if cn == nil {
			return nil
		}
		if time.Since(cn.kept) < c.limits.Keep && cn.alive() {
			return cn
		}
		cn.abort()
	}
}

func (c *Client) pop(addr string) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.idle[addr]
	if len(list) == 0 {
		return nil
	}
	cn := list[len(list)-1]
	list[len(list)-1] = nil
	c.idle[addr] = list[:len(list)-1]
	return cn
}

// keep takes a connection back for the next request.
func (c *Client) keep(cn *conn) {
	c.bufs.Put(cn.buf)
	cn.buf, cn.kept = nil, time.Now()
	c.mu.Lock()
	full := c.closed || len(c.idle[cn.addr]) >= c.limits.MaxIdle
	if !full {
		c.idle[cn.addr] = append(c.idle[cn.addr], cn)
	}
	c.mu.Unlock()
	if full {
		cn.abort()
	}
}

// discard closes a connection for good.
func (c *Client) discard(cn *conn) {
	cn.abort()
	c.bufs.Put(cn.buf)
	cn.buf = nil
}

func (c *Client) drop(addr string) {
	c.mu.Lock()
	list := c.idle[addr]
	delete(c.idle, addr)
	c.mu.Unlock()
	for _, cn := range list {
		cn.abort()
	}
}

// Prune closes the connections that have been unused for too long at now. Call it every few seconds.
func (c *Client) Prune(now time.Time) {
	var old []*conn
	c.mu.Lock()
	for addr, list := range c.idle {
		n := 0
		for n < len(list) && now.Sub(list[n].kept) >= c.limits.Keep {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(c.idle, addr)
		} else if n > 0 {
			c.idle[addr] = append([]*conn(nil), list[n:]...)
		}
	}
	c.mu.Unlock()
	for _, cn := range old {
		cn.abort()
	}
}

// Close closes the unused connections; those in use are closed when their Response is.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	idle := c.idle
	c.idle = map[string][]*conn{}
	c.mu.Unlock()
	for _, list := range idle {
		for _, cn := range list {
			cn.abort()
		}
	}
}
