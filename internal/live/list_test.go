package live

import (
	first "cmp"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/cluster/clustertest"
)

var update = flag.Bool("update", false, "rewrite the case files")

// world is a View and a clock that a test moves.
type world struct {
	st  *cluster.State
	now time.Time
}

func (w *world) Current() (*cluster.State, <-chan struct{}) { return w.st, nil }

// TestChanges_cases reads histories: "+ line" and "- line" are commits, "at 5s" moves the clock, "restore N" goes back to a revision, and "since N
// key=value" tells what a watcher with that filter, which knows everything up to N, has to be told.
func TestChanges_cases(t *testing.T) {
	clustertest.Cases(t, "testdata/changes/*.txt", *update, func(t *testing.T, c *clustertest.Cluster) string {
		w := &world{st: &cluster.State{Revision: 1}, now: time.Unix(1000, 0)}
		l := New(w, func() time.Time { return w.now }, Models())
		l.keep = 4
		var lines []string
		var out strings.Builder
		for _, words := range c.Rest {
			rest := strings.Join(words[1:], " ")
			switch words[0] {
			case "+":
				lines = append(lines, rest)
			case "-":
				lines[slices.Index(lines, rest)] = "alert none/none" // which keeps the revisions of the others
			case "at":
				d, err := time.ParseDuration(rest)
				if err != nil {
					t.Fatal(err)
				}
				w.now = time.Unix(0, 0).Add(d)
				continue
			case "since":
				tell(t, &out, l, words[1:])
				continue
			}
			revision := w.st.Revision + 1
			if words[0] == "restore" {
				n, _ := strconv.Atoi(rest)
				revision = int64(n)
			}
			parsed, err := clustertest.Parse(strings.Join(lines, "\n"))
			if err != nil {
				t.Fatal(err)
			}
			w.st = parsed.State
			w.st.Revision = revision
			if _, err := l.Current(); err != nil {
				t.Fatal(err)
			}
		}
		return out.String()
	})
}

func tell(t *testing.T, out *strings.Builder, l *List, words []string) {
	table, err := l.Current()
	if err != nil {
		t.Fatal(err)
	}
	rev, _ := strconv.ParseInt(words[0], 10, 64)
	fmt.Fprintf(out, "since %s:", strings.Join(words, " "))
	defer fmt.Fprintln(out)
	cur, ok := table.Since(rev)
	if !ok {
		out.WriteString(" list again")
		return
	}
	changes, _ := table.Changes(cur, filterOf(words[1:]), false)
	for _, c := range changes {
		state := "gone"
		if c.Item != nil {
			state = string(c.Item.facts.State)
		}
		fmt.Fprintf(out, " %s=%s", c.ID, state)
		if c.Upto > 0 {
			fmt.Fprintf(out, "(%d)", c.Upto)
		}
	}
}

func filterOf(words []string) func(*Facts) bool {
	if len(words) == 0 {
		return nil
	}
	key, value, _ := strings.Cut(words[0], "=")
	switch key {
	case "state":
		return func(f *Facts) bool { return f.State == api.ModelState(value) }
	case "engine":
		return func(f *Facts) bool { return f.Engine == value }
	}
	return func(f *Facts) bool { return slices.Contains(f.Labels, unique.Make(Label{key, value})) }
}

// watcher is a client of either of two servers: all that it knows is what it was told.
type watcher struct {
	filter []string
	knows  map[string]string
	upto   int64
}

