// Package hub is a Hugging Face Hub and a ModelScope for tests: the wire protocols that Nebula and the hubs' own clients
// speak, over real sockets, with one more listener as the CDN of both, faults by switch, and a record of every request.
// Both serve the same repositories. It is never part of the product and keeps everything but [Big] files in memory.
package hub

import (
	"crypto/sha1"
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
	Big   map[string]Big    // by path, too

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
	Ended                     time.Time // zero while it is under way
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
	URL      string // the Hugging Face Hub: what HF_ENDPOINT would be
	ScopeURL string // the ModelScope: what MODELSCOPE_ENDPOINT would be
	CDNURL   string // where both redirect for large files

	all pacer // of AllBytesPerSecond

	mu       sync.Mutex
	repos    map[string]*history // by lower-case id
	renamed  map[string]string   // new id by lower-case old one
	tokens   map[string]bool     // every token that exists
	faults   Faults
	happened Faults // how often each
	upcoming []version
	log      []*Request
	counter  int // requests, for FailEvery
	signed   map[string]int
	cdn      string // where large files are redirected to
	servers  []*http.Server
	done     sync.WaitGroup
}

// version is one version of a repository with the content of its files.
type version struct {
	Repo
	commit string
	files  map[string]content
}

// history is every version of a repository.
type history struct {
	now      version
	branches map[string]string
	commits  map[string]version
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

// New runs a hub on free ports of loopback until Close.
func New(repos ...Repo) (*Hub, error) { return Listen("127.0.0.1", repos...) }

// Listen is New on another address of this machine.
func Listen(host string, repos ...Repo) (*Hub, error) {
	h := &Hub{repos: map[string]*history{}, renamed: map[string]string{}, tokens: map[string]bool{}, signed: map[string]int{}}
	for _, r := range repos {
		if _, err := h.Publish(r); err != nil {
			return nil, err
		}
	}
	// All addresses are known before anybody can ask: a client of an earlier hub may still try one of them.
	var serve []func()
	for _, l := range []struct {
		url     *string
		handler http.Handler
	}{{&h.URL, h.routes()}, {&h.ScopeURL, h.scopeRoutes()}, {&h.CDNURL, h.cdnRoutes()}} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			h.Close()
			return nil, err
		}
		*l.url = "http://" + ln.Addr().String()
		s := &http.Server{Handler: h.record(l.handler), ReadHeaderTimeout: 10 * time.Second, ConnContext: withPacer}
		h.servers = append(h.servers, s)
		serve = append(serve, func() { _ = s.Serve(smallBuffers{ln}) })
	}
	h.cdn = h.CDNURL
	for _, s := range serve {
		h.done.Go(s)
	}
	return h, nil
}

// RedirectTo makes the hubs redirect to another address, which leads to the CDN, from now on.
func (h *Hub) RedirectTo(address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cdn = address
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
	commit, err := h.Publish(r)
	if err != nil {
		panic(err) // only a Big file can fail: its block file is not there
	}
	return commit
}

// Publish is Push for repositories with Big files, which it may have to read.
func (h *Hub) Publish(r Repo) (string, error) {
	v, err := newVersion(r)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.push(v)
	return v.commit, nil
}

// PushAfterListing publishes a version at the moment when the next listing of any repository has been made: whoever asks
// for that listing has the old one.
func (h *Hub) PushAfterListing(r Repo) {
	v, err := newVersion(r)
	if err != nil {
		panic(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upcoming = append(h.upcoming, v)
}

// listed publishes what waits for a listing.
func (h *Hub) listed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.upcoming {
		h.push(v)
	}
	h.upcoming = nil
}

func newVersion(r Repo) (version, error) {
	if r.Revision == "" {
		r.Revision = "main"
	}
	v := version{Repo: r, files: map[string]content{}}
	for name, data := range r.Files {
		v.files[name] = contentOf(data)
	}
	for name, big := range r.Big {
		c, err := contentOfBig(big)
		if err != nil {
			return version{}, err
		}
		v.files[name] = c
	}
	v.commit = v.name()
	return v, nil
}

// push makes a version the newest one; h.mu is held.
func (h *Hub) push(v version) {
	key := strings.ToLower(v.ID)
	at, ok := h.repos[key]
	if !ok {
		at = &history{branches: map[string]string{}, commits: map[string]version{}}
		h.repos[key] = at
	}
	at.now = v
	at.branches[v.Revision] = v.commit
	at.commits[v.commit] = v
	for _, t := range v.Allow {
		h.tokens[t] = true
	}
}

// Rename gives a repository another id; the old one leads to it.
func (h *Hub) Rename(from, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.repos[strings.ToLower(from)]
	delete(h.repos, strings.ToLower(from))
	at.now.ID = to
	for commit, v := range at.commits {
		v.ID = to
		at.commits[commit] = v
	}
	h.repos[strings.ToLower(to)] = at
	h.renamed[strings.ToLower(from)] = to
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

// Forget empties the record and the counters of the faults.
func (h *Hub) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log, h.happened = nil, Faults{}
}

// Sent is the number of bytes of file content sent so far, with what was sent twice counted twice.
func (h *Hub) Sent() int64 {
	var n int64
	for _, r := range h.Requests() {
		if r.isContent() {
			n += r.Sent
		}
	}
	return n
}

// Open is the number of answers with content that are under way.
func (h *Hub) Open() int {
	n := 0
	for _, r := range h.Requests() {
		if r.isContent() && r.Ended.IsZero() {
			n++
		}
	}
	return n
}

func (r Request) isContent() bool {
	return r.Status < 300 && (strings.HasPrefix(r.Path, "/blob/") || strings.HasPrefix(r.Path, "/api/resolve-cache/") || isScopeFile(r.Path))
}

// name is the commit: the same files give the same one.
func (v version) name() string {
	d := sha1.New()
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		fmt.Fprintf(d, "%s\x00%s\n", name, v.files[name].sha256)
	}
	for _, l := range v.Listed {
		fmt.Fprintf(d, "%s\x00%d\n", l.Path, l.Size)
	}
	return hex.EncodeToString(d.Sum(nil))
}

func (v version) isLFS(name string) bool {
	if v.LFS != nil {
		return slices.Contains(v.LFS, name)
	}
	return strings.HasSuffix(name, ".gguf") || strings.HasSuffix(name, ".safetensors") || v.files[name].size >= 1<<20
}

func (r *Repo) allows(token string) bool { return slices.Contains(r.Allow, token) }
