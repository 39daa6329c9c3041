package scheduler

import (
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// LostAfter is how long a node may stay away, unless people say otherwise, before its replicas get another place.
const LostAfter = cluster.LostAfter

// pause is how long a scheduler may have looked away before it has to say that it does not know what happened meanwhile: it was stopped,
// or its machine was, and the absence that it sees may be its own. The loop takes a turn more often than that.
const pause = 10 * time.Second

// Memory is what a scheduler has seen and the State does not tell. The zero Memory has seen nothing. Its times are this process's own and
// only ever compared with one another, so neither a step of a clock nor a change of leader evicts anything.
type Memory struct {
	missed   map[string]time.Time   // the nodes that do not report and may come back: since when
	rejected map[string][]rejection // by model

	turn          time.Time // when the cluster was last looked at; zero: never
	mass          bool      // so many nodes are absent that absence replaces nothing
	absent, known int       // nodes, for the log
	lostAfter     time.Duration
}

// rejection is a node that found less room for a model than the plan assumed. It holds for one wish: another may fit.
type rejection struct {
	node   string
	wish   int64     // its revision when the node said so
	report int64     // revision of the endpoint that says so
	at     time.Time // when last seen
}

// observe returns the memory of this turn: who is missed, and since when. After a pause of the observer, and while so many are missing that
// the fault must be ours, the time that a node has been away for says nothing about the node: it starts anew.
func observe(s *cluster.State, before Memory, now time.Time, lostAfter time.Duration) Memory {
	c := cluster.Count(s)
	m := Memory{turn: now, mass: c.MassLoss(), absent: len(c.Absent), known: c.Known, lostAfter: lostAfter}
	anew := m.mass || !before.turn.IsZero() && now.Sub(before.turn) > pause
	if len(c.Absent) > 0 {
		m.missed = make(map[string]time.Time, len(c.Absent))
	}
	for _, id := range c.Absent {
		since, known := before.missed[id]
		if !known || anew {
			since = now
		}
		m.missed[id] = since
	}
	return m
}

// recall carries over the rejections that are still young, and adds those that nodes report now.
func (m *Memory) recall(s *cluster.State, endpoints []*cluster.Entry[api.EndpointInfo], before Memory, now time.Time) {
	note := func(uid string, r rejection) {
		if m.rejected == nil {
			m.rejected = map[string][]rejection{}
		}
		m.rejected[uid] = append(m.rejected[uid], r)
	}
	for _, e := range endpoints {
		if f := e.Value.Failure; f != nil && f.Code == api.FailAdmission {
			uid := e.Value.ModelUID
			r := rejection{node: e.Value.NodeID, wish: cluster.Revision(s, uid), report: e.Rev, at: now}
			for _, old := range before.rejected[uid] {
				if old.report == r.report { // it was said of the wish of then
					r.wish = old.wish
				}
			}
			note(uid, r)
		}
	}
	for uid, list := range before.rejected {
		for _, r := range list {
			again := slices.ContainsFunc(m.rejected[uid], func(n rejection) bool { return n.report == r.report })
			if !again && now.Sub(r.at) < RejectedFor && r.wish == cluster.Revision(s, uid) {
				note(uid, r)
			}
		}
	}
}

// refusedBy tells whether that node has refused the model as it is wanted now.
func (m *Memory) refusedBy(w *wish, node string) bool {
	return slices.ContainsFunc(m.rejected[w.uid], func(r rejection) bool { return r.node == node && r.wish == w.rev })
}

// gone tells whether a node has been away for so long that its replicas get another place.
func (m *Memory) gone(node string, now time.Time) bool {
	since, ok := m.missed[node]
	return ok && now.Sub(since) >= m.lostAfter
}

// lost tells whether the node is missed at all.
func (m *Memory) lost(node string) bool {
	_, ok := m.missed[node]
	return ok
}

// missedBy lists the nodes of the assignments that have been away for too long, sorted.
func (m *Memory) missedBy(list []api.PlacementAssignment, now time.Time) []string {
	var out []string
	for _, a := range list {
		if m.gone(a.NodeID, now) && !slices.Contains(out, a.NodeID) {
			out = append(out, a.NodeID)
		}
	}
	slices.Sort(out)
	return out
}
