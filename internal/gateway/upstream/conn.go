package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"
)

// bufSize bounds the head of an answer and is the most that one read brings. An open stream holds one buffer.
const bufSize = 16 << 10

type buffer [bufSize]byte

// conn is one connection. It belongs to one request at a time; only abort may be called from elsewhere.
type conn struct {
	net.Conn          // TLS, when to has a peer
	base     net.Conn // what is below that
	to       place
	raw      syscall.RawConn       // nil when there is none
	peek     func(fd uintptr) bool // see alive; made once
	open     bool                  // what peek saw
	kept     time.Time             // since when it is unused

	buf  *buffer // nil while unused
	r, w int     // buf[r:w] has been read from the connection and not been taken
	pipe [6][]byte
	till time.Time // the read deadline that is set
}

func newConn(nc, base net.Conn, to place) *conn {
	if nc == nil {
		return nil
	}
	c := &conn{Conn: nc, base: base, to: to}
	if s, ok := base.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			c.raw, c.peek = raw, c.look
		}
	}
	return c
}

// abort closes the connection; nobody waits for its last bytes. A farewell of TLS's could hang on a full connection.
func (c *conn) abort() { _ = c.base.Close() }

// roundTrip sends req and reads the head of the answer. On error c.w == 0 tells that no byte of an answer came.
func (c *conn) roundTrip(req *Request, l Limits) (*Response, *Error) {
	c.r, c.w = 0, 0
	if err := c.send(req, time.Now().Add(l.Write)); err != nil {
		return nil, broken("send the request", err)
	}
	res := &Response{conn: c, limits: l}
	for interim := 0; ; interim++ {
		h, err := c.head(l.FirstByte)
		if err != nil {
			return nil, err
		}
		if h.status/100 != 1 {
			res.head = h
			return res, res.begin()
		}
		if h.status == 101 || interim == 8 {
			return nil, malformed("status %d", h.status)
		}
	}
}

// send writes the whole request: in one piece when it fits the buffer, else with one vectored write, or over TLS a buffer at a time.
func (c *conn) send(req *Request, deadline time.Time) error {
	size := 0
	for _, p := range req.Body {
		size += len(p)
	}
	method := "POST "
	if req.Get {
		method = "GET "
	}
	out := append(c.buf[:0], method...)
	out = append(out, req.Path...)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, req.Addr...)
	out = append(out, "\r\n"...)
	if !req.Get {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(size), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, req.Header...)
	out = append(out, "\r\n"...)
	if err := c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if len(out)+size > bufSize && c.to.peer == "" {
		pieces := net.Buffers(append(append(c.pipe[:0], out), req.Body...))
		_, err := pieces.WriteTo(c.Conn)
		c.pipe = [6][]byte{} // the body must not be held while the answer streams
		return err
	}
	for _, p := range req.Body {
		for {
			n := min(len(p), max(0, bufSize-len(out)))
			out = append(out, p[:n]...)
			if p = p[n:]; len(p) == 0 {
				break
			}
			if _, err := c.Write(out); err != nil {
				return err
			}
			out = c.buf[:0]
		}
	}
	_, err := c.Write(out)
	return err
}

// fill reads once more, behind what is there. Room must be left. It waits between limit and a quarter more.
func (c *conn) fill(limit time.Duration) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	now := time.Now()
	if left := c.till.Sub(now); left < limit || left > limit+limit/4 {
		c.till = now.Add(limit + limit/4)
		if err := c.SetReadDeadline(c.till); err != nil {
			return err
		}
	}
	n, err := c.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// line returns the next line without its CRLF, and ok = false when it is not complete yet.
func (c *conn) line() (line []byte, ok bool, bad *Error) {
	rest := c.buf[c.r:c.w]
	n := bytes.IndexByte(rest, '\n')
	switch {
	case n < 0:
		return nil, false, nil
	case n == 0 || bytes.IndexByte(rest[:n], '\r') != n-1:
		return nil, false, malformed("a line does not end with CRLF, or has a carriage return in it")
	}
	c.r += n + 1
	return rest[:n-1], true, nil
}

// compact moves what is unread to the front, to make room behind it.
func (c *conn) compact() {
	if c.r > 0 {
		c.w = copy(c.buf[:], c.buf[c.r:c.w])
		c.r = 0
	}
}
