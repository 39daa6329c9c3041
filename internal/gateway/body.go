package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/obs"
)

// bodyPool keeps the buffers that bodies are read into. Very large ones are left to the garbage collector.
type bodyPool struct{ pool sync.Pool }

const (
	bodyLeast = 4 << 10
	bodyKept  = 1 << 20
)

func (p *bodyPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, bodyLeast)
	return &b
}

func (p *bodyPool) put(b *[]byte) {
	if cap(*b) <= bodyKept {
		*b = (*b)[:0]
		p.pool.Put(b)
	}
}

// read reads the whole body of a request into buf. net/http takes the deadline away at the body's end. Before that it stays, also when
// reading fails: the server reads the rest of a body before it ends a request, and must not wait for it either.
func (g *Gateway) read(w http.ResponseWriter, r *http.Request, buf *[]byte) *fault {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(g.limits.BodyRead)) // not every writer can; the server's own limits hold then
	if f := checkHeader(r.Header); f != nil {
		return f
	}
	if r.ContentLength > g.limits.MaxBody {
		return g.tooLarge()
	}
	src := r.Body
	if r.ContentLength < 0 {
		src = http.MaxBytesReader(w, src, g.limits.MaxBody)
	}
	b, err := readAll(src, *buf, int(max(r.ContentLength, 0)))
	*buf = b
	if err == nil {
		return nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return g.tooLarge()
	}
	w.Header().Set("Connection", "close") // what is left on it is no request
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newFault(http.StatusRequestTimeout, string(api.CodeTimeout), "the body took longer than %v", g.limits.BodyRead)
	}
	if r.Context().Err() != nil {
		return gone()
	}
	return badRequest("", "the body ended before its announced length")
}

func (g *Gateway) tooLarge() *fault {
	g.metrics.tally.Add(obs.TooLarge)
	return newFault(http.StatusRequestEntityTooLarge, string(api.CodeTooLarge), "the body is larger than %d bytes", g.limits.MaxBody)
}

// readAll appends all of src to b, with room for size from the start.
func readAll(src io.Reader, b []byte, size int) ([]byte, error) {
	if cap(b)-len(b) <= size {
		b = append(make([]byte, 0, len(b)+size+1), b...)
	}
	for {
		n, err := src.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}

func checkHeader(h http.Header) *fault {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return newFault(http.StatusUnsupportedMediaType, string(api.CodeUnsupportedMedia), "send the body without Content-Encoding, not as %.40q", enc)
	}
	given := h.Get("Content-Type")
	if given == "application/json" || given == "" {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(given); err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) {
		return nil
	}
	return newFault(http.StatusUnsupportedMediaType, string(api.CodeUnsupportedMedia), "the body must be application/json, not %.80q", given)
}
