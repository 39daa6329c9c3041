package openapitest

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// maxSeen bounds what is kept of an answer; a longer one counts as cut.
const maxSeen = 8 << 20

// Wrap returns h, with every answer held against the document: one that differs fails the test.
func Wrap(t testing.TB, c *Checker, h http.Handler) http.Handler {
	t.Helper()
	var told sync.Map // what has been said of an operation and a status
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Clone(r.Context()) // handlers may change what they get
		seen := &witness{ResponseWriter: w}
		whole := false
		defer func() {
			if seen.status == 0 {
				if !whole || r.Context().Err() != nil {
					return // the caller has left, and was told nothing
				}
				seen.status = http.StatusOK
			}
			a := Answer{seen.status, w.Header(), seen.body.Bytes(), !whole || seen.cut || r.Context().Err() != nil}
			err := c.Check(asked, a)
			if err == nil {
				return
			}
			if _, again := told.LoadOrStore(c.Pattern(asked)+" "+strconv.Itoa(a.Status), true); !again {
				t.Errorf("%s %s: %v", asked.Method, asked.URL, err)
			}
		}()
		h.ServeHTTP(seen, r)
		whole = true
	})
}

// witness keeps what passes through a ResponseWriter.
type witness struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	cut    bool
}

func (w *witness) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if streams(w.Header()) || w.body.Len()+len(b) > maxSeen {
		w.cut = true
	} else {
		w.body.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is inside.
func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }
