package scheduler

import (
	"fmt"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// class is a need as a map key: what has no room for one has no room for another of the same class.
type class struct {
	engine, node, pinned string
	gpus                 int
	vramMB               uint64
	share                float32
}

func (w *need) class() class {
	c := class{engine: w.engine, node: w.node, gpus: w.gpus, vramMB: w.vramMB, share: w.share}
	if len(w.pinned) > 0 {
		c.pinned = fmt.Sprint(w.pinned)
	}
	return c
}

// explain says why some of a model's replicas have no place (or, being on the nodes in gone, no living one), and what to do.
// Figures of memory are in whole GiB, so that the sentence does not change with every report of a node.
func (j *job) explain(t *table, placed int, gone []string) *api.Reason {
	r := *j.verdict(t)
	if len(gone) > 0 && r.Code != api.ReasonNodeGone {
		rest := "Meanwhile, elsewhere: " + r.Message
		if r.Code == api.ReasonNoNodes {
			rest = "No other node is connected."
		}
		r.Message = fmt.Sprintf("%s not reported for %d minutes. Start Nebula there again. %s",
			list(gone, "has", "have"), int(LostAfter.Minutes()), rest)
	}
	if serving := placed - j.stranded(gone); serving > 0 {
		r.Message = fmt.Sprintf("%d of %d replicas have a place. %s", serving, j.wish.replicas, r.Message)
	}
	return &r
}

func (j *job) stranded(gone []string) int {
	n := 0
	for _, d := range j.replace {
		if slices.Contains(gone, d.at.NodeID) {
			n++
		}
	}
	return n
}

// verdict words what keeps a replica of this job from every node. Where no model was refused, it is the same for the whole class.
func (j *job) verdict(t *table) *api.Reason {
	w := &j.wish.need
	key := w.class()
	if r := t.full[key]; r != nil {
		return r
	}
	var refusals []nodeRefusal
	shared := true
	for _, n := range t.nodes {
		if w.node != "" && n.id != w.node {
			continue
		}
		s := n.fit(w, holder{})
		if s.ok {
			s.why, shared = refused, false
		}
		refusals = append(refusals, nodeRefusal{n, s})
	}
	r := w.verdict(len(t.nodes), refusals)
	if shared {
		t.full[key] = r
	}
	return r
}

// nodeRefusal is one node that cannot take a replica, and why.
type nodeRefusal struct {
	node *node
	slot slot
}

func (w *need) verdict(live int, refusals []nodeRefusal) *api.Reason {
	switch {
	case live == 0:
		return &api.Reason{Code: api.ReasonNoNodes, Message: "No node is connected. Start Nebula on a machine that is to run models."}
	case len(refusals) == 0:
		return &api.Reason{Code: api.ReasonNodeGone, Message: fmt.Sprintf(
			"The model is pinned to node %s, which is not connected. Start Nebula there, or choose another node with --node.", w.node)}
	case !slices.ContainsFunc(refusals, func(r nodeRefusal) bool { return r.slot.why != noEngine }):
		return w.withoutEngine(refusals)
	}
	return &api.Reason{Code: api.ReasonUnschedulable, Message: fmt.Sprintf("%s for %s. %s. %s",
		w.nowhere(), w.words(), w.perNode(refusals), w.advice(refusals))}
}

func (w *need) nowhere() string {
	if w.node != "" {
		return fmt.Sprintf("Node %s, to which the model is pinned, has no room", w.node)
	}
	return "No node has room"
}

func (w *need) withoutEngine(refusals []nodeRefusal) *api.Reason {
	subject, how := "No node has "+title(w.engine)+" installed.", ""
	if w.node != "" {
		subject = fmt.Sprintf("Node %s, to which the model is pinned, does not have %s installed.", w.node, title(w.engine))
	}
	for _, r := range refusals {
		if e, ok := r.node.engine(w.engine); ok && how == "" {
			how = fmt.Sprintf(" Node %s says: %s", r.node.id, sentence(e.Missing))
		}
	}
	return &api.Reason{Code: api.ReasonEngineMissing, Message: subject + how + " Install it, or choose another engine with --engine."}
}
