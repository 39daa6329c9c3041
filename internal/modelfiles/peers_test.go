package modelfiles

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/peer"
	"github.com/nebula-serve/nebula/test/hub"
)

// street is Stores that share files, and what servers would tell them: who has the claims, and that everybody may have everything.
type street struct {
	t *testing.T

	mu     sync.Mutex
	addrs  map[string]string
	claims map[string]string // node by hash
}

func newStreet(t *testing.T) *street {
	return &street{t: t, addrs: map[string]string{}, claims: map[string]string{}}
}

// house runs a Store and its port. Between stands before what it gives; nil: nothing does.
func (s *street) house(id string, h *hub.Hub, between func(http.Handler) http.Handler) *Store {
	s.t.Helper()
	st := newStore(s.t, h, func(c *Config) {
		c.NodeID = id
		c.Peers = &peer.Config{
			Ask: func(_ context.Context, ask api.BlobsAsk) (api.BlobsAnswer, error) { return s.answer(id, ask), nil },
			TLS: func(string) *tls.Config { return &tls.Config{InsecureSkipVerify: true} },
		}
	})
	var give http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		st.ServeBlob(w, r, parts[2], parts[3], api.BlobCaller{NodeID: r.RemoteAddr})
	})
	if between != nil {
		give = between(give)
	}
	srv := httptest.NewTLSServer(give)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = st.Run(ctx) })
	s.t.Cleanup(func() { cancel(); running.Wait(); srv.CloseClientConnections(); srv.Close() })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs[id] = strings.TrimPrefix(srv.URL, "https://")
	return st
}

func (s *street) answer(id string, ask api.BlobsAsk) api.BlobsAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out api.BlobsAnswer
	for _, h := range ask.Drop {
		if s.claims[h] == id {
			delete(s.claims, h)
		}
	}
	for _, w := range ask.Want {
		holder := s.claims[w.Hash]
		if holder == "" && w.Claim == api.ClaimNow || w.Over != 0 || holder == "" && len(s.addrs) == 1 {
			holder = id
			s.claims[w.Hash] = id
		}
		b := api.BlobStanding{Hash: w.Hash, Holder: holder, Mine: holder == id}
		if holder != "" {
			b.Claim = 1
		}
		for other, addr := range s.addrs {
			if other != id {
				b.Peers = append(b.Peers, api.BlobPeer{NodeID: other, Addr: addr, Whole: true})
			}
		}
		slices.SortFunc(b.Peers, func(x, _ api.BlobPeer) int { // the holder first
			if x.NodeID == holder {
				return -1
			}
			return 1
		})
		out.Blobs = append(out.Blobs, b)
	}
	return out
}

const large = 10 << 20

