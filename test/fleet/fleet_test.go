package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/test/traffic"
)

func put(rev int64, key, value string) store.Batch {
	return store.Batch{Revision: rev, Events: []store.Event{{KeyValue: store.KeyValue{Key: key, Value: []byte(value), ModRev: rev}}}}
}

func TestPlans_countsWritesOfWhoDoesNotLead(t *testing.T) {
	h := &plans{}
	for _, b := range []store.Batch{
		put(1, "/leader/scheduler", "s1"),
		put(2, "/placements/a", `{"version":1,"assignments":[]}`),
		put(3, "/models/a/spec", `{}`),
		put(4, "/placements/b", `{"version":1,"assignments":[{"replica_id":0,"node_id":"n1"}]}`),
		put(5, "/leader/scheduler", "s2"),
		put(6, "/placements/a", `{"version":2,"assignments":[]}`),
		put(7, "/placements/c", `{"version":1,"assignments":[]}`),
		put(8, "/placements/d", `{"version":1,"assignments":[]}`),
		put(7, "/placements/c", `{"version":1,"assignments":[]}`), // told again by a watch that began anew
	} {
		if err := h.take(b); err != nil {
			t.Fatal(err)
		}
	}
	stale, unknown := h.count(map[string]string{"a/1": "s1", "b/1": "s1", "a/2": "s2", "c/1": "s1"})
	if stale != 1 || unknown != 1 || len(h.plans) != 5 {
		t.Errorf("%d stale, %d unknown, %d plans; want 1 (c, by s1), 1 (d) and 5", stale, unknown, len(h.plans))
	}
	if h.placed("b").IsZero() || !h.placed("a").IsZero() {
		t.Error("b has a place, and a has none")
	}
}

func TestExcused_onlyWhatTheKilledProcessCarried(t *testing.T) {
	at := time.Unix(1000, 0)
	r := &load{kills: []kill{{"g1", at}, {"", at.Add(time.Minute)}}}
	record := func(o traffic.Outcome, gateway string, began time.Time, first time.Duration) traffic.Record {
		return traffic.Record{Outcome: o, Gateway: gateway, Began: began, Took: 2 * time.Second, FirstByte: first, Stream: true}
	}
	g, n := at.Add(-time.Second), at.Add(time.Minute-time.Second)
	for _, c := range []struct {
		why  string
		rec  traffic.Record
		want bool
	}{
		{"lost with its gateway", record(traffic.Lost, "g1", g, 0), true},
		{"lost at the other gateway", record(traffic.Lost, "g2", g, 0), false},
		{"lost long after", record(traffic.Lost, "g1", g.Add(10*time.Second), 0), false},
		{"refused by the gateway", record(traffic.Refused, "g1", g, 0), false},
		{"a stream cut with its node", record(traffic.ErrorEvent, "g2", n, time.Second), true},
		{"a stream that had nothing yet", record(traffic.ErrorEvent, "g2", n, 0), false},
		{"lost when a node went", record(traffic.Lost, "g2", n, 0), false},
		{"cut in silence", record(traffic.SilentCut, "g2", n, time.Second), false},
	} {
		if got := r.excused(c.rec); got != c.want {
			t.Errorf("%s: excused %v", c.why, got)
		}
	}
}

func TestRun_refusals(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-only sim", `no part "sim"`},
		{"-nebula /does/not/exist", "make build"},
	} {
		err := run(t.Context(), strings.Fields(c.args))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.args, err, c.want)
		}
	}
}

func TestLoopback_machinesOfOtherProcessesAreElsewhere(t *testing.T) {
	if a, b := loopback(1), loopback(2); a == b || !strings.HasPrefix(a, "127.") {
		t.Errorf("%s and %s", a, b)
	}
}
