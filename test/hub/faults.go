package hub

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Always makes a fault happen every time.
const Always = -1

// Faults says what goes wrong. A count is how often: 0 never, n the next n times, Always every time.
type Faults struct {
	BytesPerSecond    int           // of each connection that a file comes over; 0 = no limit
	AllBytesPerSecond int           // of all of these together; 0 = no limit
	Latency           time.Duration // before every answer

	Fail       int    // answers FailStatus
	FailEvery  int    // only every nth request; 0 = every one
	FailStatus int    // 0 = 503
	FailCode   string // its X-Error-Code
	FailPath   string // only requests whose path contains it

	RateLimit       int    // answers 429
	RetryAfter      string // header of it
	RateLimitHeader string // header of it

	Cut   int   // the connection breaks after CutAt bytes of a file's body
	CutAt int64 // of one answer

	Stall   int   // nothing more comes after StallAt bytes of a file's body
	StallAt int64 // of one answer

	Drip      int           // a file's body comes DripBytes at a time,
	DripBytes int           // 0 = no drip
	DripEvery time.Duration // apart

	Flip   int   // one bit of a file's body is wrong
	FlipAt int64 // offset in the file; an answer that does not hold it does not count

	IgnoreRange  int // 200 with everything for a ranged request
	ShortBy      int // the body ends early, and Content-Length agrees
	LongBy       int // the body is longer than asked
	ContentRange int // Content-Range names other bytes
	Total        int // Content-Range names another length of the file
	Gzip         int // the body is compressed although nobody asked
	Range416     int // 416 for every range

	Expire      int   // a signed address stops working after so many requests; 0 = never
	BridgeLimit int64 // the CDN answers 400 for larger files; 0 = it serves all
	Redirect    int   // whoever asks the hub for a file is sent to RedirectTo
	RedirectTo  string

	PageSize    int    // entries per page of the listing; 0 = all on one
	NextHost    string // origin in the Link header instead of the hub's own
	EndlessNext bool   // the last page links to the first
	HugeListing bool   // the listing never ends
	BadListing  bool   // the listing is no JSON
	OtherCommit bool   // X-Repo-Commit names another commit
	OtherETag   bool   // X-Linked-Etag names another file

	Gone []string // listed, but 404 when asked for

	// Of ModelScope alone.
	ScopeCode   int  // every answer of its API says this code, and HTTP 200
	NoSHA256    bool // listings do not have the hash of small files
	NullFiles   bool // a listing without files says null
	ScopeDirect bool // large files come from the hub itself, not from the CDN
}

// fire tells whether a counted fault happens now.
func (h *Hub) fire(count func(*Faults) *int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := count(&h.faults)
	switch {
	case *n == 0:
		return false
	case *n > 0:
		*n--
	}
	*count(&h.happened)++
	return true
}

// Happened tells how often each fault that is counted has happened, in the field that switches it on; BridgeLimit and
// Expire count the answers that they spoiled. Forget sets all of it to zero.
func (h *Hub) Happened() Faults {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.happened
}

func (h *Hub) fault() Faults {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults
}

// recorder notes what is sent while it is sent: a client may act on the last byte before the handler returns.
type recorder struct {
	http.ResponseWriter
	hub   *Hub
	entry *Request
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	r.hub.mu.Lock()
	r.entry.Status = status
	r.hub.mu.Unlock()
	r.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (r *recorder) Write(b []byte) (int, error) {
	r.count(int64(len(b)))
	n, err := r.ResponseWriter.Write(b)
	r.count(int64(n - len(b)))
	return n, err
}

// ReadFrom lets a file go to the socket without a copy, and counts it.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	to, ok := r.ResponseWriter.(io.ReaderFrom)
	part, limited := src.(*io.LimitedReader)
	if !ok || !limited {
		return io.Copy(struct{ io.Writer }{r}, src)
	}
	want := part.N
	r.count(want)
	n, err := to.ReadFrom(src)
	r.count(n - want)
	return n, err
}

func (r *recorder) count(n int64) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.entry.Sent += n
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// record notes every request and lets the faults that are not about content happen.
func (h *Hub) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entry := &Request{
			Host: r.Host, Method: r.Method, Path: r.URL.Path, Range: r.Header.Get("Range"),
			Authorization: r.Header.Get("Authorization"), Cookie: r.Header.Get("Cookie"),
			AcceptEncoding: r.Header.Get("Accept-Encoding"), UserAgent: r.UserAgent(), At: time.Now(), Status: 200,
		}
		h.mu.Lock()
		h.log = append(h.log, entry)
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			entry.Ended = time.Now()
			h.mu.Unlock()
		}()
		rec := &recorder{w, h, entry}
		f := h.fault()
		if !pause(r.Context(), f.Latency) {
			return
		}
		switch {
		case h.turn() && strings.Contains(r.URL.Path, f.FailPath) && h.fire(func(f *Faults) *int { return &f.Fail }):
			if f.FailStatus == 0 {
				f.FailStatus = 503
			}
			problem(rec, f.FailStatus, f.FailCode, "the hub is out of order")
		case h.fire(func(f *Faults) *int { return &f.RateLimit }):
			setIf(rec, "Retry-After", f.RetryAfter)
			setIf(rec, "RateLimit", f.RateLimitHeader)
			problem(rec, 429, "", "too many requests")
		default:
			next.ServeHTTP(rec, r)
		}
	})
}

// turn counts requests and tells whether it is one for FailEvery.
func (h *Hub) turn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counter++
	return h.faults.FailEvery <= 1 || h.counter%h.faults.FailEvery == 0
}

func setIf(w http.ResponseWriter, key, value string) {
	if value != "" {
		w.Header().Set(key, value)
	}
}

// problem answers as the Hub does: code and message in headers, the message in the body too.
func problem(w http.ResponseWriter, status int, code, message string) {
	setIf(w, "X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	w.Header().Set("X-Request-Id", "Root=1-test")
	w.Header().Set("Content-Type", "application/json")
	body := `{"error":` + strconv.Quote(message) + `}`
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
