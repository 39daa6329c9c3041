package cluster_test

import (
	order "cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

func random(t *rapid.T) (string, *clustertest.Cluster) {
	text := clustertest.Random(t)
	c, err := clustertest.Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return text, c
}

// TestStatus_properties holds Status to what every reader relies on, whatever the documents say.
func TestStatus_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		for _, uid := range []string{"a", "a-b", "c", "d"} {
			got := cluster.Status(c.State, uid, c.Now)
			for _, problem := range statusProblems(c.State, uid, got) {
				t.Errorf("%s is %+v (reason %+v): %s, in\n%s", uid, got, got.Reason, problem, text)
			}
			later := cluster.Status(c.State, uid, c.Now.Add(time.Hour))
			if later.State != got.State && (got.State != api.StateStarting || later.State != api.StateFailed) {
				t.Errorf("time alone turned %s from %s to %s, in\n%s", uid, got.State, later.State, text)
			}
		}
	})
}

func statusProblems(s *cluster.State, uid string, got api.ModelStatus) (problems []string) {
	must := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, problem)
		}
	}
	r := got.Replicas
	plan, _ := s.Placements.Value(uid)
	existing := uint32(len(plan.Assignments) + len(plan.Displaced))
	if _, bad := s.Unreadable(uid); bad {
		existing = 0
		for range s.Endpoints.Prefix(uid + "/") {
			existing++
		}
	}
	settled := got.State == api.StateRunning || got.State == api.StateStopped
	must(slices.Contains(api.ModelStates(), got.State), "not one of the seven states")
	must(r.Ready+r.Starting+r.Unhealthy <= max(r.Desired, existing), "counts more replicas than there are")
	must((got.Reason == nil) == settled, "has a reason exactly when it is neither running nor stopped")
	must(got.Reason == nil || got.Reason.Code != "" && strings.HasSuffix(got.Reason.Message, "."), "its reason is not a sentence")
	must(got.State != api.StateRunning || r.Desired > 0 && r.Ready >= r.Desired, "running without all replicas")
	must(got.State != api.StateDegraded || r.Ready > 0, "degraded and serves nothing")
	must(got.State != api.StateFailed && got.State != api.StateStarting && got.State != api.StateDownloading || r.Ready == 0,
		"serves and does not say so")
	if d, ok := s.Deployments.Value(uid); !ok || d.DesiredState == api.DesiredStopped {
		_, bad := s.Unreadable(uid)
		must(bad || got.State == api.StateStopped || got.State == api.StateStopping, "nobody wants it, and it is neither stopped nor stopping")
	}
	return problems
}

// TestStatus_unplannedReplicasChangeNothing adds what a former replica may leave behind.
func TestStatus_unplannedReplicasChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		more, err := clustertest.Parse(text + "endpoint a/9@n1 ready\ndownload a/9@n1 downloading done=1 total=2\n")
		if err != nil {
			t.Fatal(err)
		}
		d, wanted := c.State.Deployments.Value("a")
		if _, bad := c.State.Unreadable("a"); bad || !wanted || d.DesiredState == api.DesiredStopped || d.Replicas == 0 || !c.State.Models.Has("a") {
			return // there, what is left over is the question itself
		}
		want, got := cluster.Status(c.State, "a", c.Now), cluster.Status(more.State, "a", c.Now)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-without +with:\n%s\nin\n%s", diff, text)
		}
	})
}

// TestDesired_indexIsInvisible compares the indexed answer with the one by scanning, over clusters and a change.
func TestDesired_indexIsInvisible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		indexed := c.State.Indexed()
		stale := *indexed // a copy that was changed and not indexed anew
		edit := stale.Placements.Edit()
		edit.Delete("a")
		edit.Put(cluster.Entry[api.PlacementPlan]{ID: "c", Value: api.PlacementPlan{
			ModelUID: "c", Assignments: []api.PlacementAssignment{{ReplicaID: 7, NodeID: "n0"}},
		}})
		stale.Placements = edit.Done()
		plain := *c.State
		plain.Placements = stale.Placements
		for _, node := range []string{"n0", "n1", "gone", "never"} {
			if diff := cmp.Diff(cluster.Desired(c.State, node), cluster.Desired(indexed, node)); diff != "" {
				t.Errorf("%s: -scan +index:\n%s\nin\n%s", node, diff, text)
			}
			if diff := cmp.Diff(cluster.Desired(&plain, node), cluster.Desired(&stale, node)); diff != "" {
				t.Errorf("%s: -scan +stale index:\n%s\nin\n%s", node, diff, text)
			}
		}
	})
}

