package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// PurgePlan says what may become of a model's files when it is deleted with them. It is pure, and it errs on the side of the files.
//
// Branches, in order:
//  1. The files are the user's own: kept everywhere.
//  2. Another declared model makes the same choice in the same repository: kept everywhere.
//  3. A spec cannot be read, so nobody knows whether it does: kept everywhere.
//  4. On a node that pins them, or pulls them for somebody else: kept there.
//  5. On a node that does not report: asked for, and done if it is back before the wish ends.
//  6. On any other node that has some of them, or may have: asked for.
func PurgePlan(s *State, spec *api.ModelSpec) api.Purged {
	out := api.Purged{Nodes: []api.PurgedNode{}}
	if spec.ModelSource == api.SourceLocal { // 1
		out.Kept = "they are your own, in a place of your own: Nebula never deletes the files of a local model"
		return out
	}
	for _, m := range s.Models.Refs() {
		if m.ID != spec.ModelUID && m.Value.SameFiles(spec) { // 2
			out.Kept = "the model " + m.ID + " uses them, too"
			return out
		}
	}
	if bad := s.badSpecs(""); len(bad) > 0 { // 3
		out.Kept = fmt.Sprintf("the stored spec of the model %s cannot be read, so nobody knows whether it uses them, too", bad[0])
		return out
	}
	for _, id := range nodesWith(s, spec) {
		n := api.PurgedNode{NodeID: id, State: api.PurgeAsked}
		switch why := keptOn(s, id, spec); {
		case why != "": // 4
			n.State, n.Why = api.PurgeKept, why
		case !s.Nodes.Has(id): // 5
			n.State = api.PurgeAway
		default: // 6
			n.Why = waitsFor(s, id, spec)
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out
}

// nodesWith returns the nodes that have some of a model's files, or may, sorted. What is left of a removed node is nobody's business.
func nodesWith(s *State, spec *api.ModelSpec) []string {
	nodes := map[string]bool{}
	for _, e := range s.Cache.Refs() {
		if e.Value.ModelName == spec.ModelName && under(e.Value.CachePath, spec.ModelPath) {
			nodes[e.Value.NodeID] = true
		}
	}
	plan, _ := s.Placements.Value(spec.ModelUID)
	for _, a := range slices.Concat(plan.Assignments, plan.Displaced) {
		nodes[a.NodeID] = true
	}
	for e := range s.Endpoints.Prefix(spec.ModelUID + "/") {
		nodes[e.Value.NodeID] = true
	}
	for w := range s.Wishes.All() {
		if w.Value.Kind == api.WishPull && w.Value.Spec.SameFiles(spec) {
			nodes[w.Value.NodeID] = true
		}
	}
	maps.DeleteFunc(nodes, func(id string, _ bool) bool { return !s.Nodes.Has(id) && !s.Members.Has(memberNodes+id) })
	return slices.Sorted(maps.Keys(nodes))
}

// keptOn says why a node keeps the files whatever becomes of the model, or nothing.
func keptOn(s *State, node string, spec *api.ModelSpec) string {
	if _, frozen := wishesOf(s, node, false); len(frozen) > 0 {
		return "a wish for the files of this node cannot be read, and may be a pin"
	}
	for w := range s.Wishes.Prefix(node + "/") {
		switch {
		case !w.Value.Spec.SameFiles(spec):
		case w.Value.Kind == api.WishPin:
			return "they are pinned there; lift the pin with: nebula cache unpin"
		case w.Value.Kind == api.WishPull && w.Value.Spec.ModelUID != spec.ModelUID:
			return "they were pulled there for something else; see: nebula cache pulls"
		}
	}
	return ""
}

// waitsFor names the models that keep a node from purging a repository, because they run out of it there; or nothing.
func waitsFor(s *State, node string, spec *api.ModelSpec) string {
	var uids []string
	for _, uid := range s.placedOn(node) {
		if m, ok := s.Models.Value(uid); ok && uid != spec.ModelUID && m.SameRepository(spec) {
			uids = append(uids, uid)
		}
	}
	if len(uids) == 0 {
		return ""
	}
	return "only if " + strings.Join(uids, ", ") + ", of the same repository, leaves the node within the hour"
}
