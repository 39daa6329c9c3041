package cache

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("update", false, "write the answers of the text cases anew")

// The day of all cases.
var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestEvict(t *testing.T) {
	const file = "testdata/evict/evict.txt"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n\n") {
		given, want, _ := strings.Cut(block, "\n->")
		s, g := parseScene(t, given)
		got := tellEviction(s, Evict(s, g, noon))
		title, _, _ := strings.Cut(given, "\n")
		t.Run(title, func(t *testing.T) {
			if got != strings.TrimSpace(want) && !*rewrite {
				t.Errorf("got\n%s\nwant%s", got, want)
			}
		})
		out = append(out, given+"\n->\n"+got)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// parseScene reads a case: contents are NAME:BYTES, with ":busy" or the number of names behind.
func parseScene(t *testing.T, text string) (Scene, Goal) {
	t.Helper()
	s, g := Scene{Contents: map[string]Content{}}, Goal{}
	content := func(word string) string {
		f := strings.Split(word, ":")
		c := Content{Names: 1, Inode: uint64(len(s.Contents) + 1), Bytes: number(t, f[1])}
		if len(f) > 2 && f[2] == "busy" {
			c.Busy = true
		} else if len(f) > 2 {
			c.Names = uint64(number(t, f[2]))
		}
		if _, ok := s.Contents[f[0]]; !ok {
			s.Contents[f[0]] = c
		}
		return f[0]
	}
	for line := range strings.SplitSeq(text, "\n") {
		w := strings.Fields(line)
		switch w[0] {
		case "#":
		case "disk":
			s.Disk = Room{number(t, w[1]), number(t, w[2])}
		case "model":
			it := Item{Model: w[1], Path: "/cache/" + w[1]}
			for c := range strings.SplitSeq(w[2], ",") {
				it.Contents = append(it.Contents, content(c))
			}
			for _, o := range w[3:] {
				key, v, _ := strings.Cut(o, "=")
				switch key {
				case "used":
					it.Used = noon.Add(-span(t, v))
				case "owner":
					it.Owner = v
				case "pinned":
					it.Pinned = true
				case "stopped":
					it.Need = NeedStopped
				case "running":
					it.Need = NeedRunning
				case "foreign":
					it.Foreign = true
				case "broken":
					it.Broken = true
				default:
					t.Fatalf("unknown %q", o)
				}
			}
			s.Items = append(s.Items, it)
		case "loose":
			_, age, _ := strings.Cut(w[3], "=")
			l := Loose{Name: content(w[2]), Kind: LooseKind(w[1]), At: noon.Add(-span(t, age))}
			for _, o := range w[4:] {
				key, v, _ := strings.Cut(o, "=")
				switch key {
				case "busy":
					l.Busy = true
				case "wanted":
					l.Wanted = true
				case "of":
					l.Model, l.Path = v, "/cache/"+v
				default:
					t.Fatalf("unknown %q", o)
				}
			}
			s.Loose = append(s.Loose, l)
		case "goal":
			for _, o := range w[1:] {
				key, v, _ := strings.Cut(o, "=")
				switch key {
				case "high":
					g.From = float64(number(t, v))
				case "low", "to":
					g.To = float64(number(t, v))
				case "bytes":
					g.Bytes = number(t, v)
				case "min":
					g.MinAge = span(t, v)
				case "max":
					g.MaxAge = span(t, v)
				case "all":
					g.All = true
				case "foreign":
					g.Foreign = true
				case "only":
					g.Only = Asked{Model: v}
				case "path":
					g.Only.Path = v
				default:
					t.Fatalf("unknown %q", o)
				}
			}
		default:
			t.Fatalf("unknown %q", line)
		}
	}
	return s, g
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func span(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tellEviction(s Scene, e Eviction) string {
	var out []string
	for _, i := range e.Loose {
		out = append(out, "remove "+string(s.Loose[i].Kind)+" "+s.Loose[i].Name)
	}
	for n, i := range e.Items {
		out = append(out, fmt.Sprintf("remove %s: %d", s.Items[i].Model, e.Bytes[n]))
	}
	for i, why := range e.Kept {
		if why != "" {
			out = append(out, "keep "+s.Items[i].Model+": "+why)
		}
	}
	sum := fmt.Sprintf("frees %d", e.Frees)
	if e.Short > 0 {
		sum += fmt.Sprintf(", %d short", e.Short)
	}
	return strings.Join(append(out, sum), "\n")
}

// TestEvict_holdsItsPromises compares the plan with plain arithmetic, over random caches.
func TestEvict_holdsItsPromises(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := randomScene(r)
		g := Goal{MinAge: 10 * time.Minute}
		switch r.IntN(3) {
		case 0:
			g.From, g.To = 60, 50
		case 1:
			g.Bytes = int64(r.IntN(200))
		case 2:
			g.To = float64(1 + r.IntN(99))
		}
		e := Evict(s, g, noon)

		gone := map[int]bool{}
		for _, i := range e.Items {
			it := s.Items[i]
			gone[i] = true
			if it.Owner != "" || it.Pinned || it.Need == NeedRunning || it.Foreign {
				t.Fatalf("seed %d: %+v is removed", seed, it)
			}
			if !it.Broken && noon.Sub(it.Used) < g.MinAge {
				t.Fatalf("seed %d: %+v is too young", seed, it)
			}
		}
		freed := int64(0)
		for _, i := range e.Loose {
			freed += s.Contents[s.Loose[i].Name].Bytes
		}
		for name, c := range s.Contents {
			users, left := 0, 0
			for i, it := range s.Items {
				if slices.Contains(it.Contents, name) {
					users++
					if !gone[i] {
						left++
					}
				}
			}
			if users > 0 && left == 0 && !c.Busy {
				freed += c.Bytes
			}
		}
		if freed != e.Frees {
			t.Fatalf("seed %d: says it frees %d, and frees %d", seed, e.Frees, freed)
		}
		need := g.need(s.Disk)
		if freed < need {
			for i, it := range s.Items {
				if !gone[i] && protected(it, g) == "" && noon.Sub(it.Used) >= g.MinAge {
					rest := s
					rest.Items = slices.Clone(s.Items)
					tr := newTrial(rest)
					for j := range gone {
						tr.remove(j)
					}
					if tr.remove(i) > 0 {
						t.Fatalf("seed %d: the goal is missed by %d, and %s stays", seed, need-freed, it.Model)
					}
				}
			}
		}
		if e.Short != max(0, need-freed) {
			t.Fatalf("seed %d: short %d, want %d", seed, e.Short, need-freed)
		}
		// None of those removed for the goal could have stayed.
		for _, i := range e.Items {
			if s.Items[i].Broken || freed < need {
				continue
			}
			tr := newTrial(s)
			back := int64(0)
			for _, j := range e.Loose {
				back += tr.drop(s.Loose[j].Name)
			}
			for _, j := range e.Items {
				if j != i {
					back += tr.remove(j)
				}
			}
			if back >= need {
				t.Fatalf("seed %d: %s need not have gone", seed, s.Items[i].Model)
			}
		}
	}
}

func randomScene(r *rand.Rand) Scene {
	s := Scene{Contents: map[string]Content{}}
	contents := 1 + r.IntN(12)
	total := int64(0)
	for i := range contents {
		c := Content{Bytes: int64(r.IntN(40)), Inode: uint64(i + 1), Names: 1, Busy: r.IntN(12) == 0}
		s.Contents[fmt.Sprint("b", i)] = c
		total += c.Bytes
	}
	for i := range r.IntN(8) {
		it := Item{
			Model: fmt.Sprint("m", i), Used: noon.Add(-time.Duration(r.IntN(100)) * time.Minute), Pinned: r.IntN(5) == 0, Need: Need(r.IntN(3)),
			Foreign: r.IntN(6) == 0, Broken: r.IntN(8) == 0,
		}
		if r.IntN(5) == 0 {
			it.Owner = "engine"
		}
		for c := range contents {
			if r.IntN(3) == 0 {
				it.Contents = append(it.Contents, fmt.Sprint("b", c))
			}
		}
		s.Items = append(s.Items, it)
	}
	for i := range r.IntN(3) {
		name := fmt.Sprint("l", i)
		s.Contents[name] = Content{Bytes: int64(r.IntN(20)), Inode: uint64(100 + i), Names: 1}
		s.Loose = append(s.Loose, Loose{Name: name, Kind: LooseContent, At: noon.Add(-time.Duration(r.IntN(180)) * time.Minute), Busy: r.IntN(3) == 0})
	}
	s.Disk = Room{total + int64(r.IntN(50)), int64(r.IntN(200))}
	return s
}
