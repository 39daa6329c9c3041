package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Explain says why a model stands as it does: it decides as Plan would now, and looks at what each node has left for one more replica of the
// model after that. It is pure, and needs no memory: what only the leading scheduler has seen, such as since when a node is missed, it takes
// from the plan that was written with it.
func Explain(s *cluster.State, uid string, now time.Time) api.Explanation {
	out := api.Explanation{
		ModelUID: uid, ModelStatus: cluster.Status(s, uid, now),
		Places: []api.ReplicaPlace{}, Nodes: []api.NodeFit{}, Help: []string{},
	}
	spec, known := s.Models.Get(uid)
	if _, bad := s.Unreadable(uid); !known || bad {
		return out
	}
	endpoints := s.Endpoints.Refs()
	memory := observe(s, Memory{}, now, LostAfter)
	memory.recall(s, endpoints, Memory{}, now)
	t := newTable(s, endpoints)
	r := review(s, t, memory, now)
	settle(t, inOrder(r.jobs))
	w := wishOf(&spec, deploymentOf(s, uid))
	places, unplaced := r.places(uid)
	out.Need, out.Places, out.Unplaced = w.need.told(), append(out.Places, places...), unplaced
	found := r.examine(&w, places)
	for i := range found {
		out.Nodes = append(out.Nodes, found[i].told)
	}
	out.Help = append(out.Help, help(&out, &w, found)...)
	return out
}

// deploymentOf is what people want of a model, or one replica anywhere when they want none.
func deploymentOf(s *cluster.State, uid string) *cluster.Entry[api.ModelDeployment] {
	d, _ := s.Deployments.Get(uid)
	d.Value.Replicas = max(1, d.Value.Replicas)
	return &d
}

// told is a need for people and programs.
func (w *need) told() *api.ReplicaNeed {
	return &api.ReplicaNeed{
		Engine: w.engine, GPUs: w.count(), Insists: w.insists() || w.engine != api.EngineLlamaCPP, VRAMMB: w.vramMB, MemoryShare: w.share,
		NodeID: w.node, GPUIndices: w.pinned, Message: w.words(),
	}
}

// places lists where the replicas of a model are, or would go, and why some have no place.
func (r *reviewed) places(uid string) ([]api.ReplicaPlace, *api.Reason) {
	stored, _ := r.s.Placements.Value(uid)
	plan := &stored
	if d, ok := r.s.Deployments.Value(uid); !ok || d.DesiredState != api.DesiredRunning || d.Replicas == 0 {
		return nil, nil
	}
	for _, j := range r.jobs {
		if j.wish.uid != uid {
			continue
		}
		p := j.plan(r.table, r.now)
		// Of replicas on nodes that do not report the leader knows more than this State shows, so its reason stays.
		if p == nil || slices.EqualFunc(p.Assignments, stored.Assignments, alikeReplicas) && stored.Unplaced != nil && r.misses(&stored) {
			continue
		}
		plan = p
	}
	var out []api.ReplicaPlace
	for i := range plan.Assignments {
		a := &plan.Assignments[i]
		p := api.ReplicaPlace{ReplicaID: a.ReplicaID, NodeID: a.NodeID, GPUIndices: a.GPUs()}
		p.Planned = slices.ContainsFunc(stored.Assignments, func(b api.PlacementAssignment) bool { return alikeReplicas(*a, b) })
		if p.GPUIndices == nil {
			p.GPUIndices = []uint32{}
		}
		if e, ok := r.s.Endpoints.Value(api.EndpointKey(uid, a.ReplicaID)); ok && e.NodeID == a.NodeID {
			p.Status, p.StartedAtMS, p.Failure = e.Status, e.StartedAtMS, e.Failure
		}
		out = append(out, p)
	}
	return out, plan.Unplaced
}

// misses tells whether a replica of the plan is on a node that does not report.
func (r *reviewed) misses(plan *api.PlacementPlan) bool {
	return slices.ContainsFunc(plan.Assignments, func(a api.PlacementAssignment) bool { return r.memory.lost(a.NodeID) })
}

// examined is one node as a place for one more replica.
type examined struct {
	told    api.NodeFit
	refusal nodeRefusal // why it cannot take one; without a node when it can, or when its refusal is no matter of room
}

// examine looks at every node that is known, those first that come nearest.
func (r *reviewed) examine(w *wish, places []api.ReplicaPlace) []examined {
	var out []examined
	for _, n := range r.table.nodes {
		out = append(out, r.examineNode(w, n))
	}
	for id := range r.memory.missed {
		out = append(out, examined{told: api.NodeFit{NodeID: id, Code: api.FitNotConnected, Message: "does not report", GPUs: []api.GPUFit{}}})
	}
	for i := range out {
		f := &out[i].told
		f.Replicas = []uint32{}
		for _, p := range places {
			if p.NodeID == f.NodeID {
				f.Replicas = append(f.Replicas, p.ReplicaID)
			}
		}
	}
	slices.SortFunc(out, func(a, b examined) int {
		return cmp.Or(cmp.Compare(nearness(&b.told), nearness(&a.told)), cmp.Compare(a.told.GPUsShort, b.told.GPUsShort),
			cmp.Compare(a.told.VRAMShortMB, b.told.VRAMShortMB), cmp.Compare(a.told.NodeID, b.told.NodeID))
	})
	return out
}

