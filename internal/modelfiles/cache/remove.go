package cache

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// Remover removes things from the cache, so that a crash at any point leaves a whole model or garbage that the next run removes: never a link to
// nothing, nor a revision without its snapshot.
type Remover struct {
	// Step is called before each change of the disk; when it fails the run ends there, as if the machine had. Nil: nothing.
	Step func(what, name string) error
}

func (m Remover) do(what, name string, change func() error) error {
	if m.Step != nil {
		if err := m.Step(what, name); err != nil {
			return err
		}
	}
	return ignoreAbsent(change())
}

func (m Remover) unlink(name string) error {
	return m.do("unlink", name, func() error { return os.Remove(name) })
}

// tidy removes a folder if nothing is in it.
func (m Remover) tidy(dir string) error {
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		return ignoreAbsent(err)
	}
	err := m.do("rmdir", dir, func() error { return os.Remove(dir) })
	if err != nil && m.occupied(dir) { // since the look at it
		return nil
	}
	return err
}

func (m Remover) occupied(dir string) bool {
	left, err := os.ReadDir(dir)
	return err == nil && len(left) > 0
}

// Unit removes a model from a repository, by its commit and the selection of its record. Just before it begins, still is asked under the lock with
// what is there now: an answer that is not empty says why the model stays. It returns the bytes of disk that it freed.
//
// Steps, in order; each may be the last one that a crash allows:
//  1. Look, under the repository's lock. Somebody holds it: it stays.
//  2. The revisions that lead to its snapshot, if nothing else is in there.
//  3. The snapshot goes to the trash as a whole, or, where others have names in it, its own names one by one.
//  4. The contents that nothing refers to any more, each under its lock; one that is locked by others stays for a later run.
//  5. The record: until now it knew what to go on with.
//  6. The trash, and folders that are empty.
func (m Remover) Unit(ctx context.Context, d Dir, commit, selection string, still func(Survey, Unit) string) (freed int64, kept string, err error) {
	err = d.Locked(ctx, func() error {
		s, err := d.survey() // 1
		if err != nil {
			return err
		}
		units := s.Units()
		i := slices.IndexFunc(units, func(u Unit) bool { return u.Commit == commit && u.Selection == selection })
		if i < 0 {
			return nil // somebody was faster
		}
		u := units[i]
		if owner := s.Owner(u); owner != "" {
			kept = "in use by " + owner
		} else if still != nil {
			kept = still(s, u)
		}
		if kept != "" {
			return nil
		}
		others := slices.Delete(units, i, i+1)
		if err := m.dropNames(s, u, others); err != nil {
			return err
		}
		for _, c := range u.Contents { // 4
			if slices.ContainsFunc(others, func(o Unit) bool { return slices.Contains(o.Contents, c) }) {
				continue
			}
			n, err := m.content(d, c)
			freed += n
			if err != nil {
				return err
			}
		}
		if u.Selection != "" { // 5
			if err := m.unlink(d.RecordFile(u.Commit, u.Selection)); err != nil {
				return err
			}
		}
		if err := m.EmptyTrash(d.Root); err != nil { // 6
			return err
		}
		return m.tidyDir(d)
	})
	return freed, kept, err
}

