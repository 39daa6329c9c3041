package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Purge deletes a choice of a repository's files, of whatever commit, as far as they were complete before a time, and returns the bytes of disk
// that it freed. Contents that another record or any link that is left refers to stay, and so does what other programs put there. The caller holds the
// repository's lock, and nobody fetches into it.
//
// Names go before contents, and the record last: after a crash there is never a link to nothing without a record, and the next purge goes on.
func (d Dir) Purge(selection string, before time.Time) (freed uint64, err error) {
	var gone, kept []Record
	for _, r := range d.Records() {
		if r.Selection == selection && r.CreatedMS < before.UnixMilli() {
			gone = append(gone, r)
		} else {
			kept = append(kept, r)
		}
	}
	for _, r := range gone {
		if err := d.unlink(r, kept); err != nil {
			return freed, err
		}
	}
	linked, err := d.linkedBlobs()
	if err != nil {
		return freed, err
	}
	for _, r := range kept {
		for _, f := range r.Files {
			linked[f.Hex] = true
		}
	}
	for _, r := range gone {
		for _, f := range r.Files {
			if linked[f.Hex] {
				continue
			}
			size := allocated(d.Blob(f.Hash))
			if err := disk.Remove(d.Blob(f.Hash), d.verified(f.Hash)); err != nil {
				return freed, err
			}
			freed += size
		}
		if err := disk.Remove(d.RecordFile(r.Commit, r.Selection)); err != nil {
			return freed, err
		}
	}
	if len(kept) > 0 {
		return freed, nil
	}
	parts, err := d.dropParts(before)
	return freed + parts, errors.Join(err, d.dropEmpty())
}

// unlink removes the names of a record's files, where no other record of the commit has them, and the refs to a commit of which nothing is left.
func (d Dir) unlink(r Record, kept []Record) error {
	for _, f := range r.Files {
		named := slices.ContainsFunc(kept, func(k Record) bool { return k.Commit == r.Commit && manifest.Has(k.Files, f.Path) })
		name := filepath.Join(d.Snapshot(r.Commit), filepath.FromSlash(f.Path))
		if at, err := os.Readlink(name); named || err != nil || at != target(f) {
			continue
		}
		if err := disk.Remove(name); err != nil {
			return err
		}
		for dir := filepath.Dir(name); dir != filepath.Dir(d.Snapshot(r.Commit)); dir = filepath.Dir(dir) {
			if os.Remove(dir) != nil { // not empty: something of another's is in there
				break
			}
		}
	}
	if _, err := os.Lstat(d.Snapshot(r.Commit)); err == nil {
		return nil
	}
	return filepath.WalkDir(filepath.Join(d.Path(), "refs"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ignoreMissing(err)
		}
		if commit, err := os.ReadFile(name); err != nil || string(commit) != r.Commit {
			return ignoreMissing(err)
		}
		return disk.Remove(name)
	})
}

// linkedBlobs returns the contents that links in the snapshots lead to, whoever made them.
func (d Dir) linkedBlobs() (map[string]bool, error) {
	out := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(d.Path(), "snapshots"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink == 0 {
			return ignoreMissing(err)
		}
		at, err := os.Readlink(name)
		if err == nil {
			out[filepath.Base(at)] = true
		}
		return ignoreMissing(err)
	})
	return out, err
}

// dropParts removes Nebula's partial files that nobody has touched since a time.
func (d Dir) dropParts(before time.Time) (freed uint64, err error) {
	entries, err := os.ReadDir(d.Blobs())
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".nebula.part") && !strings.HasSuffix(e.Name(), ".nebula.journal") {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		name := filepath.Join(d.Blobs(), e.Name())
		size := allocated(name)
		if err := disk.Remove(name); err != nil {
			return freed, err
		}
		freed += size
	}
	return freed, ignoreMissing(err)
}

// dropEmpty removes the repository's folders as far as nothing is in them.
func (d Dir) dropEmpty() error {
	var dirs []string
	for _, top := range []string{filepath.Join(d.Path(), "refs"), filepath.Join(d.Path(), "snapshots"), d.Blobs(), d.manifests(), filepath.Dir(d.verified(manifest.Hash{}))} {
		if err := filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, name)
			}
			return ignoreMissing(err)
		}); err != nil {
			return err
		}
	}
	slices.Reverse(dirs) // the deepest first
	for _, name := range append(dirs, d.Path()) {
		_ = os.Remove(name) // one that is not empty stays
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// allocated is how many bytes of disk a file takes.
func allocated(name string) uint64 {
	info, err := os.Lstat(name)
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512
	}
	return uint64(info.Size())
}
