package cache

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// ScanConfig is what a Scanner needs.
type ScanConfig struct {
	NodeID string
	// Memory is a file that says when each model was found first, so that a restart does not forget it. Empty = only this Scanner knows.
	Memory string
	// Sound, when set, tells of a file of weights whether it is at least as long as its header says.
	Sound func(path string) bool
	Log   *slog.Logger
}

// Scanner knows the models on this node and sees what changed since it looked last. One goroutine at a time may use it.
type Scanner struct {
	cfg    ScanConfig
	tree   *tree
	judged map[string]judged // by the model's folder
	seals  map[string]*seals // by their folder
	heads  map[string]head   // of weights, by file
	found  map[string]int64  // Unix milliseconds at which a folder was first seen; nil before Memory was read
	kept   map[string]int64  // found, as Memory has it
	told   map[string]bool   // what the log said already
}

// judged is a verdict and what it depends on.
type judged struct {
	mark   []uint64 // versions of folders
	links  []uint64
	inside bool
	cut    bool
	verdict
}

// NewScanner returns a Scanner that has not looked yet.
func NewScanner(cfg ScanConfig) *Scanner {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Scanner{
		cfg: cfg, tree: newTree(), judged: map[string]judged{}, seals: map[string]*seals{}, heads: map[string]head{}, told: map[string]bool{},
	}
}

// Models is what a scan found.
type Models struct {
	Entries []api.ModelCacheEntry // by name
	Bytes   uint64                // of all of them together; what two share counts once
}

// Scan lists the models under roots. A tree in which nothing changed costs one stat for each folder and gives equal
// documents. Changed names folders of which the caller knows that something in them changed. A model that several folders hold is told
// once: of the first that is complete, else of the first.
func (s *Scanner) Scan(ctx context.Context, roots []Root, now time.Time, changed map[string]bool) (Models, error) {
	s.recall()
	s.tree.begin(now, changed)
	type named struct {
		place
		verdict
	}
	best := map[string]named{}
	blocks := map[block]bool{}
	var out Models
	seen := map[string]bool{}
	for _, r := range roots {
		for _, p := range s.tree.find(r) {
			if ctx.Err() != nil {
				return Models{}, context.Cause(ctx)
			}
			if seen[p.dir] {
				continue
			}
			v := s.judge(p)
			if len(v.blocks) == 0 && v.files == 0 {
				continue
			}
			seen[p.dir] = true
			for _, b := range v.blocks {
				if b.inode == 0 || !blocks[b] {
					blocks[b] = true
					out.Bytes += uint64(b.size)
				}
			}
			if old, ok := best[p.name]; !ok || v.complete && !old.complete {
				best[p.name] = named{p, v}
			}
		}
	}
	for name, m := range best {
		out.Entries = append(out.Entries, s.entry(name, m.place, m.verdict, now))
	}
	slices.SortFunc(out.Entries, func(a, b api.ModelCacheEntry) int { return cmp.Compare(a.ModelName, b.ModelName) })
	if s.begins("cut", s.tree.cut) {
		s.cfg.Log.Warn("there are more files in the model folders than Nebula looks at; the list of cached models is not complete", "most", maxTree)
	}
	s.tree.end()
	s.forget(seen)
	return out, nil
}

