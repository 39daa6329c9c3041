package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// words says what a replica asks for.
func (w *need) words() string {
	s := title(w.engine)
	switch {
	case !w.insists() && w.engine == api.EngineLlamaCPP:
		return s
	case len(w.pinned) > 0 && w.count() == len(w.pinned):
		s += " on " + gpus(w.count()) + " (" + numbers(w.pinned) + ")"
	case len(w.pinned) > 0:
		s += fmt.Sprintf(" on %s of %s", gpus(w.count()), numbers(w.pinned))
	default:
		s += " on " + gpus(w.count())
	}
	switch {
	case w.vramMB > 0 && w.count() > 1:
		s += fmt.Sprintf(" with %d MiB free on each", w.vramMB)
	case w.vramMB > 0:
		s += fmt.Sprintf(" with %d MiB free", w.vramMB)
	}
	if w.share > 0 {
		s += fmt.Sprintf(" (%g of its memory must be free)", w.share)
	}
	return s
}

// shown is how many reasons with figures of their own a sentence holds; a fleet of a thousand nodes does not fit into one.
const shown = 3

// perNode gives each node's reason, those that come nearest first, nodes with the same reason together.
func (w *need) perNode(refusals []nodeRefusal) string {
	slices.SortStableFunc(refusals, func(a, b nodeRefusal) int {
		return cmp.Or(cmp.Compare(closeness(b.slot), closeness(a.slot)), cmp.Compare(b.slot.free, a.slot.free),
			cmp.Compare(b.node.largest(w.pinned), a.node.largest(w.pinned)), cmp.Compare(a.node.id, b.node.id))
	})
	var texts []string
	nodes := map[string][]string{}
	own, hidden := 0, 0
	for _, r := range refusals {
		if r.slot.why == noRoom || r.slot.why == wrongGPUs {
			if own++; own > shown {
				hidden++
				continue
			}
		}
		text := w.because(r)
		if nodes[text] == nil {
			texts = append(texts, text)
		}
		nodes[text] = append(nodes[text], r.node.id)
	}
	for i, text := range texts {
		texts[i] = some(nodes[text]) + ": " + text
	}
	if hidden > 0 {
		texts = append(texts, fmt.Sprintf("and %d more with GPUs", hidden))
	}
	return strings.Join(texts, "; ")
}

func closeness(s slot) int {
	switch s.why {
	case cordoned:
		return 5
	case refused:
		return 4
	case noRoom:
		return 3
	case wrongGPUs:
		return 2
	case noGPUs:
		return 1
	}
	return 0
}

// because words one node's refusal, with its numbers.
func (w *need) because(r nodeRefusal) string {
	switch r.slot.why {
	case noEngine:
		return title(w.engine) + " is not installed"
	case noGPUs:
		return "no GPU"
	case cordoned:
		return "cordoned, takes nothing new"
	case refused:
		return "had less room than it reported, and is asked again in a few minutes"
	case wrongGPUs:
		var have []uint32
		for _, g := range r.node.gpus {
			have = append(have, g.Index)
		}
		return "has the GPUs " + numbers(have) + " only"
	}
	return w.lacking(r)
}

// lacking words a lack of GPUs.
func (w *need) lacking(r nodeRefusal) string {
	total, holders, largest := len(r.node.gpus), some(r.node.holders(w.pinned)), r.node.largest(w.pinned)>>10
	if len(w.pinned) > 0 {
		total = len(w.pinned)
	}
	switch {
	case total == 1 && r.slot.taken == 1:
		return "its GPU is taken by " + holders
	case total == 1 && r.slot.small == 1:
		return fmt.Sprintf("its GPU has %d GiB free", largest)
	case r.slot.taken == total:
		return fmt.Sprintf("all %d GPUs are taken by %s", total, holders)
	}
	var parts []string
	if r.slot.taken > 0 {
		parts = append(parts, fmt.Sprintf("%d taken by %s", r.slot.taken, holders))
	}
	if r.slot.small > 0 {
		parts = append(parts, fmt.Sprintf("%d with at most %d GiB free", r.slot.small, largest))
	}
	if r.slot.free > 0 {
		parts = append(parts, fmt.Sprintf("%d free", r.slot.free))
	}
	return fmt.Sprintf("of %s, %s", gpus(total), strings.Join(parts, ", "))
}

// holders names who has the GPUs, each once.
func (n *node) holders(pinned []uint32) []string {
	var out []string
	for _, g := range n.gpus {
		if g.holder == (holder{}) || len(pinned) > 0 && !slices.Contains(pinned, g.Index) {
			continue
		}
		if name := g.holder.String(); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// largest is the memory of the emptiest GPU that nobody holds, in MiB.
func (n *node) largest(pinned []uint32) uint64 {
	var most uint64
	for i := range n.gpus {
		if g := &n.gpus[i]; g.holder == (holder{}) && (len(pinned) == 0 || slices.Contains(pinned, g.Index)) {
			most = max(most, g.freeMB(holder{}))
		}
	}
	return most
}

// advice says what would help.
func (w *need) advice(refusals []nodeRefusal) string {
	options := w.options(refusals)
	last := len(options) - 1
	s := options[last]
	if last > 0 {
		s = strings.Join(options[:last], ", ") + ", or " + s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// options lists what would help where some node refuses for lack of room; never none.
func (w *need) options(refusals []nodeRefusal) []string {
	found := func(f func(slot) bool) bool {
		return slices.ContainsFunc(refusals, func(r nodeRefusal) bool { return f(r.slot) })
	}
	var options []string
	if found(func(s slot) bool { return s.taken > 0 }) {
		options = append(options, "stop a model that holds a GPU")
	}
	if found(func(s slot) bool { return s.why == cordoned }) {
		options = append(options, "let a cordoned node take replicas again with nebula node uncordon")
	}
	if w.gpus > 1 && found(func(s slot) bool { return s.why == noRoom }) {
		options = append(options, "lower tensor_parallel_size")
	}
	if w.vramMB > 0 && found(func(s slot) bool { return s.small > 0 }) {
		options = append(options, "lower required_vram_mb")
	}
	if w.share > 0 && found(func(s slot) bool { return s.small > 0 }) {
		options = append(options, "lower gpu_memory_utilization")
	}
	if len(w.pinned) > 0 {
		options = append(options, "choose other GPUs")
	}
	if w.engine == api.EngineLlamaCPP && w.insists() && found(func(s slot) bool { return s.why == noGPUs }) {
		options = append(options, "let it run on the CPU by leaving out required_vram_mb, tensor_parallel_size and GPU indices")
	}
	if w.node != "" {
		options = append(options, "choose another node with --node")
	} else {
		options = append(options, "connect a node that has the room")
	}
	return options
}

func title(engine string) string {
	switch engine {
	case api.EngineVLLM:
		return "vLLM"
	case api.EngineSGLang:
		return "SGLang"
	case api.EngineLlamaCPP:
		return "llama.cpp"
	}
	return engine
}

func gpus(n int) string {
	if n == 1 {
		return "1 GPU"
	}
	return fmt.Sprintf("%d GPUs", n)
}

func numbers(list []uint32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
}

// some joins names and counts those beyond the third.
func some(names []string) string {
	if len(names) <= 3 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
}

// list is "Node a has" or "Nodes a, b have".
func list(nodes []string, one, many string) string {
	if len(nodes) == 1 {
		return "Node " + nodes[0] + " " + one
	}
	return "Nodes " + some(nodes) + " " + many
}

// span words a duration in whole minutes, or seconds.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	case d < 2*time.Minute:
		return "1 minute"
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()))
}

// sentence makes a message end like a sentence.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}
