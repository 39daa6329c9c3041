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
		r.Message = fmt.Sprintf("%s not reported for %s. Start Nebula there again. %s",
			list(gone, "has", "have"), span(j.memory.lostAfter), rest)
	}
	if serving := placed - j.stranded(gone); serving > 0 {
		r.Message = fmt.Sprintf("%d of %d replicas have a place. %s", serving, j.wish.replicas, r.Message)
	}
	return &r
}

// explainStuck says why replicas cannot leave the nodes that people want empty; where there are none, why those stay that are to leave by themselves.
func (j *job) explainStuck(t *table, stuck []api.PlacementAssignment) *api.Reason {
	var nodes, ids []string
	for _, a := range stuck {
		if len(t.draining) > 0 && !t.draining[a.NodeID] && slices.ContainsFunc(stuck, func(o api.PlacementAssignment) bool { return t.draining[o.NodeID] }) {
			continue
		}
		ids = append(ids, fmt.Sprint(a.ReplicaID))
		if t.draining[a.NodeID] && !slices.Contains(nodes, a.NodeID) {
			nodes = append(nodes, a.NodeID)
		}
	}
	slices.Sort(nodes)
	why := fmt.Sprintf("%d of %d nodes do not report, so nothing is moved. Check the network.", j.memory.absent, j.memory.known)
	if !j.memory.mass {
		why = j.verdict(t).Message
	}
	if len(nodes) == 0 {
		who := "Replica " + ids[0] + " is to be drained, and stays"
		if len(ids) > 1 {
			who = "Replicas " + some(ids) + " are to be drained, and stay"
		}
		return &api.Reason{Code: api.ReasonReplicaDraining, Message: fmt.Sprintf("%s until there is another place. %s", who, why)}
	}
	who := "replica " + ids[0] + " stays"
	if len(ids) > 1 {
		who = "replicas " + some(ids) + " stay"
	}
	return &api.Reason{Code: api.ReasonNodeDraining, Message: fmt.Sprintf("%s being drained, and %s there until there is another place. %s",
		list(nodes, "is", "are"), who, why)}
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
		switch {
		case n.cordoned && s.why != noEngine:
			s = slot{why: cordoned}
		case s.ok:
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
	case !slices.ContainsFunc(refusals, func(r nodeRefusal) bool { return r.slot.why != cordoned }):
		return w.withoutLeave(refusals)
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

// withoutLeave is the verdict where people let no node take anything new.
func (w *need) withoutLeave(refusals []nodeRefusal) *api.Reason {
	first := refusals[0].node.id
	if w.node != "" {
		return &api.Reason{Code: api.ReasonUnschedulable, Message: fmt.Sprintf("Node %s, to which the model is pinned, is cordoned and takes nothing new. "+
			"Let it take replicas again with: nebula node uncordon %s. Or choose another node with --node.", first, first)}
	}
	return &api.Reason{Code: api.ReasonUnschedulable, Message: fmt.Sprintf("All nodes are cordoned and take nothing new. "+
		"Let one take replicas again, as with: nebula node uncordon %s. Or connect another node.", first)}
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
