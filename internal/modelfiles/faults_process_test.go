package modelfiles

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/test/hub"
)

// ranged is the size of a file that comes in ranges over several connections; one of [big] comes in one answer.
const ranged = 20 << 20

// perConnection lets a large file take long enough for several connections.
const perConnection = 12_000_000

// TestFaults is the table of faults with a process that downloads: what it must survive, how it must give up, and how many bytes that may cost.
// docs/faults-model-files.md says which row is about what.
func TestFaults(t *testing.T) {
	smallFile, largeFile := ggufFile(big, 1), ggufFile(ranged, 2)
	cut := func(times int) func(int64) hub.Faults {
		return func(size int64) hub.Faults { return hub.Faults{Cut: times, CutAt: 1 + rand.Int64N(size/8)} }
	}
	always := func(f hub.Faults) func(int64) hub.Faults { return func(int64) hub.Faults { return f } }
	for _, c := range []struct {
		name   string
		faults func(size int64) hub.Faults
		most   float64     // times the size that the hub may send
		waste  int         // answers that are thrown away for their headers: what of them is on the wire comes for nothing
		reason fail.Reason // of giving up; empty = it must come
		says   string
	}{
		{"nothing", always(hub.Faults{}), 1.02, 0, "", ""},
		{"cut once", cut(1), 1.02, 0, "", ""},
		{"cut ten times", cut(10), 1.02, 0, "", ""},
		{"every second request fails", always(hub.Faults{Fail: hub.Always, FailEvery: 2, FailStatus: 500}), 1, 0, "", ""},
		{"502", always(hub.Faults{Fail: 5, FailStatus: 502}), 1, 0, "", ""},
		{"504", always(hub.Faults{Fail: 5, FailStatus: 504}), 1, 0, "", ""},
		{"408", always(hub.Faults{Fail: 5, FailStatus: 408}), 1, 0, "", ""},
		{"503 for ever", always(hub.Faults{Fail: hub.Always}), 0, 0, fail.Server, "6 times in a row"},
		{"429", always(hub.Faults{RateLimit: 1, RetryAfter: "1"}), 1, 0, "", ""},
		{"stalls", func(n int64) hub.Faults { return hub.Faults{Stall: 2, StallAt: n / 9} }, 1.05, 0, "", ""},
		{"a drip", always(hub.Faults{Drip: 2, DripBytes: 1, DripEvery: 50 * time.Millisecond}), 1.02, 0, "", ""},
		{"a short body", always(hub.Faults{ShortBy: 2}), 1.02, 2, "", ""},
		{"a long body", always(hub.Faults{LongBy: 2}), 1.02, 2, "", ""},
		{"a compressed body", always(hub.Faults{Gzip: 2}), 1.02, 2, "", ""},
		{"compressed for ever", always(hub.Faults{Gzip: hub.Always}), 0, 8, fail.BadServer, "compressed"},
		{"another range", func(n int64) hub.Faults { return hub.Faults{Cut: 1, CutAt: n / 9, ContentRange: 2} }, 1.02, 2, "", ""},
		{"another total", func(n int64) hub.Faults { return hub.Faults{Cut: 1, CutAt: n / 9, Total: 2} }, 1.02, 2, "", ""},
		{"416", func(n int64) hub.Faults { return hub.Faults{Cut: 1, CutAt: n / 9, Range416: 2} }, 1.2, 0, "", ""},
		{"the range is ignored", func(n int64) hub.Faults { return hub.Faults{Cut: 1, CutAt: n / 2, IgnoreRange: hub.Always} }, 1.52, 1, "", ""},
		{"one flipped bit", func(n int64) hub.Faults { return hub.Faults{Flip: 1, FlipAt: rand.Int64N(n)} }, 2, 0, "", ""},
		{"the same bit for ever", func(n int64) hub.Faults { return hub.Faults{Flip: hub.Always, FlipAt: rand.Int64N(n)} }, 2, 0, fail.Corrupt, "damaged twice"},
		{"signed addresses end", func(n int64) hub.Faults { return hub.Faults{Expire: 2, Cut: 6, CutAt: n / 9} }, 1.02, 0, "", ""},
		{"a redirect in circles", always(hub.Faults{Redirect: hub.Always, RedirectTo: "/org/model/resolve/main/a.gguf"}), 0, 0, fail.Redirect, "circles"},
		{"a redirect to a file", always(hub.Faults{Redirect: hub.Always, RedirectTo: "file:///etc/passwd"}), 0, 0, fail.Redirect, "not encrypted"},
		{"a listing without an end", always(hub.Faults{PageSize: 1, EndlessNext: true}), 0, 0, fail.BadServer, "never ends"},
		{"a listing that is none", always(hub.Faults{BadListing: true}), 0, 0, fail.BadServer, "not what a hub says"},
	} {
		for size, content := range map[string][]byte{"small": smallFile, "large": largeFile} {
			t.Run(c.name+", "+size, func(t *testing.T) {
				t.Parallel()
				h := hub.Start(t, one("a.gguf", content))
				f := c.faults(int64(len(content)))
				if size == "large" && f.IgnoreRange == 0 { // slow on each connection, so that there are several
					f.BytesPerSecond = perConnection
				}
				h.Break(f)
				dir := t.TempDir()
				o := order{Dir: dir, Hub: h.URL}
				if f.Stall != 0 || f.Drip != 0 {
					o.Stall = 500 * time.Millisecond
				}
				p := start(t, o)
				end := p.wait(t)[0]
				keepsContract(t, p.all())
				if end.Reason != c.reason || !strings.Contains(end.Message, c.says) || (c.reason == "") != (end.Path != "") {
					t.Fatalf("ended with %+v", end)
				}
				// A hub has written at most a few buffers of an answer before nobody reads it any more.
				if most := int64(c.most*float64(len(content))) + int64(c.waste)*int64(min(len(content), 2<<20)); h.Sent() > most {
					t.Errorf("the hub sent %.3f times the file", float64(h.Sent())/float64(len(content)))
				}
				clean(t, dir, c.reason == "")
				if c.reason == "" {
					isFile(t, end.Path, content)
				}
				if lost := h.Sent() - int64(end.Progress.NetworkBytes); c.name == "nothing" && (lost < 0 || lost > onWire(len(content))) {
					t.Errorf("%d bytes counted, %d sent", end.Progress.NetworkBytes, h.Sent())
				}
			})
		}
	}
}

