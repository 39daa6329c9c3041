package transfer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSpans compares spans with the dumbest of their kind: one bool for each byte.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		const size = 40
		var s spans
		var plain [size]bool
		for range 12 {
			from := r.Int64N(size)
			n := span{from, from + r.Int64N(size-from+1)}
			in := r.IntN(3) > 0
			if in {
				s = s.add(n)
			} else {
				s = s.without(n)
			}
			for i := n.From; i < n.To; i++ {
				plain[i] = in
			}
			var want, gaps spans
			total, prefix := int64(0), int64(0)
			for i, b := range plain {
				at := span{int64(i), int64(i) + 1}
				if b {
					want, total = want.add(at), total+1
					if prefix == at.From {
						prefix++
					}
				} else {
					gaps = gaps.add(at)
				}
			}
			if !slices.Equal(s, want) || s.total() != total || s.prefix() != prefix || !slices.Equal(s.gaps(size), gaps) || !s.sound(size) {
				t.Fatalf("%v, want %v; total %d, prefix %d, gaps %v", s, want, s.total(), s.prefix(), s.gaps(size))
			}
		}
	}
	for _, bad := range []spans{{{0, 0}}, {{-1, 2}}, {{0, 41}}, {{3, 5}, {5, 6}}, {{3, 5}, {1, 2}}, {{3, 5}, {4, 6}}} {
		if bad.sound(40) {
			t.Errorf("%v is taken for sound", bad)
		}
	}
}

// TestTake_coversEverything: however many connections there are and whoever ends first, every byte is asked for once.
func TestTake_coversEverything(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		size, conns := 1+r.Int64N(600<<20), 1+r.IntN(20)
		var written, running spans
		var asked []span
		for written.total() < size {
			if s, ok := take(written, running, size, conns); ok && len(running) < conns {
				asked = append(asked, s)
				running = append(running, s)
				continue
			}
			i := r.IntN(len(running))
			written = written.add(running[i])
			running = slices.Delete(running, i, i+1)
		}
		sum := int64(0)
		for i, s := range asked {
			if s.size() <= 0 || s.size() > maxSegment || i > 0 && s.From != asked[i-1].To {
				t.Fatalf("asked for %v after %v", s, asked[max(i-1, 0)])
			}
			sum += s.size()
		}
		if sum != size {
			t.Fatalf("asked for %d of %d bytes", sum, size)
		}
		if last := asked[len(asked)-1]; conns > 1 && size > oneGet && last.size() > 2*minTake {
			t.Errorf("with %d connections the last request of %d bytes is for %d", conns, size, last.size())
		}
	}
}

