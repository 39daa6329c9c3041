package peer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Shelf is what this node has to give: blobs that Nebula has verified, or is fetching itself, and nothing else.
type Shelf interface {
	// Whole opens a complete blob and keeps it from being deleted until release.
	Whole(h manifest.Hash) (f *os.File, release func(), ok bool)
	// Part opens a blob that is being fetched; nil while that begins or ends.
	Part(h manifest.Hash) (Part, bool)
}

// Part is a blob that is being fetched.
type Part interface {
	io.ReaderAt
	io.Closer
	Size() int64
	// Frontier is how many bytes from its beginning on are in place, and a channel that closes when there are more, or none will come.
	Frontier() (int64, <-chan struct{})
}

// Limits of serving.
const (
	readersOfPart = 4 // nodes that read one blob while it is being fetched; more find their way to those
	readersOfAll  = 8 // of all blobs together: one node is one reader of each blob that it reads
	longestWait   = 20 * time.Second
	writeWithin   = time.Minute // for a reader to take a piece
	piece         = 256 << 10   // bytes; Go's TLS takes no file from the kernel, so they pass through here
	retryAfter    = "1"         // seconds
)

// Headers of an answer.
const (
	haveHeader = "Nebula-Blob-Have" // bytes from the beginning on that the node has
	sizeHeader = "Nebula-Blob-Size"
)

// shop counts the readers of this node's blobs.
type shop struct {
	mu      sync.Mutex
	readers map[reader]int // requests
	pieces  sync.Pool
}

// reader is a node that reads a blob.
type reader struct {
	node string
	hash manifest.Hash
}

// enter lets a reader in, unless there are as many as may be. Most bounds those of its blob.
func (s *shop) enter(r reader, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers[r] == 0 {
		same := 0
		for other := range s.readers {
			if other.hash == r.hash {
				same++
			}
		}
		if same >= most || len(s.readers) >= readersOfAll {
			return false
		}
	}
	s.readers[r]++
	return true
}

func (s *shop) leave(r reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers[r]--; s.readers[r] == 0 {
		delete(s.readers, r)
	}
}

