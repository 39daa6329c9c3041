package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// world is a cluster with people, nodes and time in it, each doing something at random; the scheduler is under test.
type world struct {
	t    *rapid.T
	s    cluster.State
	m    Memory
	now  time.Time
	calm bool // nothing fails
	log  []string
}

func newWorld(t *rapid.T) *world {
	return &world{t: t, now: time.Unix(1000, 0)}
}

func (w *world) n(what string, most int) int { return rapid.IntRange(0, most).Draw(w.t, what) }

func (w *world) pick(what string, of ...string) string { return rapid.SampledFrom(of).Draw(w.t, what) }

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *world) String() string { return strings.Join(w.log, "\n") }

func put[T any](w *world, set *cluster.Set[T], id string, v T) {
	w.s.Revision++
	e := set.Edit()
	e.Put(cluster.Entry[T]{ID: id, Rev: w.s.Revision, Value: v})
	*set = e.Done()
}

func drop[T any](w *world, set *cluster.Set[T], id string) {
	w.s.Revision++
	e := set.Edit()
	e.Delete(id)
	*set = e.Done()
}

// node connects a new node, or one that was away: with the engines that it ran on with, or after a reboot without.
func (w *world) node() { w.connect("n" + w.pick("node", "0", "1", "2", "3")) }

func (w *world) connect(id string) {
	n := api.NodeStatus{NodeID: id, MemoryFreeMB: uint64(w.n("memory", 3)) * 1000}
	if w.s.Nodes.Has(n.NodeID) {
		return
	}
	for i := range w.n("gpus", 4) {
		n.GPUs = append(n.GPUs, api.GPUStatus{
			Index: uint32(i), MemoryTotalMB: uint64(1+w.n("gpu size", 2)) * 24_000, MemoryUsedMB: uint64(w.n("foreign use", 1)) * 10_000,
		})
	}
	for _, e := range api.Engines() {
		if w.n("has engine", 5) > 0 {
			n.Engines = append(n.Engines, api.NodeEngine{Name: e})
		}
	}
	running := 0
	rebooted := w.n("rebooted", 3) == 0
	for e := range w.s.Endpoints.All() {
		switch {
		case e.Value.NodeID != n.NodeID:
		case rebooted || !w.fits(&n, &e.Value):
			drop(w, &w.s.Endpoints, e.ID)
		default:
			running++
		}
	}
	put(w, &w.s.Nodes, n.NodeID, n) // last: when it appears, its endpoints are true
	w.note("node %s connects: gpus %v, engines %v, with %d engines running", n.NodeID, n.GPUs, n.Engines, running)
}

// fits tells whether a node has the GPUs that an engine is on.
func (w *world) fits(n *api.NodeStatus, e *api.EndpointInfo) bool {
	for _, g := range e.GPUIndices {
		if !slices.ContainsFunc(n.GPUs, func(have api.GPUStatus) bool { return have.Index == g }) {
			return false
		}
	}
	return true
}

// leave ends a node's lease. Its engines run on, and what it said of them stays.
func (w *world) leave() {
	id := "n" + w.pick("node", "0", "1", "2", "3")
	if w.s.Nodes.Has(id) {
		drop(w, &w.s.Nodes, id)
		w.note("node %s is away", id)
	}
}

// want changes what people want of a model.
func (w *world) want() {
	uid := "m" + w.pick("model", "0", "1", "2", "3", "4")
	spec, known := w.s.Models.Value(uid)
	if !known || w.n("change the spec", 4) == 0 {
		spec = api.ModelSpec{ModelUID: uid, ModelName: uid, EngineType: w.pick("engine", "llamacpp", "llamacpp", "vllm", "vllm", "sglang"), Config: &api.ModelConfig{}}
		if tp := uint32(w.n("tp", 3)); tp > 0 {
			spec.Config.TensorParallelSize = &tp
		}
		if vram := uint64(w.n("vram", 2)) * 20_000; vram > 0 {
			spec.Config.RequiredVRAMMB = &vram
		}
		put(w, &w.s.Models, uid, spec)
	}
	d := api.ModelDeployment{ModelUID: uid, DesiredState: api.DesiredRunning, Replicas: uint32(w.n("replicas", 4))}
	if w.n("stop", 4) == 0 {
		d.DesiredState = api.DesiredStopped
	}
	if w.n("pin", 4) == 0 {
		d.NodeAffinity = "n" + w.pick("node", "0", "1", "2", "3")
	}
	if w.n("pin GPUs", 5) == 0 {
		d.GPUAffinity = []uint32{uint32(w.n("gpu", 3))}
	}
	if plan, _ := w.s.Placements.Value(uid); !w.calm && len(plan.Assignments) > 0 && w.n("drain", 2) == 0 {
		a := plan.Assignments[w.n("which", len(plan.Assignments)-1)]
		d.Draining = []api.DrainMark{{ReplicaID: a.ReplicaID, NodeID: a.NodeID}}
	}
	put(w, &w.s.Deployments, uid, d)
	w.note("%s: %s x%d, %s, node %q, gpus %v, config %s, drain %v", uid, d.DesiredState, d.Replicas, spec.EngineType, d.NodeAffinity, d.GPUAffinity, config(spec.Config), d.Draining)
}

