package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

// relay sends a stream on as it comes. Until its first whole event the client has nothing and another replica may be asked; after
// that the stream ends with the engine's [DONE], or with one event that says why it does not, never silently.
func (x *exchange) relay(m *model, r *replica, res *upstream.Response) *failure {
	var in events
	out := clientWriter{w: x.w, rc: http.NewResponseController(x.w), limit: x.g.limits.ClientWrite}
	done := false
	for {
		data, err := res.Next()
		if err != nil {
			if errors.Is(err, io.EOF) && !done && isDone(in.held) {
				done = true
				_ = out.send(append(in.held, "\n\n"...)) // the client may have left
			}
			if done {
				return nil
			}
			return x.breakOff(err, &in, &out)
		}
		run := in.push(data)
		if len(run) == 0 {
			continue
		}
		if x.status == 0 {
			if c, found := firstError(run); found {
				return judge(c, m.uid, x.kind.path)
			}
			x.begin(m, r)
		}
		if err := out.send(run); err != nil {
			return &failure{clientGone, gone(), fmt.Errorf("write to the client: %w", err)}
		}
		if done = isDone(run); done {
			res.Linger(lingerDone)
		}
	}
}

// lingerDone is how long the end of a stream may take after its last event, for the connection to be used again.
const lingerDone = 100 * time.Millisecond

// begin sends the head of a stream. From here on there is no other try.
func (x *exchange) begin(m *model, r *replica) {
	r.unwatch(x.call())
	x.dropBody()
	x.g.metrics.firstByte(m, time.Since(x.start))
	h := x.w.Header()
	h["Content-Type"] = eventType
	h["Cache-Control"] = noCache
	h["X-Accel-Buffering"] = noBuffer
	x.status = http.StatusOK
	x.w.WriteHeader(x.status)
}

var (
	eventType = []string{"text/event-stream; charset=utf-8"}
	noCache   = []string{"no-cache"}
	noBuffer  = []string{"no"} // proxies in front of us must not collect the stream
)

// breakOff ends a stream that its engine did not end.
func (x *exchange) breakOff(err error, in *events, out *clientWriter) *failure {
	if errors.Is(err, io.EOF) {
		err = &upstream.Error{Kind: upstream.Lost, Err: errors.New("the stream ended without [DONE]")}
	}
	f := x.broke(err)
	if x.status == 0 || f.outcome == clientGone {
		return f
	}
	x.g.metrics.brokenOff.Inc()
	event := f.fault.event()
	if in.torn {
		event = append([]byte("\n\n"), event...)
	}
	_ = out.send(event) // the client may have left
	f.fault = nil
	return f
}

// clientWriter writes to a client that may be slow, and gives up on one that takes nothing at all. net/http takes the deadline away at
// the end of the request.
type clientWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration
	till  time.Time // the deadline that is set
}

// write sends b, in pieces that each may take the limit.
func (c *clientWriter) write(b []byte) error {
	const piece = 256 << 10
	for len(b) > 0 {
		n := min(len(b), piece)
		if now := time.Now(); c.till.Sub(now) < c.limit {
			c.till = now.Add(c.limit + c.limit/4)
			_ = c.rc.SetWriteDeadline(c.till) // not every writer can; the server's own limits hold then
		}
		if _, err := c.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// send writes b and sees it off.
func (c *clientWriter) send(b []byte) error {
	if err := c.write(b); err != nil {
		return err
	}
	if err := c.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// whole reads an answer that is no stream to its end and sends it in one. Because nothing is sent before it is complete, it may be
// had from another replica until then.
func (x *exchange) whole(res *upstream.Response) *failure {
	buf := x.g.bodies.get()
	defer x.g.bodies.put(buf)
	b := *buf
	defer func() { *buf = b }()
	for {
		p, err := res.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x.broke(err)
		}
		if int64(len(b)+len(p)) > x.g.limits.MaxAnswer {
			return x.tooLong()
		}
		b = append(b, p...)
	}
	x.answer(b)
	return nil
}

// answer sends a complete answer.
func (x *exchange) answer(b []byte) {
	x.status = http.StatusOK
	if len(b) <= 64<<10 {
		writeJSON(x.w, x.status, b)
		return
	}
	out := clientWriter{w: x.w, rc: http.NewResponseController(x.w), limit: x.g.limits.ClientWrite}
	jsonHead(x.w.Header(), len(b))
	x.w.WriteHeader(x.status)
	_ = out.write(b) // the client may have left
}

func (x *exchange) tooLong() *failure {
	f := newFault(http.StatusBadGateway, codeEngineFailed, "the answer of %s is larger than %d bytes; ask for less, or for a stream",
		x.req.model, x.g.limits.MaxAnswer)
	return &failure{tooMuch, f, errors.New("the answer is larger than the limit")}
}