// onWire is how many bytes a hub may have sent that nobody has read: none of a file in one answer; of one in ranges, those of a request that was
// cut short because another connection took over its end.
func onWire(size int) int64 {
	if size <= big*2 {
		return 0
	}
	return int64(size) / 50
}

// keepsContract checks what a process told of its progress: the total is known before the first byte, done never falls, and is the total exactly at
// the end.
func keepsContract(t *testing.T, all []outcome) {
	t.Helper()
	last := map[string]Progress{}
	for _, o := range all {
		p, before := o.Progress, last[o.Repo]
		if p.TotalBytes == 0 && (p.DoneBytes > 0 || p.NetworkBytes > 0) {
			t.Errorf("bytes before the total is known: %+v", p)
		}
		if before.TotalBytes != 0 && p.TotalBytes != before.TotalBytes || p.DoneBytes < before.DoneBytes || p.NetworkBytes < before.NetworkBytes {
			t.Errorf("fell from %+v to %+v", before, p)
		}
		past := p.Phase == api.PhaseVerifying || p.Phase == api.PhaseComplete
		if p.TotalBytes > 0 && past != (p.DoneBytes == p.TotalBytes) {
			t.Errorf("done == total must hold exactly at the end: %+v", p)
		}
		last[o.Repo] = p
	}
}

// clean fails when a cache holds what a fetch must not leave: anything published that did not come, and anything temporary beside what did.
func clean(t *testing.T, dir string, came bool) {
	t.Helper()
	for line := range strings.SplitSeq(tree(t, dir), "\n") {
		name, _, _ := strings.Cut(line, " ")
		published := strings.Contains(name, "/snapshots/") || strings.Contains(name, "/refs/") || strings.Contains(name, "/manifests/") ||
			strings.Contains(name, "/verified/") || strings.Contains(name, "/blobs/") && !strings.Contains(name, ".nebula.")
		switch {
		case published && !came:
			t.Errorf("published: %s", line)
		case came && (strings.Contains(name, ".nebula.") || strings.HasSuffix(name, ".tmp")):
			t.Errorf("left behind: %s", line)
		}
	}
}

func isFile(t *testing.T, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the hub's", name)
	}
}

