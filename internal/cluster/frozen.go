package cluster

import (
	"slices"
	"strings"
)

// unreadable returns the uids for which Unreadable is true, sorted; nil when there are none.
func (s *State) unreadable() []string {
	var uids []string
	for bad := range s.Bad.All() {
		if uid, ok := frozenBy(bad.ID); ok {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

// frozenBy returns the model that a document decides about, if it is one of those that Unreadable looks at.
func frozenBy(key string) (uid string, ok bool) {
	if rest, found := strings.CutPrefix(key, "/models/"); found {
		return strings.CutSuffix(rest, "/spec")
	}
	if uid, ok = strings.CutPrefix(key, "/deployments/"); !ok {
		uid, ok = strings.CutPrefix(key, "/placements/")
	}
	return uid, ok && !strings.Contains(uid, "/")
}
