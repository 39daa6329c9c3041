package gateway

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPick(t *testing.T) {
	const resting, tried = true, true
	for name, c := range map[string]struct {
		of   []load
		want []int // for the turns 0, 1, 2
	}{
		"none":                      {nil, []int{-1, -1, -1}},
		"one":                       {[]load{{}}, []int{0, 0, 0}},
		"least in flight":           {[]load{{3, false, false}, {1, false, false}, {2, false, false}}, []int{1, 1, 1}},
		"equals take turns":         {[]load{{1, false, false}, {0, false, false}, {0, false, false}}, []int{1, 2, 1}},
		"not one that was tried":    {[]load{{0, false, tried}, {9, false, false}}, []int{1, 1, 1}},
		"all were tried":            {[]load{{0, false, tried}, {0, false, tried}}, []int{-1, -1, -1}},
		"not one that rests":        {[]load{{0, resting, false}, {9, false, false}}, []int{1, 1, 1}},
		"all rest":                  {[]load{{2, resting, false}, {1, resting, false}}, []int{1, 1, 1}},
		"rests, or was tried":       {[]load{{2, resting, false}, {0, false, tried}}, []int{0, 0, 0}},
		"equals around one tried":   {[]load{{0, false, false}, {0, false, tried}, {0, false, false}}, []int{0, 2, 0}},
		"equals around one at rest": {[]load{{0, false, false}, {0, resting, false}, {0, false, false}}, []int{0, 2, 0}},
	} {
		for turn, want := range c.want {
			if got := pick(c.of, uint64(turn)); got != want {
				t.Errorf("%s, turn %d: %d, want %d", name, turn, got, want)
			}
		}
	}
}

// Against the plainest reading of the rules: the choice is never a worse one, and over a round each of the best gets its turn.
func TestPick_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) load {
			return load{int64(rapid.IntRange(0, 3).Draw(t, "inflight")), rapid.Bool().Draw(t, "ejected"), rapid.Bool().Draw(t, "tried")}
		}), 0, 6).Draw(t, "replicas")
		rank := func(l load) int64 {
			if l.ejected {
				return 100 + l.inflight
			}
			return l.inflight
		}
		best := map[int]bool{}
		for i, l := range of {
			ok := !l.tried
			for _, other := range of {
				ok = ok && (other.tried || rank(l) <= rank(other))
			}
			if ok {
				best[i] = true
			}
		}
		from := rapid.Uint64Range(0, 1<<40).Draw(t, "turn")
		seen := map[int]bool{}
		for turn := range max(1, len(best)) {
			i := pick(of, from+uint64(turn))
			if len(best) == 0 && i == -1 {
				return
			}
			if !best[i] {
				t.Fatalf("picked %d of %+v, the best are %v", i, of, best)
			}
			seen[i] = true
		}
		if len(seen) != len(best) {
			t.Fatalf("over a round of %+v only %v had a turn", of, seen)
		}
	})
}

func TestHealth_restsAfterFailuresInARow(t *testing.T) {
	var h health
	now := time.Duration(0)
	fail := func() { h = h.failed(now, true) }
	fail()
	fail()
	if h.ejected(now) {
		t.Fatal("two failures are no reason to rest")
	}
	fail()
	if !h.ejected(now) || h.ejected(now+restFirst) {
		t.Fatalf("after three in a row: %+v", h)
	}
	fail() // one that was in flight
	if h.rests != 1 || h.resting != restFirst {
		t.Fatalf("what was in flight makes the rest longer: %+v", h)
	}
	now = restFirst
	fail() // the trial after the rest
	if !h.ejected(now+2*restFirst-1) || h.ejected(now+2*restFirst) {
		t.Fatalf("the second rest is twice as long: %+v", h)
	}
	for range 100 {
		now = h.resting
		fail()
	}
	if h.resting-now != restMost {
		t.Fatalf("a rest of %v", h.resting-now)
	}
	h = health{fails: ejectAfter}.failed(0, false)
	if h.ejected(0) {
		t.Fatal("the last replicas must not rest")
	}
}

func TestMayRest(t *testing.T) {
	for _, c := range []struct {
		resting, all int
		want         bool
	}{{0, 0, false}, {0, 1, false}, {0, 2, true}, {1, 2, false}, {0, 3, true}, {1, 3, false}, {1, 4, true}, {2, 4, false}} {
		if got := mayRest(c.resting, c.all); got != c.want {
			t.Errorf("mayRest(%d, %d) = %v", c.resting, c.all, got)
		}
	}
}

func TestBudget(t *testing.T) {
	spendAll := func(b budget, requests uint64, now time.Duration) (budget, int) {
		n := 0
		for ok := true; ; n++ {
			if b, ok = b.spend(requests, now); !ok {
				return b, n
			}
		}
	}
	b, n := spendAll(budget{tries: triesPerSecond}, 0, 0)
	if n != 3 {
		t.Errorf("%d tries at the start, want 3", n)
	}
	if b, n = spendAll(b, 100, 0); n != 20 {
		t.Errorf("%d tries over 100 requests, want a fifth", n)
	}
	if b, n = spendAll(b, 100, time.Second); n != 3 {
		t.Errorf("%d tries in a second without requests, want 3", n)
	}
	if b, n = spendAll(b, 100, time.Hour); n != 3 {
		t.Errorf("%d tries after an hour, want no more than 3 saved", n)
	}
	if _, n = spendAll(b, 1_000_000, time.Hour); n != triesAtMost {
		t.Errorf("%d tries after many requests, want no more than %d saved", n, triesAtMost)
	}
}