// TestFaults_refusals: what no retry mends ends at once, in one sentence with the next step, and publishes nothing.
func TestFaults_refusals(t *testing.T) {
	content := ggufFile(big, 1)
	plain := one("a.gguf", content)
	gated, private := plain, plain
	gated.Gated, private.Private = true, true
	gated.Allow, private.Allow = []string{"friend"}, []string{"friend"}
	named := func(name string) hub.Repo {
		r := plain
		r.Listed = []hub.Listed{{Path: name, Size: 3}}
		return r
	}
	for _, c := range []struct {
		name   string
		repo   hub.Repo
		order  order
		reason fail.Reason
		says   string
		most   int // requests
	}{
		{"missing", hub.Repo{ID: "other/repo"}, order{}, fail.NotFound, "no token", 1},
		{"private without a token", private, order{}, fail.NotFound, "no token", 1},
		{"gated without a token", gated, order{}, fail.Gated, "ask for access", 3},
		{"gated with a stranger's token", gated, order{Token: "stranger"}, fail.Gated, "ask for access", 3},
		{"a bad token", plain, order{Token: "expired"}, fail.BadToken, "mistyped, expired or revoked", 1},
		{"no such revision", plain, order{Revision: "nope"}, fail.NoRevision, "branches", 1},
		{"offline", plain, order{Offline: true}, fail.Network, "offline", 0},
		{"up and away", named("../../evil.gguf"), order{}, fail.UnsafeName, "../../evil.gguf", 2},
		{"from the root", named("/etc/evil.gguf"), order{}, fail.UnsafeName, "/etc/evil.gguf", 2},
		{"another system's root", named(`C:\evil.gguf`), order{}, fail.UnsafeName, "evil.gguf", 2},
		{"NUL", named("evil\x00.gguf"), order{}, fail.UnsafeName, "evil", 2},
		{"a name for two", named("A.gguf"), order{}, fail.UnsafeName, "A.gguf", 2},
		{"a file as folder", named("a.gguf/evil.gguf"), order{}, fail.UnsafeName, "a.gguf", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, c.repo)
			h.AddToken("stranger")
			c.order.Dir, c.order.Hub = t.TempDir(), h.URL
			p := start(t, c.order)
			end := p.wait(t)[0]
			if end.Reason != c.reason || !strings.Contains(end.Message, c.says) {
				t.Errorf("ended with %+v", end)
			}
			if n := len(h.Requests()); n > c.most {
				t.Errorf("%d requests, at most %d are needed to know", n, c.most)
			}
			if tok := c.order.Token; tok != "" && (strings.Contains(fmt.Sprintf("%+v", p.all()), tok) || strings.Contains(p.said.String(), tok)) && tok != "expired" {
				t.Error("the token is in what the process says")
			}
			clean(t, c.order.Dir, false)
		})
	}
}

// front is a way to a server that can be shut: then connections over it are reset, and new ones refused.
type front struct {
	t        *testing.T
	addr, to string

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
	done  sync.WaitGroup
}

func newFront(t *testing.T, url string) *front {
	f := &front{t: t, addr: "127.0.0.1:0", to: strings.TrimPrefix(url, "http://")}
	f.open()
	t.Cleanup(func() { f.shut(); f.done.Wait() })
	return f
}

func (f *front) open() {
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.l, f.addr = l, l.Addr().String()
	f.mu.Unlock()
	f.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", f.to)
			if err != nil {
				_ = c.Close()
				continue
			}
			f.mu.Lock()
			f.conns = append(f.conns, c, up)
			f.mu.Unlock()
			f.done.Go(func() { _, _ = io.Copy(up, c); _ = up.Close() })
			f.done.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() })
		}
	})
}

func (f *front) shut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.l.Close()
	for _, c := range f.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, not an end
		_ = c.Close()
	}
	f.conns = nil
}

// TestFaults_reset: the way to the hub is gone for a while, with every connection reset, before and in the middle of a download.
func TestFaults_reset(t *testing.T) {
	t.Parallel()
	content := ggufFile(ranged, 3)
	h := hub.Start(t, one("a.gguf", content))
	h.Break(hub.Faults{BytesPerSecond: perConnection})
	way := newFront(t, h.CDNURL)
	h.RedirectTo("http://" + way.addr)
	dir := t.TempDir()
	way.shut()
	p := start(t, order{Dir: dir, Hub: h.URL})
	for _, from := range []int64{0, ranged / 4, ranged / 2} {
		if from > 0 {
			await(t, "bytes", func() bool { return h.Sent() > from })
			way.shut()
		}
		await(t, "the refusal to be told", func() bool {
			return strings.Contains(lastOf(p).Progress.LastError, "refused")
		})
		way.open()
	}
	end := p.wait(t)[0]
	if end.Path == "" || end.Progress.Retries == 0 {
		t.Fatalf("ended with %+v", end)
	}
	isFile(t, end.Path, content)
	keepsContract(t, p.all())
	clean(t, dir, true)
	// A reset throws away what is on the wire: in the buffers of the hub, of the way and of this process.
	if again := h.Sent() - int64(len(content)); again > int64(len(content))/2 {
		t.Errorf("%d bytes came twice", again)
	}
}

