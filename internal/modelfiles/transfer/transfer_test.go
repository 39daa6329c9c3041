package transfer

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

const large = 24<<20 + 12345 // several pieces and segments, and no round number

// TestRun: every kind of size, and no byte more than needed on the wire.
func TestRun(t *testing.T) {
	for _, size := range []int{0, 1, block, oneGet, oneGet + 1, Piece * 2, large} {
		content := random(size, uint64(size))
		o := serve(t, content)
		j := jobFor(t.TempDir(), entryOf(content), o.source(t))
		r := mustRun(t, j, content)
		if sent, network := o.sent.Load(), j.Gauge.Network.Load(); sent != int64(size) || network != sent {
			t.Errorf("%d bytes: sent %d, counted %d", size, sent, network)
		}
		if size <= oneGet && len(o.ranges) > 1 {
			t.Errorf("%d bytes took %d requests", size, len(o.ranges))
		}
		var want []uint32
		for at := 0; at < size; at += Piece {
			want = append(want, crc32.Checksum(content[at:min(at+Piece, size)], castagnoli))
		}
		if len(want) != len(r.Pieces) {
			t.Fatalf("%d pieces, want %d", len(r.Pieces), len(want))
		}
		for i := range want {
			if want[i] != r.Pieces[i] {
				t.Errorf("piece %d: %x, want %x", i, r.Pieces[i], want[i])
			}
		}
	}
}

func TestRun_gitSHA1(t *testing.T) {
	e := manifest.Entry{Path: "config.json", Size: 6, Hash: manifest.Hash{Algo: manifest.GitSHA1, Hex: "ce013625030ba8dba906f756967f9e9ca394464a"}}
	o := serve(t, []byte("hello\n"))
	mustRun(t, jobFor(t.TempDir(), e, o.source(t)), []byte("hello\n"))
}

// TestRun_cutAnywhere breaks every answer at a byte drawn at random: what came is not fetched again.
func TestRun_cutAnywhere(t *testing.T) {
	content := random(oneGet+3<<20, 1)
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		o := serve(t, content)
		o.set(func(w http.ResponseWriter, _ *http.Request, _ int, from, to int64) bool {
			mu.Lock()
			n := min(1+r.Int64N(int64(len(content))/3), to-from)
			mu.Unlock()
			o.give(w, from, to, n)
			return true
		})
		mustRun(t, jobFor(t.TempDir(), entryOf(content), o.source(t)), content)
		if sent := float64(o.sent.Load()); sent > 1.02*float64(len(content)) {
			t.Errorf("seed %d: sent %.3f times the file", seed, sent/float64(len(content)))
		}
		o.Close()
	}
}

// TestRun_ramps: a server that is slow on each connection gets many, but never more than may be.
func TestRun_ramps(t *testing.T) {
	content := random(large, 2)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, r *http.Request, _ int, from, to int64) bool {
		o.slowly(w, r, from, to, 8<<20)
		return true
	})
	j := jobFor(t.TempDir(), entryOf(content), o.source(t))
	j.Limits = NewLimits(LimitConfig{Connections: 6})
	mustRun(t, j, content)
	if most := o.most.Load(); most < 4 || most > 6 {
		t.Errorf("%d connections at once, want 4 to 6", most)
	}
}

// TestRun_shared: several transfers share the connections, and all of them get on.
func TestRun_shared(t *testing.T) {
	content := random(oneGet+1<<20, 3)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, r *http.Request, _ int, from, to int64) bool {
		o.slowly(w, r, from, to, 16<<20)
		return true
	})
	limits := NewLimits(LimitConfig{Connections: 4})
	var wg sync.WaitGroup
	for range 5 {
		j := jobFor(t.TempDir(), entryOf(content), o.source(t))
		j.Limits = limits
		wg.Go(func() { mustRun(t, j, content) })
	}
	wg.Wait()
	if most := o.most.Load(); most > 4 {
		t.Errorf("%d connections at once, at most 4 may be", most)
	}
}