// A second node gets a large file from the first and not from the hub, and says so in its progress.
func TestPeers_fromTheFirstNode(t *testing.T) {
	files := map[string][]byte{"m.gguf": ggufFile(large, 1)}
	h := hub.Start(t, one("m.gguf", files["m.gguf"]))
	s := newStreet(t)
	mustFetch(t, s.house("a", h, nil), llama(), files)
	h.Forget()
	var last Progress
	if _, err := s.house("b", h, nil).Fetch(t.Context(), llama(), func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if h.Sent() != 0 || last.PeerBytes != uint64(len(files["m.gguf"])) || last.NetworkBytes != 0 {
		t.Errorf("the hub sent %d bytes; progress %+v", h.Sent(), last)
	}
}

// A node reads what another one is still fetching, and the hub sends it once.
func TestPeers_whileItComes(t *testing.T) {
	files := map[string][]byte{"m.gguf": ggufFile(24<<20, 2)}
	h := hub.Start(t, one("m.gguf", files["m.gguf"]))
	h.Break(hub.Faults{AllBytesPerSecond: 12 << 20})
	s := newStreet(t)
	stores := []*Store{s.house("a", h, nil), s.house("b", h, nil), s.house("c", h, nil)}
	var all sync.WaitGroup
	for _, st := range stores {
		all.Go(func() {
			if _, err := st.Fetch(t.Context(), llama(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if size := int64(len(files["m.gguf"])); h.Sent() > size+size/100 {
		t.Errorf("the hub sent %d bytes of a file of %d", h.Sent(), size)
	}
	for _, st := range stores {
		mustFetch(t, st, llama(), files)
	}
}

// Whatever a neighbour does, the file is right in the end, and nothing wrong is ever under its name.
func TestPeers_badNeighbours(t *testing.T) {
	for name, between := range map[string]func(http.Handler) http.Handler{
		"sends wrong bytes": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(spoiler{w}, r) })
		},
		"sends other bytes than those asked for": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					r.Header.Set("Range", "bytes=1-4096")
				}
				next.ServeHTTP(w, r)
			})
		},
		"says nothing": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		},
		"stops after a while": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&silent{w, r.Context(), 1 << 20}, r) })
		},
		"breaks off": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(&silent{w, canceled(r.Context()), 1 << 20}, r)
			})
		},
		"has no more idea of it": func(http.Handler) http.Handler { return http.NotFoundHandler() },
		"is out of order": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{"m.gguf": ggufFile(large, 3)}
			h := hub.Start(t, one("m.gguf", files["m.gguf"]))
			s := newStreet(t)
			mustFetch(t, s.house("a", h, between), llama(), files)
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			b := s.house("b", h, nil)
			if _, err := b.Fetch(ctx, llama(), nil); err != nil {
				t.Fatal(err)
			}
			mustFetch(t, b, llama(), files)
			if size := int64(len(files["m.gguf"])); h.Sent() > 2*size+size/50 {
				t.Errorf("the hub sent %d bytes, the file has %d", h.Sent(), size)
			}
		})
	}
}

// spoiler flips a bit of every piece.
type spoiler struct{ http.ResponseWriter }

func (s spoiler) Write(p []byte) (int, error) {
	b := slices.Clone(p)
	b[len(b)/2] ^= 1
	return s.ResponseWriter.Write(b)
}

func (s spoiler) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// silent sends some bytes and then nothing until its context ends; then it breaks the connection.
type silent struct {
	http.ResponseWriter
	ctx  context.Context
	left int
}

func (s *silent) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		<-s.ctx.Done()
		panic(http.ErrAbortHandler)
	}
	return s.ResponseWriter.Write(p)
}

func (s *silent) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func canceled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// Only what Nebula itself has verified is given, and only as it was then.
func TestServeBlob_onlyWhatWasVerified(t *testing.T) {
	content := ggufFile(large, 4)
	h := hub.Start(t, one("m.gguf", content))
	s := newStreet(t)
	a := s.house("a", h, nil)
	mustFetch(t, a, llama(), map[string][]byte{"m.gguf": content})
	ask := func(hex string) int {
		w := httptest.NewRecorder()
		a.ServeBlob(w, httptest.NewRequestWithContext(t.Context(), "HEAD", "/", nil), "sha256", hex, api.BlobCaller{NodeID: "b"})
		return w.Code
	}
	hex := fmt.Sprintf("%x", sha256.Sum256(content))
	if got := ask(hex); got != 200 {
		t.Errorf("a verified file: %d", got)
	}
	blobs := filepath.Join(a.cfg.CacheDir, "hub", "models--org--model", "blobs")
	for name, plant := range map[string]func(string) error{
		"put there by somebody": func(p string) error { return os.WriteFile(p, content, 0o644) },
		"a link":                func(p string) error { return os.Symlink("/etc/passwd", p) },
		"a folder":              func(p string) error { return os.Mkdir(p, 0o755) },
	} {
		hex := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
		if err := plant(filepath.Join(blobs, hex)); err != nil {
			t.Fatal(err)
		}
		if got := ask(hex); got != 404 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := ask("../refs/main"); got != 404 {
		t.Errorf("a path for a hash: %d", got)
	}
	if err := os.Chtimes(filepath.Join(blobs, hex), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := ask(hex); got != 404 {
		t.Errorf("a file that was changed since: %d", got)
	}
}
