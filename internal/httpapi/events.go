package httpapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nebula-serve/nebula/internal/live"
)

// An event stream is quiet for at most this long, and a slow caller is dropped when one write takes longer.
const (
	keepAliveEvery = 15 * time.Second
	slowAfter      = 10 * time.Second
)

// historians is how many may watch histories at once: each keeps what it has not yet been sent, at most 256 events.
const historians = 1000

// listBuffer is how much of a list is written at once: the chunks of net/http are small, and a list may have megabytes.
const listBuffer = 32 << 10

// eventWriter writes server-sent events. The first error ends everything: the caller has left, or is too slow.
type eventWriter struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	max time.Duration // of one write
	buf []byte        // of one batch; small, and kept for the next one
	err error
}

func (s *server) startEvents(w http.ResponseWriter) *eventWriter {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	e := &eventWriter{w: w, rc: http.NewResponseController(w), max: s.SlowAfter}
	e.flush() // fails only where nothing can be streamed; the first write then says so
	return e
}

// end gives the connection back: it may carry the caller's next, longer answer.
func (e *eventWriter) end() { _ = e.rc.SetWriteDeadline(time.Time{}) }

// An id with an event says up to where everything has been told with it, which is where a caller who has lost the connection may resume. noID is of an
// event after which there is nothing to resume from, and sameID leaves that as it was.
const (
	noID   = "id\n"
	sameID = ""
)

func upto(rev int64) string { return "id: " + strconv.FormatInt(rev, 10) + "\n" }

// add appends one event to the batch.
func (e *eventWriter) add(name, id string, data []byte) {
	e.buf = append(e.buf, "event: "...)
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '\n')
	e.buf = append(e.buf, id...)
	e.buf = append(e.buf, "data: "...)
	e.buf = append(e.buf, data...)
	e.buf = append(e.buf, "\n\n"...)
	if len(e.buf) >= listBuffer {
		e.write()
	}
}

// write sends the batch as far as it goes.
func (e *eventWriter) write() {
	if e.err == nil && len(e.buf) > 0 {
		_ = e.rc.SetWriteDeadline(time.Now().Add(e.max)) // where deadlines are not supported the connection has its own
		_, e.err = e.w.Write(e.buf)
	}
	if cap(e.buf) > 4<<10 {
		e.buf = nil // a thousand quiet watchers hold no thousand buffers
	}
	e.buf = e.buf[:0]
}

// flush sends all that has been added.
func (e *eventWriter) flush() {
	e.write()
	if e.err == nil {
		e.err = e.rc.Flush()
	}
}

// send sends one event at once.
func (e *eventWriter) send(name, id string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	e.add(name, id, b)
	e.flush()
	return e.err
}

// alive tells a quiet caller that the stream lives and, unless id is sameID, how far it has come.
func (e *eventWriter) alive(id string) {
	e.buf = append(e.buf, id...)
	e.buf = append(e.buf, ": still here\n\n"...)
	e.flush()
}

// writeItems answers with encoded objects as one array.
func writeItems(w http.ResponseWriter, items []*live.Item) {
	size := len("[]\n") + max(0, len(items)-1)
	for _, i := range items {
		size += len(i.JSON)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(http.StatusOK)
	b := bufio.NewWriterSize(w, min(size, listBuffer))
	_ = b.WriteByte('[')
	for n, i := range items {
		if n > 0 {
			_ = b.WriteByte(',')
		}
		_, _ = b.Write(i.JSON)
	}
	_, _ = b.WriteString("]\n")
	_ = b.Flush() // the caller may have left
}
