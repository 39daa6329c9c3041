package scheduler

import (
	"cmp"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// need is what one replica asks of a node.
type need struct {
	engine string
	node   string   // the only node it may go to; empty = any
	pinned []uint32 // the only GPUs it may have; empty = any
	gpus   int      // how many GPUs it takes; 0 = one
	vramMB uint64   // MiB that must be free on each GPU
	share  float32  // fraction of a GPU's memory that must be free, for vLLM: it refuses to start otherwise
}

// configure adds what a configuration says, as [api.ModelConfig.Merge] does: what it clears is open again, what it leaves open stays as it is.
func (w *need) configure(c *api.ModelConfig) {
	if c == nil {
		return
	}
	for _, name := range c.Unset {
		switch name {
		case api.ConfigTensorParallelSize:
			w.gpus = 0
		case api.ConfigRequiredVRAMMB:
			w.vramMB = 0
		case api.ConfigGPUMemoryUtilization:
			w.share = 0
		}
	}
	if c.TensorParallelSize != nil {
		w.gpus = int(*c.TensorParallelSize)
	}
	if c.RequiredVRAMMB != nil {
		w.vramMB = *c.RequiredVRAMMB
	}
	if c.GPUMemoryUtilization != nil && w.engine == api.EngineVLLM {
		w.share = *c.GPUMemoryUtilization
	}
}

// pin adds where the deployment wants its replicas. Replicas share pinned GPUs out evenly when nothing says how many each takes.
func (w *need) pin(d *api.ModelDeployment, replicas int) {
	w.node, w.pinned = d.NodeAffinity, d.GPUAffinity
	if w.gpus == 0 && len(w.pinned) > 0 {
		w.gpus = max(1, len(w.pinned)/replicas)
	}
}

// count is how many GPUs a replica takes where it takes GPUs.
func (w *need) count() int { return max(1, w.gpus) }

// insists tells whether people asked for GPUs: then the CPU is no answer. A tensor_parallel_size of 1 is what
// forms send by default and asks for nothing.
func (w *need) insists() bool { return w.gpus > 1 || w.vramMB > 0 || len(w.pinned) > 0 }

// changed tells whether a running replica is not what is wanted any more. How much memory it asks for and how evenly
// pinned GPUs are shared out matters only to new replicas.
func (w *need) changed(a *api.PlacementAssignment) bool {
	gpus := a.GPUs()
	switch {
	case a.EngineType != nil && *a.EngineType != "" && api.CanonicalEngine(*a.EngineType) != w.engine:
		return true
	case w.node != "" && a.NodeID != w.node:
		return true
	case len(gpus) == 0:
		return w.insists()
	case len(w.pinned) > 0:
		for _, g := range gpus {
			if !slices.Contains(w.pinned, g) {
				return true
			}
		}
		return false
	}
	return w.gpus > 0 && len(gpus) != w.gpus
}

// node is a live node with what is free on it.
type node struct {
	id       string
	engines  []api.NodeEngine
	gpus     []gpu
	cordoned bool   // it takes nothing new
	draining bool   // cordoned, and to be empty
	replicas int    // planned here
	free     uint64 // MiB that are free for new replicas: of the GPUs that nobody holds, or of the host where there are no GPUs
}

type gpu struct {
	*api.GPUStatus
	holder holder // who has it; the zero holder = nobody
	engine bool   // an engine is on it, so that no change of plans frees it
}

// holder is a replica that has a GPU.
type holder struct {
	uid string
	id  uint32
}

func (h holder) String() string { return api.EndpointKey(h.uid, h.id) }

// slot tells how a replica would sit on a node; when it does not fit, why not.
type slot struct {
	ok    bool
	onGPU bool
	why   refusal
	free  int // GPUs that would do
	taken int // GPUs that others hold
	small int // GPUs that are free and have too little memory
}

// refusal is why a node cannot take a replica.
type refusal int

const (
	noGPUs    refusal = iota + 1 // the node has none
	noRoom                       // too few of its GPUs are free and large enough
	wrongGPUs                    // the pinned GPUs are not there
	noEngine                     // the engine is not installed
	refused                      // it refused this model a moment ago
	cordoned                     // people do not want anything new on it
)

// fit tells whether the node can take a replica. own is the holder whose GPUs count as free: the replica itself when
// it is to start anew where it is.
//
//  1. The engine must be installed.
//  2. A node without GPUs runs any engine it has, unless people asked for GPUs.
//  3. Pinned GPUs must exist.
//  4. Enough whole GPUs must be free and have the memory. What others than Nebula use counts as used.
//  5. llama.cpp takes the CPU when no GPU is free, unless people asked for GPUs: never a GPU that somebody has. vLLM and SGLang
//     do not: on a node with GPUs their builds expect one.
func (n *node) fit(w *need, own holder) slot {
	if e, ok := n.engine(w.engine); !ok || e.Missing != "" { // 1
		return slot{why: noEngine}
	}
	if len(n.gpus) == 0 { // 2
		return slot{ok: !w.insists(), why: noGPUs}
	}
	if !n.hasGPUs(w.pinned) { // 3
		return slot{why: wrongGPUs}
	}
	s := slot{why: noRoom}
	for i := range n.gpus { // 4
		g := &n.gpus[i]
		switch {
		case len(w.pinned) > 0 && !slices.Contains(w.pinned, g.Index):
		case g.holder != (holder{}) && g.holder != own:
			s.taken++
		case !g.large(w, own):
			s.small++
		default:
			s.free++
		}
	}
	s.onGPU = s.free >= w.count()
	s.ok = s.onGPU || w.engine == api.EngineLlamaCPP && !w.insists() // 5
	return s
}

func (n *node) engine(name string) (*api.NodeEngine, bool) {
	for i := range n.engines {
		if n.engines[i].Name == name {
			return &n.engines[i], true
		}
	}
	return nil, false
}

// hasGPUs tells whether the node has all of these GPUs. Of a node that does not report, nobody knows: yes.
func (n *node) hasGPUs(indices []uint32) bool {
	if n == nil {
		return true
	}
	for _, want := range indices {
		if !slices.ContainsFunc(n.gpus, func(g gpu) bool { return g.Index == want }) {
			return false
		}
	}
	return true
}

// freeMB is the memory that a replica would find on a GPU. What its own engine uses now will be free by then.
func (g *gpu) freeMB(own holder) uint64 {
	if g.engine && g.holder == own {
		return g.MemoryTotalMB
	}
	return g.MemoryTotalMB - min(g.MemoryUsedMB, g.MemoryTotalMB)
}

func (g *gpu) large(w *need, own holder) bool {
	free := g.freeMB(own)
	return free >= w.vramMB && float64(free) >= float64(w.share)*float64(g.MemoryTotalMB)
}

// recount brings free up to date after GPUs have changed hands.
func (n *node) recount() {
	if len(n.gpus) == 0 {
		return
	}
	n.free = 0
	for i := range n.gpus {
		if g := &n.gpus[i]; g.holder == (holder{}) {
			n.free += g.freeMB(holder{})
		}
	}
}

// take gives a replica that fits its GPUs and returns their indices, ascending; none when it runs on the CPU.
//
// A stated need takes the smallest GPUs that do, so that large ones stay free for large models; an unstated one
// takes those with the most room. Several GPUs are of one size if possible, because they work in lockstep.
func (n *node) take(w *need, own holder) []uint32 {
	var fit []*gpu
	for i := range n.gpus {
		g := &n.gpus[i]
		if (len(w.pinned) == 0 || slices.Contains(w.pinned, g.Index)) && (g.holder == (holder{}) || g.holder == own) && g.large(w, own) {
			fit = append(fit, g)
		}
	}
	if len(fit) < w.count() {
		return nil
	}
	slices.SortFunc(fit, func(a, b *gpu) int {
		bySize := cmp.Compare(a.freeMB(own), b.freeMB(own))
		if w.vramMB == 0 {
			bySize = -bySize
		}
		return cmp.Or(bySize, cmp.Compare(a.Index, b.Index))
	})
	var indices []uint32
	for _, g := range alike(fit, w.count()) {
		g.holder = own
		indices = append(indices, g.Index)
	}
	n.recount()
	slices.Sort(indices)
	return indices
}

// alike returns the first n GPUs of one size, or else the first n.
func alike(list []*gpu, n int) []*gpu {
	for _, first := range list {
		var same []*gpu
		for _, g := range list {
			if g.MemoryTotalMB == first.MemoryTotalMB {
				same = append(same, g)
			}
		}
		if len(same) >= n {
			return same[:n]
		}
	}
	return list[:n]
}
