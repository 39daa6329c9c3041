package cache

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// verdict is what is known of a model from its files.
type verdict struct {
	complete bool
	files    uint32
	blocks   []block // of its contents, each once
	created  int64   // of the oldest record, Unix milliseconds; 0 = there is none
	records  []string
}

// block is one content on the disk, whatever names it has.
type block struct {
	dev, inode uint64
	size       int64
}

// gather is what one look at a model's folder found.
type gather struct {
	entries []entry
	links   []uint64 // what links lead to, as it is now
	inside  bool     // all of them lead to folders of the model: its folders tell when they change
	partial bool
	cut     bool
}

// entry is a regular file of a model; path is below the model's folder.
type entry struct {
	path string
	dir  string
	file
	target string // where it is linked to, as the link says; "" = it is the file itself
}

// within is a folder of a model.
type within struct {
	rel string
	*folder
	cut bool // there is more below
}

// within lists a model's folders.
func (t *tree) within(dir string) []within {
	var out []within
	t.walk(dir, func(rel string, f *folder, cut bool) { out = append(out, within{rel, f, cut}) })
	return out
}

// gather lists the files of a model's folders and follows its links.
func (t *tree) gather(dir string, folders []within) gather {
	g := gather{inside: !t.cut, cut: t.cut}
	for _, f := range folders {
		g.cut = g.cut || f.cut
		for _, one := range f.files {
			g.partial = g.partial || partial(one.name) || strings.HasSuffix(f.rel, "._____temp")
			at, known, ok := t.follow(filepath.Join(dir, f.rel), one)
			if one.link != "" {
				g.links = append(g.links, at.inode, uint64(at.mtime), uint64(at.size))
				g.inside = g.inside && (known == dir || strings.HasPrefix(known, dir+"/"))
			}
			if ok {
				g.entries = append(g.entries, entry{join(f.rel, one.name), filepath.Join(dir, f.rel), at, one.link})
			}
		}
	}
	return g
}

// content adds up the contents of entries, each once, whatever their names. A partial file counts with what it takes on the disk, when that is less
// than its length; all others with their length.
func content(entries []entry) []block {
	type id struct{ dev, inode uint64 }
	seen := map[id]bool{}
	var out []block
	for _, e := range entries {
		if strings.HasSuffix(e.name, ".nebula.journal") || seen[id{e.dev, e.inode}] {
			continue
		}
		if e.inode != 0 {
			seen[id{e.dev, e.inode}] = true
		}
		b := block{e.dev, e.inode, e.size}
		if partial(e.name) || strings.Contains(e.path, "._____temp/") {
			b.size = min(b.size, e.taken)
		}
		out = append(out, b)
	}
	return out
}

// judgeHub judges a repository in the layout of Hugging Face. Nobody can see whether a part of a repository is complete,
// so it is what Nebula's own record and seals say. Files are those of the snapshots; contents are those of the blobs, and copies where there are no links.
func (s *Scanner) judgeHub(p place, g gather) verdict {
	var v verdict
	var all []entry
	blobs, links := map[string]entry{}, map[string]entry{}
	for _, e := range g.entries {
		top, rest, _ := strings.Cut(e.path, "/")
		switch top {
		case "blobs":
			blobs[rest] = e
			all = append(all, e)
		case "snapshots":
			links[rest] = e
			all = append(all, e)
			v.files++
		}
	}
	v.blocks = content(all)
	if p.root == "" {
		return v
	}
	d := NewDir(p.root, p.name)
	k := s.sealsOf(d)
	for _, r := range d.Records() {
		v.records = append(v.records, d.RecordFile(r.Commit, r.Selection))
		if v.created == 0 || r.CreatedMS < v.created {
			v.created = r.CreatedMS
		}
		v.complete = v.complete || !slices.ContainsFunc(r.Files, func(f manifest.Entry) bool {
			b, ok := blobs[f.Hex]
			l, linked := links[r.Commit+"/"+f.Path]
			return !ok || !linked || b.size != f.Size || b.target != "" || l.target != target(f) || !k.holds(f, b)
		})
	}
	return v
}

// seals are those of one folder, as they are on the disk.
type seals struct {
	version uint64
	by      map[string]sealed // by file name
}

