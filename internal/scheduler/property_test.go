package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// TestPlan_properties lives a cluster's life and holds every plan to the rules.
func TestPlan_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		before := w.s
		t.Repeat(map[string]func(*rapid.T){
			"a node connects":  func(*rapid.T) { w.node() },
			"a node leaves":    func(*rapid.T) { w.leave() },
			"people wish":      func(*rapid.T) { w.want() },
			"people delete":    func(*rapid.T) { w.forget() },
			"agents act":       func(*rapid.T) { w.agent() },
			"agents act again": func(*rapid.T) { w.agent() },
			"time passes":      func(*rapid.T) { w.time() },
			"": func(t *rapid.T) {
				changes := w.plan()
				for _, problem := range slices.Concat(doubleBooked(&w.s), unexplained(w), illPlaced(w, &before, changes), moved(w, &before)) {
					t.Errorf("%s, after\n%s", problem, w)
				}
				if again, _ := Plan(&w.s, w.m, w.now, LostAfter); len(again) > 0 {
					t.Errorf("applying the plan leaves something to do: %s, after\n%s", words(again), w)
				}
				before = w.s
			},
		})
	})
}

// doubleBooked looks for GPUs that two replicas have.
func doubleBooked(s *cluster.State) (problems []string) {
	held := map[cluster.GPU]string{}
	hold := func(node string, gpus []uint32, holder string) {
		for _, g := range gpus {
			at := cluster.GPU{NodeID: node, Index: g}
			if other := held[at]; other != "" && other != holder {
				problems = append(problems, fmt.Sprintf("%s and %s both have GPU %d of %s", other, holder, g, node))
			}
			held[at] = holder
		}
	}
	for e := range s.Placements.All() {
		for _, a := range slices.Concat(e.Value.Assignments, api.List[api.PlacementAssignment](e.Value.Displaced)) {
			hold(a.NodeID, a.GPUs(), api.EndpointKey(e.ID, a.ReplicaID))
		}
	}
	for e := range s.Endpoints.All() {
		hold(e.Value.NodeID, e.Value.GPUIndices, e.ID)
	}
	return problems
}

// unexplained looks for models with too few or too many replicas, and for missing ones that no sentence explains.
func unexplained(w *world) (problems []string) {
	for e := range w.s.Deployments.All() {
		plan, planned := w.s.Placements.Value(e.ID)
		wanted := e.Value.DesiredState == api.DesiredRunning && e.Value.Replicas > 0 && w.s.Models.Has(e.ID)
		living, heirs := 0, 0
		ids := map[uint32]bool{}
		for _, a := range plan.Assignments {
			ids[a.ReplicaID] = true
		}
		for _, a := range plan.Assignments {
			switch {
			case a.Replaces != nil && ids[*a.Replaces]:
				heirs++
			case !w.m.gone(a.NodeID, w.now):
				living++
			}
		}
		seats := len(plan.Assignments) - heirs
		stuck := living >= int(e.Value.Replicas) && len(stuckOn(w, &plan)) > 0
		switch u := plan.Unplaced; {
		case planned != wanted:
			problems = append(problems, fmt.Sprintf("%s: planned %v, wanted %v", e.ID, planned, wanted))
		case !wanted:
		case seats > int(e.Value.Replicas) || len(ids) != len(plan.Assignments):
			problems = append(problems, fmt.Sprintf("%s: %d replicas wanted, planned %+v", e.ID, e.Value.Replicas, plan.Assignments))
		case (u != nil) != (living < int(e.Value.Replicas)) && !stuck:
			problems = append(problems, fmt.Sprintf("%s: %d of %d replicas have a living place, and the reason is %+v", e.ID, living, e.Value.Replicas, u))
		case u != nil && (u.Code == api.ReasonNodeDraining || u.Code == api.ReasonReplicaDraining) != stuck:
			problems = append(problems, fmt.Sprintf("%s: stuck where it is to leave: %v, and the reason is %+v", e.ID, stuck, u))
		case u != nil && (u.Code == "" || !strings.HasSuffix(u.Message, ".") || len(u.Message) > 2000):
			problems = append(problems, fmt.Sprintf("%s: reason %+v", e.ID, u))
		}
	}
	return problems
}

// stuckOn lists the replicas of a plan that are to leave, with their node or by themselves, and have no heir.
func stuckOn(w *world, plan *api.PlacementPlan) (list []api.PlacementAssignment) {
	followed := map[uint32]bool{}
	for _, a := range plan.Assignments {
		if a.Replaces != nil {
			followed[*a.Replaces] = true
		}
	}
	d, _ := w.s.Deployments.Value(plan.ModelUID)
	for _, a := range plan.Assignments {
		if m, _ := w.s.Members.Value(api.MemberKey(api.MachineNode, a.NodeID)); (m.Draining || d.Drains(&a)) && !followed[a.ReplicaID] {
			list = append(list, a)
		}
	}
	return list
}

