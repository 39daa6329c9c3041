package cluster

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// LostAfter is how long a node may stay away, unless people say otherwise, before its replicas get another place.
const LostAfter = 5 * time.Minute

// massPercent is the share of the known nodes that must be absent before the absence counts as a fault of the network or of
// the servers, and massNodes how many must be known for a share to mean anything.
const (
	massPercent = 55
	massNodes   = 3
)

// Census counts the nodes that the cluster knows: its member nodes and the live ones.
type Census struct {
	Known  int
	Absent []string // those that do not report, sorted
}

// Count takes the census. While the cluster has no member node at all (it was never asked to keep a list), the nodes that plans name
// are known, too.
func Count(s *State) Census {
	c := Census{Known: s.Nodes.Len()}
	members := hasMemberNodes(s)
	for m := range s.Members.Prefix(memberNodes) {
		if !s.Nodes.Has(m.Value.ID) {
			c.Absent = append(c.Absent, m.Value.ID)
		}
	}
	if !members {
		c.Absent = plannedAndAbsent(s)
	}
	c.Known += len(c.Absent)
	return c
}

// MassLoss tells whether so many nodes are absent that the fault is more likely ours than theirs: then nothing is moved.
func (c Census) MassLoss() bool {
	return c.Known >= massNodes && 100*len(c.Absent) > massPercent*c.Known
}

const memberNodes = string(api.MachineNode) + "/"

func hasMemberNodes(s *State) bool {
	for range s.Members.Prefix(memberNodes) {
		return true
	}
	return false
}

// Removed tells whether people have taken the node out of the cluster and it has stopped reporting: it will not come back. While the cluster
// has no member node at all, no node counts as removed.
func Removed(s *State, node string) bool {
	return !s.Nodes.Has(node) && !s.Members.Has(memberNodes+node) && hasMemberNodes(s)
}

func plannedAndAbsent(s *State) []string {
	nodes := map[string]bool{}
	note := func(list []api.PlacementAssignment) {
		for i := range list {
			if id := list[i].NodeID; !s.Nodes.Has(id) {
				nodes[id] = true
			}
		}
	}
	for _, e := range s.Placements.Refs() {
		note(e.Value.Assignments)
		note(e.Value.Displaced)
	}
	return slices.Sorted(maps.Keys(nodes))
}

// Alerts returns everything that people should look at, the gravest first: mass loss, lost nodes, drains that are stuck, and what the nodes
// report of their disks. absent is how long the observer has missed each node. Derived alerts have no time of creation: they last
// as long as what they say is true.
func Alerts(s *State, absent map[string]time.Duration, lostAfter time.Duration) []api.DiskAlert {
	out := []api.DiskAlert{}
	c := Count(s)
	if c.MassLoss() {
		out = append(out, api.DiskAlert{AlertType: api.AlertMassLoss, Message: fmt.Sprintf(
			"%d of %d nodes do not report: nothing is moved; check the network.", len(c.Absent), c.Known)})
	} else {
		for _, id := range c.Absent {
			if away := absent[id]; away >= lostAfter {
				out = append(out, lostAlert(id, away))
			}
		}
	}
	for m := range s.Members.Prefix(memberNodes) {
		if m.Value.Draining {
			out = append(out, drainAlerts(s, m.Value.ID)...)
		}
	}
	for e := range s.Alerts.All() {
		out = append(out, e.Value)
	}
	return out
}

func lostAlert(node string, away time.Duration) api.DiskAlert {
	return api.DiskAlert{NodeID: node, AlertType: api.AlertNodeLost, Message: fmt.Sprintf(
		"Node %s has not reported for %s: its replicas get another place where there is one. Start Nebula there again, or remove the node with: "+
			"nebula node delete %s.", node, minutes(away), node)}
}

// minutes words a duration in whole minutes, so that a text does not change by the second.
func minutes(d time.Duration) string {
	switch n := int(d.Minutes()); n {
	case 0:
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	case 1:
		return "1 minute"
	default:
		return fmt.Sprintf("%d minutes", n)
	}
}

// drainAlerts tells which models keep a draining node from being empty, and why: one alert each.
func drainAlerts(s *State, node string) (out []api.DiskAlert) {
	for _, uid := range s.placedOn(node) {
		plan, _ := s.Placements.Value(uid)
		if u := plan.Unplaced; u != nil && u.Code == api.ReasonNodeDraining {
			out = append(out, api.DiskAlert{NodeID: node, AlertType: api.AlertDrainBlocked, Message: "Model " + uid + ": " + u.Message})
		}
	}
	return out
}
