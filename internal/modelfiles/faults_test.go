package modelfiles

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	wire "github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/test/hub"
)

const big = 300_000 // long enough for several reads, short enough for many tests

// TestFetch_survives: faults that pass cost time and nothing else. Each row says how many bytes of content the hub may
// send for a file of `big` bytes.
func TestFetch_survives(t *testing.T) {
	cases := []struct {
		name   string
		faults hub.Faults
		most   float64 // times the size
	}{
		{"nothing", hub.Faults{}, 1},
		{"cut once", hub.Faults{Cut: 1, CutAt: 100_000}, 1.3},
		{"cut again and again", hub.Faults{Cut: hub.Always, CutAt: 40_000}, 2}, // what was on the wire when it broke is lost
		{"cut before the first byte", hub.Faults{Cut: 3}, 1},
		{"every second request is 500", hub.Faults{Fail: hub.Always, FailEvery: 2, FailStatus: 500}, 1},
		{"502", hub.Faults{Fail: 4, FailStatus: 502}, 1},
		{"503", hub.Faults{Fail: 4, FailStatus: 503}, 1},
		{"504", hub.Faults{Fail: 4, FailStatus: 504}, 1},
		{"408", hub.Faults{Fail: 4, FailStatus: 408}, 1},
		{"the listing fails", hub.Faults{Fail: 3, FailPath: "/tree/"}, 1},
		{"a stall", hub.Faults{Stall: 2, StallAt: 50_000}, 1.7},
		{"a stall before the first byte", hub.Faults{Stall: 2}, 1},
		{"one flipped byte", hub.Faults{Flip: 1, FlipAt: 200_000}, 2},
		{"the range is ignored after a cut", hub.Faults{Cut: 1, CutAt: 100_000, IgnoreRange: 1}, 2.5},
		{"a body one byte short", hub.Faults{ShortBy: 2}, 3},
		{"a body too long", hub.Faults{LongBy: 2}, 3},
		{"a wrong Content-Range after a cut", hub.Faults{Cut: 1, CutAt: 100_000, ContentRange: 1}, 2},
		{"another total after a cut", hub.Faults{Cut: 1, CutAt: 100_000, Total: 1}, 2},
		{"416 after a cut", hub.Faults{Cut: 1, CutAt: 100_000, Range416: 1}, 1.3},
		{"a compressed body", hub.Faults{Gzip: 2}, 3},
		{"signed addresses work once", hub.Faults{Expire: 1, Cut: 4, CutAt: 60_000}, 2},
		{"signed addresses never work at first", hub.Faults{Fail: 3, FailStatus: 403, FailPath: "/blob/"}, 1},
		{"a listed file that is there the second time", hub.Faults{Fail: 1, FailStatus: 404, FailCode: "EntryNotFound", FailPath: "/resolve/"}, 1},
		{"no Retry-After on a 429", hub.Faults{RateLimit: 2}, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{"a.gguf": ggufFile(big, 1)}
			h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
			h.Break(c.faults)
			mustFetch(t, newStore(t, h, stallsSoon(c.faults)), llama(), files)
			if sent := float64(h.Sent()); sent > c.most*float64(len(files["a.gguf"]))+1 {
				t.Errorf("the hub sent %.2f times the file", sent/float64(len(files["a.gguf"])))
			}
		})
	}
}

// stallsSoon lets only those tests give up a silent connection early that are about it.
func stallsSoon(f hub.Faults) func(*Config) {
	return func(c *Config) {
		if f.Stall != 0 {
			c.patience.Stall = 300 * time.Millisecond
		}
	}
}

// TestFetch_cutAnywhere breaks every connection at a byte drawn at random: the bytes are right and none of those that
// were here is fetched again.
func TestFetch_cutAnywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		files := map[string][]byte{"a.gguf": ggufFile(200_000, r.Uint64())}
		h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
		h.Break(hub.Faults{Cut: 3, CutAt: r.Int64N(200_000), BytesPerSecond: 20_000_000})
		mustFetch(t, newStore(t, h), llama(), files)
		for _, q := range h.Requests() {
			if q.Range != "" && strings.HasPrefix(q.Range, "bytes=0-") {
				t.Errorf("asked for %s again", q.Range)
			}
		}
		h.Close()
	}
}

