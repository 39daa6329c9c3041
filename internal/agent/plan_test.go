package agent

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

var rewrite = flag.Bool("update", false, "write the answers of the text cases anew")

// TestPlan_cases runs testdata/plan/*.txt: blocks of lines
//
//	want UID/REPLICA [v=PLAN] [gen=GENERATION] [path=PATH] [secret=NAME] [token=VERSION] [displaced]
//	held UID/REPLICA [v=] [gen=] [path=] [secret=] [token=] [ready] [stopping] [failed]
//	frozen UID
//	unknown            nothing is known of the wish
//
// and, after "->", the plan.
func TestPlan_cases(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(strings.TrimSpace(string(b)), "\n\n")
		for i, block := range blocks {
			title, rest, _ := strings.Cut(block, "\n")
			input, answer, _ := strings.Cut(rest, "->")
			t.Run(strings.TrimPrefix(title, "# "), func(t *testing.T) {
				want, held := parseCase(t, input)
				got := printPlan(Plan(want, held))
				if *rewrite {
					blocks[i] = title + "\n" + strings.TrimSpace(input) + "\n->\n" + got
					return
				}
				if diff := cmp.Diff(strings.TrimSpace(answer), strings.TrimSpace(got)); diff != "" {
					t.Errorf("plan (-want +got):\n%s", diff)
				}
			})
		}
		if *rewrite {
			if err := os.WriteFile(file, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func parseCase(t *testing.T, input string) (api.NodeDesired, map[string]Held) {
	t.Helper()
	want := api.NodeDesired{Revision: 7}
	held := map[string]Held{}
	for line := range strings.Lines(input) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		switch fields[0] {
		case "unknown":
			want.Revision = 0
		case "frozen":
			want.Frozen = append(want.Frozen, fields[1])
		case "want":
			want.Replicas = append(want.Replicas, parseReplica(t, fields[1:]))
		case "held":
			d := parseReplica(t, fields[1:])
			held[d.Key()] = Held{
				Desired: d, Ready: slices.Contains(fields, "ready"), Stopping: slices.Contains(fields, "stopping"), Failed: slices.Contains(fields, "failed"),
			}
		default:
			t.Fatalf("line %q", line)
		}
	}
	return want, held
}

func parseReplica(t *testing.T, fields []string) api.DesiredReplica {
	t.Helper()
	uid, n, _ := strings.Cut(fields[0], "/")
	id, err := strconv.ParseUint(n, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	d := replicaOf(uid, uint32(id))
	d.Displaced = slices.Contains(fields, "displaced")
	for _, f := range fields[1:] {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			continue
		}
		num, _ := strconv.ParseUint(v, 10, 64)
		switch k {
		case "v":
			d.PlanVersion = num
		case "gen":
			d.Generation = num
		case "secret":
			d.Spec.TokenSecret = v
		case "token":
			d.TokenVersion = num
		case "path":
			d.Spec.ModelPath = v
		}
	}
	return d
}

func replicaOf(uid string, id uint32) api.DesiredReplica {
	return api.DesiredReplica{
		Spec:       api.ModelSpec{ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal, ModelPath: "/m/" + uid + ".gguf"},
		Assignment: api.PlacementAssignment{ReplicaID: id, NodeID: "n1"}, PlanVersion: 1, Generation: 1,
	}
}

func printPlan(actions []Action) string {
	if len(actions) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for _, a := range actions {
		fmt.Fprintf(&b, "%s %s\n", a.Verb, a.Key)
	}
	return strings.TrimSpace(b.String())
}

// TestPlan_settles checks over random nodes that carrying plans out, in any order of effects, ends with exactly the wanted replicas,
// that a plan never takes down two serving replicas of one model for a changed wish, and that it never touches a frozen model.
func TestPlan_settles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) api.DesiredReplica {
			d := replicaOf(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, label+" uid"), uint32(rapid.IntRange(0, 3).Draw(t, label+" id")))
			d.Spec.ModelPath = rapid.SampledFrom([]string{"/one.gguf", "/two.gguf"}).Draw(t, label+" path")
			d.PlanVersion = uint64(rapid.IntRange(1, 3).Draw(t, label+" version"))
			d.Generation = uint64(rapid.IntRange(1, 3).Draw(t, label+" generation"))
			return d
		}
		want := api.NodeDesired{Revision: 1}
		seen := map[string]bool{}
		for range rapid.IntRange(0, 8).Draw(t, "wanted") {
			if d := draw("want"); !seen[d.Key()] {
				seen[d.Key()] = true
				want.Replicas = append(want.Replicas, d)
			}
		}
		held := map[string]Held{}
		for range rapid.IntRange(0, 8).Draw(t, "held") {
			d := draw("held")
			held[d.Key()] = Held{
				Desired: d, Ready: rapid.Bool().Draw(t, "ready"), Stopping: rapid.Bool().Draw(t, "stopping"), Failed: rapid.Bool().Draw(t, "failed"),
			}
		}
		if rapid.Bool().Draw(t, "freeze a") {
			want.Frozen = []string{"a"}
		}
		for range 100 {
			actions := Plan(want, held)
			replaced := map[string]int{}
			for _, a := range actions {
				h := held[a.Key]
				uid, _, _ := strings.Cut(a.Key, "/")
				if slices.Contains(want.Frozen, uid) {
					t.Fatalf("plan touches the frozen model %s: %v", uid, a)
				}
				switch a.Verb {
				case VerbStart:
					held[a.Key] = Held{Desired: a.Want}
				case VerbRetarget:
					h.Desired = a.Want
					held[a.Key] = h
				case VerbReplace:
					if h.Ready {
						replaced[uid]++
					}
					h.Stopping, h.Ready = true, false
					held[a.Key] = h
				case VerbStop:
					h.Stopping, h.Ready = true, false
					held[a.Key] = h
				}
				if replaced[uid] > 1 {
					t.Fatalf("two serving replicas of %s replaced at once: %v", uid, actions)
				}
			}
			for key, h := range held { // the world moves on
				uid, _, _ := strings.Cut(key, "/")
				switch {
				case slices.Contains(want.Frozen, uid):
				case h.Stopping:
					delete(held, key)
				case !h.Failed:
					h.Ready = true
					held[key] = h
				}
			}
		}
		if left := Plan(want, held); len(left) != 0 {
			t.Fatalf("still to do after 100 turns: %v", printPlan(left))
		}
		for _, d := range want.Replicas {
			h, ok := held[d.Key()]
			if slices.Contains(want.Frozen, d.Spec.ModelUID) {
				continue
			}
			if ok && h.Ready && failedIn(held, d.Spec.ModelUID) {
				continue // a change that makes a replica fail does not take the ones that serve
			}
			if !ok || Fingerprint(h.Desired) != Fingerprint(d) {
				t.Fatalf("%s is not held as wanted", d.Key())
			}
		}
	})
}