// TestFaults_noName: a hub whose name nobody knows.
func TestFaults_noName(t *testing.T) {
	t.Parallel()
	end := start(t, order{Dir: t.TempDir(), Hub: "http://hub.invalid"}).wait(t)[0]
	if end.Reason != fail.Network || end.Final || !strings.Contains(end.Message, "hub.invalid") || !strings.Contains(end.Message, "check the network") {
		t.Errorf("ended with %+v", end)
	}
}

// TestFaults_moves: somebody publishes another version, or another name of the repository, between the listing and the files.
func TestFaults_moves(t *testing.T) {
	t.Parallel()
	old, fresh := ggufFile(big, 4), ggufFile(big, 5)
	h := hub.Start(t)
	commit := h.Push(one("a.gguf", old))
	h.PushAfterListing(one("a.gguf", fresh))
	dir := t.TempDir()
	end := start(t, order{Dir: dir, Hub: h.URL}).wait(t)[0]
	isFile(t, end.Path, old)
	ref, err := os.ReadFile(filepath.Join(dir, "hub/models--org--model/refs/main"))
	if string(ref) != commit || err != nil || h.Sent() != int64(len(old)) {
		t.Errorf("main is %s (%v), %d bytes sent", ref, err, h.Sent())
	}
	h.Rename("org/model", "org/other")
	dir = t.TempDir()
	end = start(t, order{Dir: dir, Hub: h.URL}).wait(t)[0]
	isFile(t, end.Path, fresh)
	clean(t, dir, true)
}