// TestFetch_givesUp: faults that stay end in one sentence, with the right code, and publish nothing.
func TestFetch_givesUp(t *testing.T) {
	content := ggufFile(big, 1)
	plain := one("a.gguf", content)
	gated, private, disabled := plain, plain, plain
	gated.Gated, private.Private, disabled.Disabled = true, true, true
	gated.Allow, private.Allow = []string{"friend"}, []string{"friend"}
	hostile := plain
	hostile.Listed = []hub.Listed{{Path: "../../evil.gguf", Size: 3}}
	junk := one("a.gguf", []byte(strings.Repeat("junk", 1000)))
	short := one("a.gguf", content[:len(content)-1])
	cases := []struct {
		name   string
		repo   hub.Repo
		faults hub.Faults
		token  string
		req    Request
		code   api.FailureCode
		reason fail.Reason
		final  bool
		says   string
		most   int // requests
	}{
		{"missing", hub.Repo{ID: "other/repo"}, hub.Faults{}, "", llama(), api.FailHub, fail.NotFound, true, "no token", 1},
		{"private without a token", private, hub.Faults{}, "", llama(), api.FailHub, fail.NotFound, true, "no token", 1},
		{"private with a stranger's token", private, hub.Faults{}, "stranger", llama(), api.FailHub, fail.NotFound, true, "no access", 1},
		{"gated without a token", gated, hub.Faults{}, "", llama(), api.FailHubAuth, fail.Gated, true, "ask for access", 3},
		{"gated with a stranger's token", gated, hub.Faults{}, "stranger", llama(), api.FailHubAuth, fail.Gated, true, "ask for access", 3},
		{"a bad token", plain, hub.Faults{}, "expired", llama(), api.FailHubAuth, fail.BadToken, true, "mistyped, expired or revoked", 1},
		{"disabled", disabled, hub.Faults{}, "", llama(), api.FailHub, fail.Disabled, true, "disabled", 1},
		{"no such revision", plain, hub.Faults{}, "", revision("nope"), api.FailHub, fail.NoRevision, true, "branches", 1},
		{"a hostile name", hostile, hub.Faults{}, "", llama(), api.FailInvalidModel, fail.UnsafeName, true, "../../evil.gguf", 2},
		{"listed but gone", plain, hub.Faults{Gone: []string{"a.gguf"}}, "", llama(), api.FailHub, fail.Inconsistent, true, "does not have", 5},
		{"another commit", plain, hub.Faults{OtherCommit: true}, "", llama(), api.FailHub, fail.Inconsistent, true, "does not have", 7},
		{"another file", plain, hub.Faults{OtherETag: true}, "", llama(), api.FailHub, fail.Inconsistent, true, "does not have", 7},
		{"always out of order", plain, hub.Faults{Fail: hub.Always}, "", llama(), api.FailHub, fail.Server, false, "6 times in a row", 6},
		{"always too many requests", plain, hub.Faults{RateLimit: hub.Always}, "", llama(), api.FailHub, fail.RateLimited, false, "limits the number", 6},
		{"always damaged", plain, hub.Faults{Flip: hub.Always, FlipAt: 9}, "", llama(), api.FailDownload, fail.Corrupt, true, "damaged twice", 5},
		{"always short", plain, hub.Faults{ShortBy: hub.Always}, "", llama(), api.FailDownload, fail.BadServer, false, "bytes instead of", 14},
		{"always compressed", plain, hub.Faults{Gzip: hub.Always}, "", llama(), api.FailDownload, fail.BadServer, false, "compressed", 14},
		{"redirects in circles", plain, hub.Faults{Redirect: hub.Always, RedirectTo: "/org/model/resolve/main/a.gguf"}, "", llama(), api.FailHub, fail.Redirect, true, "circles", 8},
		{"redirects to another scheme", plain, hub.Faults{Redirect: 1, RedirectTo: "file:///etc/passwd"}, "", llama(), api.FailHub, fail.Redirect, true, "not encrypted", 3},
		{"a listing without an end", plain, hub.Faults{PageSize: 1, EndlessNext: true}, "", llama(), api.FailHub, fail.BadServer, true, "never ends", 4},
		{"a listing of everything", plain, hub.Faults{HugeListing: true}, "", llama(), api.FailHub, fail.TooLarge, true, "more than 5000 files", 3},
		{"a listing that is none", plain, hub.Faults{BadListing: true}, "", llama(), api.FailHub, fail.BadServer, false, "not what a hub says", 7},
		{"the listing goes on elsewhere", plain, hub.Faults{PageSize: 1, EndlessNext: true, NextHost: "http://evil.example"}, "", llama(), api.FailHub, fail.Redirect, true, "evil.example", 2},
		{"not GGUF", junk, hub.Faults{}, "", llama(), api.FailNotGGUF, fail.NotGGUF, true, "does not begin with GGUF", 4},
		{"GGUF cut before it was uploaded", short, hub.Faults{}, "", llama(), api.FailModelTruncated, fail.Truncated, true, "incomplete", 4},
		{"nothing for this engine", plain, hub.Faults{}, "", vllm(), api.FailInvalidModel, fail.NoWeights, true, "llamacpp", 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, c.repo)
			h.AddToken("stranger")
			h.Break(c.faults)
			s := newStore(t, h, stallsSoon(c.faults), func(cfg *Config) { cfg.Token, cfg.maxEntries = c.token, 5000 })
			var last Progress
			_, err := s.Fetch(t.Context(), c.req, func(p Progress) { last = p })
			e, ok := fail.As(err)
			if !ok {
				t.Fatalf("no *fail.Error: %v", err)
			}
			if e.Code != c.code || e.Reason != c.reason || e.Final != c.final || !strings.Contains(e.Message, c.says) {
				t.Errorf("got %s %s final=%t: %s", e.Code, e.Reason, e.Final, e.Message)
			}
			if last.Phase != api.PhaseFailed {
				t.Errorf("the last phase is %q", last.Phase)
			}
			if c.token != "" && strings.Contains(fmt.Sprintf("%v %+v", err, e.Err), c.token) && c.token != "expired" {
				t.Errorf("the token is in the error: %v", err)
			}
			if n := len(h.Requests()); n > c.most {
				t.Errorf("%d requests, at most %d are needed to know", n, c.most)
			}
			if c.reason != fail.NotGGUF && c.reason != fail.Truncated { // those are verified, but of no use
				unpublished(t, s)
			}
		})
	}
}