func config(c *api.ModelConfig) string {
	s := ""
	if c.TensorParallelSize != nil {
		s += fmt.Sprintf("tp=%d ", *c.TensorParallelSize)
	}
	if c.RequiredVRAMMB != nil {
		s += fmt.Sprintf("vram=%d", *c.RequiredVRAMMB)
	}
	return s
}

func (w *world) forget() {
	uid := "m" + w.pick("model", "0", "1", "2", "3", "4")
	drop(w, &w.s.Models, uid)
	drop(w, &w.s.Deployments, uid)
	w.note("%s is deleted", uid)
}

// agent lets one node take a step with each of its replicas.
func (w *world) agent() { w.act("n" + w.pick("node", "0", "1", "2", "3")) }

func (w *world) act(id string) {
	if !w.s.Nodes.Has(id) {
		return
	}
	want := map[string]api.DesiredReplica{}
	for _, d := range cluster.Desired(&w.s, id).Replicas {
		want[d.Key()] = d
	}
	for e := range w.s.Endpoints.All() {
		if e.Value.NodeID != id {
			continue
		}
		d, wanted := want[e.ID]
		switch {
		case wanted && fmt.Sprint(e.Value.GPUIndices) == fmt.Sprint(d.Assignment.GPUs()):
			w.step(e.Value)
		case e.Value.Status == api.EndpointDraining:
			drop(w, &w.s.Endpoints, e.ID)
			w.note("%s: %s is gone", id, e.ID)
		default:
			e.Value.Status = api.EndpointDraining
			put(w, &w.s.Endpoints, e.ID, e.Value)
			w.note("%s: %s drains", id, e.ID)
		}
	}
	for key, d := range want {
		if !w.s.Endpoints.Has(key) && !d.Displaced {
			put(w, &w.s.Endpoints, key, api.EndpointInfo{
				ModelUID: d.Spec.ModelUID, ReplicaID: d.Assignment.ReplicaID, NodeID: id, Status: api.EndpointStarting,
				GPUIndices: d.Assignment.GPUs(), PlanVersion: d.PlanVersion,
			})
			w.note("%s: %s starts on %v", id, key, d.Assignment.GPUs())
		}
	}
}

func (w *world) step(e api.EndpointInfo) {
	if w.calm {
		if e.Status != api.EndpointReady || e.Failure != nil {
			e.Status, e.Failure = api.EndpointReady, nil
			put(w, &w.s.Endpoints, e.Key(), e)
		}
		return
	}
	switch w.pick("step", "ready", "ready", "ready", "crash", "full", "final") {
	case "ready":
		e.Status, e.Failure = api.EndpointReady, nil
	case "crash":
		e.Status, e.Failure = api.EndpointUnhealthy, &api.ReplicaFailure{Code: api.FailEngineCrash, Message: "died", RetryAtMS: 1}
	case "full":
		if e.Status == api.EndpointReady {
			return
		}
		e.Status, e.Failure = api.EndpointUnhealthy, &api.ReplicaFailure{Code: api.FailAdmission, Message: "full", RetryAtMS: 1}
	case "final":
		e.Status, e.Failure = api.EndpointUnhealthy, &api.ReplicaFailure{Code: api.FailModelMissing, Message: "gone", Final: true}
	}
	put(w, &w.s.Endpoints, e.Key(), e)
	w.note("%s: %s is %s", e.NodeID, e.Key(), e.Status)
}

func (w *world) time() {
	d := time.Duration(w.n("seconds", 400)) * time.Second
	w.now = w.now.Add(d)
	w.m.turn = w.now // it looked often enough meanwhile
	w.note("%s pass", d)
}

// plan lets the scheduler plan and apply, and returns what it changed.
func (w *world) plan() []Change {
	changes, m := Plan(&w.s, w.m, w.now, LostAfter)
	w.m = m
	if len(changes) > 0 {
		w.s = *apply(&w.s, changes)
		w.note("%s", strings.TrimSuffix(words(changes), "\n"))
	}
	return changes
}
