package peer

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

var t0 = time.Unix(1_000_000, 0)

func TestNext(t *testing.T) {
	after := func(d time.Duration) time.Time { return t0.Add(d) }
	holder := neighbour{id: "h", have: -1}
	resting := neighbour{id: "h", have: 50, rest: after(time.Second)}
	other := neighbour{id: "o", have: -1}
	for name, c := range map[string]struct {
		s    standing
		want verdict
	}{
		"nothing is known yet":                  {standing{}, verdict{until: after(serversAway), wish: api.ClaimNeeded}},
		"no server has answered for a moment":   {standing{silent: after(-time.Second)}, verdict{until: after(2 * time.Second), wish: api.ClaimNeeded}},
		"no server answers":                     {standing{silent: after(-serversAway)}, verdict{origin: true}},
		"nobody has it":                         {standing{told: true}, verdict{until: after(serversAway), wish: api.ClaimNow}},
		"the claim is ours":                     {standing{told: true, mine: true, holder: "me"}, verdict{origin: true}},
		"ours, and others may be behind":        {standing{told: true, mine: true, size: 300, others: []neighbour{other}}, verdict{origin: true}},
		"ours, and another is further":          {standing{told: true, mine: true, size: 300, others: []neighbour{{id: "o", have: 299}}}, verdict{origin: true}},
		"ours, and another has all of it":       {standing{told: true, mine: true, size: 300, others: []neighbour{{id: "o", have: 300}}}, verdict{from: "o"}},
		"the holder may have it":                {standing{told: true, holder: "h", others: []neighbour{holder, other}, progress: t0}, verdict{from: "h"}},
		"the holder has no more, another may":   {standing{told: true, holder: "h", others: []neighbour{resting, other}, progress: t0}, verdict{from: "o"}},
		"the holder has no more":                {standing{told: true, holder: "h", others: []neighbour{resting}, progress: t0}, verdict{until: after(time.Second)}},
		"servers away, the holder gets on":      {standing{told: true, holder: "h", others: []neighbour{resting}, progress: t0, silent: after(-time.Hour)}, verdict{until: after(time.Second)}},
		"servers away, the holder stands still": {standing{told: true, holder: "h", others: []neighbour{resting}, progress: after(-time.Hour), silent: after(-time.Hour)}, verdict{origin: true}},
		"the holder stands still": {
			standing{told: true, holder: "h", claim: 7, others: []neighbour{resting}, progress: after(-stalledAfter)}, verdict{until: after(time.Second), over: 7},
		},
		"the holder stands still again": {
			standing{told: true, holder: "h", claim: 7, robbed: true, others: []neighbour{resting}, progress: after(-stalledAfter)}, verdict{origin: true, alone: true},
		},
		"the holder is gone": {standing{told: true, holder: "h", claim: 7, progress: t0}, verdict{until: after(serversAway), over: 7}},
		"the holder fails": {
			standing{told: true, holder: "h", claim: 7, progress: t0, others: []neighbour{{id: "h", fails: 3, rest: after(time.Minute)}}},
			verdict{until: after(serversAway), over: 7},
		},
		"the holder sent wrong bytes": {
			standing{told: true, holder: "h", claim: 7, progress: t0, others: []neighbour{{id: "h", bad: true}}}, verdict{until: after(serversAway), over: 7},
		},
		"the others are given up": {standing{told: true, holder: "h", alone: true, others: []neighbour{holder}}, verdict{origin: true}},
	} {
		if got := next(c.s, t0); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Whatever is known, a node does exactly one thing, never reads from one that sent wrong bytes or rests, and gets to its file in the end: if nobody
// answers any more it is at the origin within the times that the package promises.
func TestNext_alwaysGetsOn(t *testing.T) {
	moment := func(rt *rapid.T, name string) time.Time {
		return t0.Add(time.Duration(rapid.IntRange(-40, 40).Draw(rt, name)) * time.Second)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := standing{
			told: rapid.Bool().Draw(rt, "told"), mine: rapid.Bool().Draw(rt, "mine"), holder: rapid.SampledFrom([]string{"", "a", "b", "z"}).Draw(rt, "holder"),
			claim: 3, size: 150, progress: t0, robbed: rapid.Bool().Draw(rt, "robbed"), alone: rapid.Bool().Draw(rt, "alone"),
		}
		for _, id := range []string{"a", "b", "c"}[:rapid.IntRange(0, 3).Draw(rt, "others")] {
			s.others = append(s.others, neighbour{
				id: id, have: rapid.Int64Range(-1, 200).Draw(rt, "have"), bad: rapid.Bool().Draw(rt, "bad"), fails: rapid.IntRange(0, 4).Draw(rt, "fails"), rest: moment(rt, "rest"),
			})
		}
		now := t0
		for now.Before(t0.Add(2 * time.Minute)) {
			v := next(s, now)
			ways := 0
			for _, way := range []bool{v.origin, v.from != "", !v.until.IsZero()} {
				if way {
					ways++
				}
			}
			if ways != 1 {
				rt.Fatalf("%+v: %+v", s, v)
			}
			if v.origin {
				return
			}
			if v.from == "" {
				if !v.until.After(now) {
					rt.Fatalf("waits for the past: %+v at %v: %+v", s, now, v)
				}
				if s.silent.IsZero() {
					s.silent = now // nobody answers
				}
				now = v.until
				continue
			}
			for i := range s.others { // the node asked is dead
				if n := &s.others[i]; n.id == v.from {
					if n.bad || now.Before(n.rest) {
						rt.Fatalf("reads from %+v", *n)
					}
					n.fails++
					n.rest = now.Add(restAfter(n.fails))
				}
			}
			now = now.Add(2 * time.Second)
		}
		rt.Fatalf("still not at the origin: %+v", s)
	})
}
