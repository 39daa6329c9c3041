package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	fake "github.com/nebula-serve/nebula/test/hub"
)

var both = []api.ModelSource{api.SourceHuggingFace, api.SourceModelScope}

// client is a client of a hub for tests; nothing in them depends on how long its patience is, only on its being short.
func client(t *testing.T, h *fake.Hub, source api.ModelSource, change ...func(*Config)) *Client {
	t.Helper()
	rt := Transport(nil)
	t.Cleanup(rt.CloseIdleConnections)
	cfg := Config{
		Source: source, Endpoint: h.URL, Transport: rt,
		Patience: Patience{FirstDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond, Tries: 3, Stall: 20 * time.Second, MaxPark: time.Minute},
	}
	if source == api.SourceModelScope {
		cfg.Endpoint = h.ScopeURL
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// listed resolves and lists a repository.
func listed(t *testing.T, c *Client, name string) (Repo, Pin, []manifest.Entry) {
	t.Helper()
	r := c.Repo(name)
	p, err := r.Resolve(t.Context(), c.DefaultRevision())
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.List(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r, p, all
}

func source(t *testing.T, c *Client, name string) *Source {
	t.Helper()
	r, p, all := listed(t, c, "org/model")
	i := slices.IndexFunc(all, func(e manifest.Entry) bool { return e.Path == name })
	if i < 0 {
		t.Fatalf("%s is not listed: %v", name, all)
	}
	return r.Source(p, all[i])
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 5)
	}
	return b
}

func repo(files map[string][]byte) fake.Repo { return fake.Repo{ID: "org/model", Files: files} }

// read opens a range and returns what comes.
func read(ctx context.Context, s *Source, from, to int64) ([]byte, error) {
	body, end, err := s.Open(ctx, from, to)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err == nil && end != to {
		err = fmt.Errorf("ends at %d", end)
	}
	return b, err
}

const ranges, rangeSize = 24, 1000

// readAll reads a file in many ranges at once.
func readAll(t *testing.T, s *Source, want []byte) {
	t.Helper()
	var all sync.WaitGroup
	for i := range int64(ranges) {
		all.Go(func() {
			from, to := i*rangeSize, (i+1)*rangeSize
			if b, err := read(t.Context(), s, from, to); err != nil || !bytes.Equal(b, want[from:to]) {
				t.Errorf("bytes %d-%d: %d bytes, %v", from, to, len(b), err)
			}
		})
	}
	all.Wait()
}

func asked(h *fake.Hub, part string) int {
	n := 0
	for _, r := range h.Requests() {
		if strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// TestSource_sharesTheAddress: many ranges of a file ask the hub once where it is.
func TestSource_sharesTheAddress(t *testing.T) {
	files := map[string][]byte{"a.gguf": content(ranges * rangeSize)}
	for _, kind := range both {
		t.Run(string(kind), func(t *testing.T) {
			h := fake.Start(t, repo(files))
			s := source(t, client(t, h, kind), "a.gguf")
			h.Forget()
			h.Break(fake.Faults{Latency: 5 * time.Millisecond})
			readAll(t, s, files["a.gguf"])
			if hub, cdn := asked(h, "/resolve/")+asked(h, "/repo"), asked(h, "/blob/"); hub != 1 || cdn != ranges {
				t.Errorf("%d requests to the hub, %d to the CDN", hub, cdn)
			}
		})
	}
}

// TestSource_renewsTogether: an address that stops working is renewed once for all who use it.
func TestSource_renewsTogether(t *testing.T) {
	files := map[string][]byte{"a.gguf": content(ranges * rangeSize)}
	h := fake.Start(t, repo(files))
	s := source(t, client(t, h, api.SourceHuggingFace), "a.gguf")
	if _, err := read(t.Context(), s, 0, 10); err != nil {
		t.Fatal(err)
	}
	s.at.at.RawQuery = "Signature=none" // as if it had expired
	h.Forget()
	h.Break(fake.Faults{Latency: 5 * time.Millisecond})
	readAll(t, s, files["a.gguf"])
	if n := asked(h, "/resolve/"); n != 1 {
		t.Errorf("asked the hub %d times", n)
	}
	h.Forget()
	h.Break(fake.Faults{Expire: 1}) // each is good for one request only
	readAll(t, s, files["a.gguf"])
	if n := asked(h, "/resolve/"); n > ranges+2*maxRefused {
		t.Errorf("asked the hub %d times for %d ranges", n, ranges)
	}
	if n := asked(h, "/blob/"); n > 3*ranges {
		t.Errorf("asked the CDN %d times for %d ranges", n, ranges)
	}
}

// TestSource_failsTogether: those who wait for an answer of the hub do not each ask a hub that does not answer.
func TestSource_failsTogether(t *testing.T) {
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": content(ranges * rangeSize)}))
	s := source(t, client(t, h, api.SourceHuggingFace), "a.gguf")
	h.Forget()
	h.Break(fake.Faults{Latency: 50 * time.Millisecond, Fail: fake.Always})
	var all sync.WaitGroup
	for i := range int64(ranges) {
		all.Go(func() {
			if _, err := read(t.Context(), s, i, i+1); !fail.Has(err, fail.Server) {
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	if n := len(h.Requests()); n > ranges/2 {
		t.Errorf("%d requests for %d who wait", n, ranges)
	}
}

// TestSource_cancelledAlone: who gives up takes nobody along.
func TestSource_cancelledAlone(t *testing.T) {
	want := content(100)
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": want}))
	s := source(t, client(t, h, api.SourceHuggingFace), "a.gguf")
	h.Break(fake.Faults{Latency: 30 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := read(ctx, s, 0, 10)
		first <- err
	}()
	for h.Open() == 0 && asked(h, "/resolve/") == 0 {
		time.Sleep(time.Millisecond)
	}
	second := make(chan error)
	go func() {
		b, err := read(t.Context(), s, 50, 60)
		if err == nil && !bytes.Equal(b, want[50:60]) {
			err = errors.New("other bytes")
		}
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

// TestSource_refuses: what a server says about a range that it must not be believed in, on both hubs.
func TestSource_refuses(t *testing.T) {
	const huge = 400_000_000_000
	cases := []struct {
		name     string
		faults   fake.Faults
		from, to int64
		reason   fail.Reason
		final    bool
	}{
		{"200 for a range", fake.Faults{IgnoreRange: 1}, 100, 200, fail.RangeIgnored, false},
		{"another place", fake.Faults{ContentRange: 1}, 100, 200, fail.BadServer, false},
		{"compressed", fake.Faults{Gzip: 1}, 100, 200, fail.BadServer, false},
		{"one byte less", fake.Faults{ShortBy: 1}, 100, 200, fail.BadServer, false},
		{"more bytes", fake.Faults{LongBy: 1}, 100, 200, fail.BadServer, false},
		{"416", fake.Faults{Range416: 1}, 100, 200, fail.BadServer, false},
		{"cut", fake.Faults{Cut: 1, CutAt: 50}, 100, 200, fail.Network, false},
		{"429", fake.Faults{RateLimit: 1, RetryAfter: "0"}, 100, 200, fail.RateLimited, false},
		{"from https to nowhere", fake.Faults{Redirect: 1, RedirectTo: "ftp://x/y"}, 100, 200, fail.Redirect, true},
		{"a circle", fake.Faults{Redirect: fake.Always, RedirectTo: "SELF"}, 100, 200, fail.Redirect, true},
		{"to nowhere", fake.Faults{Redirect: 1}, 100, 200, fail.BadServer, false},
		{"too large for the bridge", fake.Faults{BridgeLimit: 300_000_000_000}, huge - 10, huge, fail.XetRequired, true},
	}
	for _, kind := range both {
		for _, c := range cases {
			t.Run(string(kind)+"/"+c.name, func(t *testing.T) {
				h := fake.Start(t, fake.Repo{
					ID: "org/model", Files: map[string][]byte{"a.gguf": content(1000)},
					Big: map[string]fake.Big{"huge.gguf": {Size: huge, SHA256: strings.Repeat("ab", 32)}},
				})
				name := "a.gguf"
				if c.from > 1000 {
					name = "huge.gguf"
				}
				s := source(t, client(t, h, kind), name)
				if c.faults.RedirectTo == "SELF" {
					c.faults.RedirectTo = s.file
				}
				h.Break(c.faults)
				_, err := read(t.Context(), s, c.from, c.to)
				e, ok := fail.As(err)
				if !ok || e.Reason != c.reason || e.Final != c.final {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestSource_wholeFile: from the start on a server that ignores ranges is good enough.
func TestSource_wholeFile(t *testing.T) {
	want := content(1000)
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": want, "b.json": want}))
	h.Break(fake.Faults{IgnoreRange: fake.Always})
	for _, name := range []string{"a.gguf", "b.json"} {
		s := source(t, client(t, h, api.SourceHuggingFace), name)
		for _, to := range []int64{10, 1000} {
			if b, err := read(t.Context(), s, 0, to); err != nil || !bytes.Equal(b, want[:to]) {
				t.Errorf("%s to %d: %d bytes, %v", name, to, len(b), err)
			}
		}
	}
}

// TestSource_otherLength: when the server has a file of another length, the listing is not about it.
func TestSource_otherLength(t *testing.T) {
	for _, kind := range both {
		h := fake.Start(t, repo(map[string][]byte{"a.gguf": content(1000)}))
		s := source(t, client(t, h, kind), "a.gguf")
		s.entry.Size = 5000
		if _, err := read(t.Context(), s, 4000, 4100); !fail.Has(err, fail.NoEntry) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestClient_parksAll: a hub that asks for patience is asked nothing of that kind, also with another token.
func TestClient_parksAll(t *testing.T) {
	for _, kind := range both {
		t.Run(string(kind), func(t *testing.T) {
			h := fake.Start(t, repo(map[string][]byte{"a.gguf": content(10)}))
			for _, token := range []string{"a", "b"} {
				h.AddToken(token)
			}
			node := client(t, h, kind)
			h.Break(fake.Faults{RateLimit: 1, RetryAfter: "3600"})
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			ask := func(c *Client) {
				all.Go(func() {
					if _, err := c.Repo("org/model").Resolve(ctx, c.DefaultRevision()); !errors.Is(err, context.Canceled) {
						t.Errorf("%v", err)
					}
				})
			}
			ask(node.As("a"))
			for len(h.Requests()) == 0 || h.Requests()[0].Status == 0 {
				time.Sleep(time.Millisecond)
			}
			for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
				node.parked.mu.Lock()
				n := len(node.parked.until)
				node.parked.mu.Unlock()
				if n > 0 {
					break
				}
			}
			ask(node.As("b"))
			ask(node)
			time.AfterFunc(50*time.Millisecond, cancel)
			all.Wait()
			if n := len(h.Requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestClient_tokens: a token goes to the hub alone, whatever the hub redirects to, and none is written anywhere.
func TestClient_tokens(t *testing.T) {
	for _, kind := range both {
		t.Run(string(kind), func(t *testing.T) {
			var seen []string
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header.Get("Authorization")+r.Header.Get("Cookie"))
				w.WriteHeader(http.StatusTeapot)
			}))
			defer other.Close()
			h := fake.Start(t, fake.Repo{ID: "org/model", Files: map[string][]byte{"a.gguf": content(10)}, Private: true, Allow: []string{"secret"}})
			s := source(t, client(t, h, kind).As("secret"), "a.gguf")
			for _, to := range []string{other.URL + "/x", strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/x", other.URL + "/resolve/y"} {
				h.Break(fake.Faults{Redirect: 1, RedirectTo: to})
				if _, err := read(t.Context(), s, 0, 10); err == nil || strings.Contains(fmt.Sprintf("%+v", err), "secret") {
					t.Errorf("%s: %v", to, err)
				}
				s.at = nil
			}
			if strings.Join(seen, "") != "" || len(seen) != 3 {
				t.Errorf("the other server saw %q", seen)
			}
			for _, r := range h.Requests() {
				if home := "http://"+r.Host != h.CDNURL; home != (r.Authorization == "Bearer secret") || (kind == api.SourceModelScope && home) != (r.Cookie == "m_session_id=secret") {
					t.Errorf("%s %s saw %q and cookie %q", r.Host, r.Path, r.Authorization, r.Cookie)
				}
				if r.AcceptEncoding != "identity" {
					t.Errorf("%s: Accept-Encoding %q", r.Path, r.AcceptEncoding)
				}
			}
		})
	}
}

// TestClient_mirror: a mirror may have a folder of its own, pass on the hub's paths and the hub's own addresses, and rename.
func TestClient_mirror(t *testing.T) {
	files := map[string][]byte{"a.gguf": content(500), "b.json": []byte("{}"), "c.json": []byte("[]")}
	h := fake.Start(t, repo(files))
	h.AddToken("secret")
	back, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	mirror := httptest.NewServer(http.StripPrefix("/hf", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(back) }}))
	defer mirror.Close()
	for _, host := range []string{"", Default} {
		h.Break(fake.Faults{PageSize: 1, NextHost: host})
		if host == "" {
			h.Break(fake.Faults{PageSize: 1, NextHost: mirror.URL})
		}
		c := client(t, h, api.SourceHuggingFace, func(cfg *Config) { cfg.Endpoint, cfg.Token = mirror.URL+"/hf/", "secret" })
		r, p, all := listed(t, c, "org/model")
		if len(all) != len(files) {
			t.Fatalf("%d files of %d: %v", len(all), len(files), all)
		}
		for _, e := range all {
			if b, err := read(t.Context(), r.Source(p, e), 0, e.Size); err != nil || !bytes.Equal(b, files[e.Path]) {
				t.Errorf("%s: %d bytes, %v", e.Path, len(b), err)
			}
		}
	}
}

func TestClient_renamed(t *testing.T) {
	files := map[string][]byte{"a.gguf": content(500), "b.json": []byte("{}")}
	h := fake.Start(t, repo(files))
	h.Rename("org/model", "other/name")
	c := client(t, h, api.SourceHuggingFace)
	r, p, all := listed(t, c, "org/model")
	for _, e := range all {
		if b, err := read(t.Context(), r.Source(p, e), 0, e.Size); err != nil || !bytes.Equal(b, files[e.Path]) {
			t.Errorf("%s: %d bytes, %v", e.Path, len(b), err)
		}
	}
}

// TestScope_cutListing: a listing that may have been cut is not believed: the folders are listed one by one.
func TestScope_cutListing(t *testing.T) {
	files := map[string][]byte{"config.json": []byte("{}")}
	for i := range 2 * cutListing {
		files[fmt.Sprintf("%d/f-%d.json", i%3, i)] = nil
	}
	h := fake.Start(t, repo(files))
	_, _, all := listed(t, client(t, h, api.SourceModelScope), "org/model")
	if len(all) != len(files) {
		t.Errorf("%d files of %d", len(all), len(files))
	}
	for i := range cutListing {
		files[fmt.Sprintf("0/g-%d.json", i)] = nil
	}
	h.Push(repo(files))
	if _, err := client(t, h, api.SourceModelScope).Repo("org/model").Resolve(t.Context(), "master"); !fail.Has(err, fail.TooLarge) {
		t.Errorf("a folder that does not fit: %v", err)
	}
}

// TestScope_pin: the same files have the same name, others another.
func TestScope_pin(t *testing.T) {
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": content(10), ".gitattributes": []byte("x")}))
	c := client(t, h, api.SourceModelScope)
	_, first, _ := listed(t, c, "org/model")
	h.Push(repo(map[string][]byte{"a.gguf": content(10), ".gitattributes": []byte("y")}))
	r, second, _ := listed(t, c, "org/model")
	h.Push(repo(map[string][]byte{"a.gguf": content(11)}))
	_, third, _ := listed(t, c, "org/model")
	if first.Commit != second.Commit || second.Commit == third.Commit || !manifest.IsCommit(first.Commit) || !first.Moves {
		t.Errorf("%v %v %v", first, second, third)
	}
	if _, err := c.Repo("org/model").List(t.Context(), second); !fail.Has(err, fail.NoEntry) {
		t.Errorf("a listing of what is gone: %v", err)
	}
	if all, err := r.List(t.Context(), second); err != nil || len(all) != 1 {
		t.Errorf("the listing that is known: %v %v", all, err)
	}
}

func TestUsableUntil(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	hubsClock := now.Add(2 * time.Hour) // this machine is two hours late
	said := http.Header{"Date": {hubsClock.UTC().Format(http.TimeFormat)}}
	for query, want := range map[string]time.Duration{
		"":                          0,
		"Expires=x":                 0,
		"Expires=-5":                0,
		"Expires=1003600":           0, // in the past, by the hub's clock
		"Expires=1010800":           time.Hour - spare,
		"Expires=1007230":           0, // ends at once: used until it is refused
		"X-Amz-Expires=600":         10*time.Minute - spare,
		"x-oss-expires=600":         10*time.Minute - spare,
		"X-Amz-Expires=99999999999": 0,
	} {
		got := usableUntil(&url.URL{RawQuery: query}, said, now)
		if want == 0 && !got.IsZero() || want != 0 && !got.Equal(now.Add(want)) {
			t.Errorf("%s: %v", query, got)
		}
	}
}

// TestSource_boundAddress: an address that is signed for its range alone is not used for another.
func TestSource_boundAddress(t *testing.T) {
	want := content(ranges * rangeSize)
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": want}))
	s := source(t, client(t, h, api.SourceHuggingFace), "a.gguf")
	bound, err := url.Parse(h.CDNURL + "/blob?X-Xet-Signed-Range=bytes%3D0-9")
	if err != nil {
		t.Fatal(err)
	}
	s.settle(&place{at: bound}, nil)
	h.Forget()
	readAll(t, s, want)
	if n := asked(h, "/resolve/"); n != ranges {
		t.Errorf("asked the hub %d times for %d ranges", n, ranges)
	}
}

// TestSource_beforeItsEnd: an address is renewed before it ends, once.
func TestSource_beforeItsEnd(t *testing.T) {
	want := content(ranges * rangeSize)
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": want}))
	s := source(t, client(t, h, api.SourceHuggingFace), "a.gguf")
	if _, err := read(t.Context(), s, 0, 1); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(s.at.until); left < 58*time.Minute || left > 59*time.Minute {
		t.Errorf("usable for %s of an hour", left)
	}
	s.at.until = time.Now()
	h.Forget()
	readAll(t, s, want)
	if n := asked(h, "/resolve/"); n != 1 {
		t.Errorf("asked the hub %d times", n)
	}
}

// TestClient_proxy: requests go through the proxy that the environment names, and the answers are the same.
func TestClient_proxy(t *testing.T) {
	h := fake.Start(t, repo(map[string][]byte{"a.gguf": content(10)}))
	var through int
	forward := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through++
		forward.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	rt := Transport(http.ProxyURL(at))
	defer rt.CloseIdleConnections()
	s := source(t, client(t, h, api.SourceHuggingFace, func(c *Config) { c.Transport = rt }), "a.gguf")
	if b, err := read(t.Context(), s, 0, 10); err != nil || !bytes.Equal(b, content(10)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if through != len(h.Requests()) || through < 4 {
		t.Errorf("%d of %d requests went through the proxy", through, len(h.Requests()))
	}
}

// TestNew_refuses: what is no address of a hub; a password in it is not repeated.
func TestNew_refuses(t *testing.T) {
	for _, at := range []string{"", "hub", "ftp://hub", "https://", "https://me:hunter2@hub", "https://hub/?a=b", "https://hub/#x"} {
		if _, err := New(Config{Endpoint: at}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", at, err)
		}
	}
}
