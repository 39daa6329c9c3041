package nodeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

var errCallerGone = errors.New("the caller has left")

// proxy passes one request on to an engine and its answer back, byte for byte.
func (a *API) proxy(w http.ResponseWriter, r *http.Request, t target) {
	rep := a.replicas.get(t.uid, t.replica)
	if rep == nil {
		decline(w, "this node has no replica %d of %s", t.replica, t.uid)
		return
	}
	to := rep.take()
	if to == nil {
		decline(w, "replica %d of %s takes no requests: it is %q", t.replica, t.uid, rep.status.Load())
		return
	}
	defer rep.release()
	req := upstream.Request{Addr: to.addr, Path: to.prefix + t.path, Get: t.what != enginePost}
	if t.what == enginePost {
		buf := a.bodies.get()
		defer a.bodies.put(buf)
		if err := a.read(w, r, buf); err != nil {
			w.Header().Set("Connection", "close") // what is left on it is no request
			refuse(w, err)
			return
		}
		req.Body = [][]byte{*buf}
	}
	var lines [256]byte
	req.Header = header(lines[:0], r.Header)
	call := new(upstream.Call)
	stop := context.AfterFunc(r.Context(), func() { call.Abort(errCallerGone) })
	defer stop()
	res, err := a.client.Do(r.Context(), call, &req)
	if err != nil {
		a.failed(w, r, t, err)
		return
	}
	defer res.Close()
	first, err := res.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		a.failed(w, r, t, err)
		return
	}
	if err != nil {
		a.head(w, res) // there is no more
		return
	}
	if err := a.relay(w, res, first); err != nil {
		a.complain(r, t, err)
		panic(http.ErrAbortHandler) // so that the gateway sees an answer that did not end
	}
}

// read reads the whole body, because a kept connection to the engine may turn out to be dead and the request then goes out again.
func (a *API) read(w http.ResponseWriter, r *http.Request, buf *[]byte) error {
	if r.ContentLength < 0 || r.ContentLength > a.cfg.MaxBody {
		return api.Errorf(api.CodeTooLarge, "the body must have a length of at most %d bytes", a.cfg.MaxBody)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.cfg.BodyRead)) // net/http takes it away at the body's end
	b := *buf
	if cap(b) < int(r.ContentLength) {
		b = make([]byte, 0, r.ContentLength)
	}
	b = b[:r.ContentLength]
	*buf = b
	_, err := io.ReadFull(r.Body, b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return api.Errorf(api.CodeTimeout, "the body took longer than %v", a.cfg.BodyRead)
	}
	if err != nil {
		return api.Errorf(api.CodeInvalidRequest, "the body ended before its announced length")
	}
	return nil
}

// header makes the lines that engines get: a list of allowed ones, as at the gateway. Nothing else of the caller's goes on.
func header(lines []byte, h http.Header) []byte {
	for _, name := range [...]string{"Content-Type", "X-Request-Id", "Traceparent", "Tracestate"} {
		if v := h[name]; len(v) == 1 && len(v[0]) <= 512 {
			lines = append(append(append(append(lines, name...), ": "...), v[0]...), "\r\n"...)
		}
	}
	return lines
}

// head sends the head of an answer: what is allowed of the engine's.
func (a *API) head(w http.ResponseWriter, res *upstream.Response) {
	h := w.Header()
	if kind := res.ContentType(); kind != "" {
		h["Content-Type"] = []string{kind}
	}
	if after := res.RetryAfter(); after != "" {
		h["Retry-After"] = []string{after}
	}
	h["Date"] = nil // the gateway drops it
	if res.Length() >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(res.Length(), 10)}
	}
	w.WriteHeader(res.Status())
}

// A stream whose pieces come less than rush apart, thousands in a second, is read every gather only: each piece costs a read and a write
// wherever it passes, and nobody sees a millisecond. What comes at the speed of real models is never held up.
const (
	rush       = 500 * time.Microsecond
	gather     = time.Millisecond
	gatherUpTo = 4 << 10 // bytes of a piece that it is worth for
)

// relay sends an answer on as it comes, b first. An error means that it is not complete.
func (a *API) relay(w http.ResponseWriter, res *upstream.Response, b []byte) (err error) {
	a.head(w, res)
	rc := http.NewResponseController(w)
	var till, last time.Time // the write deadline that is set, and the last read
	for left := res.Length(); err == nil; b, err = res.Next() {
		now := time.Now()
		rushed := now.Sub(last) < rush && len(b) < gatherUpTo
		last = now
		if till.Sub(now) < a.cfg.CallerWrite {
			till = now.Add(a.cfg.CallerWrite + a.cfg.CallerWrite/4)
			_ = rc.SetWriteDeadline(till) // net/http takes it away at the answer's end
		}
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("%w: %w", errCallerGone, err)
		}
		if left -= int64(len(b)); left == 0 {
			continue // the end of the request sends it
		}
		// Of an answer with a length too: once a byte has gone out, an engine that dies is not taken for a connection that was dead.
		if err := rc.Flush(); err != nil {
			return fmt.Errorf("%w: %w", errCallerGone, err)
		}
		if rushed {
			time.Sleep(gather)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// failed tells the gateway that there is no answer of the engine's, so that it can do what it would have done at the engine itself.
func (a *API) failed(w http.ResponseWriter, r *http.Request, t target, err error) {
	kind := upstream.Lost
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		kind = e.Kind
	}
	a.complain(r, t, err)
	fault(w, kind, err.Error())
}

// complain tells the operator of an engine that failed. Callers that leave are no news.
func (a *API) complain(r *http.Request, t target, err error) {
	if errors.Is(err, errCallerGone) || r.Context().Err() != nil {
		return
	}
	if ok, dropped := a.storm.Allow(time.Now()); ok {
		a.cfg.Log.Warn("engine did not answer", "model", t.uid, "replica", t.replica, "request_id", r.Header.Get("X-Request-Id"),
			"error", err, "similar_before", dropped)
	}
}

func decline(w http.ResponseWriter, format string, args ...any) {
	fault(w, upstream.Declined, fmt.Sprintf(format, args...))
}

// fault answers without a body and with the header by which the gateway knows that this is not the engine's word.
func fault(w http.ResponseWriter, kind upstream.Kind, text string) {
	status := http.StatusBadGateway
	switch kind {
	case upstream.Declined, upstream.Refused:
		status = http.StatusServiceUnavailable
	case upstream.Timeout:
		status = http.StatusGatewayTimeout
	}
	w.Header()["Nebula-Fault"] = []string{kind.String() + ": " + clean(text)}
	w.Header()["Content-Length"] = []string{"0"}
	w.WriteHeader(status)
}

// clean makes a text fit for a header.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), 300)]
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bodyPool keeps the buffers that bodies are read into. Very large ones are left to the garbage collector.
type bodyPool struct{ pool sync.Pool }

const bodyKept = 1 << 20

func (p *bodyPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 4<<10)
	return &b
}

func (p *bodyPool) put(b *[]byte) {
	if cap(*b) <= bodyKept {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}
