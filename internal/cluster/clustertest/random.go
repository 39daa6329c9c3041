package clustertest

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// Random draws a small cluster in which anything goes: plans, endpoints and downloads contradict each other, name nodes that
// are gone, and some documents cannot be read. The text is what a failing test prints.
func Random(t *rapid.T) string {
	var b strings.Builder
	pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }
	n := func(what string, most int) int { return rapid.IntRange(0, most).Draw(t, what) }
	fmt.Fprintf(&b, "now %ds\n", 60+n("now", 60))
	for i := range n("nodes", 3) {
		fmt.Fprintf(&b, "node n%d gpus=%s\n", i, pick("gpus", "", "80000", "80000,24000"))
	}
	for i := range n("members", 3) {
		fmt.Fprintf(&b, "member n%d%s\n", i, pick("flags", "", "", " cordoned", " draining"))
	}
	nodes := []string{"n0", "n1", "n2", "gone"}
	replica := func(what string) string {
		return fmt.Sprintf("%s/%d@%s", pick(what+" model", "a", "a-b", "c"), n(what+" replica", 3), pick(what+" node", nodes...))
	}
	for _, uid := range []string{"a", "a-b", "c"} {
		if n("has model", 9) > 0 {
			fmt.Fprintf(&b, "model %s engine=%s updated=%ds\n", uid, pick("engine", "llamacpp", "vllm"), n("updated", 120))
		}
		if n("deployed", 9) > 0 {
			fmt.Fprintf(&b, "deploy %s %s replicas=%d updated=%ds\n", uid, pick("wish", "running", "running", "stopped"), n("replicas", 4), n("updated", 120))
		}
		if n("planned", 4) > 0 {
			fmt.Fprintf(&b, "plan %s version=%d", uid, n("version", 5))
			for r := range n("assigned", 4) {
				fmt.Fprintf(&b, " %d@%s%s", r, pick("at", nodes...), pick("gpus", "", ":0", ":0,1"))
			}
			if n("displaced", 3) == 0 {
				fmt.Fprintf(&b, " displaced=8@%s%s", pick("at", nodes...), pick("gpus", "", ":0"))
			}
			fmt.Fprintln(&b, pick("verdict", "", "", ` unplaced=unschedulable message="No room."`))
		}
		if n("bad", 20) == 0 {
			fmt.Fprintf(&b, "bad %s message=broken\n", pick("key", "/models/"+uid+"/spec", "/deployments/"+uid, "/placements/"+uid))
		}
	}
	for range n("endpoints", 6) {
		fmt.Fprintf(&b, "endpoint %s %s gpus=%s%s\n", replica("endpoint"), pick("status", "starting", "ready", "ready", "unhealthy", "draining"),
			pick("gpus", "", "0", "1"), pick("failure", "", "", "", " fail=engine_crash message=died retry=70s", " fail=crash_loop message=died retry=70s",
				" fail=model_missing message=gone final", " fail=probe_failed message=silent", " fail=admission_rejected message=full retry=70s"))
	}
	for range n("downloads", 3) {
		fmt.Fprintf(&b, "download %s %s done=1 total=2\n", replica("download"), pick("phase", "downloading", "verifying", "complete", "failed"))
	}
	return b.String()
}
