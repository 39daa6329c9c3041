package upstream

import (
	"errors"
	"io"
	"strings"
	"time"
)

// Response is an answer. It belongs to one goroutine.
type Response struct {
	head
	conn   *conn // nil once closed
	client *Client
	call   *Call
	limits Limits

	mode  mode
	left  int64 // bytes of the body, or of the chunk, that are still to come
	state chunkState
	begun bool // the body's first byte has come
	bad   *Error
}

type mode int

const (
	modeLength mode = iota
	modeChunked
	modeUntilClose
	modeDone
)

type chunkState int

const (
	chunkSize    chunkState = iota // a size line comes
	chunkData                      // left bytes of data come
	chunkEnd                       // the CRLF behind the data comes
	chunkTrailer                   // lines up to an empty one come
)

// maxLine bounds the line of a chunk's size and the lines of the trailer.
const maxLine = 1 << 10

// Status returns the HTTP status.
func (r *Response) Status() int { return r.status }

// ContentType returns the header of that name.
func (r *Response) ContentType() string { return r.contentType }

// RetryAfter returns the header of that name.
func (r *Response) RetryAfter() string { return r.retryAfter }

// Length returns how long the body is, or -1 when only its end will tell.
func (r *Response) Length() int64 { return r.length }

// IsEvents tells whether the body is a stream of server-sent events.
func (r *Response) IsEvents() bool { return strings.HasPrefix(r.contentType, "text/event-stream") }

// begin settles how the body ends. A body without any frame may end early unseen, so only a stream of events may be one: those
// say themselves when they are complete.
func (r *Response) begin() *Error {
	switch {
	case r.status == 204 || r.status == 304 || r.length == 0:
		r.mode = modeDone
	case r.chunked:
		r.mode = modeChunked
	case r.length > 0:
		r.mode, r.left = modeLength, r.length
	case r.IsEvents():
		r.mode, r.close = modeUntilClose, true
	default:
		return malformed("neither length nor transfer coding")
	}
	return nil
}

// Next returns the next bytes of the body, at least one, as soon as there are any. They are valid until the next call. It returns
// io.EOF when the body is complete and an [*Error] when it will not be. Chunks that came together are returned together.
func (r *Response) Next() ([]byte, error) {
	for {
		data, bad := r.decode()
		switch {
		case bad != nil:
			return nil, bad
		case len(data) > 0:
			r.begun = true
			return data, nil
		case r.mode == modeDone:
			return nil, io.EOF
		}
		limit := r.limits.Idle
		if !r.begun {
			limit = r.limits.FirstByte
		}
		r.conn.compact()
		err := r.conn.fill(limit)
		if errors.Is(err, io.ErrUnexpectedEOF) && r.mode == modeUntilClose {
			r.mode = modeDone
			return nil, io.EOF
		}
		if err != nil {
			return nil, broken("read the answer", err)
		}
	}
}

// decode takes what it can of what has been read. Data of several chunks is moved together in place.
func (r *Response) decode() ([]byte, *Error) {
	c := r.conn
	switch r.mode {
	case modeChunked:
		return r.decodeChunks()
	case modeLength:
		data := c.buf[c.r:c.w]
		data = data[:min(int64(len(data)), r.left)]
		c.r += len(data)
		if r.left -= int64(len(data)); r.left == 0 {
			r.mode = modeDone
		}
		return data, nil
	case modeUntilClose:
		data := c.buf[c.r:c.w]
		c.r = c.w
		return data, nil
	}
	return nil, nil
}

func (r *Response) decodeChunks() ([]byte, *Error) {
	if r.bad != nil {
		return nil, r.bad
	}
	c := r.conn
	begin := c.r
	end := begin // of the data that has been moved together
	for {
		if r.state == chunkData {
			n := int(min(r.left, int64(c.w-c.r)))
			if n == 0 {
				return c.buf[begin:end], nil
			}
			end += copy(c.buf[end:], c.buf[c.r:c.r+n])
			c.r += n
			if r.left -= int64(n); r.left == 0 {
				r.state = chunkEnd
			}
			continue
		}
		line, ok, bad := c.line()
		if bad == nil && (len(line) > maxLine || !ok && c.w-c.r > maxLine) {
			bad = malformed("a line between chunks is longer than %d bytes", maxLine)
		}
		if bad == nil && ok {
			bad = r.between(line)
		}
		if r.bad = bad; bad != nil && end == begin {
			return nil, bad
		}
		if bad != nil || !ok || r.mode == modeDone {
			return c.buf[begin:end], nil // what came before the fault is good
		}
	}
}

// between takes a line that is not data.
func (r *Response) between(line []byte) *Error {
	switch r.state {
	case chunkSize:
		n, bad := size(line)
		if bad != nil {
			return bad
		}
		r.state, r.left = chunkData, n
		if n == 0 {
			r.state = chunkTrailer
		}
	case chunkEnd:
		if len(line) > 0 {
			return malformed("%.40q behind a chunk", line)
		}
		r.state = chunkSize
	case chunkTrailer:
		if len(line) == 0 {
			r.mode = modeDone
		} else if _, _, ok := cutField(line); !ok {
			return malformed("trailer line %.40q", line)
		}
	}
	return nil
}

// size reads the line of a chunk's size; extensions behind a semicolon mean nothing here.
func size(line []byte) (int64, *Error) {
	var n int64
	digits := 0
	for _, c := range line {
		var v byte
		switch {
		case c >= '0' && c <= '9':
			v = c - '0'
		case c >= 'a' && c <= 'f':
			v = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			v = c - 'A' + 10
		case (c == ';' || c == ' ' || c == '\t') && digits > 0:
			return n, nil
		default:
			return 0, malformed("chunk size %.40q", line)
		}
		if digits++; digits > 15 {
			return 0, malformed("chunk size %.40q", line)
		}
		n = n<<4 | int64(v)
	}
	if digits == 0 {
		return 0, malformed("a chunk without a size")
	}
	return n, nil
}

// Linger bounds what is still waited for: the rest of the body is worth d and no more.
func (r *Response) Linger(d time.Duration) { r.limits.Idle, r.limits.FirstByte = d, d }

// Close ends the use of the answer. The connection is kept for another request when the body was read to its end; otherwise it is
// closed, which tells the engine that nobody waits any more. A second call does nothing.
func (r *Response) Close() {
	c := r.conn
	if c == nil {
		return
	}
	r.conn = nil
	if r.call.hold(nil) == nil && r.mode == modeDone && !r.close && c.r == c.w {
		r.client.keep(c)
		return
	}
	r.client.discard(c)
}
