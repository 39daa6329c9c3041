package hub

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func (h *Hub) cdnRoutes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /blob/{org}/{name}/{commit}/{path...}", h.blob)
	return m
}

// sign makes an address at the CDN; each one counts its own requests, for Expire.
func (h *Hub) sign(id, commit, name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	sig := strconv.Itoa(len(h.signed) + 1)
	h.signed[sig] = 0
	q := url.Values{"Expires": {strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)}, "Signature": {sig}}
	at := url.URL{Path: "/blob/" + id + "/" + commit + "/" + name}
	return h.cdn + at.EscapedPath() + "?" + q.Encode()
}

// blob serves content to everybody who has a signed address. As the real CDN it gives an ETag of its own, which says
// nothing about the content.
func (h *Hub) blob(w http.ResponseWriter, r *http.Request) {
	sig := r.URL.Query().Get("Signature")
	h.mu.Lock()
	n, known := h.signed[sig]
	h.signed[sig] = n + 1
	limit := h.faults.BridgeLimit
	expired := h.faults.Expire > 0 && n >= h.faults.Expire
	if expired {
		h.happened.Expire++
	}
	var c content
	if at, ok := h.repos[strings.ToLower(r.PathValue("org")+"/"+r.PathValue("name"))]; ok {
		c, ok = at.commits[r.PathValue("commit")].files[r.PathValue("path")]
		known = known && ok
	} else {
		known = false
	}
	tooLarge := known && limit > 0 && c.size > limit
	if tooLarge {
		h.happened.BridgeLimit++
	}
	h.mu.Unlock()
	switch {
	case !known || expired:
		http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
	case tooLarge:
		http.Error(w, "file is too large for the bridge", http.StatusBadRequest)
	case c.data == nil && c.block == "" && c.size > 0:
		http.Error(w, "nothing is behind this file", http.StatusNotFound)
	default:
		w.Header().Set("ETag", `"`+sha256Hex([]byte("cdn "+r.PathValue("path")))+`"`)
		h.send(w, r, c)
	}
}

// send writes content, or the range that is asked for, with the faults that are about content.
func (h *Hub) send(w http.ResponseWriter, r *http.Request, c content) {
	from, to, ranged, ok := parseRange(r.Header.Get("Range"), c.size)
	if !ok || h.fire(func(f *Faults) *int { return &f.Range416 }) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", c.size))
		w.WriteHeader(416)
		return
	}
	if ranged && h.fire(func(f *Faults) *int { return &f.IgnoreRange }) {
		from, to, ranged = 0, c.size, false
	}
	b := body{content: c, at: from, to: to, flip: -1}
	total, first := c.size, from
	if h.fire(func(f *Faults) *int { return &f.Total }) {
		total++
	}
	if h.fire(func(f *Faults) *int { return &f.ContentRange }) {
		first++
	}
	f := h.fault()
	if f.FlipAt >= from && f.FlipAt < to && h.fire(func(f *Faults) *int { return &f.Flip }) {
		b.flip = f.FlipAt
	}
	if to > from && h.fire(func(f *Faults) *int { return &f.ShortBy }) {
		b.to--
	}
	if h.fire(func(f *Faults) *int { return &f.LongBy }) {
		b.tail = []byte("more")
	}
	if h.fire(func(f *Faults) *int { return &f.Gzip }) {
		if err := b.compress(); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Header().Set("Content-Length", strconv.FormatInt(b.left(), 10))
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Type", "application/octet-stream")
	status := 200
	if ranged {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, to-1, total))
		status = 206
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		h.write(w, r, &b, f)
	}
}

// Sizes of one write: large ones cost less, small ones keep a low rate even.
const (
	wholeBlock = 1 << 20
	pacedBlock = 64 << 10
)

// write sends the body, slowly, in part or not at all.
func (h *Hub) write(w http.ResponseWriter, r *http.Request, b *body, f Faults) {
	cut, stall := int64(-1), int64(-1)
	if b.left() > f.CutAt && h.fire(func(f *Faults) *int { return &f.Cut }) {
		cut = f.CutAt
	}
	if b.left() > f.StallAt && h.fire(func(f *Faults) *int { return &f.Stall }) {
		stall = f.StallAt
	}
	drips := f.DripBytes > 0 && h.fire(func(f *Faults) *int { return &f.Drip })
	flush := http.NewResponseController(w).Flush
	block, paced := int64(wholeBlock), true
	switch {
	case drips:
		block = int64(f.DripBytes)
	case f.BytesPerSecond > 0:
		block = min(max(int64(f.BytesPerSecond)/50, 1), pacedBlock)
	case f.AllBytesPerSecond > 0:
		block = min(max(int64(f.AllBytesPerSecond)/50, 1), pacedBlock)
	default:
		paced = false
	}
	for sent := int64(0); b.left() > 0; {
		n := min(block, b.left())
		for _, limit := range []int64{cut, stall} {
			if limit >= 0 {
				n = min(n, limit-sent)
			}
		}
		if n > 0 && b.write(w, n) != nil {
			panic(http.ErrAbortHandler)
		}
		sent += n
		switch sent {
		case cut:
			_ = flush()
			panic(http.ErrAbortHandler)
		case stall:
			_ = flush()
			<-r.Context().Done()
			return
		}
		if !paced {
			continue
		}
		_ = flush()
		if drips && !pause(r.Context(), f.DripEvery) || !h.pace(r.Context(), f, n) {
			return
		}
	}
}

// parseRange reads "bytes=a-b" and "bytes=a-"; ok is false when nothing of the file is in it.
func parseRange(header string, size int64) (from, to int64, ranged, ok bool) {
	spec, found := strings.CutPrefix(header, "bytes=")
	if !found {
		return 0, size, false, true
	}
	a, b, _ := strings.Cut(spec, "-")
	from, err := strconv.ParseInt(a, 10, 64)
	if err != nil || from < 0 {
		return 0, size, false, true
	}
	to = size
	if last, err := strconv.ParseInt(b, 10, 64); err == nil {
		to = min(last+1, size)
	}
	return from, to, true, from < to
}
