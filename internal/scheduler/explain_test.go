package scheduler

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

// TestExplain_cases explains the model "x" of each cluster.
func TestExplain_cases(t *testing.T) {
	clustertest.Cases(t, "testdata/explain/*.txt", *update, func(_ *testing.T, c *clustertest.Cluster) string {
		return told(Explain(c.State, "x", c.Now))
	})
}

// told writes an explanation down.
func told(x api.Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", x.State)
	if x.Need != nil {
		fmt.Fprintf(&b, ", needs %s", x.Need.Message)
	}
	b.WriteString("\n")
	for _, p := range x.Places {
		fmt.Fprintf(&b, "replica %d: %s %v %s", p.ReplicaID, p.NodeID, p.GPUIndices, p.Status)
		if !p.Planned {
			b.WriteString("(not planned yet)")
		}
		b.WriteString("\n")
	}
	if x.Unplaced != nil {
		fmt.Fprintf(&b, "unplaced: %s\n", x.Unplaced.Code)
	}
	for _, n := range x.Nodes {
		fmt.Fprintf(&b, "%s: %s, %s", n.NodeID, n.Code, n.Message)
		if n.GPUsShort > 0 || n.VRAMShortMB > 0 {
			fmt.Fprintf(&b, " [%d GPUs, %d MiB short]", n.GPUsShort, n.VRAMShortMB)
		}
		if len(n.Replicas) > 0 {
			fmt.Fprintf(&b, " has %v", n.Replicas)
		}
		b.WriteString("\n")
		for _, g := range n.GPUs {
			fmt.Fprintf(&b, "  GPU %d: %d of %d MiB free", g.Index, g.MemoryFreeMB, g.MemoryTotalMB)
			if g.Fits {
				b.WriteString(", fits")
			}
			if g.Holder != "" {
				b.WriteString(", held by " + g.Holder)
			}
			if g.ShortMB > 0 {
				fmt.Fprintf(&b, ", %d MiB short", g.ShortMB)
			}
			b.WriteString("\n")
		}
	}
	for _, h := range x.Help {
		b.WriteString("help: " + h + "\n")
	}
	return b.String()
}

// TestExplain_agreesWithPlan lives random clusters' lives. What Explain says of a model is what Plan then does; it never changes the State, and a
// model without a place for all its replicas is told why, what each node lacks, and what would help.
func TestExplain_agreesWithPlan(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"a node connects": func(*rapid.T) { w.node() },
			"a node leaves":   func(*rapid.T) { w.leave() },
			"people wish":     func(*rapid.T) { w.want() },
			"people delete":   func(*rapid.T) { w.forget() },
			"agents act":      func(*rapid.T) { w.agent() },
			"":                func(rt *rapid.T) { explainAll(rt, w) },
		})
	})
}

func explainAll(rt *rapid.T, w *world) {
	w.m = Memory{} // Explain has none
	before := w.s
	explained := map[string]api.Explanation{}
	for e := range w.s.Models.All() {
		explained[e.ID] = Explain(&w.s, e.ID, w.now)
	}
	if !reflect.DeepEqual(before, w.s) {
		rt.Fatalf("explaining changed the State\n%s", w)
	}
	w.plan()
	for uid, x := range explained {
		plan, planned := w.s.Placements.Value(uid)
		if planned {
			holdPlan(rt, w, &x, &plan)
		} else if len(x.Places) > 0 {
			rt.Fatalf("%s: places %v without a plan\n%s", uid, x.Places, w)
		}
		holdFits(rt, w, &x)
	}
}

func holdPlan(rt *rapid.T, w *world, x *api.Explanation, plan *api.PlacementPlan) {
	if len(x.Places) != len(plan.Assignments) || !hasAway(w, x) && (x.Unplaced == nil) != (plan.Unplaced == nil) {
		rt.Fatalf("%s: explained %v, %v; planned %v, %v\n%s", x.ModelUID, x.Places, x.Unplaced, plan.Assignments, plan.Unplaced, w)
	}
	for i, a := range plan.Assignments {
		if p := x.Places[i]; p.ReplicaID != a.ReplicaID || p.NodeID != a.NodeID || !slices.Equal(p.GPUIndices, a.GPUs()) && len(a.GPUs()) > 0 {
			rt.Fatalf("%s: explained %v, planned %v\n%s", x.ModelUID, p, a, w)
		}
	}
	if x.Unplaced != nil && len(x.Help) == 0 {
		rt.Fatalf("%s has no place, and nothing would help: %v\n%s", x.ModelUID, x.Unplaced, w)
	}
}

// hasAway tells whether a replica is on a node that does not report: of those the leader may have said more than can be seen.
func hasAway(w *world, x *api.Explanation) bool {
	return slices.ContainsFunc(x.Places, func(p api.ReplicaPlace) bool { return !w.s.Nodes.Has(p.NodeID) })
}

func holdFits(rt *rapid.T, w *world, x *api.Explanation) {
	for _, n := range x.Nodes {
		free := 0
		for _, g := range n.GPUs {
			if g.Fits && (g.Holder != "" || g.ShortMB > 0) {
				rt.Fatalf("%s: GPU %v of %s fits\n%s", x.ModelUID, g, n.NodeID, w)
			}
			if g.Fits {
				free++
			}
		}
		if n.Message == "" || n.Fits != (n.Code == api.FitOK || n.Code == api.FitOnCPU) {
			rt.Fatalf("%s on %s: %v\n%s", x.ModelUID, n.NodeID, n, w)
		}
		if n.Code == api.FitNoRoom && n.GPUsShort != x.Need.GPUs-free {
			rt.Fatalf("%s on %s: short of %d GPUs, with %d of %d\n%s", x.ModelUID, n.NodeID, n.GPUsShort, free, x.Need.GPUs, w)
		}
		if n.Fits && !hasAway(w, x) && x.Unplaced != nil && x.Unplaced.Code == api.ReasonUnschedulable {
			rt.Fatalf("%s fits %s, and is %v\n%s", x.ModelUID, n.NodeID, x.Unplaced, w)
		}
	}
}
