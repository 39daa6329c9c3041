// Package hub is a Hugging Face Hub for tests: the wire protocol that Nebula and the Hub's own clients speak, over real
// sockets, with a second listener as its CDN, faults by switch, and a record of every request. It is never part of
// the product and keeps everything in memory.
package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Repo is one version of a model repository.
type Repo struct {
	ID    string            // "org/name"
	Files map[string][]byte // by path

	Revision string   // the branch that points to this version; empty = main
	LFS      []string // paths stored as large files; nil = weights and everything from 1 MiB

	Private  bool     // only tokens in Allow see it
	Gated    bool     // everybody sees the listing, only tokens in Allow get files
	Disabled bool     // taken down
	Allow    []string // tokens with access

	// Listed are entries of the listing without a file behind them, for hostile names.
	Listed []Listed
}

// Listed is an entry of a listing.
type Listed struct {
	Path string
	Size int64
}

// Request is one request that the hub or its CDN saw.
type Request struct {
	Host, Method, Path, Range string
	Authorization, Cookie     string
	AcceptEncoding, UserAgent string
	At                        time.Time
	Status                    int
	Sent                      int64 // bytes of body
}

// TB is the part of testing.TB that Start needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Hub is a running hub.
type Hub struct {
	URL    string // the hub: what HF_ENDPOINT would be
	CDNURL string // where large files are redirected to

	mu      sync.Mutex
	repos   map[string]*history // by lower-case id
	tokens  map[string]bool     // every token that exists
	faults  Faults
	log     []*Request
	counter int // requests, for FailEvery
	signed  map[string]int
	servers []*http.Server
	done    sync.WaitGroup
}

// history is every version of a repository.
type history struct {
	now      Repo
	branches map[string]string
	commits  map[string]Repo
}

// Start runs a hub until the test ends.
func Start(tb TB, repos ...Repo) *Hub {
	tb.Helper()
	h, err := New(repos...)
	if err != nil {
		tb.Fatalf("hub: %v", err)
	}
	tb.Cleanup(h.Close)
	return h
}

// New runs a hub on two free ports of loopback until Close.
func New(repos ...Repo) (*Hub, error) {
	h := &Hub{repos: map[string]*history{}, tokens: map[string]bool{}, signed: map[string]int{}}
	for _, r := range repos {
		h.Push(r)
	}
	var err error
	if h.URL, err = h.listen(h.routes()); err != nil {
		return nil, err
	}
	if h.CDNURL, err = h.listen(h.cdnRoutes()); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Hub) listen(handler http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h.record(handler), ReadHeaderTimeout: 10 * time.Second}
	h.servers = append(h.servers, s)
	h.done.Go(func() { _ = s.Serve(smallBuffers{l}) })
	return "http://" + l.Addr().String(), nil
}

// smallBuffers keeps what is sent but not yet read small, so that counted bytes are received bytes.
type smallBuffers struct{ net.Listener }

// Accept waits for the next connection.
func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(64 << 10)
	}
	return c, err
}

// Close ends the hub and every connection.
func (h *Hub) Close() {
	for _, s := range h.servers {
		_ = s.Close()
	}
	h.done.Wait()
}

// Push publishes a version of a repository and returns its commit. Older commits stay.
func (h *Hub) Push(r Repo) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Revision == "" {
		r.Revision = "main"
	}
	key := strings.ToLower(r.ID)
	at, ok := h.repos[key]
	if !ok {
		at = &history{branches: map[string]string{}, commits: map[string]Repo{}}
		h.repos[key] = at
	}
	commit := commitOf(r)
	at.now = r
	at.branches[r.Revision] = commit
	at.commits[commit] = r
	for _, t := range r.Allow {
		h.tokens[t] = true
	}
	return commit
}

// AddToken makes a token valid without giving it access to anything private.
func (h *Hub) AddToken(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens[token] = true
}

// Break sets the faults from now on; the zero value mends everything.
func (h *Hub) Break(f Faults) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = f
}

// Requests returns what the hub and its CDN saw so far.
func (h *Hub) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Request, len(h.log))
	for i, r := range h.log {
		out[i] = *r
	}
	return out
}

// Forget empties the record.
func (h *Hub) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = nil
}

// Sent is the number of bytes of file content sent so far, with what was sent twice counted twice.
func (h *Hub) Sent() int64 {
	var n int64
	for _, r := range h.Requests() {
		if r.Status >= 300 {
			continue
		}
		if strings.HasPrefix(r.Path, "/blob/") || strings.HasPrefix(r.Path, "/api/resolve-cache/") {
			n += r.Sent
		}
	}
	return n
}

// commitOf is stable: the same files give the same commit.
func commitOf(r Repo) string {
	d := sha1.New()
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		sum := sha256.Sum256(r.Files[name])
		fmt.Fprintf(d, "%s\x00%x\n", name, sum)
	}
	for _, l := range r.Listed {
		fmt.Fprintf(d, "%s\x00%d\n", l.Path, l.Size)
	}
	return hex.EncodeToString(d.Sum(nil))
}

// GitSHA1 is the name that git gives to content.
func GitSHA1(content []byte) string {
	d := sha1.New()
	fmt.Fprintf(d, "blob %d\x00", len(content))
	d.Write(content)
	return hex.EncodeToString(d.Sum(nil))
}

func sha256Hex(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (r *Repo) isLFS(name string) bool {
	if r.LFS != nil {
		return slices.Contains(r.LFS, name)
	}
	return strings.HasSuffix(name, ".gguf") || strings.HasSuffix(name, ".safetensors") || len(r.Files[name]) >= 1<<20
}

func (r *Repo) allows(token string) bool { return slices.Contains(r.Allow, token) }