// TestList_properties: over any history, a list is what a look at the State from scratch finds, and what watchers were told makes the same, wherever and
// whenever they leave off and resume, on this server or on another that sees some of the States only.
func TestList_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(60, 0)
		worlds := [2]*world{{st: &cluster.State{}}, {st: &cluster.State{}}}
		var servers [2]*List
		start := func(i int) {
			servers[i] = New(worlds[i], func() time.Time { return now }, Models())
			servers[i].keep = rapid.IntRange(1, 12).Draw(t, "keep")
		}
		start(0)
		start(1)
		var watchers []*watcher
		for range 3 {
			filter := rapid.SampledFrom([][]string{nil, {"state=starting"}, {"state=running"}, {"engine=vllm"}}).Draw(t, "filter")
			watchers = append(watchers, &watcher{filter: filter})
		}
		var revision int64
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			revision += int64(rapid.IntRange(0, 2).Draw(t, "commits"))
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5, 30, 31}).Draw(t, "seconds")) * time.Second)
			if revision > worlds[0].st.Revision {
				next := commit(t, worlds[0].st, revision)
				worlds[0].st = next
				if rapid.Bool().Draw(t, "the other sees it, too") {
					worlds[1].st = next
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				start(rapid.IntRange(0, 1).Draw(t, "which"))
			}
			for i := range servers {
				check(t, servers[i], worlds[i].st, now)
			}
			for _, w := range watchers {
				i := rapid.IntRange(0, 1).Draw(t, "server")
				w.listen(t, servers[i], scratch(t, worlds[i].st, now, w.filter))
			}
		}
	})
}

// commit makes the next State: all of it anew, or parts of another mixed in.
func commit(t *rapid.T, old *cluster.State, revision int64) *cluster.State {
	text := clustertest.Random(t)
	c, err := clustertest.Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	next := *old
	take := func(what string, do func()) {
		if rapid.Bool().Draw(t, what) {
			do()
		}
	}
	take("models", func() { next.Models = withSecrets(t, c.State.Models) })
	take("deployments", func() { next.Deployments = c.State.Deployments })
	take("placements", func() { next.Placements = c.State.Placements })
	take("nodes", func() { next.Nodes = c.State.Nodes })
	take("endpoints", func() { next.Endpoints = withTokens(t, c.State.Endpoints) })
	take("downloads", func() { next.Downloads = c.State.Downloads })
	take("bad", func() { next.Bad = c.State.Bad })
	take("secrets", func() {
		edit := next.Secrets.Edit()
		edit.Put(cluster.Entry[api.Secret]{ID: "s", Value: api.Secret{Name: "s", Version: rapid.Uint64Range(1, 2).Draw(t, "version")}})
		next.Secrets = edit.Done()
	})
	next.Revision = revision
	return &next
}

func withSecrets(t *rapid.T, models cluster.Set[api.ModelSpec]) cluster.Set[api.ModelSpec] {
	edit := models.Edit()
	for m := range models.All() {
		m.Value.TokenSecret = rapid.SampledFrom([]string{"", "s"}).Draw(t, "secret")
		edit.Put(m)
	}
	return edit.Done()
}

func withTokens(t *rapid.T, endpoints cluster.Set[api.EndpointInfo]) cluster.Set[api.EndpointInfo] {
	edit := endpoints.Edit()
	for e := range endpoints.All() {
		e.Value.TokenVersion = rapid.Uint64Range(0, 2).Draw(t, "token")
		edit.Put(e)
	}
	return edit.Done()
}

// scratch is what a watcher with that filter should know.
func scratch(t require, st *cluster.State, now time.Time, filter []string) map[string]string {
	views, _ := cluster.Views(st, now, cluster.Filter{})
	match, out := filterOf(filter), map[string]string{}
	for _, v := range views {
		f := Facts{State: v.State, Labels: LabelsOf(v.Labels)}
		if v.EngineType != nil {
			f.Engine = *v.EngineType
		}
		if match != nil && !match(&f) {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%v", err)
		}
		out[v.ModelUID] = string(b)
	}
	return out
}

type require interface {
	Fatalf(format string, args ...any)
}

