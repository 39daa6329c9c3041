package link

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

// set is a desired set: a history, whether it is accepted, a revision and replicas ("uid/replica").
func set(history string, accepted bool, revision int64, replicas ...string) api.NodeDesired {
	d := api.NodeDesired{NodeID: "n1", History: history, HistoryAccepted: accepted, Revision: revision, Replicas: []api.DesiredReplica{}}
	for _, key := range replicas {
		uid, n, _ := strings.Cut(key, "/")
		r := api.DesiredReplica{Spec: api.ModelSpec{ModelUID: uid}, Assignment: api.PlacementAssignment{NodeID: "n1", ReplicaID: uint32(n[0] - '0')}}
		d.Replicas = append(d.Replicas, r)
	}
	return d
}

func keysOf(d api.NodeDesired) string {
	var out []string
	for i := range d.Replicas {
		out = append(out, d.Replicas[i].Key())
	}
	return strings.Join(out, " ")
}

// TestWish_take tells sets to a node one after the other, a second apart unless the step says otherwise.
func TestWish_take(t *testing.T) {
	type step struct {
		after   time.Duration
		told    api.NodeDesired
		verdict verdict
		runs    string // replicas that the node should run after it
		frozen  string // models that it leaves alone
	}
	for name, steps := range map[string][]step{
		"newer replaces older": {
			{0, set("h", true, 5, "a/0"), taken, "a/0", ""},
			{0, set("h", true, 6, "b/0"), taken, "b/0", ""},
			{0, set("h", true, 9, "b/0"), same, "b/0", ""},
		},
		"a lagging server changes nothing": {
			{0, set("h", true, 5, "a/0", "b/0"), taken, "a/0 b/0", ""},
			{0, set("h", true, 4, "a/0"), behind, "a/0 b/0", ""},
			{time.Hour, set("h", true, 6, "b/0"), taken, "b/0", ""},
			{0, set("h", true, 5, "a/0"), behind, "b/0", ""},
		},
		"an older revision that says the same is no news": {
			{0, set("h", true, 5, "a/0"), taken, "a/0", ""},
			{0, set("h", true, 4, "a/0"), same, "a/0", ""},
			{time.Hour, set("h", true, 4, "a/0"), same, "a/0", ""},
			{0, set("h", true, 4, "b/0"), behind, "a/0", ""},
		},
		"older for too long is another history": {
			{0, set("h", true, 50, "a/0", "b/0"), taken, "a/0 b/0", ""},
			{0, set("h", true, 4, "b/0"), behind, "a/0 b/0", ""},
			{behindFor - 2*time.Second, set("h", true, 5, "b/0"), behind, "a/0 b/0", ""},
			{time.Second, set("h", true, 6, "b/0"), taken, "b/0", "a"},
			{0, set("h", true, 7, "b/0", "c/0"), taken, "b/0 c/0", "a"}, // goes on under the hold
			{0, set("h2", true, 8, "b/0", "c/0"), taken, "b/0 c/0", ""}, // accepted, as another history
		},
		"a restore keeps what it does not name until it is accepted": {
			{0, set("h1", true, 50, "a/0", "b/0", "b/1"), taken, "a/0 b/0 b/1", ""},
			{0, set("h2", false, 7, "b/0", "c/0"), taken, "b/0 c/0", "a b"},
			{0, set("h2", false, 8, "c/0"), taken, "c/0", "a b"}, // people stop b: what was held of it stays
			{0, set("h2", true, 9, "c/0"), taken, "c/0", ""},
		},
		"what is held and named again is an ordinary wish": {
			{0, set("h1", true, 50, "a/0", "b/0"), taken, "a/0 b/0", ""},
			{0, set("h2", false, 7), taken, "", "a b"},
			{0, set("h2", false, 8, "a/0"), taken, "a/0", "b"},
			{0, set("h2", false, 9), taken, "", "b"},
		},
		"a restore upon a restore adds to what is held": {
			{0, set("h1", true, 50, "a/0"), taken, "a/0", ""},
			{0, set("h2", false, 7, "b/0"), taken, "b/0", "a"},
			{0, set("h3", false, 3, "c/0"), taken, "c/0", "a b"},
			{0, set("h3", true, 4, "c/0"), taken, "c/0", ""},
		},
		"a restore that was accepted before the node heard of it": {
			{0, set("h1", true, 50, "a/0"), taken, "a/0", ""},
			{0, set("h2", true, 7, "b/0"), taken, "b/0", ""},
		},
		"a cluster that has forgotten its own name": {
			{0, set("h1", true, 50, "a/0"), taken, "a/0", ""},
			{0, set("", false, 3), taken, "", "a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var w wish
			now := time.Unix(1000, 0)
			for i, s := range steps {
				now = now.Add(s.after + time.Second)
				var v verdict
				w, v = w.take(s.told, now)
				d := w.effective()
				if v != s.verdict || keysOf(d) != s.runs || strings.Join(d.Frozen, " ") != s.frozen {
					t.Fatalf("step %d: verdict %d, runs %q, leaves alone %q; want %d, %q, %q", i, v, keysOf(d), strings.Join(d.Frozen, " "), s.verdict, s.runs, s.frozen)
				}
			}
		})
	}
}

// TestWish_neverStopsUnasked checks over random sequences that a replica goes only by a set of the history that named it last, or once people have
// accepted another one; and that within a history no older set replaces a newer one.
func TestWish_neverStopsUnasked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w wish
		now := time.Unix(1000, 0)
		for range rapid.IntRange(1, 20).Draw(t, "sets") {
			var replicas []string
			for _, uid := range []string{"a", "b", "c"} {
				if rapid.Bool().Draw(t, uid) {
					replicas = append(replicas, uid+"/0")
				}
			}
			d := set(fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "history")), rapid.Bool().Draw(t, "accepted"), int64(rapid.IntRange(1, 9).Draw(t, "revision")), replicas...)
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			next, v := w.take(d, now)
			before, after := w.effective(), next.effective()
			restored := w.Desired.NodeID != "" && d.History != w.Desired.History
			for i := range before.Replicas {
				r := &before.Replicas[i]
				kept := names(after, r.Key()) || slices.Contains(after.Frozen, r.Spec.ModelUID)
				if restored && !d.HistoryAccepted && !kept {
					t.Fatalf("%s went by a restore that nobody has accepted", r.Key())
				}
			}
			if !restored && w.Desired.NodeID != "" && d.Revision < w.Desired.Revision && !sameSet(d, w.Desired) && v != behind {
				for i := range before.Replicas {
					r := &before.Replicas[i]
					if !names(after, r.Key()) && !slices.Contains(after.Frozen, r.Spec.ModelUID) {
						t.Fatalf("%s went by an older set", r.Key())
					}
				}
			}
			w = next
		}
	})
}