// illPlaced looks for new assignments where they must not be.
func illPlaced(w *world, before *cluster.State, changes []Change) (problems []string) {
	for _, c := range changes {
		if c.Plan == nil {
			continue
		}
		old, _ := before.Placements.Get(c.UID)
		spec, _ := w.s.Models.Value(c.UID)
		d, _ := w.s.Deployments.Value(c.UID)
		problem := func(a api.PlacementAssignment, what string) {
			problems = append(problems, fmt.Sprintf("%s/%d on %s %v: %s", c.UID, a.ReplicaID, a.NodeID, a.GPUs(), what))
		}
		if c.Plan.Version <= old.Value.Version || c.Rev != old.Rev {
			problems = append(problems, fmt.Sprintf("%s: version %d over revision %d follows %d of revision %d", c.UID, c.Plan.Version, c.Rev, old.Value.Version, old.Rev))
		}
		for _, a := range c.Plan.Assignments {
			held := func(o api.PlacementAssignment) bool { o.Replaces = a.Replaces; return cmp.Equal(o, a) }
			if slices.ContainsFunc(old.Value.Assignments, held) || slices.ContainsFunc(old.Value.Displaced, held) {
				continue
			}
			n, live := w.s.Nodes.Value(a.NodeID)
			member, _ := w.s.Members.Value(api.MemberKey(api.MachineNode, a.NodeID))
			here := func(o api.PlacementAssignment) bool { return o.ReplicaID == a.ReplicaID && o.NodeID == a.NodeID }
			if (member.Cordoned || member.Draining) && !slices.ContainsFunc(old.Value.Assignments, here) {
				problem(a, "new on a cordoned node")
			}
			insists := spec.Config.RequiredVRAMMB != nil || len(d.GPUAffinity) > 0
			if tp := spec.Config.TensorParallelSize; tp != nil {
				insists = insists || *tp > 1
				if len(a.GPUs()) > 0 && len(a.GPUs()) != int(*tp) {
					problem(a, "not as many GPUs as wanted")
				}
			}
			if e, ok := n.Engine(spec.Engine()); !live || !ok || e.Missing != "" || a.EngineType == nil || *a.EngineType != spec.Engine() {
				problem(a, "cannot run there, or is another engine")
			}
			if d.NodeAffinity != "" && a.NodeID != d.NodeAffinity {
				problem(a, "pinned elsewhere")
			}
			if len(a.GPUs()) == 0 && (insists || len(n.GPUs) > 0 && spec.Engine() != api.EngineLlamaCPP) {
				problem(a, "needs a GPU")
			}
			own := false // its own engine is there already: what it uses is no obstacle
			if e, ok := w.s.Endpoints.Value(api.EndpointKey(c.UID, a.ReplicaID)); ok {
				own = e.NodeID == a.NodeID
			}
			for _, g := range a.GPUs() {
				i := slices.IndexFunc(n.GPUs, func(have api.GPUStatus) bool { return have.Index == g })
				switch {
				case i < 0:
					problem(a, "no such GPU")
				case len(d.GPUAffinity) > 0 && !slices.Contains(d.GPUAffinity, g):
					problem(a, "pinned to other GPUs")
				case !own && spec.Config.RequiredVRAMMB != nil && n.GPUs[i].MemoryTotalMB-n.GPUs[i].MemoryUsedMB < *spec.Config.RequiredVRAMMB:
					problem(a, "too little memory")
				}
			}
		}
	}
	return problems
}

// moved looks for seats in which a replica served and none does after the plan, although the wish is what it was.
func moved(w *world, before *cluster.State) (problems []string) {
	for e := range before.Placements.All() {
		spec, known := w.s.Models.Get(e.ID)
		deployment, deployed := w.s.Deployments.Get(e.ID)
		if !known || !deployed || deployment.Value.DesiredState == api.DesiredStopped || deployment.Value.Replicas == 0 {
			continue
		}
		wish := wishOf(&spec, &deployment)
		now, _ := w.s.Placements.Value(e.ID)
		if was, is := w.servingSeats(&wish, &e.Value, &e.Value), w.servingSeats(&wish, &now, &e.Value); is < min(was, wish.replicas) {
			problems = append(problems, fmt.Sprintf("%s: replicas served in %d of %d seats, and now in %d", e.ID, was, wish.replicas, is))
		}
	}
	return problems
}

// servingSeats counts the seats of a plan in which a replica serves that is what is wanted. links is the plan that says who follows whom.
func (w *world) servingSeats(wish *wish, plan, links *api.PlacementPlan) int {
	u := usher{}
	u.link(links)
	seats := map[uint32]bool{}
	for _, a := range plan.Assignments {
		there, ok := w.s.Endpoints.Value(api.EndpointKey(plan.ModelUID, a.ReplicaID))
		if ok && there.NodeID == a.NodeID && there.Status == api.EndpointReady && w.s.Nodes.Has(a.NodeID) && !wish.need.changed(&a) {
			root, _ := u.root(a.ReplicaID)
			seats[root] = true
		}
	}
	return len(seats)
}

