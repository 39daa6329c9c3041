package cli

import (
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

func TestVerdict(t *testing.T) {
	running := func(desired uint32, places ...api.ReplicaPlace) api.Explanation {
		x := api.Explanation{ModelUID: "m", Places: places}
		x.State, x.Replicas.Desired = api.StateStarting, desired
		return x
	}
	unplaced := func(x api.Explanation, why string, help ...string) *api.Explanation {
		x.Unplaced, x.Help = &api.Reason{Code: api.ReasonUnschedulable, Message: why}, help
		return &x
	}
	stopped := func(nodes ...api.NodeFit) *api.Explanation {
		x := api.Explanation{Nodes: nodes}
		x.State = api.StateStopped
		return &x
	}
	on := func(node string, gpus ...uint32) api.ReplicaPlace {
		return api.ReplicaPlace{NodeID: node, GPUIndices: gpus}
	}
	fits := running(3, on("a", 0), on("b", 1, 2), on("c"))
	var many []api.NodeFit
	for range maxExplained + 1 {
		many = append(many, api.NodeFit{NodeID: "n", Fits: true})
	}
	for name, tt := range map[string]struct {
		x    *api.Explanation
		want string
	}{
		"nothing told": {nil, ""},
		"fits":         {&fits, "it would run on a (GPU 0), b (GPUs 1,2), c (CPU)"},
		"fits nowhere": {
			unplaced(running(1), "no node has a GPU with 40000 MiB free", "stop big", "add a GPU"),
			"it would fit nowhere: no node has a GPU with 40000 MiB free|what would help: stop big|what would help: add a GPU",
		},
		"fits in part": {
			unplaced(running(2, on("a", 0)), "no room"),
			"it would run on a (GPU 0)|1 of 2 replicas would have a place: no room",
		},
		"stopped, fits":         {stopped(api.NodeFit{NodeID: "a", Fits: true}, api.NodeFit{NodeID: "b"}), "it would not run; a replica would fit on a"},
		"stopped, fits on many": {stopped(many...), "it would not run; a replica would fit on 21 nodes"},
		"stopped, does not fit": {
			stopped(api.NodeFit{NodeID: "a", Message: "has 1 GPU too small", GPUsShort: 2, VRAMShortMB: 20000}),
			"it would not run; a replica would fit nowhere: the nearest node, a, has 1 GPU too small (short of 2 GPUs, 20000 MiB)",
		},
		"stopped, no nodes": {stopped(), "it would not run; there is no node that a replica would fit on"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(verdict(tt.x), "|"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
