package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Survey is what lies in one repository's folder, and who refers to what. It is one moment's: a change takes another one, under the lock.
type Survey struct {
	Dir     Dir
	Records []Known
	Names   map[string]map[string]string // by commit and path in its snapshot: the content that a link leads to; "" = it is no link to one
	Files   map[string]File              // of the folder of contents, by name
	Refs    map[string]string            // commit by revision
	Holders map[Held][]string
}

// Known is a record, and when its model was last used.
type Known struct {
	Record
	Used time.Time
}

// File is a file in the folder of contents.
type File struct {
	Bytes   int64 // that its blocks take
	Inode   uint64
	Names   uint64 // that it has, here and elsewhere
	Changed time.Time
	Wrote   time.Time
	Busy    bool // somebody has locked it for writing
}

// Surveyed looks at a repository, having locked it.
func (d Dir) Surveyed(ctx context.Context) (Survey, error) {
	var s Survey
	err := d.Locked(ctx, func() (err error) {
		s, err = d.survey()
		return err
	})
	return s, err
}

// survey looks at a repository that the caller has locked.
func (d Dir) survey() (Survey, error) {
	s := Survey{Dir: d, Names: map[string]map[string]string{}, Files: map[string]File{}, Refs: map[string]string{}}
	for _, r := range d.Records() {
		s.Records = append(s.Records, Known{r, d.usedAt(r)})
	}
	var err error
	s.Holders, err = d.holders()
	return s, errors.Join(err, s.lookAtContents(), s.lookAtNames(), s.lookAtRefs())
}

func (s *Survey) lookAtContents() error {
	all, err := os.ReadDir(s.Dir.Blobs())
	for _, e := range all {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			continue // it has just gone, or is nothing of a cache
		}
		f := File{Bytes: disk.Allocated(fi), Inode: disk.Inode(fi), Names: disk.Names(fi), Changed: disk.Changed(fi), Wrote: fi.ModTime()}
		digest, _, _ := strings.Cut(e.Name(), ".")
		if h := hashNamed(digest); h.Valid() {
			if f.Busy, err = locked(s.Dir.Lock(h)); err != nil {
				return err
			}
		}
		s.Files[e.Name()] = f
	}
	return ignoreAbsent(err)
}

func (s *Survey) lookAtNames() error {
	top := filepath.Join(s.Dir.Path(), "snapshots")
	commits, err := os.ReadDir(top)
	for _, c := range commits {
		if !c.IsDir() {
			continue
		}
		names := map[string]string{}
		s.Names[c.Name()] = names
		dir := filepath.Join(top, c.Name())
		err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return ignoreAbsent(err)
			}
			rel, err := filepath.Rel(dir, name)
			if err != nil {
				return err
			}
			names[filepath.ToSlash(rel)] = s.Dir.leadsTo(name)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return ignoreAbsent(err)
}

// leadsTo is the name of the content that a link leads to; "" when it is no link into this repository's contents.
func (d Dir) leadsTo(name string) string {
	to, err := os.Readlink(name)
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(name), to)
	}
	if filepath.Dir(filepath.Clean(to)) != d.Blobs() {
		return ""
	}
	return filepath.Base(to)
}

func (s *Survey) lookAtRefs() error {
	top := filepath.Join(s.Dir.Path(), "refs")
	return filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ignoreAbsent(err)
		}
		commit, err := os.ReadFile(name)
		if err != nil {
			return ignoreAbsent(err)
		}
		rel, err := filepath.Rel(top, name)
		s.Refs[filepath.ToSlash(rel)] = strings.TrimSpace(string(commit))
		return err
	})
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hashNamed is the hash that a content of that name must have; it is valid only when the name is one.
func hashNamed(name string) manifest.Hash {
	if len(name) == 40 {
		return manifest.Hash{Algo: manifest.GitSHA1, Hex: name}
	}
	return manifest.Hash{Algo: manifest.SHA256, Hex: name}
}

// Unit is what is removed at once: the names of one record in its snapshot, or those that no record has.
type Unit struct {
	Commit    string
	Selection string // of the record; empty: names that are not of Nebula
	Used      time.Time
	Revisions []string
	Broken    bool     // a name is missing: its removal was not finished, or somebody has damaged it
	Contents  []string // names of the files that it refers to, sorted
}

// Units lists what can be removed, the records in their order and then, by commit, what is not of Nebula.
func (s *Survey) Units() []Unit {
	var out []Unit
	named := map[string]map[string]bool{}
	for _, r := range s.Records {
		u := Unit{Commit: r.Commit, Selection: r.Selection, Used: r.Used, Revisions: r.Revisions}
		if named[r.Commit] == nil {
			named[r.Commit] = map[string]bool{}
		}
		for _, f := range r.Files {
			named[r.Commit][f.Path] = true
			if s.Names[r.Commit][f.Path] != f.Hex {
				u.Broken = true
			}
			u.Contents = append(u.Contents, f.Hex)
		}
		slices.Sort(u.Contents)
		u.Contents = slices.Compact(u.Contents)
		out = append(out, u)
	}
	first := len(out)
	for commit, names := range s.Names {
		u := Unit{Commit: commit}
		strange := len(names) == 0 && named[commit] == nil
		for path, content := range names {
			if named[commit][path] {
				continue
			}
			strange = true
			if content != "" {
				u.Contents = append(u.Contents, content)
				if f, ok := s.Files[content]; ok && f.Changed.After(u.Used) {
					u.Used = f.Changed // nobody tells when others use it: not before it was there
				}
			}
		}
		if strange {
			slices.Sort(u.Contents)
			u.Contents = slices.Compact(u.Contents)
			out = append(out, u)
		}
	}
	slices.SortFunc(out[first:], func(a, b Unit) int { return strings.Compare(a.Commit, b.Commit) })
	return out
}

// Owner says who holds something of a unit, or nothing. A content that somebody reads keeps all that refer to it.
func (s *Survey) Owner(u Unit) string {
	what := []Held{HeldAll, HeldCommit(u.Commit)}
	for _, c := range u.Contents {
		what = append(what, HeldBlob(hashNamed(c)))
	}
	for _, w := range what {
		if owners := s.Holders[w]; len(owners) > 0 {
			return owners[0]
		}
	}
	return ""
}

// Repositories lists those of a root, in order.
func (r Root) Repositories() ([]Dir, error) {
	names, err := folders(r.Hub())
	if err != nil {
		return nil, err
	}
	var out []Dir
	for _, n := range names {
		if name, ok := strings.CutPrefix(n, "models--"); ok && name != "" {
			out = append(out, Dir{r, name})
		}
	}
	return out, nil
}

// Model is the repository's name, for people.
func (d Dir) Model() string { return strings.ReplaceAll(d.Name, "--", "/") }
