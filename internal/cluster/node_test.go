package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

// TestNodeViews_cases lists the nodes and the alerts of each cluster.
func TestNodeViews_cases(t *testing.T) {
	clustertest.Cases(t, "testdata/nodes/*.txt", *update, func(_ *testing.T, c *clustertest.Cluster) string {
		var out strings.Builder
		for _, v := range cluster.NodeViews(c.State, c.Absent, cluster.LostAfter) {
			fmt.Fprintf(&out, "%s %s", v.NodeID, v.State)
			if v.AbsentSeconds > 0 {
				fmt.Fprintf(&out, " for %d s", v.AbsentSeconds)
			}
			for _, flag := range []struct {
				set  bool
				word string
			}{{v.Cordoned, "cordoned"}, {v.Draining, "draining"}, {v.Drained, "drained"}} {
				if flag.set {
					fmt.Fprint(&out, ", ", flag.word)
				}
			}
			for _, r := range v.Replicas {
				fmt.Fprintf(&out, "; %s/%d %s", r.ModelUID, r.ReplicaID, r.Status)
			}
			fmt.Fprintln(&out)
		}
		for _, a := range cluster.Alerts(c.State, c.Absent, cluster.LostAfter) {
			fmt.Fprintf(&out, "alert %s %s: %s\n", a.AlertType, a.NodeID, a.Message)
		}
		return out.String()
	})
}

// TestNodeViews_showsEveryMemberAndEveryLiveNode does so whatever the documents say.
func TestNodeViews_showsEveryMemberAndEveryLiveNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, c := random(t)
		want := map[string]api.NodeState{}
		for m := range c.State.Members.All() {
			want[m.Value.ID] = api.NodeCutOff
		}
		for n := range c.State.Nodes.All() {
			want[n.ID] = api.NodeReady
		}
		views := cluster.NodeViews(c.State, nil, cluster.LostAfter)
		for _, v := range views {
			if want[v.NodeID] != v.State {
				t.Errorf("%s is %s, want %q, in\n%s", v.NodeID, v.State, want[v.NodeID], text)
			}
			if v.Drained && (!v.Draining || len(v.Replicas) > 0) || v.Draining && !v.Cordoned {
				t.Errorf("%+v, in\n%s", v, text)
			}
		}
		if len(views) != len(want) || !slices.IsSortedFunc(views, func(a, b api.NodeView) int { return strings.Compare(a.NodeID, b.NodeID) }) {
			t.Errorf("got %d nodes in some order, want %d sorted, in\n%s", len(views), len(want), text)
		}
	})
}
