package hub

import (
	"bytes"
	"compress/gzip"
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
	return h.CDNURL + at.EscapedPath() + "?" + q.Encode()
}

// blob serves content to everybody who has a signed address. As the real CDN it gives an ETag of its own, which says
// nothing about the content.
func (h *Hub) blob(w http.ResponseWriter, r *http.Request) {
	sig := r.URL.Query().Get("Signature")
	h.mu.Lock()
	n, known := h.signed[sig]
	h.signed[sig] = n + 1
	expired := h.faults.Expire > 0 && n >= h.faults.Expire
	var content []byte
	if at, ok := h.repos[strings.ToLower(r.PathValue("org")+"/"+r.PathValue("name"))]; ok {
		content, ok = at.commits[r.PathValue("commit")].Files[r.PathValue("path")]
		known = known && ok
	} else {
		known = false
	}
	h.mu.Unlock()
	if !known || expired {
		http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		return
	}
	w.Header().Set("ETag", `"`+sha256Hex([]byte("cdn "+r.PathValue("path")))+`"`)
	h.send(w, r, content)
}

// send writes content, or the range that is asked for, with the faults that are about content.
func (h *Hub) send(w http.ResponseWriter, r *http.Request, content []byte) {
	from, to, ranged, ok := parseRange(r.Header.Get("Range"), int64(len(content)))
	if !ok || h.fire(func(f *Faults) *int { return &f.Range416 }) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(content)))
		w.WriteHeader(416)
		return
	}
	if ranged && h.fire(func(f *Faults) *int { return &f.IgnoreRange }) {
		from, to, ranged = 0, int64(len(content)), false
	}
	body := content[from:to]
	total, first := len(content), from
	if h.fire(func(f *Faults) *int { return &f.Total }) {
		total++
	}
	if h.fire(func(f *Faults) *int { return &f.ContentRange }) {
		first++
	}
	f := h.fault()
	if f.FlipAt >= from && f.FlipAt < to && h.fire(func(f *Faults) *int { return &f.Flip }) {
		body = bytes.Clone(body)
		body[f.FlipAt-from] ^= 1
	}
	if len(body) > 0 && h.fire(func(f *Faults) *int { return &f.ShortBy }) {
		body = body[:len(body)-1]
	}
	if h.fire(func(f *Faults) *int { return &f.LongBy }) {
		body = append(bytes.Clone(body), "more"...)
	}
	if h.fire(func(f *Faults) *int { return &f.Gzip }) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body)
		_ = z.Close()
		body = b.Bytes()
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Type", "application/octet-stream")
	status := 200
	if ranged {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, to-1, total))
		status = 206
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		h.write(w, r, body, f)
	}
}

// write sends the body, slowly, in part or not at all.
func (h *Hub) write(w http.ResponseWriter, r *http.Request, body []byte, f Faults) {
	cut, stall := int64(-1), int64(-1)
	if int64(len(body)) > f.CutAt && h.fire(func(f *Faults) *int { return &f.Cut }) {
		cut = f.CutAt
	}
	if int64(len(body)) > f.StallAt && h.fire(func(f *Faults) *int { return &f.Stall }) {
		stall = f.StallAt
	}
	flush := http.NewResponseController(w).Flush
	block := 64 << 10
	if f.BytesPerSecond > 0 {
		block = min(max(f.BytesPerSecond/50, 1), block)
	}
	for sent := 0; sent < len(body); {
		n := min(block, len(body)-sent)
		for _, limit := range []int64{cut, stall} {
			if limit >= 0 {
				n = min(n, int(limit)-sent)
			}
		}
		if n > 0 {
			if _, err := w.Write(body[sent : sent+n]); err != nil {
				return
			}
			sent += n
		}
		switch int64(sent) {
		case cut:
			_ = flush()
			panic(http.ErrAbortHandler)
		case stall:
			_ = flush()
			<-r.Context().Done()
			return
		}
		if f.BytesPerSecond > 0 {
			_ = flush()
			select {
			case <-time.After(time.Second * time.Duration(n) / time.Duration(f.BytesPerSecond)):
			case <-r.Context().Done():
				return
			}
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