// TestRun_bandwidth: a limit holds for all transfers together.
func TestRun_bandwidth(t *testing.T) {
	content := random(1<<20, 4)
	o := serve(t, content)
	limits := NewLimits(LimitConfig{BytesPerSecond: 2 << 20})
	began := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		j := jobFor(t.TempDir(), entryOf(content), o.source(t))
		j.Limits = limits
		wg.Go(func() { mustRun(t, j, content) })
	}
	wg.Wait()
	if d := time.Since(began); d < 900*time.Millisecond {
		t.Errorf("2 MiB at 2 MiB/s took %s", d)
	}
}

// TestRun_wholeFilesOnly: a server without ranges is asked for everything, in one stream.
func TestRun_wholeFilesOnly(t *testing.T) {
	content := random(large, 5)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, _ *http.Request, n int, from, to int64) bool {
		if n == 0 { // the first stream breaks
			o.give(w, from, to, 9<<20)
		}
		return false
	})
	s := o.source(t)
	s.ranged = false
	mustRun(t, jobFor(t.TempDir(), entryOf(content), s), content)
	if len(o.ranges) != 2 || o.most.Load() != 1 {
		t.Errorf("requests %v, %d at once", o.ranges, o.most.Load())
	}
}

// TestRun_stalls: half of the answers stop in the middle and the transfer goes on over others.
func TestRun_stalls(t *testing.T) {
	content := random(large, 6)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, r *http.Request, n int, from, to int64) bool {
		if n%2 == 0 || n > 12 {
			return false
		}
		w.Header().Set("Content-Length", "99999999")
		w.WriteHeader(http.StatusPartialContent)
		o.write(w, content[from:min(from+1000, to)])
		<-r.Context().Done()
		return true
	})
	j := jobFor(t.TempDir(), entryOf(content), o.source(t))
	j.Patience.Stall = 200 * time.Millisecond
	mustRun(t, j, content)
	if j.Gauge.Retries.Load() == 0 {
		t.Error("no stall was noticed")
	}
}

// TestRun_flipped: one wrong bit is found; a second time it is the end, with both hashes, and nothing is left.
func TestRun_flipped(t *testing.T) {
	content := random(large, 7)
	flipped := bytes.Clone(content)
	flipped[20<<20] ^= 4
	for name, times := range map[string]int{"once": 1, "always": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			good, bad := serve(t, content), serve(t, flipped)
			var left atomic.Int64
			left.Store(int64(times))
			good.set(func(w http.ResponseWriter, _ *http.Request, _ int, from, to int64) bool {
				if from <= 20<<20 && to > 20<<20 && left.Add(-1) >= 0 {
					bad.give(w, from, to, to-from)
					return true
				}
				return false
			})
			j := jobFor(t.TempDir(), entryOf(content), good.source(t))
			if times == 1 {
				mustRun(t, j, content)
				return
			}
			_, err := New(j).Run(t.Context())
			e, ok := fail.As(err)
			if !ok || e.Reason != fail.Corrupt || !e.Final || !strings.Contains(e.Message, entryOf(content).Hex) || !strings.Contains(e.Message, entryOf(flipped).Hex) {
				t.Errorf("%v", err)
			}
			unpublished(t, j)
			if names, _ := os.ReadDir(strings.TrimSuffix(j.Path, entryOf(content).Hex)); len(names) != 0 {
				t.Errorf("left: %v", names)
			}
		})
	}
}

// TestRun_lyingPeer: what a peer sent is fetched anew from the hub, what the hub sent is not.
func TestRun_lyingPeer(t *testing.T) {
	content := random(large, 8)
	wrong := bytes.Clone(content)
	wrong[10<<20] ^= 1
	hub, liar := serve(t, content), serve(t, wrong)
	peer := liar.source(t)
	peer.peer = true
	liar.set(func(w http.ResponseWriter, _ *http.Request, _ int, from, to int64) bool {
		if from >= 12<<20 { // it has only the beginning
			http.Error(w, "later", http.StatusServiceUnavailable)
			return true
		}
		liar.give(w, from, to, min(to, 12<<20)-from)
		return true
	})
	j := jobFor(t.TempDir(), entryOf(content), peer, hub.source(t))
	told := 0
	j.Wrong = func() { told++ }
	mustRun(t, j, content)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if fromHub := hub.sent.Load(); fromHub != int64(len(content)) {
		t.Errorf("the hub sent %d bytes of %d: each is needed once", fromHub, len(content))
	}
	if got := j.Gauge.Peers.Load(); got != 12<<20 {
		t.Errorf("%d bytes counted for the peer", got)
	}
}

