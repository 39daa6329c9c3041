// Package upstream is a lean HTTP/1.1 client for engines, on loopback or behind the port of another machine of the cluster: pooled
// connections, a body that is sent from the pieces it lies in, an answer that is read in place.
//
// It exists because it costs a third of net/http's client per request (see ../DESIGN.md), and it is only fit for its one use:
// requests with JSON to servers that Nebula itself started. It follows no redirect, decodes no content coding, knows no proxy and
// no cookie, and refuses whatever is not plainly HTTP/1.1. It never logs, and keeps no goroutine.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a [Client]; a zero field takes its default.
type Limits struct {
	Dial      time.Duration // to connect, TLS included; default 3 s
	Write     time.Duration // to send a request; default 30 s
	FirstByte time.Duration // from the request to the first byte of the answer's body; default 10 min, for a long prompt takes that
	Idle      time.Duration // between two reads of a body; default 60 s. Up to a quarter more passes: deadlines are set seldom
	// Keep is how long an unused connection is kept; default 4 s. llama-server and uvicorn close theirs after 5, and a request
	// written at that moment would be lost.
	Keep time.Duration
	// KeepPeer is Keep for the ports of machines, which keep theirs longer; default 60 s. A new connection costs a TLS handshake.
	KeepPeer time.Duration
	MaxIdle  int // unused connections kept for one address; default 256
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
		{&l.KeepPeer, time.Minute},
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
	Declined                  // the engine's machine did not give it the request, because it takes none now
)

var kinds = [...]string{Refused: "refused", Lost: "lost", Timeout: "timeout", Malformed: "malformed", Declined: "declined"}

// String returns the kind as it stands in a [FaultHeader].
func (k Kind) String() string { return kinds[k] }

// FaultHeader is how the machine in front of an engine says that it has no answer of the engine's: "KIND: what happened", on an answer
// without a body. [Client.Do] returns that as the [Error] it is, as if it had called the engine itself. Engines cannot send it: the
// machine passes none of their headers on, and on loopback it means nothing.
const FaultHeader = "Nebula-Fault"

// faultOf reads the value of a FaultHeader.
func faultOf(value string) *Error {
	word, text, _ := strings.Cut(value, ": ")
	if k := slices.Index(kinds[:], word); k > 0 {
		return &Error{Kind(k), errors.New(text)}
	}
	return malformed("fault %.40q of the engine's machine", word)
}

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
	Peer   string   // the machine that must be there, by TLS; empty: an engine, without TLS
	Path   string   // as it goes on the wire
	Header []byte   // further header lines, each ended by CRLF; Host and Content-Length are added
	Body   [][]byte // sent one after the other
	Get    bool     // it is a GET, without a body
}

// Client sends requests over connections that it keeps. Its methods may be called at the same time.
type Client struct {
	limits Limits
	tls    func(peer string) *tls.Config
	dialer net.Dialer
	bufs   sync.Pool // of *buffer

	mu     sync.Mutex
	idle   map[place][]*conn // the one used last is at the end
	closed bool
}

// place is where a connection leads.
type place struct{ addr, peer string }

// New returns a client without connections. peers makes a TLS configuration that lets nobody but that machine pass; nil when there are
// no other machines.
func New(l Limits, peers func(peer string) *tls.Config) *Client {
	l = l.withDefaults()
	return &Client{
		limits: l,
		tls:    peers,
		dialer: net.Dialer{Timeout: l.Dial},
		bufs:   sync.Pool{New: func() any { return new(buffer) }},
		idle:   map[place][]*conn{},
	}
}