// TestFaults_otherHost: the hub's token goes to the hub and nowhere else, whoever it redirects to.
func TestFaults_otherHost(t *testing.T) {
	t.Parallel()
	const token = "hf_that_is_secret"
	content := ggufFile(big, 6)
	repo := one("a.gguf", content)
	repo.Private, repo.Allow = true, []string{token}
	h := hub.Start(t, repo)
	var seen sync.Map
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(fmt.Sprint(r.Header, r.URL), true)
		http.NotFound(w, r)
	}))
	defer other.Close()
	h.Break(hub.Faults{Redirect: 1, RedirectTo: strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/x"})
	p := start(t, order{Dir: t.TempDir(), Hub: h.URL, Token: token})
	if end := p.wait(t)[0]; end.Path != "" {
		isFile(t, end.Path, content)
	}
	n := 0
	seen.Range(func(k, _ any) bool {
		n++
		if strings.Contains(k.(string), token) {
			t.Errorf("the other server got the token: %v", k)
		}
		return true
	})
	if n == 0 {
		t.Error("the other server was not asked")
	}
	for _, r := range h.Requests() {
		if "http://"+r.Host == h.CDNURL && strings.Contains(r.Authorization+r.Cookie, token) {
			t.Error("the CDN got the token")
		}
	}
	if strings.Contains(p.said.String()+fmt.Sprintf("%+v", p.all()), token) {
		t.Error("the process says the token")
	}
}

// TestFaults_plantedLinks: links that somebody put into the cache lead no write out of it.
func TestFaults_plantedLinks(t *testing.T) {
	content := ggufFile(big, 7)
	hash := fmt.Sprintf("%x", sum256(content))
	for _, at := range []string{"snapshots", "refs", "blobs/" + hash + ".nebula.part", "blobs/" + hash} {
		t.Run(at[:min(len(at), 12)], func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t, one("a.gguf", content))
			dir, outside := t.TempDir(), t.TempDir()
			target := outside
			if strings.Contains(at, hash) {
				target = filepath.Join(outside, "victim")
				if err := os.WriteFile(target, []byte("mine"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, outside)
			link := filepath.Join(dir, "hub/models--org--model", at)
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			end := start(t, order{Dir: dir, Hub: h.URL}).wait(t)[0]
			if after := tree(t, outside); after != before {
				t.Errorf("outside is %q after %+v", after, end)
			}
		})
	}
}

// TestFaults_oneTransferForAll: replicas of one node that want the same model share one transfer, and each is told of it.
func TestFaults_oneTransferForAll(t *testing.T) {
	t.Parallel()
	content := ggufFile(ranged, 8)
	h := hub.Start(t, one("a.gguf", content))
	h.Break(hub.Faults{BytesPerSecond: perConnection})
	dir := t.TempDir()
	ends := start(t, order{Dir: dir, Hub: h.URL, Copies: 50}).wait(t)
	if again := h.Sent() - int64(len(content)); len(ends) != 50 || again < 0 || again > onWire(len(content)) {
		t.Errorf("%d ended, %d bytes sent", len(ends), h.Sent())
	}
	for _, end := range ends {
		if end.Path == "" || end.Progress.NetworkBytes != ends[0].Progress.NetworkBytes {
			t.Errorf("ended with %+v", end)
		}
	}
	clean(t, dir, true)
}

// TestFaults_offline: what is complete needs no hub, not even one that exists.
func TestFaults_offline(t *testing.T) {
	t.Parallel()
	content := ggufFile(big, 9)
	h := hub.Start(t, one("a.gguf", content))
	dir := t.TempDir()
	_ = start(t, order{Dir: dir, Hub: h.URL}).wait(t)
	h.Forget()
	for _, o := range []order{{Dir: dir, Hub: h.URL}, {Dir: dir, Hub: h.URL, Offline: true}, {Dir: dir, Hub: "http://127.0.0.1:1"}} {
		isFile(t, start(t, o).wait(t)[0].Path, content)
	}
	if n := len(h.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestFaults_lastSpace: two models that fit one at a time are not both promised the disk: one comes, the other says what is missing, and comes
// when there is room.
func TestFaults_lastSpace(t *testing.T) {
	h := hub.Start(t)
	models := map[string][]byte{"org/a": ggufFile(9<<20, 10), "org/b": ggufFile(9<<20, 11)}
	for id, content := range models {
		h.Push(hub.Repo{ID: id, Files: map[string][]byte{"a.gguf": content}})
	}
	h.Break(hub.Faults{BytesPerSecond: 8_000_000})
	dir := smallDisk(t, 16<<20)
	came, missing := 0, 0
	for _, end := range start(t, order{Dir: dir, Hub: h.URL, Repos: []string{"org/a", "org/b"}}).wait(t) {
		switch {
		case end.Path != "":
			came++
			isFile(t, end.Path, models[end.Repo])
		case end.Reason == fail.DiskSpace && end.Code == api.FailDiskFull && !end.Final && strings.Contains(end.Message, "are missing"):
			missing++
		default:
			t.Errorf("ended with %+v", end)
		}
	}
	if came != 1 || missing != 1 || h.Sent() > 10<<20 {
		t.Errorf("%d came, %d were refused, %d bytes sent", came, missing, h.Sent())
	}
}

// TestFaults_diskFull: somebody else fills the disk of a process that downloads. It ends with the reason, keeps the files that are whole, and goes on
// later.
func TestFaults_diskFull(t *testing.T) {
	const first = 200_000 // of the file that is whole by then; the hub sends no more than that of any other
	files := map[string][]byte{"0.gguf": ggufFile(first, 20)}
	for i := 1; i < 7; i++ {
		files[fmt.Sprintf("%d.gguf", i)] = ggufFile(4*first, uint64(20+i))
	}
	h := hub.Start(t, hub.Repo{ID: "org/model", Files: files})
	h.Break(hub.Faults{Stall: hub.Always, StallAt: 2 * first})
	dir := smallDisk(t, 6<<20)
	p := start(t, order{Dir: dir, Hub: h.URL, Stall: time.Second})
	await(t, "a whole file", func() bool { return lastOf(p).Progress.FilesDone > 0 })
	filler := filepath.Join(dir, "filler")
	_ = os.WriteFile(filler, make([]byte, 6<<20), 0o644) // as much as there is
	h.Break(hub.Faults{})                                // the files that have their blocks come; for the others there is no room
	end := p.wait(t)[0]
	if end.Code != api.FailDiskFull || end.Final || !strings.Contains(end.Message, "free some space") && !strings.Contains(end.Message, "Free some space") {
		t.Fatalf("ended with %+v", end)
	}
	if strings.Contains(tree(t, dir), "refs/main") {
		t.Fatal("half a model is published")
	}
	kept := uint64(first + 4*first*(int(end.Progress.FilesDone)-1))
	deleteFile(t, filler)
	p = start(t, order{Dir: dir, Hub: h.URL})
	again := p.wait(t)[0]
	if again.Path == "" {
		t.Fatalf("ended with %+v", again)
	}
	keepsContract(t, p.all())
	clean(t, dir, true)
	if again.Progress.NetworkBytes > again.Progress.TotalBytes-kept {
		t.Errorf("%d bytes came, of %d, though %d were there", again.Progress.NetworkBytes, again.Progress.TotalBytes, kept)
	}
}

// TestFaults_powerLoss: after another boot only what had reached the disk is believed. Here nothing had, and the partial file holds what was
// never written.
func TestFaults_powerLoss(t *testing.T) {
	t.Parallel()
	content := ggufFile(ranged, 12)
	h := hub.Start(t, one("a.gguf", content))
	h.Break(hub.Faults{BytesPerSecond: perConnection / 2})
	dir := t.TempDir()
	p := start(t, order{Dir: dir, Hub: h.URL})
	await(t, "a journal of some bytes", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "hub/*/blobs/*.nebula.journal"))
		return len(names) == 1 && h.Sent() > ranged/2
	})
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.read
	_ = p.Wait()
	journal, err := filepath.Glob(filepath.Join(dir, "hub/*/blobs/*.nebula.journal"))
	if err != nil || len(journal) != 1 {
		t.Fatal(journal, err)
	}
	raw, err := os.ReadFile(journal[0])
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	fields["boot"] = json.RawMessage(`"another boot"`)
	if raw, err = json.Marshal(fields); err == nil {
		err = os.WriteFile(journal[0], raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	part := strings.TrimSuffix(journal[0], "journal") + "part"
	overwrite(t, part, 100)
	overwrite(t, part, ranged/3)
	h.Break(hub.Faults{})
	await(t, "the hub to see that nobody reads", func() bool { return h.Open() == 0 })
	before := h.Sent()
	end := start(t, order{Dir: dir, Hub: h.URL}).wait(t)[0]
	if end.Path == "" {
		t.Fatalf("ended with %+v", end)
	}
	isFile(t, end.Path, content)
	clean(t, dir, true)
	if got := h.Sent() - before; got != int64(len(content)) {
		t.Errorf("%d bytes fetched after a loss of power, the file has %d", got, len(content))
	}
}

// TestFaults_silence: a hub that takes requests and says nothing, or stops in the middle of its file list, is asked again.
func TestFaults_silence(t *testing.T) {
	t.Parallel()
	content := ggufFile(big, 13)
	h := hub.Start(t, one("a.gguf", content))
	to, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	on := httputil.NewSingleHostReverseProxy(to)
	var asked, listed atomic.Int32
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/tree/") && listed.Add(1) == 1:
			_, _ = io.WriteString(w, `[{"type":"file",`)
			_ = http.NewResponseController(w).Flush()
		case asked.Add(1) > 1:
			on.ServeHTTP(w, r)
			return
		}
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close) // after the process has ended
	dir := t.TempDir()
	end := start(t, order{Dir: dir, Hub: silent.URL, Stall: 300 * time.Millisecond}).wait(t)[0]
	if end.Path == "" || asked.Load() < 3 || listed.Load() != 2 {
		t.Fatalf("ended with %+v after %d requests and %d for the list", end, asked.Load(), listed.Load())
	}
	isFile(t, end.Path, content)
	clean(t, dir, true)
}

// TestFaults_noRecord: what Nebula cannot note as its own is not shown to other programs either.
func TestFaults_noRecord(t *testing.T) {
	t.Parallel()
	h := hub.Start(t, one("a.gguf", ggufFile(big, 14)))
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "nebula"), 0o755); err != nil {
		t.Fatal(err)
	}
	inTheWay := filepath.Join(dir, "nebula", "manifests")
	if err := os.WriteFile(inTheWay, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	end := start(t, order{Dir: dir, Hub: h.URL}).wait(t)[0]
	if end.Reason != fail.Disk || !strings.Contains(end.Message, "may write") || strings.Contains(tree(t, dir), "/refs/") {
		t.Errorf("ended with %+v and %s", end, tree(t, dir))
	}
	deleteFile(t, inTheWay)
	sent := h.Sent()
	if end := start(t, order{Dir: dir, Hub: h.URL}).wait(t)[0]; end.Path == "" || h.Sent() != sent {
		t.Errorf("ended with %+v, %d bytes came again", end, h.Sent()-sent)
	}
}