// TestFetch_bears: faults that may pass never end a transfer. People see the sentence meanwhile, and when the fault is
// over the file comes.
func TestFetch_bears(t *testing.T) {
	for name, c := range map[string]struct {
		faults hub.Faults
		says   string
	}{
		"cut at once":                 {hub.Faults{Cut: hub.Always}, "connection"},
		"stalled":                     {hub.Faults{Stall: hub.Always}, "sent nothing"},
		"out of order":                {hub.Faults{Fail: hub.Always, FailPath: "/blob/"}, "503"},
		"signed addresses never work": {hub.Faults{Fail: hub.Always, FailStatus: 403, FailPath: "/blob/"}, "refuses the address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, one("a.gguf", ggufFile(big, 1)))
			h.Break(c.faults)
			var last Progress
			_, err := newStore(t, h, stallsSoon(c.faults)).Fetch(t.Context(), llama(), func(p Progress) {
				if last = p; p.Retries > 8 && strings.Contains(p.LastError, c.says) {
					h.Break(hub.Faults{})
				}
			})
			if err != nil {
				t.Error(err)
			}
			if last.LastError != "" || last.Retries < 8 {
				t.Errorf("at the end %d retries and %q", last.Retries, last.LastError)
			}
		})
	}
}

func revision(rev string) Request {
	r := llama()
	r.Spec.Revision = rev
	return r
}

