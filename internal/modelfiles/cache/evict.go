package cache

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Scene is all that a decision about what to delete needs to know of one disk.
type Scene struct {
	Items    []Item
	Contents map[string]Content // by a name of the caller's
	Loose    []Loose
	Disk     Room
}

// Room is how full a disk is, as df counts: used + available is what others than root can use.
type Room struct{ Used, Available int64 }

// Need says which deployment needs a model here.
type Need int

// The needs, the weakest first.
const (
	NeedNone    Need = iota
	NeedStopped      // people have declared it, and want it stopped
	NeedRunning      // it is to run here, or is pulled
)

// Item is a model in the cache.
type Item struct {
	Model, Commit, Selection string
	Path                     string // of its repository
	Contents                 []string
	Used                     time.Time
	Owner                    string // who has it open, fetches it or reads it; empty = nobody
	Pinned                   bool
	Need                     Need
	Foreign                  bool // not of Nebula's making
	Broken                   bool // not a whole model any more: its removal was not finished
}

// Content is a file that models share.
type Content struct {
	Bytes int64
	Inode uint64
	Names uint64 // of the inode
	Busy  bool   // locked for writing: it is left where it is
}

// Loose is a file that is of no model.
type Loose struct {
	Name string // of a content that the scene has
	Kind LooseKind
	At   time.Time // of its last change
	Busy bool      // somebody works on it, or fetches into its repository

	Model, Path string // of its repository
	Wanted      bool   // something of the repository is pinned, or to run here
}

// LooseKind is what a loose file is.
type LooseKind string

// The kinds of loose files.
const (
	LooseContent    LooseKind = "content"    // whole, and no model has it
	LoosePart       LooseKind = "part"       // of a download of Nebula's
	LooseIncomplete LooseKind = "incomplete" // of a download of the hub's own client
)

// looseAge is how long a loose file is left alone: so long its owner may come back for it.
var looseAge = map[LooseKind]time.Duration{LooseContent: time.Hour, LoosePart: 7 * 24 * time.Hour, LooseIncomplete: 24 * time.Hour}

// Goal says what is to be reached. The zero value removes loose files and what is left of unfinished removals, and no model.
type Goal struct {
	Bytes  int64         // to be freed, if more is not asked by the rest
	To     float64       // percent of the disk that may be used at the end; 0 = whatever
	From   float64       // with To: only when at least so much is used
	All    bool          // everything that is not needed
	MinAge time.Duration // since its last use, for a model to be removed
	MaxAge time.Duration // since its last use, from which on a model that nobody needs is removed in any case; 0 = never
	// Foreign: also what other programs put into the cache.
	Foreign bool
	// Only: what a model has in the cache, however lately it was used, and nothing else.
	Only Asked
}

// Asked names what a model has in the cache; the zero value is no model.
type Asked struct {
	Model string
	Path  string // of the repository; empty = in all of them
}

func (a Asked) is(model, path string) bool {
	return a.Model == model && (a.Path == "" || a.Path == path)
}

// Eviction is a decision: what to remove, in this order, and why the rest stays.
type Eviction struct {
	Loose  []int // of Scene.Loose
	Items  []int // of Scene.Items
	Bytes  []int64
	Kept   []string // by item: why it stays; empty = it goes
	Frees  int64
	Short  int64 // bytes that are missing to the goal
	LooseB int64 // of Frees, by loose files
}

// Evict decides what to remove from a disk. It is pure.
//
// Branches, in order:
//  0. Where only one model is asked for, everything of others stays, and of it goes what branch 2 does not keep, with the parts of its downloads that
//     nobody wants.
//  1. Loose files that are old enough go.
//  2. A model that somebody holds, that is pinned, that is to run here, or that is not of Nebula stays.
//  3. What is left of an unfinished removal goes.
//  4. A model that has not been used for MaxAge goes, unless it is only stopped.
//  5. A model used within MinAge stays.
//  6. Of the rest as many go as the goal needs: first what no deployment refers to, then what is stopped; the longest unused first, the larger of
//     two equals first. Those whose removal turns out not to be needed stay: a model whose contents are all shared frees nothing.
func Evict(s Scene, g Goal, now time.Time) Eviction {
	e := Eviction{Kept: make([]string, len(s.Items))}
	t := newTrial(s)
	for i, l := range s.Loose { // 1
		if !l.Busy && g.drops(l, now) { // 0, 1
			e.Loose = append(e.Loose, i)
			e.LooseB += t.drop(l.Name)
		}
	}
	e.Frees = e.LooseB
	var must, may []int
	for i, it := range s.Items {
		idle := now.Sub(it.Used)
		switch why := protected(it, g); {
		case g.Only != (Asked{}) && !g.Only.is(it.Model, it.Path): // 0
			e.Kept[i] = NotAsked
		case why != "": // 2
			e.Kept[i] = why
		case g.Only != (Asked{}): // 0
			must = append(must, i)
		case it.Broken: // 3
			must = append(must, i)
		case g.MaxAge > 0 && idle >= g.MaxAge && it.Need == NeedNone: // 4
			must = append(must, i)
		case idle < g.MinAge: // 5
			e.Kept[i] = fmt.Sprintf("used %s ago, and kept for %s after its last use", idle.Round(time.Second), g.MinAge)
		default:
			may = append(may, i)
		}
	}
	t.sort(must)
	for _, i := range must {
		e.Frees += t.remove(i)
	}
	need := g.need(s.Disk)
	may, freed := t.choose(may, need-e.Frees, g.All) // 6
	e.Frees += freed
	for i := range s.Items {
		if e.Kept[i] == "" && !slices.Contains(must, i) && !slices.Contains(may, i) {
			e.Kept[i] = g.spared(need, need <= e.Frees)
		}
	}
	e.Items = append(must, may...)
	e.count(s)
	e.Short = max(need-e.Frees, 0)
	return e
}