// TestRun_peersFirst: while a peer gives, the hub is not asked.
func TestRun_peersFirst(t *testing.T) {
	content := random(large, 9)
	hub, near := serve(t, content), serve(t, content)
	peer := near.source(t)
	peer.peer = true
	j := jobFor(t.TempDir(), entryOf(content), peer, hub.source(t))
	mustRun(t, j, content)
	if hub.sent.Load() != 0 || j.Gauge.Network.Load() != 0 || j.Gauge.Peers.Load() != int64(len(content)) || j.Gauge.Source() != near.URL {
		t.Errorf("the hub sent %d bytes; counted %d and %d, the last from %s", hub.sent.Load(), j.Gauge.Network.Load(), j.Gauge.Peers.Load(), j.Gauge.Source())
	}
}

// TestRun_refusals: what no retry mends ends the transfer at once; what may pass never does.
func TestRun_refusals(t *testing.T) {
	content := random(1000, 10)
	for status, c := range map[int]struct {
		reason   fail.Reason
		requests int
	}{http.StatusNotFound: {fail.NoEntry, 1}, http.StatusConflict: {fail.BadServer, 6}} {
		o := serve(t, content)
		o.set(func(w http.ResponseWriter, _ *http.Request, _ int, _, _ int64) bool {
			w.WriteHeader(status)
			return true
		})
		j := jobFor(t.TempDir(), entryOf(content), o.source(t))
		_, err := New(j).Run(t.Context())
		if !fail.Has(err, c.reason) || len(o.ranges) != c.requests {
			t.Errorf("%d: %v after %d requests", status, err, len(o.ranges))
		}
		unpublished(t, j)
	}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		o := serve(t, content)
		j := jobFor(t.TempDir(), entryOf(content), o.source(t))
		o.set(func(w http.ResponseWriter, _ *http.Request, n int, _, _ int64) bool {
			if n > 20 {
				return false
			}
			if n > 0 && !strings.Contains(j.Gauge.Trouble(), http.StatusText(status)) {
				t.Errorf("%d: people see %q", status, j.Gauge.Trouble())
			}
			w.WriteHeader(status)
			return true
		})
		mustRun(t, j, content)
		if j.Gauge.Trouble() != "" {
			t.Errorf("at the end there is still %q", j.Gauge.Trouble())
		}
	}
}

// TestRun_noSourceYet: nobody has it yet, and the transfer waits for somebody who has.
func TestRun_noSourceYet(t *testing.T) {
	content := random(1000, 11)
	o := serve(t, content)
	s := o.source(t)
	j := jobFor(t.TempDir(), entryOf(content))
	asked := 0
	j.Sources = func(context.Context) ([]Source, error) {
		if asked++; asked < 4 {
			return nil, nil
		}
		return []Source{s}, nil
	}
	mustRun(t, j, content)
}

// TestFrontier: what lies before the frontier of a running transfer is right, and whoever waits hears of more.
func TestFrontier(t *testing.T) {
	content := random(large, 12)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, r *http.Request, _ int, from, to int64) bool {
		o.slowly(w, r, from, to, 16<<20)
		return true
	})
	b := New(jobFor(t.TempDir(), entryOf(content), o.source(t)))
	done := make(chan error, 1)
	go func() {
		_, err := b.Run(t.Context())
		done <- err
	}()
	at, steps := int64(0), 0
	for at < int64(len(content)) {
		to, more := b.Frontier()
		if to > at {
			if f, err := os.Open(b.Part()); err == nil { // else it has its name by now
				got := make([]byte, to-at)
				if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, content[at:to]) {
					t.Fatalf("bytes %d to %d are wrong: %v", at, to, err)
				}
				_ = f.Close()
			}
			at, steps = to, steps+1
		}
		<-more
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, more := b.Frontier(); more != b.Done() {
		t.Error("whoever waits on waits for ever")
	}
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
}