// TestFetch_badRequests are refused at the door, without a request.
func TestFetch_badRequests(t *testing.T) {
	h := hub.Start(t)
	s := newStore(t, h)
	for _, name := range []string{"", "..", "../x", "a/b/c", "a//b", "/a", "a/..", "a--b", "x.git", "a b/c", "a/b\x00", "-x/y", "a/" + strings.Repeat("b", 97)} {
		req := llama()
		req.Spec.ModelName = name
		_, err := s.Fetch(t.Context(), req, nil)
		if !fail.Has(err, fail.UnsafeName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, rev := range []string{"..", "a/../b", "/a", "a\x00", `a\b`, strings.Repeat("a", 300)} {
		if _, err := s.Fetch(t.Context(), revision(rev), nil); !fail.Has(err, fail.UnsafeName) {
			t.Errorf("revision %q: %v", rev, err)
		}
	}
	for _, root := range []string{"relative", "/a/../b", "/a\x00b", "x.gguf"} {
		req := llama()
		req.Spec.ModelPath = root
		if _, err := s.Fetch(t.Context(), req, nil); !fail.Has(err, fail.UnsafeName) {
			t.Errorf("cache root %q: %v", root, err)
		}
	}
	req := llama()
	req.Spec.ModelSource = "s3"
	_, err := s.Fetch(t.Context(), req, nil)
	if e, ok := fail.As(err); !ok || e.Code != api.FailUnsupportedModel || !e.Final || !strings.Contains(e.Message, "huggingface") {
		t.Errorf("s3: %v", err)
	}
	req.Spec.ModelSource, req.Spec.ModelName = api.SourceModelScope, "noowner"
	if _, err := s.Fetch(t.Context(), req, nil); !fail.Has(err, fail.UnsafeName) {
		t.Errorf("modelscope without an owner: %v", err)
	}
	req = llama()
	req.Token = "two words"
	if _, err := s.Fetch(t.Context(), req, nil); !fail.Has(err, fail.BadToken) || strings.Contains(err.Error(), "two words") {
		t.Errorf("a token that is none: %v", err)
	}
	if n := len(h.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestNew_refuses(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{CacheDir: "relative"},
		{CacheDir: "/a/../b"},
		{CacheDir: "/a", Endpoint: "ftp://x"},
		{CacheDir: "/a", Endpoint: "huggingface.co"},
		{CacheDir: "/a", Endpoint: "https://user:password@x"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// TestFetch_tokenStaysHome: another port of the same host is another server, also after the chain came back.
func TestFetch_tokenStaysHome(t *testing.T) {
	var h *hub.Hub
	seen := make(chan string, 9)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization") + r.Header.Get("Cookie")
		http.Redirect(w, r, h.URL+"/org/model/resolve/main/a.gguf", http.StatusFound)
	}))
	defer other.Close()
	repo := one("a.gguf", ggufFile(100, 1))
	repo.Allow = []string{"secret"}
	h = hub.Start(t, repo)
	h.Break(hub.Faults{Redirect: 1, RedirectTo: strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/x"})
	mustFetch(t, newStore(t, h, func(c *Config) { c.Token = "secret" }), llama(), repo.Files)
	if got := <-seen; got != "" {
		t.Errorf("the other server got %q", got)
	}
	back := false
	for _, r := range h.Requests() {
		if strings.HasPrefix(r.Path, "/org/model/resolve/main") {
			back = true
			if r.Authorization != "" {
				t.Error("the token was sent again in a chain that had left the hub")
			}
		}
	}
	if !back {
		t.Fatal("the chain did not come back")
	}
}

// TestFetch_secure: HTTP/1.1 also where a server speaks HTTP/2, and never from https to http.
func TestFetch_secure(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
	back, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	protos := make(chan int, 99)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protos <- r.ProtoMajor
		if strings.HasPrefix(r.URL.Path, "/api/") {
			r.URL.Scheme, r.URL.Host, r.RequestURI = back.Scheme, back.Host, ""
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			_ = resp.Write(discardHeader{w})
			return
		}
		http.Redirect(w, r, h.URL+r.URL.Path, http.StatusFound)
	}))
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	rt := wire.Transport(nil)
	rt.TLSClientConfig = front.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	rt.TLSClientConfig.NextProtos = nil
	s := newStore(t, h, func(c *Config) { c.Endpoint, c.Transport = front.URL, rt })
	defer rt.CloseIdleConnections()
	_, err = s.Fetch(t.Context(), llama(), nil)
	if !fail.Has(err, fail.Redirect) {
		t.Errorf("from https to http: %v", err)
	}
	close(protos)
	for p := range protos {
		if p != 1 {
			t.Errorf("spoke HTTP/%d", p)
		}
	}
}

// discardHeader passes on what follows the blank line of an answer written as it is on the wire.
type discardHeader struct{ w http.ResponseWriter }

// Write passes on the body.
func (d discardHeader) Write(p []byte) (int, error) {
	if s := string(p); strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		if _, err := d.w.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestFetch_rateLimit: the whole bucket waits as long as the hub says, in each way of saying it.
func TestFetch_rateLimit(t *testing.T) {
	const grace = 50 * time.Millisecond
	for name, f := range map[string]hub.Faults{
		"seconds":   {RetryAfter: "1"},
		"RateLimit": {RateLimitHeader: `"resolvers";r=0;t=0`},
		"date":      {RetryAfter: time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
			f.RateLimit = 1
			h.Break(f)
			mustFetch(t, newStore(t, h), llama(), map[string][]byte{"a.gguf": ggufFile(100, 1)})
			at := h.Requests()
			if at[0].Status != 429 {
				t.Fatalf("the first request got %d", at[0].Status)
			}
			want := time.Second
			if name == "date" {
				until, _ := http.ParseTime(f.RetryAfter)
				want = until.Sub(at[0].At)
			}
			if waited := at[1].At.Sub(at[0].At); waited < want-grace {
				t.Errorf("asked again after %s, told to wait %s", waited, want)
			}
		})
	}
}

// TestFetch_hubComesBack: refused connections are waited out.
func TestFetch_hubComesBack(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(100, 1)}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	down := 3
	rt := wire.Transport(nil)
	defer rt.CloseIdleConnections()
	s := newStore(t, h, func(c *Config) {
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if down--; down >= 0 {
				return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
			}
			return rt.RoundTrip(r)
		})
	})
	mustFetch(t, s, llama(), files)
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFetch_offline(t *testing.T) {
	h := hub.Start(t, one("a.gguf", ggufFile(100, 1)))
	s := newStore(t, h, func(c *Config) { c.Offline = true })
	_, err := s.Fetch(t.Context(), llama(), nil)
	if e, ok := fail.As(err); !ok || e.Final || !strings.Contains(e.Message, "offline") || len(h.Requests()) != 0 {
		t.Errorf("%v, %d requests", err, len(h.Requests()))
	}
}

// TestFetch_mirror: a mirror may hand out the hub's own addresses for the next page.
func TestFetch_mirror(t *testing.T) {
	files := map[string][]byte{"a.gguf": ggufFile(100, 1), "b.md": []byte("x"), "c.md": []byte("y")}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{PageSize: 1, NextHost: wire.Default})
	mustFetch(t, newStore(t, h), llama("*"), files)
}

// TestFetch_cancelIsQuick: whatever the fetch is doing, it ends when the caller does.
func TestFetch_cancelIsQuick(t *testing.T) {
	for name, f := range map[string]hub.Faults{
		"waiting for a 429": {RateLimit: 1, RetryAfter: "3600"},
		"in a stall":        {Stall: hub.Always, StallAt: 10},
		"in a slow body":    {BytesPerSecond: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, one("a.gguf", ggufFile(big, 1)))
			h.Break(f)
			s := newStore(t, h, func(c *Config) { c.patience.Stall = time.Hour })
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := s.Fetch(ctx, llama(), nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}