type sealed struct {
	file stamp
	seal seal
}

// holds tells whether a blob looks as it did when it was verified.
func (k *seals) holds(f manifest.Entry, b entry) bool {
	at, ok := k.by[f.Hex+".json"]
	return ok && at.seal == seal{b.size, b.inode, b.mtime}
}

// sealsOf reads the seals of a repository that changed since it read them last.
func (s *Scanner) sealsOf(d Dir) *seals {
	dir := filepath.Dir(d.verified(manifest.Hash{}))
	f := s.tree.look(dir)
	if f == nil {
		return &seals{}
	}
	before := s.seals[dir]
	if before != nil && before.version == f.version {
		return before
	}
	k := &seals{f.version, map[string]sealed{}}
	for _, one := range f.files {
		n := sealed{file: one.stamp}
		if before != nil && before.by[one.name].file == one.stamp {
			n.seal = before.by[one.name].seal
		} else if disk.ReadJSON(filepath.Join(dir, one.name), &n.seal) != nil {
			continue
		}
		k.by[one.name] = n
	}
	s.seals[dir] = k
	return k
}

// judgeFolder judges plain files in a folder: complete when all parts of a model are there for some engine, none is shorter than its header says,
// and nothing is left of a download that goes on.
func (s *Scanner) judgeFolder(dir, below string, g gather) verdict {
	v := verdict{files: uint32(len(g.entries)), blocks: content(g.entries)}
	if g.cut || g.partial {
		return v
	}
	var listed []manifest.Entry
	at := map[string]entry{}
	for _, e := range g.entries {
		rel, ok := strings.CutPrefix(e.path, below)
		hidden := strings.HasPrefix(rel, ".") || strings.Contains(rel, "/.")
		if ok && !hidden && manifest.NameFault(rel) == "" && strings.Count(rel, "/") <= maxLocalDepth && len(listed) < maxLocalFiles {
			listed = append(listed, manifest.Entry{Path: rel, Size: e.size})
			at[rel] = e
		}
	}
	slices.SortFunc(listed, func(a, b manifest.Entry) int { return strings.Compare(a.Path, b.Path) })
	sound := func(files []manifest.Entry) bool {
		return !slices.ContainsFunc(files, func(f manifest.Entry) bool { return !s.sound(at[f.Path]) })
	}
	if m, err := selectListed(filepath.Join(dir, below), listed, manifest.Want{Engine: api.EngineVLLM}); err == nil {
		v.complete = sound(m.Files)
		return v
	}
	models := manifest.Candidates(listed)
	v.complete = len(models) > 0
	for _, m := range models {
		parts, err := manifest.Parts(manifest.ByPath(listed), m)
		v.complete = v.complete && err == nil && sound(parts)
	}
	return v
}

// judgeRevisions judges the folders of revisions that ModelScope's hub client 2.0 makes: complete when one is.
func (s *Scanner) judgeRevisions(dir string, g gather) verdict {
	v := verdict{files: uint32(len(g.entries)), blocks: content(g.entries)}
	byRevision := map[string]gather{}
	for _, e := range g.entries {
		if parts := strings.SplitN(e.path, "/", 3); len(parts) == 3 && parts[0] == "snapshots" {
			of := byRevision[parts[1]]
			of.entries, of.cut, of.partial = append(of.entries, e), g.cut, of.partial || partial(e.name)
			byRevision[parts[1]] = of
		}
	}
	for revision, of := range byRevision {
		v.complete = v.complete || s.judgeFolder(dir, "snapshots/"+revision+"/", of).complete
	}
	return v
}

// sound tells whether a file of weights is as long as its header says, once for each state of the file.
func (s *Scanner) sound(e entry) bool {
	if s.cfg.Sound == nil || !manifest.IsGGUF(e.name) && !strings.HasSuffix(e.name, ".safetensors") {
		return true
	}
	name := filepath.Join(e.dir, e.name)
	known, ok := s.heads[name]
	if !ok || known.file != e.stamp {
		known = head{e.stamp, s.cfg.Sound(name)}
		s.heads[name] = known
	}
	return known.sound
}

// head is what a file's header said.
type head struct {
	file  stamp
	sound bool
}
