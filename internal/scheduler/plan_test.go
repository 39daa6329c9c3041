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
		changes, _ := Plan(c.State, remembered(t, c), c.Now, LostAfter)
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
			b.WriteString(" " + assignment(&a))
		}
		for _, a := range c.Plan.Displaced {
			b.WriteString(", displaced " + assignment(&a))
		}
		b.WriteString("\n")
		if u := c.Plan.Unplaced; u != nil {
			fmt.Fprintf(&b, "  %s: %s\n", u.Code, u.Message)
		}
	}
	return b.String()
}

// assignment is REPLICA@NODE:GPUS(ENGINE)>REPLACED.
func assignment(a *api.PlacementAssignment) string {
	s := fmt.Sprintf("%d@%s", a.ReplicaID, a.NodeID)
	for i, g := range a.GPUs() {
		s += map[bool]string{true: ":", false: ","}[i == 0] + strconv.Itoa(int(g))
	}
	if a.EngineType != nil {
		s += "(" + *a.EngineType + ")"
	}
	if a.Replaces != nil {
		s += fmt.Sprintf(">%d", *a.Replaces)
	}
	return s
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

// TestPlan_aRefusalHoldsForItsWish follows a node that refused a model, and a person who then asks for less.
func TestPlan_aRefusalHoldsForItsWish(t *testing.T) {
	w := &world{now: time.Unix(1000, 0)}
	text := `
		node a gpus=80000
		model chat engine=vllm
		deploy chat running version=1
		plan chat version=3 0@a:0
		endpoint chat/0@a unhealthy gpus=0 fail=admission_rejected message="19 GiB free, 60 needed" retry=70s`
	c, err := clustertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	w.s = *c.State
	if changes := w.plan(); len(changes) > 0 {
		t.Fatalf("there is no other node, and yet: %s", words(changes))
	}
	put(w, &w.s.Nodes, "b", func() api.NodeStatus { n, _ := w.s.Nodes.Value("a"); n.NodeID = "b"; return n }())
	less, moved := w, *w
	if changes := moved.plan(); len(changes) != 1 || changes[0].Plan.Assignments[0].NodeID != "b" {
		t.Errorf("another node came, and got: %s", words(changes))
	}
	d, _ := less.s.Deployments.Value("chat")
	d.Version++
	put(less, &less.s.Deployments, "chat", d)
	if changes := less.plan(); len(changes) > 0 {
		t.Errorf("the node has not answered the new wish yet: %s", words(changes))
	}
	e, _ := less.s.Endpoints.Value("chat/0")
	put(less, &less.s.Endpoints, "chat/0", e)
	if changes := less.plan(); len(changes) != 1 || changes[0].Plan.Assignments[0].NodeID != "b" {
		t.Errorf("the node refused the new wish, too, and got: %s", words(changes))
	}
}

// TestPlan_aPauseOfTheObserverCountsForNobody: whoever did not look cannot know whether a node was there meanwhile.
func TestPlan_aPauseOfTheObserverCountsForNobody(t *testing.T) {
	c, err := clustertest.Parse("member a\nmember b\nnode b\nmodel chat engine=llamacpp\ndeploy chat running\nplan chat version=3 0@a")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	var m Memory
	turn := func(after time.Duration) []Change {
		now = now.Add(after)
		changes, next := Plan(c.State, m, now, LostAfter)
		m = next
		return changes
	}
	turn(0)
	if changes := turn(time.Hour); len(changes) > 0 {
		t.Fatalf("the observer was away for an hour, and moved: %s", words(changes))
	}
	waited := time.Duration(0)
	for ; waited < LostAfter; waited += pause {
		if changes := turn(pause); len(changes) > 0 && waited+pause < LostAfter {
			t.Fatalf("moved after %v: %s", waited, words(changes))
		} else if len(changes) > 0 {
			return
		}
	}
	t.Errorf("not moved after %v", waited)
}
