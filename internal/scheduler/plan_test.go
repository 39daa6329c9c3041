package scheduler

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestPlan_cases plans each cluster once. Two more kinds of line say what the scheduler remembers:
//
//	missed NODE since=TIME
//	rejected MODEL NODE at=TIME
func TestPlan_cases(t *testing.T) {
	clustertest.Cases(t, "testdata/plan/*.txt", *update, func(t *testing.T, c *clustertest.Cluster) string {
		changes, _ := Plan(c.State, remembered(t, c), c.Now)
		if len(changes) == 0 {
			return "nothing to do\n"
		}
		return words(changes)
	})
}

func remembered(t *testing.T, c *clustertest.Cluster) Memory {
	m := Memory{missed: map[string]time.Time{}, rejected: map[string][]rejection{}}
	for _, l := range c.Rest {
		_, text, _ := strings.Cut(l[len(l)-1], "=")
		ago, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("what is %q?", l)
		}
		at := time.Unix(0, 0).Add(ago)
		switch l[0] {
		case "missed":
			m.missed[l[1]] = at
		case "rejected":
			m.rejected[l[1]] = append(m.rejected[l[1]], rejection{node: l[2], wish: cluster.Revision(c.State, l[1]), at: at})
		default:
			t.Fatalf("what is %q?", l)
		}
	}
	return m
}

// words writes changes down: "plan UID vVERSION over revision REV: REPLICA@NODE:GPUS ENGINE, …".
func words(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		if c.Plan == nil {
			fmt.Fprintf(&b, "drop %s over revision %d\n", c.UID, c.Rev)
			continue
		}
		fmt.Fprintf(&b, "plan %s v%d over revision %d:", c.UID, c.Plan.Version, c.Rev)
		for _, a := range c.Plan.Assignments {
			fmt.Fprintf(&b, " %d@%s", a.ReplicaID, a.NodeID)
			for i, g := range a.GPUs() {
				b.WriteString(map[bool]string{true: ":", false: ","}[i == 0] + strconv.Itoa(int(g)))
			}
			if a.EngineType != nil {
				b.WriteString("(" + *a.EngineType + ")")
			}
		}
		b.WriteString("\n")
		if u := c.Plan.Unplaced; u != nil {
			fmt.Fprintf(&b, "  %s: %s\n", u.Code, u.Message)
		}
	}
	return b.String()
}

// apply carries changes out as the store would.
func apply(s *cluster.State, changes []Change) *cluster.State {
	next := *s
	next.Revision++
	edit := next.Placements.Edit()
	for _, c := range changes {
		if c.Plan == nil {
			edit.Delete(c.UID)
			continue
		}
		edit.Put(cluster.Entry[api.PlacementPlan]{ID: c.UID, Rev: next.Revision, Value: *c.Plan})
	}
	next.Placements = edit.Done()
	return &next
}