// judge judges a place, or remembers the verdict when nothing changed that it depends on: most of the time its folders tell.
func (s *Scanner) judge(p place) verdict {
	folders := s.tree.within(p.dir)
	var mark []uint64
	for _, f := range folders {
		mark = append(mark, f.version)
	}
	loading := false
	switch {
	case p.layout == layoutHub && p.root != "":
		d := NewDir(p.root, p.name)
		for _, dir := range []string{d.manifests(), filepath.Dir(d.verified(manifest.Hash{}))} {
			version := uint64(0)
			if f := s.tree.look(dir); f != nil {
				version = f.version
			}
			mark = append(mark, version)
		}
	case p.temp != "":
		for _, f := range s.tree.within(p.temp) {
			mark = append(mark, f.version)
			loading = loading || len(f.files) > 0
		}
	}
	before, known := s.judged[p.dir]
	known = known && slices.Equal(before.mark, mark)
	if known && before.inside && !s.tree.cut {
		return before.verdict
	}
	g := s.tree.gather(p.dir, folders)
	if known && slices.Equal(before.links, g.links) && before.cut == g.cut {
		return before.verdict
	}
	g.partial = g.partial || loading
	now := judged{mark: mark, links: g.links, inside: g.inside, cut: g.cut}
	switch p.layout {
	case layoutHub:
		now.verdict = s.judgeHub(p, g)
	case layoutScope20:
		now.verdict = s.judgeRevisions(p.dir, g)
	default:
		now.verdict = s.judgeFolder(p.dir, "", g)
	}
	s.judged[p.dir] = now
	return now.verdict
}

// entry is a model as a document.
func (s *Scanner) entry(name string, p place, v verdict, now time.Time) api.ModelCacheEntry {
	e := api.ModelCacheEntry{NodeID: s.cfg.NodeID, ModelName: name, CachePath: p.dir, FileCount: v.files, Complete: v.complete}
	for _, b := range v.blocks {
		e.SizeBytes += uint64(b.size)
	}
	if s.found[p.dir] == 0 {
		s.found[p.dir] = now.UnixMilli()
	}
	e.DiscoveredAtMS = s.found[p.dir]
	if v.created > 0 {
		e.DiscoveredAtMS = min(e.DiscoveredAtMS, v.created)
	}
	e.LastAccessedMS = e.DiscoveredAtMS
	for _, r := range v.records { // a record's time is that of the last use
		if fi, err := os.Stat(r); err == nil {
			e.LastAccessedMS = max(e.LastAccessedMS, fi.ModTime().UnixMilli())
		}
	}
	return e
}

// Folders lists the folders of which the last scan knows, sorted: what to watch.
func (s *Scanner) Folders() []string { return slices.Sorted(maps.Keys(s.tree.folders)) }

// recall reads when models were found before.
func (s *Scanner) recall() {
	if s.found != nil {
		return
	}
	if s.cfg.Memory != "" {
		// One that cannot be read costs the dates only.
		_ = disk.ReadJSON(s.cfg.Memory, &s.found)
	}
	if s.found == nil {
		s.found = map[string]int64{}
	}
	s.kept = maps.Clone(s.found)
}

// forget drops what is known of folders that are gone, and writes down when the others were found.
func (s *Scanner) forget(seen map[string]bool) {
	gone := func(dir string) bool { return !seen[dir] }
	maps.DeleteFunc(s.judged, func(dir string, _ judged) bool { return gone(dir) })
	maps.DeleteFunc(s.found, func(dir string, _ int64) bool { return gone(dir) })
	maps.DeleteFunc(s.seals, func(dir string, _ *seals) bool { return s.tree.folders[dir] == nil })
	maps.DeleteFunc(s.heads, func(file string, _ head) bool { return s.tree.folders[filepath.Dir(file)] == nil })
	if maps.Equal(s.found, s.kept) || s.cfg.Memory == "" {
		return
	}
	err := os.MkdirAll(filepath.Dir(s.cfg.Memory), 0o755)
	if err == nil {
		err = disk.WriteJSON(s.cfg.Memory, s.found, false)
	}
	if err == nil {
		s.kept = maps.Clone(s.found)
	}
	if s.begins("memory", err != nil) {
		s.cfg.Log.Warn("cannot write down when models were found; after a restart they count as new", "error", err)
	}
}

// begins tells whether a condition holds that did not hold when it was asked for last: what the log says once.
func (s *Scanner) begins(what string, holds bool) bool {
	was := s.told[what]
	s.told[what] = holds
	return holds && !was
}