// ServeBlob answers GET and HEAD of a blob for another node, whose certificate has been verified. Answers: 200 or 206 with bytes, 204 when the
// blob is being fetched and nothing is there yet from the asked offset on, 403 for a node that was removed, 404, 416, and 503 when there are
// too many readers.
//
// A blob that is being fetched is sent as far as it is there. Who has its claim waits for more, as long as the caller's Prefer says, and ends the
// answer when none comes; all others end it at once: so nodes never wait for each other in a circle.
func (p *Peers) ServeBlob(w http.ResponseWriter, r *http.Request, algo, hex string, caller api.BlobCaller) {
	if !p.member(r.Context(), caller) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h := manifest.Hash{Algo: manifest.Algo(algo), Hex: hex}
	if !h.Valid() {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	who := reader{caller.NodeID, h}
	if f, release, ok := p.cfg.Shelf.Whole(h); ok {
		defer release()
		defer func() { _ = f.Close() }() // it was only read
		p.serveWhole(w, r, who, f)
		return
	}
	if part, ok := p.cfg.Shelf.Part(h); ok && part == nil {
		busy(w)
		return
	} else if ok {
		defer func() { _ = part.Close() }() // it was only read
		p.servePart(w, r, who, part)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

func (p *Peers) serveWhole(w http.ResponseWriter, r *http.Request, who reader, f *os.File) {
	fi, err := f.Stat()
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	size := fi.Size()
	from, to, ok := asked(w, r, size, size)
	if !ok {
		return
	}
	if !p.shop.enter(who, readersOfAll) {
		busy(w)
		return
	}
	defer p.shop.leave(who)
	w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
	begin(w, r, from, to, size)
	if err := p.send(r.Context(), w, f, from, to); err != nil {
		panic(http.ErrAbortHandler) // so that the reader sees an answer that did not end
	}
}

func (p *Peers) servePart(w http.ResponseWriter, r *http.Request, who reader, part Part) {
	have, _ := part.Frontier()
	from, to, ok := asked(w, r, part.Size(), have)
	if !ok {
		return
	}
	if !p.shop.enter(who, readersOfPart) {
		busy(w)
		return
	}
	defer p.shop.leave(who)
	var wait time.Duration
	if p.holds(who.hash.Hex) {
		wait = patience(r)
	}
	if have = await(r.Context(), part, from, wait); have <= from {
		w.Header().Set(haveHeader, strconv.FormatInt(have, 10))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set(haveHeader, strconv.FormatInt(have, 10))
	if wait <= 0 {
		to = min(to, have)
		w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
	}
	begin(w, r, from, to, part.Size())
	rc := http.NewResponseController(w)
	for from < to && have > from {
		if err := p.send(r.Context(), w, part, from, min(to, have)); err != nil || rc.Flush() != nil {
			panic(http.ErrAbortHandler)
		}
		from = min(to, have)
		have = await(r.Context(), part, from, wait)
	}
}

// await waits until a part has more than its bytes up to from, and returns how much it has.
func await(ctx context.Context, part Part, from int64, wait time.Duration) int64 {
	late := time.NewTimer(wait)
	defer late.Stop()
	for {
		have, grown := part.Frontier()
		if have > from || wait <= 0 {
			return have
		}
		select {
		case <-grown:
			if now, _ := part.Frontier(); now <= have {
				return now // it has ended
			}
		case <-late.C:
			return have
		case <-ctx.Done():
			return have
		}
	}
}

// asked reads the range that a request is for, and answers those that are for none, and HEAD.
func asked(w http.ResponseWriter, r *http.Request, size, have int64) (from, to int64, ok bool) {
	h := w.Header()
	h.Set(sizeHeader, strconv.FormatInt(size, 10))
	h.Set(haveHeader, strconv.FormatInt(have, 10))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	from, to, ok = parseRange(r.Header.Get("Range"), size)
	if !ok {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return 0, 0, false
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return 0, 0, false
	}
	return from, to, true
}

// parseRange reads the one form of ranges that nodes send, "bytes=from-last". Without any it is the whole file.
func parseRange(text string, size int64) (from, to int64, ok bool) {
	if text == "" {
		return 0, size, true
	}
	text, ok = strings.CutPrefix(text, "bytes=")
	first, last, ok2 := strings.Cut(text, "-")
	a, err := strconv.ParseUint(first, 10, 63)
	if !ok || !ok2 || err != nil || int64(a) >= size {
		return 0, 0, false
	}
	b, err := strconv.ParseUint(last, 10, 63)
	if err != nil || b < a {
		return 0, 0, false
	}
	return int64(a), min(int64(b), size-1) + 1, true
}

func begin(w http.ResponseWriter, r *http.Request, from, to, size int64) {
	if r.Header.Get("Range") == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
	w.WriteHeader(http.StatusPartialContent)
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", retryAfter)
	w.WriteHeader(http.StatusServiceUnavailable)
}

// patience is how long the caller wants to wait for bytes: "Prefer: wait=SECONDS".
func patience(r *http.Request) time.Duration {
	text, _ := strings.CutPrefix(r.Header.Get("Prefer"), "wait=")
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, longestWait)
}

// send writes the bytes from one offset to another.
func (p *Peers) send(ctx context.Context, w http.ResponseWriter, from io.ReaderAt, at, to int64) error {
	buf, ok := p.shop.pieces.Get().(*[]byte)
	if !ok {
		b := make([]byte, piece)
		buf = &b
	}
	defer p.shop.pieces.Put(buf)
	rc := http.NewResponseController(w)
	for at < to {
		n, err := from.ReadAt((*buf)[:min(piece, to-at)], at)
		if n == 0 {
			return fmt.Errorf("read the blob at %d: %w", at, err)
		}
		if p.cfg.Take != nil {
			if err := p.cfg.Take(ctx, n); err != nil {
				return err
			}
		}
		_ = rc.SetWriteDeadline(time.Now().Add(writeWithin)) // net/http takes it away at the answer's end
		if _, err := w.Write((*buf)[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
