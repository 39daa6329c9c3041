package cache

import (
	"cmp"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// How folders are read, and read again.
const (
	// maxFolder is the most names that one folder may have: what is longer is no folder of a model.
	maxFolder = 20_000
	// maxTree is the most names in all folders together; past it the scan leaves the rest out and says so.
	maxTree = 500_000
	// maxDepth is how many folders below that of a model are looked into.
	maxDepth = 12
	// settle is how long a file must not have changed to be believed without a look: a file that is being written changes without its folder's knowledge.
	settle = 2 * time.Minute
	// grain is the coarsest clock of a file system: a folder that changed so shortly before it was read may change again at the same time.
	grain = 2 * time.Second
	// recheck is after how long a folder is read again although its time says that nothing changed; each has its own moment between once and twice this
	// time, so that they do not fall together.
	recheck = time.Hour
)

// tree remembers folders as they were when last read. A folder whose time of change is the same is not read again: nothing
// was made, deleted or renamed in it. That time does not tell of a file that was rewritten in place, nor do most file systems
// tell at all. So files that changed lately are looked at each time, and all others once an hour or two; before a model is used, its seals are
// checked in any case.
type tree struct {
	folders map[string]*folder
	dirty   map[string]bool // folders of which somebody said that they changed
	now     time.Time
	pass    uint64
	names   int    // in the folders of this pass
	version uint64 // the newest
	cut     bool   // maxTree was reached in this pass
	most    int    // names of one folder
	seed    maphash.Seed
}

func newTree() *tree {
	return &tree{folders: map[string]*folder{}, most: maxFolder, seed: maphash.MakeSeed()}
}

// folder is what is directly in a folder.
type folder struct {
	stamp   stamp
	readAt  time.Time
	loose   bool // read again next time
	version uint64
	seen    uint64 // the last pass that looked at it
	files   []file // files and links, by name
	subs    []string
	cut     bool // it has more names, or could not be read
}

// stamp tells one state of a file or folder from another.
type stamp struct {
	size       int64
	inode, dev uint64
	mtime      int64 // Unix nanoseconds
}

func stampOf(fi fs.FileInfo) stamp {
	return stamp{fi.Size(), disk.Inode(fi), disk.Device(fi), fi.ModTime().UnixNano()}
}

// file is a regular file, or a link to what may be one.
type file struct {
	name string
	stamp
	taken int64  // bytes on the disk
	link  string // where a link points; its other fields are then its own
}

// begin starts a pass.
func (t *tree) begin(now time.Time, dirty map[string]bool) {
	t.now, t.dirty, t.pass, t.names, t.cut = now, dirty, t.pass+1, 0, false
}

// end forgets what this pass did not see.
func (t *tree) end() {
	for path, f := range t.folders {
		if f.seen != t.pass {
			delete(t.folders, path)
		}
	}
}

// look returns a folder as it is now; nil when there is none. Links are not followed.
func (t *tree) look(path string) *folder {
	known := t.folders[path]
	if known != nil && known.seen == t.pass {
		return known
	}
	fi, err := os.Lstat(path)
	if err != nil || !fi.IsDir() {
		delete(t.folders, path)
		return nil
	}
	if t.names >= maxTree {
		t.cut = true
		return nil
	}
	if known == nil || known.stamp != stampOf(fi) || known.loose || t.dirty[path] || t.now.Sub(known.readAt) > t.due(path) {
		known = t.read(path, fi, known)
		t.folders[path] = known
	}
	known.seen = t.pass
	t.names += 1 + len(known.files) + len(known.subs)
	return known
}

// due is after how long a folder is read again in any case.
func (t *tree) due(path string) time.Duration {
	return recheck + time.Duration(maphash.String(t.seed, path)%uint64(recheck))
}

// read reads a folder. It keeps its version when all in it is as before.
func (t *tree) read(path string, fi fs.FileInfo, before *folder) *folder {
	f := &folder{stamp: stampOf(fi), readAt: t.now, loose: t.recent(fi.ModTime(), grain)}
	names, err := readNames(path, t.most+1)
	f.cut = err != nil || len(names) > t.most
	for _, d := range names[:min(len(names), t.most)] {
		switch {
		case d.IsDir():
			f.subs = append(f.subs, d.Name())
			continue
		case !d.Type().IsRegular() && d.Type() != fs.ModeSymlink:
			continue
		}
		info, err := d.Info()
		if err != nil {
			continue // gone since
		}
		one := file{name: d.Name(), stamp: stampOf(info), taken: disk.Allocated(info)}
		if d.Type() == fs.ModeSymlink {
			if one.link, err = os.Readlink(filepath.Join(path, d.Name())); err != nil {
				continue
			}
		}
		f.loose = f.loose || one.link == "" && t.recent(info.ModTime(), settle) // a link is made anew or stays
		f.files = append(f.files, one)
	}
	slices.Sort(f.subs)
	slices.SortFunc(f.files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	if before != nil && before.cut == f.cut && slices.Equal(before.subs, f.subs) && slices.Equal(before.files, f.files) {
		f.version = before.version
		return f
	}
	t.version++
	f.version = t.version
	return f
}

// recent tells whether a time is less than that long ago. A time far in the future is a wrong clock's, and says nothing.
func (t *tree) recent(at time.Time, within time.Duration) bool {
	ago := t.now.Sub(at)
	return ago < within && ago > -24*time.Hour
}

// readNames lists a folder, up to so many names.
func readNames(path string, most int) ([]fs.DirEntry, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.ReadDir(most)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// walk visits a folder and all below it, down to maxDepth. rel is the folder's path below dir, "" for itself; cut means that there is more.
func (t *tree) walk(dir string, visit func(rel string, f *folder, cut bool)) {
	t.walkBelow(dir, "", 0, visit)
}

func (t *tree) walkBelow(dir, rel string, depth int, visit func(rel string, f *folder, cut bool)) {
	f := t.look(filepath.Join(dir, rel))
	if f == nil {
		return
	}
	visit(rel, f, f.cut || depth >= maxDepth && len(f.subs) > 0)
	if depth >= maxDepth {
		return
	}
	for _, sub := range f.subs {
		t.walkBelow(dir, join(rel, sub), depth+1, visit)
	}
}

func join(rel, name string) string {
	if rel == "" {
		return name
	}
	return rel + "/" + name
}

// find returns a file of a folder.
func (f *folder) find(name string) (file, bool) {
	i, ok := slices.BinarySearchFunc(f.files, name, func(a file, n string) int { return strings.Compare(a.name, n) })
	if !ok {
		return file{}, false
	}
	return f.files[i], true
}

// follow returns the regular file that a file of folder dir is or links to. Where the target lies in a folder of this pass, that
// knowledge is used, and known is the folder; else the file system is asked each time.
func (t *tree) follow(dir string, one file) (at file, known string, ok bool) {
	if one.link == "" {
		return one, dir, true
	}
	to := one.link
	if !filepath.IsAbs(to) {
		to = filepath.Join(dir, to)
	}
	folder := filepath.Dir(to)
	if f := t.folders[folder]; f != nil && f.seen == t.pass {
		if at, ok := f.find(filepath.Base(to)); ok && at.link == "" {
			at.name = one.name
			return at, folder, true
		} else if !ok && !f.cut {
			return file{}, folder, false // broken, or no file
		}
	}
	fi, err := os.Stat(filepath.Join(dir, one.name))
	if err != nil || !fi.Mode().IsRegular() {
		return file{}, "", false
	}
	return file{name: one.name, stamp: stampOf(fi), taken: disk.Allocated(fi), link: one.link}, "", true
}