// Call is a request under way, for whoever may want to end it. The zero Call is ready; it serves one request.
type Call struct {
	mu    sync.Mutex
	conn  *conn
	dial  context.CancelFunc // while it dials
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
	if c.dial != nil {
		c.dial()
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

// dialing puts a dialing under the call's control, or with nil takes it out.
func (c *Call) dialing(stop context.CancelFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dial = stop
	return c.cause
}

// Do sends a request and returns when the head of the answer is there. The caller must close the Response. The end of ctx only ends
// the dialing; call ends everything, until the Response is closed.
//
// A kept connection that turns out to be dead before a byte of the answer came is replaced once by a fresh one. Errors are an
// [*Error], or the cause of an abort, or that of ctx's end.
func (c *Client) Do(ctx context.Context, call *Call, req *Request) (*Response, error) {
	to := place{req.Addr, req.Peer}
	cn := c.take(to)
	for {
		kept := cn != nil
		if !kept {
			var err error
			if cn, err = c.dial(ctx, call, to); err != nil {
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
			if res.fault == "" {
				return res, nil
			}
			res.Close()
			return nil, faultOf(res.fault)
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
		c.drop(to) // the others are as dead
		cn = nil
	}
}

func (c *Client) dial(ctx context.Context, call *Call, to place) (*conn, error) {
	within, stop := context.WithTimeout(ctx, c.limits.Dial)
	defer stop()
	err := call.dialing(stop)
	if err == nil {
		var cn *conn
		if cn, err = c.connect(within, to); err == nil {
			_ = call.dialing(nil) // whoever holds the connection next sees an abort
			return cn, nil
		}
	}
	switch cause := call.dialing(nil); {
	case cause != nil:
		return nil, cause
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, &Error{Refused, err}
}

// connect opens a connection. Who has no certificate for this machine, or the wrong one, gets no byte of a request.
func (c *Client) connect(ctx context.Context, to place) (*conn, error) {
	nc, err := c.dialer.DialContext(ctx, "tcp", to.addr)
	if err != nil || to.peer == "" {
		return newConn(nc, nc, to), err
	}
	if c.tls == nil {
		_ = nc.Close()
		return nil, fmt.Errorf("no credential to reach the machine %s with", to.peer)
	}
	cfg := c.tls(to.peer)
	cfg.DynamicRecordSizingDisabled = true // what is written is a whole request
	secure := tls.Client(nc, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("machine %s at %s: %w", to.peer, to.addr, err)
	}
	return newConn(secure, nc, to), nil
}

// take returns a kept connection that is still open, or nil.
func (c *Client) take(from place) *conn {
	for {
		cn := c.pop(from)
		if cn == nil {
			return nil
		}
		if time.Since(cn.kept) < c.keepFor(from) && cn.alive() {
			return cn
		}
		cn.abort()
	}
}

func (c *Client) keepFor(p place) time.Duration {
	if p.peer == "" {
		return c.limits.Keep
	}
	return c.limits.KeepPeer
}

func (c *Client) pop(from place) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.idle[from]
	if len(list) == 0 {
		return nil
	}
	cn := list[len(list)-1]
	list[len(list)-1] = nil
	c.idle[from] = list[:len(list)-1]
	return cn
}

// keep takes a connection back for the next request.
func (c *Client) keep(cn *conn) {
	c.bufs.Put(cn.buf)
	cn.buf, cn.kept = nil, time.Now()
	c.mu.Lock()
	full := c.closed || len(c.idle[cn.to]) >= c.limits.MaxIdle
	if !full {
		c.idle[cn.to] = append(c.idle[cn.to], cn)
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

// Drop closes the unused connections to a machine, because it does not answer.
func (c *Client) Drop(addr, peer string) { c.drop(place{addr, peer}) }

func (c *Client) drop(to place) {
	c.mu.Lock()
	list := c.idle[to]
	delete(c.idle, to)
	c.mu.Unlock()
	for _, cn := range list {
		cn.abort()
	}
}

// Prune closes the connections that have been unused for too long at now. Call it every few seconds.
func (c *Client) Prune(now time.Time) {
	var old []*conn
	c.mu.Lock()
	for to, list := range c.idle {
		n := 0
		for n < len(list) && now.Sub(list[n].kept) >= c.keepFor(to) {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(c.idle, to)
		} else if n > 0 {
			c.idle[to] = append([]*conn(nil), list[n:]...)
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
	c.idle = map[place][]*conn{}
	c.mu.Unlock()
	for _, list := range idle {
		for _, cn := range list {
			cn.abort()
		}
	}
}