// count adds up what each step frees in the order in which it is taken.
func (e *Eviction) count(s Scene) {
	t := newTrial(s)
	e.Frees, e.Bytes = 0, make([]int64, len(e.Items))
	for _, i := range e.Loose {
		e.Frees += t.drop(s.Loose[i].Name)
	}
	for n, i := range e.Items {
		e.Bytes[n] = t.remove(i)
		e.Frees += e.Bytes[n]
	}
}

// protected says why an item may not be removed whatever the goal, or nothing.
func protected(it Item, g Goal) string {
	switch {
	case it.Owner != "":
		return "in use by " + it.Owner
	case it.Pinned:
		return "pinned"
	case it.Need == NeedRunning:
		return "wanted here by a model that is to run, or by a pull"
	case it.Foreign && !g.Foreign:
		return "put there by another program"
	}
	return ""
}

// spared says why what could be removed is not.
func (g Goal) spared(need int64, enough bool) string {
	switch {
	case !enough:
		return "removing it would free nothing: others have its files too"
	case need > 0:
		return "not needed: removing others is enough"
	case g.To > 0 && g.From > 0:
		return fmt.Sprintf("not needed: the disk is less than %g %% full", g.From)
	case g.To > 0:
		return fmt.Sprintf("not needed: the disk is not more than %g %% full", g.To)
	}
	return NotAsked
}

// NotAsked is why models stay of which nobody wants anything.
const NotAsked = "not asked for"

// drops tells whether a loose file that nobody works on goes.
func (g Goal) drops(l Loose, now time.Time) bool {
	old := now.Sub(l.At) >= looseAge[l.Kind]
	if g.Only == (Asked{}) {
		return old
	}
	return g.Only.is(l.Model, l.Path) && !l.Wanted && (old || l.Kind == LoosePart)
}

// need is how many bytes the goal wants to be freed.
func (g Goal) need(r Room) int64 {
	need := g.Bytes
	total := float64(r.Used) + float64(r.Available)
	if g.To > 0 && total > 0 && (g.From == 0 || float64(r.Used)/total*100 >= g.From) {
		need = max(need, int64(math.Ceil(float64(r.Used)-total*g.To/100)))
	}
	return max(need, 0)
}

// trial tries removals out on paper.
type trial struct {
	s     Scene
	refs  map[string]int    // items that refer to a content
	names map[uint64]uint64 // that an inode has left
}

func newTrial(s Scene) *trial {
	t := &trial{s: s, refs: map[string]int{}, names: map[uint64]uint64{}}
	for _, it := range s.Items {
		for _, c := range it.Contents {
			t.refs[c]++
		}
	}
	for _, c := range s.Contents {
		t.names[c.Inode] = max(c.Names, 1)
	}
	return t
}

// drop removes a file and returns what that frees.
func (t *trial) drop(name string) int64 {
	c, ok := t.s.Contents[name]
	if !ok || c.Busy {
		return 0
	}
	if t.names[c.Inode]--; t.names[c.Inode] > 0 {
		return 0
	}
	return c.Bytes
}

// remove removes an item, with the contents that nobody else refers to, and returns what that frees.
func (t *trial) remove(i int) (freed int64) {
	for _, c := range t.s.Items[i].Contents {
		if t.refs[c]--; t.refs[c] == 0 {
			freed += t.drop(c)
		}
	}
	return freed
}

// restore takes a removal back and returns what is not freed then.
func (t *trial) restore(i int) (lost int64) {
	for _, name := range t.s.Items[i].Contents {
		if t.refs[name]++; t.refs[name] > 1 {
			continue
		}
		c, ok := t.s.Contents[name]
		if !ok || c.Busy {
			continue
		}
		if t.names[c.Inode]++; t.names[c.Inode] == 1 {
			lost += c.Bytes
		}
	}
	return lost
}

// choose removes candidates in order until so many bytes are freed, and takes those back that were not needed for it. It returns what that frees, too.
func (t *trial) choose(may []int, need int64, all bool) (out []int, freed int64) {
	t.sort(may)
	if all {
		for _, i := range may {
			freed += t.remove(i)
		}
		return may, freed
	}
	for _, i := range may {
		if freed >= need {
			break
		}
		freed += t.remove(i)
		out = append(out, i)
	}
	var needed []int
	for _, i := range slices.Backward(out) { // the dearest first
		lost := t.restore(i)
		if freed-lost >= need || lost == 0 {
			freed -= lost
			continue
		}
		t.remove(i)
		needed = append(needed, i)
	}
	slices.Reverse(needed)
	return needed, freed
}

// sort puts items in the order in which they are removed.
func (t *trial) sort(items []int) {
	size := func(i int) (n int64) {
		for _, c := range t.s.Items[i].Contents {
			n += t.s.Contents[c].Bytes
		}
		return n
	}
	slices.SortFunc(items, func(i, j int) int {
		a, b := t.s.Items[i], t.s.Items[j]
		return cmp.Or(
			cmp.Compare(a.Need, b.Need), a.Used.Compare(b.Used), cmp.Compare(size(j), size(i)),
			strings.Compare(a.Model, b.Model), strings.Compare(a.Commit, b.Commit), strings.Compare(a.Selection, b.Selection),
		)
	})
}