// settledWorld is a world in which some models run and nothing is left to do.
func settledWorld(t *rapid.T) *world {
	w := newWorld(t)
	w.calm = true
	for range 4 {
		w.node()
		w.want()
		w.plan()
		w.agent()
	}
	for e := range w.s.Placements.All() { // what has no place would compete with the new model
		if e.Value.Unplaced != nil {
			drop(w, &w.s.Deployments, e.ID)
		}
	}
	w.plan()
	return w
}

// draws describes a new model by numbers, so that two clusters get the same one.
func draws(t *rapid.T) []int {
	return rapid.SliceOfN(rapid.IntRange(0, 1<<20), 4, 4).Draw(t, "new model")
}

// newModel adds a model that the numbers describe and returns how many of its replicas have a place.
func newModel(w *world, s cluster.State, numbers []int) int {
	other := &world{t: w.t, s: s, m: w.m, now: w.now}
	vram := uint64(numbers[1]%3) * 20_000
	put(other, &other.s.Models, "new", api.ModelSpec{ModelUID: "new", ModelName: "new", EngineType: api.Engines()[numbers[0]%3], Config: &api.ModelConfig{
		TensorParallelSize: new(uint32(1 + numbers[2]%3)), RequiredVRAMMB: &vram,
	}})
	put(other, &other.s.Deployments, "new", api.ModelDeployment{ModelUID: "new", DesiredState: api.DesiredRunning, Replicas: uint32(1 + numbers[3]%5)})
	other.plan()
	plan, _ := other.s.Placements.Value("new")
	return len(plan.Assignments)
}

// TestPlan_anotherNodeNeverHurts adds a node and asks again.
func TestPlan_anotherNodeNeverHurts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := settledWorld(t)
		numbers := draws(t)
		before := newModel(w, w.s, numbers)
		grown := &world{t: t, s: w.s}
		for range 3 {
			grown.node()
		}
		if after := newModel(w, grown.s, numbers); after < before {
			t.Errorf("%d replicas have a place, and with more nodes only %d, in\n%s\n%s", before, after, w, grown)
		}
	})
}

// TestPlan_namesDoNotMatter names the nodes anew; the new model finds as many places as before.
func TestPlan_namesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := settledWorld(t)
		numbers := draws(t)
		names := rapid.Permutation([]string{"w", "x", "y", "z"}).Draw(t, "names")
		rename := func(id string) string { return names[id[1]-'0'] }
		other := &world{t: t, s: w.s}
		other.s.Nodes, other.s.Placements, other.s.Endpoints = cluster.Set[api.NodeStatus]{}, cluster.Set[api.PlacementPlan]{}, cluster.Set[api.EndpointInfo]{}
		for e := range w.s.Nodes.All() {
			e.Value.NodeID = rename(e.ID)
			put(other, &other.s.Nodes, e.Value.NodeID, e.Value)
		}
		for e := range w.s.Placements.All() {
			e.Value.Assignments = slices.Clone(e.Value.Assignments)
			for i := range e.Value.Assignments {
				e.Value.Assignments[i].NodeID = rename(e.Value.Assignments[i].NodeID)
			}
			put(other, &other.s.Placements, e.ID, e.Value)
		}
		for e := range w.s.Endpoints.All() {
			e.Value.NodeID = rename(e.Value.NodeID)
			put(other, &other.s.Endpoints, e.ID, e.Value)
		}
		for e := range w.s.Deployments.All() { // pins name nodes
			if e.Value.NodeAffinity != "" {
				e.Value.NodeAffinity = rename(e.Value.NodeAffinity)
				put(other, &other.s.Deployments, e.ID, e.Value)
			}
		}
		if a, b := newModel(w, w.s, numbers), newModel(other, other.s, numbers); a != b {
			t.Errorf("%d replicas have a place, and under other names %d, in\n%s", a, b, w)
		}
	})
}

// TestPlan_isDeterministic plans twice, the second time over a State that came into being in the opposite order.
func TestPlan_isDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range w.n("steps", 12) {
			w.node()
			w.want()
		}
		backwards := w.s
		backwards.Nodes, backwards.Models, backwards.Deployments = reversed(w.s.Nodes), reversed(w.s.Models), reversed(w.s.Deployments)
		a, _ := Plan(&w.s, w.m, w.now, LostAfter)
		b, _ := Plan(&backwards, w.m, w.now, LostAfter)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("-forwards +backwards:\n%s\nin\n%s", diff, w)
		}
	})
}

func reversed[T any](s cluster.Set[T]) cluster.Set[T] {
	entries := slices.Collect(s.All())
	slices.Reverse(entries)
	edit := cluster.Set[T]{}.Edit()
	for _, e := range entries {
		edit.Put(e)
	}
	return edit.Done()
}
