package upstream

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// head is what matters of an answer's head. Everything else that an engine says of itself is dropped.
type head struct {
	status      int
	contentType string
	retryAfter  string
	fault       string // value of FaultHeader
	length      int64  // -1: not given
	chunked     bool
	old         bool // HTTP/1.0
	close       bool // the connection ends with this answer
	peer        bool // it is a machine's, so that faults count
}

// head reads one head, which must fit the buffer. It is strict: two readings of one message are how requests are smuggled.
func (c *conn) head(limit time.Duration) (head, *Error) {
	for !bytes.Contains(c.buf[c.r:c.w], []byte("\r\n\r\n")) {
		c.compact()
		if c.w == bufSize {
			return head{}, malformed("its head is larger than %d bytes", bufSize)
		}
		if err := c.fill(limit); err != nil {
			return head{}, broken("wait for the answer", err)
		}
	}
	h, bad := c.statusLine()
	h.peer = c.to.peer != ""
	for bad == nil {
		var line []byte
		if line, _, bad = c.line(); bad != nil || len(line) == 0 {
			break
		}
		bad = h.field(line)
	}
	if bad == nil && h.chunked && (h.length >= 0 || h.old) {
		bad = malformed("a transfer coding together with a length, or in HTTP/1.0")
	}
	return h, bad
}

func (c *conn) statusLine() (head, *Error) {
	line, _, bad := c.line()
	if bad != nil {
		return head{}, bad
	}
	const proto = "HTTP/1."
	ok := len(line) >= len("HTTP/1.1 200") && string(line[:len(proto)]) == proto && line[8] == ' ' && (len(line) == 12 || line[12] == ' ')
	if !ok || line[7] != '0' && line[7] != '1' {
		return head{}, malformed("status line %.40q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil || status < 100 || status > 599 {
		return head{}, malformed("status line %.40q", line)
	}
	return head{status: status, length: -1, old: line[7] == '0', close: line[7] == '0'}, nil
}

// field takes in one header line.
func (h *head) field(line []byte) *Error {
	name, value, ok := cutField(line)
	if !ok {
		return malformed("header line %.40q", line)
	}
	switch {
	case fold(name, "content-length"):
		return h.setLength(value)
	case fold(name, "transfer-encoding"):
		if !fold(value, "chunked") || h.chunked {
			return malformed("transfer coding %.40q", value)
		}
		h.chunked = true
	case fold(name, "content-encoding"):
		if !fold(value, "identity") {
			return malformed("content coding %.40q, which was not asked for", value)
		}
	case fold(name, "connection"):
		for option := range bytes.SplitSeq(value, []byte(",")) {
			option = bytes.Trim(option, " \t")
			h.close = h.close && !fold(option, "keep-alive") || fold(option, "close")
		}
	case fold(name, "content-type"):
		h.contentType = known(value)
	case fold(name, "retry-after"):
		h.retryAfter = string(value)
	case h.peer && fold(name, "nebula-fault"):
		h.fault = string(value)
	}
	return nil
}

func (h *head) setLength(value []byte) *Error {
	n, err := strconv.ParseUint(string(value), 10, 62)
	if err != nil || len(value) == 0 || value[0] == '+' || h.length >= 0 && h.length != int64(n) {
		return malformed("content length %.40q", value)
	}
	h.length = int64(n)
	return nil
}

// known returns the value as a string without making one for those that every answer has.
func known(value []byte) string {
	for _, s := range [...]string{"application/json", "text/event-stream", "text/event-stream; charset=utf-8", "application/json; charset=utf-8"} {
		if string(value) == s {
			return s
		}
	}
	return string(value)
}

// fold compares without regard to case; lower is in lower case.
func fold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// cutField divides a line into name and value; not ok when it is no header line.
func cutField(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	for _, c := range value {
		ok = ok && (c >= ' ' || c == '\t') && c != 0x7f
	}
	return name, bytes.Trim(value, " \t"), ok && isToken(name)
}

// isToken tells whether b may be a header name (RFC 9110, section 5.6.2): no space before the colon, no folded line.
func isToken(b []byte) bool {
	for _, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}