// TestRun_cancelled keeps what came, gives back the disk of the rest, and the next one goes on.
func TestRun_cancelled(t *testing.T) {
	content := random(large, 13)
	o := serve(t, content)
	o.set(func(w http.ResponseWriter, r *http.Request, _ int, from, to int64) bool {
		o.slowly(w, r, from, to, 16<<20)
		return true
	})
	j := jobFor(t.TempDir(), entryOf(content), o.source(t))
	ctx, cancel := context.WithCancel(t.Context())
	b := New(j)
	go func() {
		for {
			if at, more := b.Frontier(); at > 3<<20 {
				cancel()
				return
			} else {
				<-more
			}
		}
	}()
	if _, err := b.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	unpublished(t, j)
	have := j.Gauge.Have.Load()
	if noted := Written(j.Journal); noted != have {
		t.Errorf("the journal says %d bytes, %d are here", noted, have)
	}
	o.set(nil)
	again := j
	again.Gauge = new(Gauge)
	mustRun(t, again, content)
	if got := again.Gauge.Network.Load(); got != int64(len(content))-have {
		t.Errorf("fetched %d bytes, %d were missing", got, int64(len(content))-have)
	}
	if got := again.Gauge.Reused.Load(); got != have {
		t.Errorf("%d bytes count as reused, want %d", got, have)
	}
}

// TestRun_crawls: a connection that is far slower than the others is given up, and another fetches what it would have.
func TestRun_crawls(t *testing.T) {
	content := random(large, 14)
	o := serve(t, content)
	var crawling atomic.Int64
	o.set(func(w http.ResponseWriter, r *http.Request, n int, from, to int64) bool {
		if n == 2 {
			crawling.Store(to - from)
			o.slowly(w, r, from, to, 5000)
			return true
		}
		o.slowly(w, r, from, to, 4<<20)
		return true
	})
	j := jobFor(t.TempDir(), entryOf(content), o.source(t))
	j.Patience.Slow = 100 * time.Millisecond
	began := time.Now()
	mustRun(t, j, content)
	if j.Gauge.Retries.Load() == 0 {
		t.Errorf("nothing was given up in %s, although one connection crawled through %d bytes", time.Since(began), crawling.Load())
	}
}

// TestRun_onDisk: on a file system that reserves blocks they are reserved, and those of a transfer that stops are given back.
func TestRun_onDisk(t *testing.T) {
	content := random(large, 15)
	o := serve(t, content)
	ctx, cancel := context.WithCancel(t.Context())
	o.set(func(w http.ResponseWriter, r *http.Request, _ int, from, to int64) bool {
		o.slowly(w, r, from, to, 4<<20)
		return true
	})
	j := jobFor(t.TempDir(), entryOf(content), o.source(t))
	var took atomic.Int64
	j.Took = func(n int64) { took.Add(n) }
	b := New(j)
	go func() {
		defer cancel()
		for at, more := b.Frontier(); at < 1<<20; at, more = b.Frontier() {
			<-more
		}
	}()
	if _, err := b.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	have := j.Gauge.Have.Load()
	if n := took.Load(); n != int64(len(content)) && n != have {
		t.Errorf("%d bytes of the disk were taken, want all %d, or the %d that came where nothing can be reserved", n, len(content), have)
	}
	fi, err := os.Stat(j.Part)
	if err != nil {
		t.Fatal(err)
	}
	if kept := disk.Allocated(fi); kept > have+4<<20 {
		t.Errorf("%d bytes of the disk are kept for %d that came", kept, have)
	}
}