// TestDesired_isWhatIsPlaced checks each answer against the plans, one by one.
func TestDesired_isWhatIsPlaced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		got := map[string]bool{}
		for _, node := range []string{"n0", "n1", "n2", "gone"} {
			d := cluster.Desired(c.State, node)
			for _, r := range d.Replicas {
				if r.Displaced {
					got[node+" displaced "+r.Key()] = true
				} else {
					got[node+" "+r.Key()] = true
				}
				if slices.Contains(d.Frozen, r.Spec.ModelUID) {
					t.Errorf("%s is frozen and listed, in\n%s", r.Key(), text)
				}
			}
			if !slices.IsSortedFunc(d.Replicas, func(a, b api.DesiredReplica) int {
				return order.Or(strings.Compare(a.Spec.ModelUID, b.Spec.ModelUID), order.Compare(a.Assignment.ReplicaID, b.Assignment.ReplicaID))
			}) {
				t.Errorf("%s: not sorted, in\n%s", node, text)
			}
		}
		for e := range c.State.Placements.All() {
			d, ok := c.State.Deployments.Value(e.ID)
			_, bad := c.State.Unreadable(e.ID)
			wanted := ok && !bad && d.DesiredState == api.DesiredRunning && d.Replicas > 0 && c.State.Models.Has(e.ID)
			for _, a := range e.Value.Assignments {
				key := a.NodeID + " " + api.EndpointKey(e.ID, a.ReplicaID)
				if got[key] != wanted {
					t.Errorf("%s: desired %v, want %v, in\n%s", key, got[key], wanted, text)
				}
			}
			for _, a := range e.Value.Displaced {
				if key := a.NodeID + " displaced " + api.EndpointKey(e.ID, a.ReplicaID); got[key] != wanted {
					t.Errorf("%s: desired %v, want %v, in\n%s", key, got[key], wanted, text)
				}
			}
		}
	})
}

// TestViews_pagesJoinToTheWhole walks the list in pages of every size.
func TestViews_pagesJoinToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		f := cluster.Filter{State: rapid.SampledFrom([]api.ModelState{"", "", api.StateStarting, api.StateFailed}).Draw(t, "state")}
		whole, next := cluster.Views(c.State, c.Now, f)
		if next != "" {
			t.Fatalf("no limit, and yet a next page %q", next)
		}
		f.Limit = rapid.IntRange(1, 4).Draw(t, "limit")
		var joined []api.ModelView
		for {
			page, next := cluster.Views(c.State, c.Now, f)
			joined = append(joined, page...)
			if next == "" {
				break
			}
			f.After = next
		}
		if len(whole) == 0 && len(joined) == 0 {
			return
		}
		if diff := cmp.Diff(whole, joined); diff != "" {
			t.Errorf("-whole +pages:\n%s\nin\n%s", diff, text)
		}
	})
}

// TestUsage_coversPlansAndEndpoints looks each GPU up again.
func TestUsage_coversPlansAndEndpoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		want := map[cluster.GPU][]string{}
		for e := range c.State.Placements.All() {
			for _, a := range slices.Concat(e.Value.Assignments, api.List[api.PlacementAssignment](e.Value.Displaced)) {
				for _, g := range a.GPUs() {
					at := cluster.GPU{NodeID: a.NodeID, Index: g}
					want[at] = append(want[at], api.EndpointKey(e.ID, a.ReplicaID))
				}
			}
		}
		for e := range c.State.Endpoints.All() {
			for _, g := range e.Value.GPUIndices {
				at := cluster.GPU{NodeID: e.Value.NodeID, Index: g}
				want[at] = append(want[at], e.ID)
			}
		}
		got := cluster.Usage(c.State)
		if len(got) != len(want) {
			t.Errorf("%d GPUs taken, want %d, in\n%s", len(got), len(want), text)
		}
		for gpu, holder := range got {
			if !slices.Contains(want[gpu], holder) {
				t.Errorf("%v is held by %q, want one of %q, in\n%s", gpu, holder, want[gpu], text)
			}
		}
	})
}
