package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TRANSFER_TEST_DIR"); dir != "" {
		os.Exit(fetchAsProcess(dir, os.Getenv("TRANSFER_TEST_URL"), os.Getenv("TRANSFER_TEST_HASH"), os.Getenv("TRANSFER_TEST_SIZE")))
	}
	goleak.VerifyTestMain(m)
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func entryOf(content []byte) manifest.Entry {
	sum := sha256.Sum256(content)
	return manifest.Entry{Path: "a.gguf", Size: int64(len(content)), Hash: manifest.Hash{Algo: manifest.SHA256, Hex: hex.EncodeToString(sum[:])}}
}

// origin is a server of one file, over real sockets.
type origin struct {
	*httptest.Server
	content []byte
	sent    atomic.Int64 // bytes of bodies
	now     atomic.Int64 // requests that sources have open
	most    atomic.Int64 // of them at the same time

	mu     sync.Mutex
	ranges []string
	answer answer
}

// answer may answer the nth request in place of the server: it returns whether it did.
type answer func(w http.ResponseWriter, r *http.Request, n int, from, to int64) bool

func (o *origin) set(a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = a
}

func serve(t testing.TB, content []byte) *origin {
	o := &origin{content: content}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// ServeHTTP answers a request for a range.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var from, to int64
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	to++
	o.mu.Lock()
	n, answer := len(o.ranges), o.answer
	o.ranges = append(o.ranges, r.Header.Get("Range"))
	o.mu.Unlock()
	if answer == nil || !answer(w, r, n, from, to) {
		o.give(w, from, to, to-from)
	}
}

// give sends the first n bytes of a range, and breaks the connection when that is not all.
func (o *origin) give(w http.ResponseWriter, from, to, n int64) {
	w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
	w.WriteHeader(http.StatusPartialContent)
	o.write(w, o.content[from:from+n])
	if n < to-from {
		panic(http.ErrAbortHandler)
	}
}

func (o *origin) write(w http.ResponseWriter, p []byte) {
	for len(p) > 0 {
		n, err := w.Write(p[:min(len(p), 64<<10)])
		if o.sent.Add(int64(n)); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		p = p[n:]
	}
}

// slowly sends a range at a speed.
func (o *origin) slowly(w http.ResponseWriter, r *http.Request, from, to, bytesPerSecond int64) {
	w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
	w.WriteHeader(http.StatusPartialContent)
	step := max(bytesPerSecond/50, 1)
	for at := from; at < to && r.Context().Err() == nil; at += step {
		o.write(w, o.content[at:min(at+step, to)])
		time.Sleep(20 * time.Millisecond)
	}
}

// web is a Source that asks an origin.
type web struct {
	*origin // nil in another process
	url     string
	size    int64
	client  *http.Client
	peer    bool
	ranged  bool // the server knows ranges
}

func (o *origin) source(t testing.TB) *web {
	tr := &http.Transport{MaxIdleConnsPerHost: 32, ReadBufferSize: 64 << 10}
	t.Cleanup(tr.CloseIdleConnections)
	return &web{origin: o, url: o.URL, size: int64(len(o.content)), client: &http.Client{Transport: tr}, ranged: true}
}

// Name is the address.
func (s *web) Name() string { return s.url }

// Peer tells what the test wants.
func (s *web) Peer() bool { return s.peer }

// Open asks for a range.
func (s *web) Open(ctx context.Context, from, to int64) (io.ReadCloser, int64, error) {
	if !s.ranged && (from > 0 || to < s.size) {
		return nil, 0, fail.Passing(api.FailDownload, fail.RangeIgnored, "whole files only")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	done := s.count()
	resp, err := s.client.Do(req)
	if err != nil {
		done()
		return nil, 0, broken(ctx, err)
	}
	reason, final := fail.Reason(""), false
	switch resp.StatusCode {
	case http.StatusPartialContent:
		return body{resp.Body, ctx, done}, to, nil
	case http.StatusTooManyRequests:
		reason = fail.RateLimited
	case http.StatusNotFound:
		reason, final = fail.NoEntry, true
	case http.StatusConflict:
		reason = fail.BadServer
	default:
		reason = fail.Server
	}
	_ = resp.Body.Close()
	done()
	return nil, 0, &fail.Error{Code: api.FailDownload, Reason: reason, Message: "the server said " + resp.Status, Final: final}
}

// count counts an open request until the function that it returns is called.
func (s *web) count() func() {
	if s.origin == nil {
		return func() {}
	}
	for n := s.now.Add(1); ; {
		if most := s.most.Load(); n <= most || s.most.CompareAndSwap(most, n) {
			return func() { s.now.Add(-1) }
		}
	}
}

type body struct {
	io.ReadCloser
	ctx  context.Context
	done func()
}

// Close ends the request.
func (b body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// Read explains a broken connection.
func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = broken(b.ctx, err)
	}
	return n, err
}

func broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fail.Passing(api.FailDownload, fail.Network, "the connection broke").Because(err)
}

// quick is a patience for tests: nothing in them depends on how long it is, only on its being short.
func quick() Patience {
	return Patience{time.Millisecond, 20 * time.Millisecond, 20 * time.Second, 20 * time.Second, 20 * time.Second, 6}
}

// jobFor is a job in a folder, from sources.
func jobFor(dir string, e manifest.Entry, sources ...Source) Job {
	name := filepath.Join(dir, e.Hex)
	return Job{
		Entry: e, Part: name + ".part", Journal: name + ".journal", Path: name, Patience: quick(), Boot: "this",
		Sources: func(context.Context) ([]Source, error) { return sources, nil },
		Limits:  NewLimits(LimitConfig{}), Gauge: new(Gauge),
	}
}

// mustRun runs a job and compares what it published.
func mustRun(t testing.TB, j Job, content []byte) Result {
	t.Helper()
	r, err := New(j).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(j.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Fatal("published other bytes")
	}
	if have := j.Gauge.Have.Load(); have != j.Entry.Size {
		t.Errorf("the gauge has %d bytes of %d", have, j.Entry.Size)
	}
	for _, left := range []string{j.Part, j.Journal} {
		if _, err := os.Lstat(left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	return r
}

func unpublished(t testing.TB, j Job) {
	t.Helper()
	if _, err := os.Lstat(j.Path); err == nil {
		t.Error("published")
	}
}