// dropNames takes a unit's names away: steps 2 and 3.
func (m Remover) dropNames(s Survey, u Unit, others []Unit) error {
	own := s.namesOf(u)
	snapshot := s.Dir.Snapshot(u.Commit)
	if len(own) == len(s.Names[u.Commit]) {
		for _, rev := range slices.Sorted(maps.Keys(s.Refs)) { // 2
			if s.Refs[rev] != u.Commit {
				continue
			}
			if err := m.unlink(filepath.Join(s.Dir.Path(), "refs", filepath.FromSlash(rev))); err != nil {
				return err
			}
		}
		if err := m.dropNotes(s.Dir, u.Commit); err != nil {
			return err
		}
		if _, here := s.Names[u.Commit]; !here {
			return nil
		}
		trash := filepath.Join(s.Dir.Root.State("trash"), s.Dir.Name+"@"+u.Commit)
		if err := m.emptied(trash); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(trash), 0o755); err != nil {
			return err
		}
		return m.do("rename", snapshot, func() error { return os.Rename(snapshot, trash) }) // 3
	}
	for _, path := range own {
		name := filepath.Join(snapshot, filepath.FromSlash(path))
		if err := m.unlink(name); err != nil {
			return err
		}
		for dir := filepath.Dir(name); dir != snapshot && !m.occupied(dir); dir = filepath.Dir(dir) {
			if err := m.tidy(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropNotes removes what the hub's own client has noted about a commit.
func (m Remover) dropNotes(d Dir, commit string) error {
	trees, absent := filepath.Join(d.Path(), "trees"), filepath.Join(d.Path(), ".no_exist")
	if err := m.unlink(filepath.Join(trees, commit+".json")); err != nil {
		return err
	}
	if err := m.emptied(filepath.Join(absent, commit)); err != nil {
		return err
	}
	if err := m.tidy(trees); err != nil {
		return err
	}
	return m.tidy(absent)
}

// namesOf lists the names in the snapshot that are a unit's alone, in order.
func (s *Survey) namesOf(u Unit) []string {
	mine, others := map[string]bool{}, map[string]bool{}
	for _, r := range s.Records {
		if r.Commit != u.Commit {
			continue
		}
		for _, f := range r.Files {
			if r.Selection == u.Selection {
				mine[f.Path] = true
			} else {
				others[f.Path] = true
			}
		}
	}
	var out []string
	for path := range s.Names[u.Commit] {
		if u.Selection == "" && !others[path] || mine[path] && !others[path] {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// content removes a file from the folder of contents, unless it is locked, and returns the bytes that this frees. Its seal goes first: without one
// it would only be read again.
func (m Remover) content(d Dir, name string) (freed int64, err error) {
	digest, _, _ := strings.Cut(name, ".")
	h := hashNamed(digest)
	if h.Valid() {
		if err := os.MkdirAll(filepath.Dir(d.Lock(h)), 0o755); err != nil {
			return 0, err
		}
		l := flock.New(d.Lock(h), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o664))
		ok, err := l.TryLock()
		if !lockless(err) && (err != nil || !ok) {
			return 0, err
		}
		defer func() { _ = l.Close() }()
		if name == digest {
			if err := m.unlink(d.verified(h)); err != nil {
				return 0, err
			}
		}
	}
	path := filepath.Join(d.Blobs(), name)
	fi, err := os.Lstat(path)
	if err != nil {
		return 0, ignoreAbsent(err)
	}
	if err := m.unlink(path); err != nil {
		return 0, err
	}
	if disk.Names(fi) > 1 {
		return 0, nil
	}
	return disk.Allocated(fi), nil
}

// Loose removes a file that is of no model, if that is still so and nobody works on it.
func (m Remover) Loose(ctx context.Context, d Dir, name string) (freed int64, err error) {
	err = d.Locked(ctx, func() error {
		s, err := d.survey()
		if err != nil {
			return err
		}
		if _, loose := s.Loose()[name]; !loose || len(s.Holders[HeldAll]) > 0 || len(s.Holders[HeldBlob(hashNamed(name))]) > 0 {
			return nil
		}
		if freed, err = m.content(d, name); err != nil {
			return err
		}
		return m.tidyDir(d)
	})
	return freed, err
}

// Loose lists the files of the folder of contents that are of no model, by name.
func (s *Survey) Loose() map[string]LooseKind {
	used := map[string]bool{}
	for _, u := range s.Units() {
		for _, c := range u.Contents {
			used[c] = true
		}
	}
	out := map[string]LooseKind{}
	for name := range s.Files {
		digest, end, _ := strings.Cut(name, ".")
		h := hashNamed(digest)
		switch {
		case used[name] || !h.Valid():
		case name == digest:
			out[name] = LooseContent
		case strings.HasSuffix(end, "nebula.part"), strings.HasSuffix(end, "nebula.journal"):
			out[name] = LoosePart
		case strings.HasSuffix(end, "incomplete"):
			out[name] = LooseIncomplete
		}
	}
	return out
}

// EmptyTrash deletes what earlier removals have moved there.
func (m Remover) EmptyTrash(r Root) error {
	all, err := os.ReadDir(r.State("trash"))
	for _, e := range all {
		if err := m.emptied(filepath.Join(r.State("trash"), e.Name())); err != nil {
			return err
		}
	}
	return ignoreAbsent(err)
}

// emptied deletes a folder of the trash, name by name.
func (m Remover) emptied(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return ignoreAbsent(err)
		}
		if e.IsDir() {
			dirs = append(dirs, name)
			return nil
		}
		return m.unlink(name)
	})
	for _, d := range slices.Backward(dirs) {
		err = errors.Join(err, m.tidy(d))
		if err != nil {
			return err
		}
	}
	return err
}

// tidyDir removes the folders of a repository in which nothing is left: the hub's own tools would complain about them.
func (m Remover) tidyDir(d Dir) error {
	if m.occupied(d.Blobs()) || m.occupied(filepath.Join(d.Path(), "snapshots")) {
		return nil
	}
	var dirs []string
	err := filepath.WalkDir(filepath.Join(d.Path(), "refs"), func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, name)
		}
		return ignoreAbsent(err)
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, dir := range append(dirs, filepath.Join(d.Path(), "snapshots"), d.Blobs(), d.Path(), d.manifests(), filepath.Dir(d.verified(hashNamed("")))) {
		if err := m.tidy(dir); err != nil {
			return err
		}
	}
	return nil
}