func TestSegment(t *testing.T) {
	for _, c := range []struct {
		size  int64
		conns int
		want  int64
	}{
		{9 << 20, 16, 8 << 20},
		{512 << 20, 16, 8 << 20},
		{3 << 30, 16, 32 << 20},
		{70 << 30, 16, 64 << 20},
		{512 << 20, 1, 64 << 20},
	} {
		if got := segment(c.size, c.conns); got != c.want {
			t.Errorf("%d bytes, %d connections: %d, want %d", c.size, c.conns, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		running []pace
		want    int
	}{
		"nothing runs":               {nil, -1},
		"ends soon":                  {[]pace{{8 << 20, 16 << 20}}, -1},
		"the one that ends last":     {[]pace{{8 << 20, 4 << 20}, {8 << 20, 1 << 20}, {20 << 20, 9 << 20}}, 1},
		"too little to share":        {[]pace{{1 << 20, 1000}}, -1},
		"one that brings nothing":    {[]pace{{4 << 20, 0}, {8 << 20, 1 << 20}}, 0},
		"what must not be split (0)": {[]pace{{}, {}}, -1},
	} {
		if got := split(c.running); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestSlow(t *testing.T) {
	got := slow([]pace{{rate: 100}, {rate: 9}, {rate: 80}, {rate: 120}})
	if d := cmp.Diff([]bool{false, true, false, false}, got); d != "" {
		t.Error(d)
	}
	if got := slow([]pace{{rate: 100}, {rate: 1}}); got[0] || got[1] {
		t.Error("two are no crowd")
	}
}

// TestRamp plays sources against the ramp: each gives so many bytes per second to so many connections.
func TestRamp(t *testing.T) {
	perConnection := func(n int) float64 { return 8e6 * float64(n) }
	for name, c := range map[string]struct {
		gives   func(n int) float64
		seconds float64
		least   int
		most    int
	}{
		"a cap for each connection: all of them within a quarter of a second": {perConnection, 0.25, 16, 16},
		"one connection fills the line":                                       {func(int) float64 { return 500e6 }, 4, 1, 1},
		"four fill the line":                                                  {func(n int) float64 { return min(perConnection(n), 32e6) }, 4, 4, 4},
		"eight fill the line, found in smaller steps":                         {func(n int) float64 { return min(perConnection(n), 64e6) }, 10, 8, 16},
		"more of them get less":                                               {func(n int) float64 { return 100e6 / float64(n) }, 4, 1, 1},
	} {
		r := ramp{target: 1, most: 16}
		now, bytes := time.UnixMilli(0), 0.0
		for now.UnixMilli() <= int64(c.seconds*1000) {
			r.step(now, int64(bytes), 100, minWindow)
			bytes += c.gives(r.target) / 100
			now = now.Add(10 * time.Millisecond)
		}
		if r.target < c.least || r.target > c.most {
			t.Errorf("%s: %d connections, want %d to %d", name, r.target, c.least, c.most)
		}
	}
}

func TestRamp_idleTeachesNothing(t *testing.T) {
	r := ramp{target: 4, most: 16}
	for i := range 1000 {
		if r.step(time.UnixMilli(int64(i*10)), 0, 3, minWindow) {
			t.Fatal("changed although nobody wants more")
		}
	}
}

func TestRamp_cut(t *testing.T) {
	now := time.UnixMilli(1e6)
	r := ramp{target: 16, most: 16}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 8}, {time.Millisecond, 8}, {2 * time.Second, 4}, {4 * time.Second, 2}, {6 * time.Second, 1}, {8 * time.Second, 1}} {
		if r.cut(now.Add(c.after)); r.target != c.want {
			t.Errorf("after %s: %d connections, want %d", c.after, r.target, c.want)
		}
	}
	if r.step(now.Add(9*time.Second), 0, 9, minWindow); r.step(now.Add(10*time.Second), 9e9, 9, minWindow) {
		t.Error("grows again at once")
	}
}

func TestShares(t *testing.T) {
	for _, c := range []struct {
		n           int
		wants, want []int
	}{
		{16, nil, []int{}},
		{16, []int{99}, []int{16}},
		{16, []int{99, 99}, []int{8, 8}},
		{16, []int{99, 2, 99}, []int{7, 2, 7}},
		{16, []int{1, 1, 0}, []int{1, 1, 0}},
		{2, []int{5, 5, 5}, []int{1, 1, 1}},
		{5, []int{9, 9}, []int{3, 2}},
	} {
		if d := cmp.Diff(c.want, shares(c.n, c.wants)); d != "" {
			t.Errorf("%d among %v: %s", c.n, c.wants, d)
		}
	}
}

func TestPick(t *testing.T) {
	now := time.UnixMilli(1e6)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	hub, peer := standing{}, standing{peer: true}
	with := func(s standing, change func(*standing)) standing { change(&s); return s }
	busy := func(n int) func(*standing) { return func(s *standing) { s.running = n } }
	full := func(s *standing) { s.full = true }
	barred := func(s *standing) { s.barred = true }
	failed := func(n int, d time.Duration) func(*standing) {
		return func(s *standing) { s.failures, s.until = n, in(d) }
	}
	for name, c := range map[string]struct {
		all  []standing
		want int
		wait time.Duration
	}{
		"nobody":                               {nil, -1, 0},
		"the hub":                              {[]standing{hub}, 0, 0},
		"the best hub":                         {[]standing{hub, hub}, 0, 0},
		"peers before the hub":                 {[]standing{peer, hub}, 0, 0},
		"the least busy peer":                  {[]standing{with(peer, busy(2)), with(peer, busy(1)), hub}, 1, 0},
		"the hub that is best":                 {[]standing{hub, peer}, 0, 0},
		"a full peer is waited for":            {[]standing{with(peer, full), hub}, -1, 0},
		"the other peer, if one is full":       {[]standing{with(peer, full), peer, hub}, 1, 0},
		"a peer that failed once is borne":     {[]standing{with(peer, failed(1, time.Second)), hub}, -1, time.Second},
		"the hub, after three failures":        {[]standing{with(peer, failed(3, time.Minute)), hub}, 1, 0},
		"the hub, if the peer lies":            {[]standing{with(peer, barred), hub}, 1, 0},
		"a peer that failed often, later":      {[]standing{with(peer, failed(9, -time.Second)), hub}, 0, 0},
		"a hub that failed is waited for":      {[]standing{with(hub, failed(1, time.Second))}, -1, time.Second},
		"the next hub meanwhile":               {[]standing{with(hub, failed(1, time.Second)), hub}, 1, 0},
		"the sooner of two":                    {[]standing{with(hub, failed(1, time.Minute)), with(hub, failed(2, time.Second))}, -1, time.Second},
		"nobody, if all lie":                   {[]standing{with(peer, barred)}, -1, 0},
		"a peer, if the hub before it is full": {[]standing{with(hub, full), peer}, 1, 0},
	} {
		got, wait := pick(c.all, now)
		if got != c.want || wait != c.wait {
			t.Errorf("%s: %d after %s, want %d after %s", name, got, wait, c.want, c.wait)
		}
	}
}

func TestBackOff(t *testing.T) {
	const first, most = time.Second, 30 * time.Second
	for _, c := range []struct {
		failures int
		chance   float64
		want     time.Duration
	}{{1, 0, 500 * time.Millisecond}, {1, 0.5, time.Second}, {3, 0.5, 4 * time.Second}, {9, 0.5, 30 * time.Second}, {1e6, 0.999999, 44999970 * time.Microsecond}} {
		if got := backOff(c.failures, first, most, c.chance); got.Round(time.Microsecond) != c.want {
			t.Errorf("%d failures: %s, want %s", c.failures, got, c.want)
		}
	}
}
