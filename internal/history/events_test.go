package history_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/history"
)

var now = time.UnixMilli(1_700_000_000_000)

func TestEvents(t *testing.T) {
	on := func(node string) history.Replica { return history.Replica{Node: node} }
	with := func(r history.Replica, edit func(*history.Replica)) history.Replica { edit(&r); return r }
	type replicas = map[uint32]history.Replica
	for name, c := range map[string]struct {
		before, after history.View
		want          string
	}{
		"nothing": {history.View{State: api.StateRunning, Replicas: replicas{0: on("a")}}, history.View{State: api.StateRunning, Replicas: replicas{0: on("a")}}, ""},
		"placed":  {history.View{State: api.StateStopped}, history.View{State: api.StateStarting, Replicas: replicas{0: on("a")}}, "placed 0 a | starting"},
		"no place": {
			history.View{State: api.StateStopped},
			history.View{State: api.StateFailed, Reason: api.Reason{Code: "no_nodes", Message: "no node"}, Unplaced: api.Reason{Code: "no_nodes", Message: "no node"}},
			"no_place: no node | failed: no node",
		},
		"replaced": {
			history.View{State: api.StateDegraded, Replicas: replicas{0: on("a"), 1: on("b")}},
			history.View{State: api.StateDegraded, Replicas: replicas{0: on("a"), 2: on("c")}},
			"unplaced 1 b | placed 2 c",
		},
		"another node": {history.View{Replicas: replicas{0: on("a")}}, history.View{Replicas: replicas{0: on("b")}}, "unplaced 0 a | placed 0 b"},
		"a failure": {
			history.View{Replicas: replicas{0: on("a")}},
			history.View{Replicas: replicas{0: with(on("a"), func(r *history.Replica) { r.Failure, r.FailedAtMS, r.Restarts = "out of memory", 5, 2 })}},
			"replica_failed 0 a: out of memory | replica_restarted 0 a: 2 times since it was placed",
		},
		"a failure is over": {
			history.View{Replicas: replicas{0: with(on("a"), func(r *history.Replica) { r.Failure, r.FailedAtMS = "x", 5 })}}, history.View{Replicas: replicas{0: on("a")}}, "",
		},
		"a download": {
			history.View{Replicas: replicas{0: on("a")}},
			history.View{State: api.StateDownloading, Replicas: replicas{0: with(on("a"), func(r *history.Replica) { r.Downloading = true })}},
			"download_started 0 a | downloading",
		},
		"its end": {
			history.View{Replicas: replicas{0: with(on("a"), func(r *history.Replica) { r.Downloading = true })}}, history.View{Replicas: replicas{0: on("a")}}, "download_ended 0 a",
		},
		"another reason": {
			history.View{State: api.StateFailed, Reason: api.Reason{Code: "a", Message: "1"}}, history.View{State: api.StateFailed, Reason: api.Reason{Code: "b", Message: "2"}}, "failed: 2",
		},
		"a figure in the reason": {
			history.View{State: api.StateDownloading, Reason: api.Reason{Code: "downloading", Message: "3 %"}},
			history.View{State: api.StateDownloading, Reason: api.Reason{Code: "downloading", Message: "4 %"}},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range history.Events("m", c.before, c.after, now) {
				line := e.Verb
				if e.Replica != nil {
					line += fmt.Sprintf(" %d %s", *e.Replica, e.Node)
				}
				if e.Message != "" {
					line += ": " + e.Message
				}
				if got = append(got, line); e.ModelUID != "m" || e.Kind != "status" || e.TimeMS != now.UnixMilli() || e.Actor != nil {
					t.Errorf("%+v", e)
				}
			}
			if text := strings.Join(got, " | "); text != c.want {
				t.Errorf("%s\nwant %s", text, c.want)
			}
		})
	}
}

// TestEvents_replayed: events, one after the other, lead to where the model stands, and nothing is told when nothing happened.
func TestEvents_replayed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	states := api.ModelStates()
	random := func() history.View {
		v := history.View{State: states[r.IntN(len(states))], Replicas: map[uint32]history.Replica{}}
		for range r.IntN(4) {
			v.Replicas[uint32(r.IntN(5))] = history.Replica{Node: string(rune('a' + r.IntN(3))), Downloading: r.IntN(2) == 0, Restarts: uint32(r.IntN(3))}
		}
		return v
	}
	view := history.View{State: api.StateStopped}
	state, where := view.State, map[uint32]string{}
	for range 2000 {
		next := random()
		if again := history.Events("m", view, view, now); len(again) != 0 {
			t.Fatalf("nothing happened, and it says %+v", again)
		}
		for _, e := range history.Events("m", view, next, now) {
			switch e.Verb {
			case history.VerbPlaced:
				where[*e.Replica] = e.Node
			case history.VerbUnplaced:
				delete(where, *e.Replica)
			case history.VerbDownload, history.VerbDownloadOver, history.VerbRestarted:
			default:
				state = api.ModelState(e.Verb)
			}
		}
		want := map[uint32]string{}
		for n, rep := range next.Replicas {
			want[n] = rep.Node
		}
		if state != next.State || !maps.Equal(where, want) {
			t.Fatalf("from %+v to %+v: told %s %v", view, next, state, where)
		}
		view = next
	}
}