// testOrders are orders that change with what a model is like; in the first all that counts stays.
var testOrders = map[string]func(a, b *Item) int{
	"uid": func(a, b *Item) int { return strings.Compare(b.ID, a.ID) },
	"state": func(a, b *Item) int {
		return first.Or(first.Compare(a.facts.State, b.facts.State), strings.Compare(a.ID, b.ID))
	},
	"look": func(a, b *Item) int {
		return first.Or(strings.Compare(string(a.JSON), string(b.JSON)), strings.Compare(a.ID, b.ID))
	},
}

func check(t *rapid.T, l *List, st *cluster.State, now time.Time) {
	table, err := l.Current()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i := range table.After("") {
		got[i.ID] = string(i.JSON)
	}
	if diff := cmp.Diff(scratch(t, st, now, nil), got); diff != "" {
		t.Fatalf("at revision %d the list is not what the State says:\n%s", st.Revision, diff)
	}
	for name, order := range testOrders {
		if rapid.IntRange(0, 2).Draw(t, name) > 0 { // not every table is asked for every order
			continue
		}
		want := slices.SortedFunc(table.After(""), order)
		sorted := table.Sorted(name, Order{Sort: func(items []*Item) { slices.SortFunc(items, order) }, Compare: order})
		if !slices.Equal(want, sorted) {
			t.Fatalf("at revision %d the order by %s is not that of a list sorted anew", st.Revision, name)
		}
	}
	if len(table.log) > 2*l.keep {
		t.Fatalf("the log holds %d changes", len(table.log))
	}
}

// listen connects, if need be, hears everything or a part of it, and perhaps leaves.
func (w *watcher) listen(t *rapid.T, l *List, want map[string]string) {
	table, err := l.Current()
	if err != nil {
		t.Fatal(err)
	}
	changes, known := []Change(nil), false
	if cur, ok := table.Since(w.upto); ok && w.upto > 0 {
		changes, known = table.Changes(cur, filterOf(w.filter), false)
	}
	if !known {
		w.knows = map[string]string{}
		for i := range table.After("") {
			if i.Is(filterOf(w.filter)) {
				w.knows[i.ID] = string(i.JSON)
			}
		}
		w.upto = table.Revision()
	}
	hears := len(changes)
	if rapid.Bool().Draw(t, "leaves early") {
		hears = rapid.IntRange(0, len(changes)).Draw(t, "hears")
	}
	for _, c := range changes[:hears] {
		delete(w.knows, c.ID)
		if c.Item != nil {
			w.knows[c.ID] = string(c.Item.JSON)
		}
		if c.Upto > 0 && c.Upto < w.upto {
			t.Fatalf("told up to %d after %d", c.Upto, w.upto)
		}
		w.upto = c.Upto
	}
	if diff := cmp.Diff(want, w.knows); diff != "" && hears == len(changes) {
		t.Fatalf("a watcher with %v has been told something else by revision %d:\n%s", w.filter, table.Revision(), diff)
	}
}

// TestOf_madeOnce: what is made of a table is made once for all who ask, and anew of the next table; more names than there is room for do no harm.
func TestOf_madeOnce(t *testing.T) {
	w := &world{st: &cluster.State{Revision: 1}, now: time.Unix(60, 0)}
	l := New(w, func() time.Time { return w.now }, Models())
	times := 0
	ask := func(name string) int {
		t.Helper()
		table, err := l.Current()
		if err != nil {
			t.Fatal(err)
		}
		return Of(table, name, func(t *Table) int { times++; return t.Len() + int(t.Revision()) })
	}
	for range 2 {
		if got := ask("a"); got != 1 || times != 1 {
			t.Errorf("%d, made %d times", got, times)
		}
	}
	w.st = &cluster.State{Revision: 5}
	if ask("a") != 5 || ask("b") != 5 || times != 3 {
		t.Errorf("of the next table: made %d times", times)
	}
	for i := range 2 * maxMade {
		if ask(strconv.Itoa(i)) != 5 {
			t.Fatal("another answer")
		}
	}
	if table, _ := l.Current(); len(table.made.all) != maxMade {
		t.Errorf("%d are kept", len(table.made.all))
	}
}