// nearness ranks nodes by how little it would take for them to take a replica.
func nearness(f *api.NodeFit) int {
	order := []api.FitCode{
		api.FitNotConnected, api.FitEngineMissing, api.FitElsewhere, api.FitNoGPUs, api.FitWrongGPUs, api.FitNoRoom, api.FitRefused, api.FitCordoned,
		api.FitOnCPU, api.FitOK,
	}
	return slices.Index(order, f.Code)
}

func (r *reviewed) examineNode(w *wish, n *node) examined {
	x := examined{told: api.NodeFit{NodeID: n.id, GPUs: []api.GPUFit{}}}
	s := n.fit(&w.need, holder{})
	x.told.GPUs = append(x.told.GPUs, w.need.gpuFits(n)...)
	if s.why == noRoom && !s.ok {
		x.told.GPUsShort = w.need.count() - s.free
		x.told.VRAMShortMB = w.need.vramShort(x.told.GPUs)
	}
	switch {
	case w.need.node != "" && w.need.node != n.id:
		x.told.Code, x.told.Message = api.FitElsewhere, "the model is pinned to node "+w.need.node
		return x
	case n.cordoned && s.why != noEngine:
		s = slot{why: cordoned}
	case s.ok && r.memory.refusedBy(w, n.id):
		s.ok, s.why = false, refused
	case s.ok && s.onGPU:
		x.told.Fits, x.told.Code = true, api.FitOK
		x.told.Message = "has " + gpus(w.need.count()) + " for it: " + numbers(n.take(&w.need, holder{}))
		return x
	case s.ok:
		x.told.Fits, x.told.Code, x.told.Message = true, api.FitOnCPU, "would run it on the CPU"
		return x
	}
	x.refusal = nodeRefusal{n, s}
	x.told.Code, x.told.Message = s.why.told(), w.need.because(x.refusal)
	return x
}

// told is the refusal for programs.
func (r refusal) told() api.FitCode {
	switch r {
	case noGPUs:
		return api.FitNoGPUs
	case wrongGPUs:
		return api.FitWrongGPUs
	case noEngine:
		return api.FitEngineMissing
	case refused:
		return api.FitRefused
	case cordoned:
		return api.FitCordoned
	}
	return api.FitNoRoom
}

// gpuFits says of each GPU of a node whether it could be one of a replica's.
func (w *need) gpuFits(n *node) (list []api.GPUFit) {
	for i := range n.gpus {
		g := &n.gpus[i]
		f := api.GPUFit{Index: g.Index, MemoryTotalMB: g.MemoryTotalMB, MemoryFreeMB: g.freeMB(holder{})}
		if g.holder != (holder{}) {
			f.Holder = g.holder.String()
		}
		if asks := max(w.vramMB, uint64(float64(w.share)*float64(g.MemoryTotalMB))); asks > f.MemoryFreeMB {
			f.ShortMB = asks - f.MemoryFreeMB
		}
		f.Fits = f.Holder == "" && g.large(w, holder{}) && (len(w.pinned) == 0 || slices.Contains(w.pinned, g.Index))
		list = append(list, f)
	}
	return list
}

// vramShort is what the roomiest GPUs that nobody holds, as many as a replica takes, lack at most; 0 when there are not so many.
func (w *need) vramShort(list []api.GPUFit) uint64 {
	var short []uint64
	for _, f := range list {
		if f.Holder == "" && (len(w.pinned) == 0 || slices.Contains(w.pinned, f.Index)) {
			short = append(short, f.ShortMB)
		}
	}
	slices.Sort(short)
	if len(short) < w.count() {
		return 0
	}
	return short[w.count()-1]
}

// help lists what would help a model that is not as it should be.
func help(x *api.Explanation, w *wish, found []examined) (list []string) {
	switch {
	case x.State == api.StateStopped || x.State == api.StateStopping:
		return []string{"start it with: nebula model start " + x.ModelUID}
	case x.Unplaced != nil:
		list = append(list, placeHelp(x.Unplaced.Code, w, found)...)
	}
	for _, p := range x.Places {
		if p.Failure == nil || p.Status == api.EndpointReady {
			continue
		}
		if p.StartedAtMS > 0 {
			list = append(list, fmt.Sprintf("read what replica %d last said: nebula model logs %s --replica %d", p.ReplicaID, x.ModelUID, p.ReplicaID))
		}
		if p.Failure.Final {
			list = append(list, "change what the failure names (nebula model edit "+x.ModelUID+"), or start it again with: nebula model start "+x.ModelUID)
		}
	}
	return slices.Compact(list)
}

// placeHelp lists what would help replicas that have no place.
func placeHelp(code string, w *wish, found []examined) []string {
	switch code {
	case api.ReasonNoNodes:
		return []string{"start Nebula on a machine that is to run models"}
	case api.ReasonNodeGone:
		if w.need.node == "" {
			return []string{"start Nebula on the node again"}
		}
		return []string{"start Nebula on node " + w.need.node, "choose another node with --node"}
	case api.ReasonEngineMissing:
		return []string{"install " + title(w.need.engine) + " on a node", "choose another engine with --engine"}
	}
	var refusals []nodeRefusal
	for _, x := range found {
		if x.refusal.node != nil {
			refusals = append(refusals, x.refusal)
		}
	}
	return w.need.options(refusals)
}
