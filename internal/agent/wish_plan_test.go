package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

// TestPlanWishes_cases runs testdata/wishes.txt: blocks of lines
//
//	wish KIND REPO [at=MINUTE]       made at that minute, 0 if not given; a pull ends after a day, a purge after an hour
//	want REPO | frozen UID | frozen-wish ID | restored | unknown
//	pull REPO [at=] [over] [stopping]
//	purge REPO [at=] [since=MINUTE] [running] [done] [retry=MINUTE]
//	used REPO                        by a replica in hand
//	now MINUTE
//
// and, after "->", the plan. A REPO is "name" or "name:pattern".
func TestPlanWishes_cases(t *testing.T) {
	b, err := os.ReadFile("testdata/wishes.txt")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n\n") {
		title, rest, _ := strings.Cut(block, "\n")
		input, answer, _ := strings.Cut(rest, "->")
		t.Run(strings.TrimPrefix(title, "# "), func(t *testing.T) {
			want, held, now, names := wishCase(t, input)
			var out strings.Builder
			for _, a := range PlanWishes(want, held, now) {
				fmt.Fprintln(&out, a.Verb, names[a.ID])
			}
			got := strings.TrimSpace(out.String())
			if got == "" {
				got = "nothing"
			}
			if diff := cmp.Diff(strings.TrimSpace(answer), got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func wishCase(t *testing.T, input string) (want api.NodeDesired, held HeldFiles, now time.Time, names map[string]string) {
	t.Helper()
	want.Revision = 7
	held = HeldFiles{Pulls: map[string]HeldPull{}, Purges: map[string]HeldPurge{}}
	names = map[string]string{}
	minute := func(n int64) time.Time { return time.Unix(60*n, 0) }
	for line := range strings.Lines(input) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		has := map[string]bool{}
		num := map[string]int64{}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			has[k] = true
			num[k], _ = strconv.ParseInt(v, 10, 64)
		}
		repo := func(name string) api.ModelSpec {
			repo, pattern, _ := strings.Cut(name, ":")
			s := api.ModelSpec{ModelName: "acme/" + repo, ModelSource: api.SourceHuggingFace, EngineType: api.EngineLlamaCPP}
			if pattern != "" {
				s.Files = []string{pattern}
			}
			names[s.FilesID()] = name
			return s
		}
		wish := func(kind api.WishKind, name string) api.CacheWish {
			life := map[api.WishKind]time.Duration{api.WishPull: 24 * time.Hour, api.WishPurge: time.Hour}[kind]
			at := minute(num["at"])
			return api.CacheWish{Kind: kind, Spec: repo(name), CreatedAtMS: at.UnixMilli(), ExpiresAtMS: at.Add(life).UnixMilli()}
		}
		switch fields[0] {
		case "unknown":
			want.Revision = 0
		case "restored":
			want.History = "h"
		case "now":
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			now = minute(n)
		case "wish":
			want.CacheWishes = append(want.CacheWishes, wish(api.WishKind(fields[1]), fields[2]))
		case "want":
			want.Replicas = append(want.Replicas, api.DesiredReplica{Spec: repo(fields[1])})
		case "frozen":
			want.Frozen = append(want.Frozen, fields[1])
		case "frozen-wish":
			kind, name, _ := strings.Cut(fields[1], "-")
			s := repo(name)
			want.FrozenWishes = append(want.FrozenWishes, kind+"-"+s.FilesID())
		case "pull":
			w := wish(api.WishPull, fields[1])
			held.Pulls[w.Spec.FilesID()] = HeldPull{w, has["over"], has["stopping"]}
		case "purge":
			w := wish(api.WishPurge, fields[1])
			held.Purges[w.Spec.FilesID()] = HeldPurge{Wish: w, Since: minute(num["since"]), Running: has["running"], Done: has["done"], RetryAt: minute(num["retry"])}
		case "used":
			held.Used = append(held.Used, repo(fields[1]))
		default:
			t.Fatalf("line %q", line)
		}
	}
	return want, held, now, names
}

func TestPins_whatCannotBeReadIsNotLetGo(t *testing.T) {
	pin := func(name string) api.CacheWish {
		return api.CacheWish{Kind: api.WishPin, Spec: api.ModelSpec{ModelName: name, ModelSource: api.SourceHuggingFace}}
	}
	names := func(specs []api.ModelSpec) string {
		var out []string
		for _, s := range specs {
			out = append(out, s.ModelName)
		}
		return strings.Join(out, " ")
	}
	last, all := Pins(api.NodeDesired{CacheWishes: []api.CacheWish{pin("a"), pin("b")}}, nil)
	if !all {
		t.Error("not all pins, though each can be read")
	}
	for _, c := range []struct {
		frozen   []string
		restored bool
		want     string
	}{{nil, false, "b"}, {[]string{"pin-0011"}, false, "b a"}, {[]string{"pull-0011"}, false, "b"}, {nil, true, "b a"}} {
		got, all := Pins(api.NodeDesired{CacheWishes: []api.CacheWish{pin("b")}, FrozenWishes: c.frozen, History: "h", HistoryAccepted: !c.restored}, last)
		if names(got) != c.want || all != (c.want == "b") {
			t.Errorf("with %v unreadable, restored %v: %q, all %v; want %q", c.frozen, c.restored, names(got), all, c.want)
		}
	}
}