// failedIn tells whether a replica of the model has failed.
func failedIn(held map[string]Held, uid string) bool {
	for _, h := range held {
		if h.Failed && h.Desired.Spec.ModelUID == uid {
			return true
		}
	}
	return false
}

func TestFingerprint_ignoresWhatTheEngineDoesNotSee(t *testing.T) {
	base := replicaOf("a", 0)
	for name, c := range map[string]struct {
		change func(*api.DesiredReplica)
		same   bool
	}{
		"plan version": {func(d *api.DesiredReplica) { d.PlanVersion = 9 }, true},
		"generation":   {func(d *api.DesiredReplica) { d.Generation = 9 }, true},
		"labels":       {func(d *api.DesiredReplica) { d.Spec.Labels = map[string]string{"a": "b"} }, true},
		"secret":       {func(d *api.DesiredReplica) { d.Spec.TokenSecret, d.TokenVersion = "hf", 9 }, true},
		"times":        {func(d *api.DesiredReplica) { d.Spec.UpdatedAtMS = 1 }, true},
		"engine said":  {func(d *api.DesiredReplica) { e := api.EngineLlamaCPP; d.Assignment.EngineType = &e }, true},
		"path":         {func(d *api.DesiredReplica) { d.Spec.ModelPath = "/x.gguf" }, false},
		"engine":       {func(d *api.DesiredReplica) { e := api.EngineVLLM; d.Assignment.EngineType = &e }, false},
		"gpus":         {func(d *api.DesiredReplica) { d.Assignment.GPUIndices = []uint32{1} }, false},
		"context":      {func(d *api.DesiredReplica) { n := uint32(5); d.Config.MaxModelLen = &n }, false},
	} {
		d := base
		c.change(&d)
		if same := Fingerprint(d) == Fingerprint(base); same != c.same {
			t.Errorf("%s changed: same fingerprint %v, want %v", name, same, c.same)
		}
	}
}
