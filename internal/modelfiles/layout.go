package modelfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// root is a folder that holds models: hub/ in the Hugging Face cache layout, which other programs read too, and nebula/
// with what Nebula knows about it.
type root string

func (r root) hub() string { return filepath.Join(string(r), "hub") }

// state is a folder of Nebula's own records.
func (r root) state(kind string) string { return filepath.Join(string(r), "nebula", kind) }

// repoDir is one repository in the cache. Names from outside are checked before they get here: repository and revision
// by checkRepo, hashes by hash.valid, paths by nameFault.
type repoDir struct {
	root root
	name string // "org--name"
}

func newRepoDir(r root, repo string) repoDir {
	return repoDir{r, strings.ReplaceAll(repo, "/", "--")}
}

func (d repoDir) dir() string                 { return filepath.Join(d.root.hub(), "models--"+d.name) }
func (d repoDir) blobs() string               { return filepath.Join(d.dir(), "blobs") }
func (d repoDir) blob(h manifest.Hash) string { return filepath.Join(d.blobs(), h.Hex) }
func (d repoDir) snapshot(c string) string    { return filepath.Join(d.dir(), "snapshots", c) }
func (d repoDir) manifests() string {
	return filepath.Join(d.root.state("manifests"), "huggingface", d.name)
}

// verified is where the seal of a blob is.
func (d repoDir) verified(h manifest.Hash) string {
	return filepath.Join(d.root.state("verified"), "huggingface", d.name, h.Hex+".json")
}

// lock is the file that the hub's Python client locks for the same blob.
func (d repoDir) lock(h manifest.Hash) string {
	return filepath.Join(d.root.hub(), ".locks", "models--"+d.name, h.Hex+".lock")
}

// part is the partial file. It must not end in ".incomplete": the hub's own tools delete those.
func (d repoDir) part(h manifest.Hash) string    { return d.blob(h) + ".nebula.part" }
func (d repoDir) journal(h manifest.Hash) string { return d.blob(h) + ".nebula.journal" }

// seal is how a blob looked when its bytes were verified. While it looks the same, it need not be read again.
type seal struct {
	Size  int64  `json:"size"`
	Inode uint64 `json:"inode"`
	MTime int64  `json:"mtime_ns"`
}

func sealOf(fi fs.FileInfo) seal { return seal{fi.Size(), inode(fi), fi.ModTime().UnixNano()} }

// sealed tells whether the blob is there and as it was when it was verified.
func (d repoDir) sealed(e manifest.Entry) bool {
	fi, err := os.Lstat(d.blob(e.Hash))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != e.Size {
		return false
	}
	var s seal
	return readJSON(d.verified(e.Hash), &s) == nil && s == sealOf(fi)
}

// setSeal records that the blob was verified.
func (d repoDir) setSeal(h manifest.Hash) error {
	fi, err := os.Lstat(d.blob(h))
	if err != nil {
		return err
	}
	name := d.verified(h)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return writeJSON(name, sealOf(fi), false)
}

// link makes the snapshot of a commit: one relative link per file, to blobs that are all there. Names come from the
// hub, so every step stays below the snapshot's folder whatever links lie in it.
func (d repoDir) link(commit string, files []manifest.Entry) error {
	dir := d.snapshot(commit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	snap, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer snap.Close()
	for _, f := range files {
		if err := linkOne(snap, f); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// target is where a snapshot's link points: up to the repository's folder, then to the blob.
func target(f manifest.Entry) string {
	return strings.Repeat("../", 2+strings.Count(f.Path, "/")) + "blobs/" + f.Hex
}

func linkOne(snap *os.Root, f manifest.Entry) error {
	if at, err := snap.Readlink(f.Path); err == nil && at == target(f) {
		return nil
	}
	if dir := path.Dir(f.Path); dir != "." {
		if err := snap.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("snapshot folder %q: %w", dir, err)
		}
	}
	tmp := path.Join(path.Dir(f.Path), ".nebula."+f.Hex[:16]+".tmp")
	if err := snap.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := snap.Symlink(target(f), tmp); err != nil {
		return err
	}
	return snap.Rename(tmp, f.Path)
}

// linked tells whether the snapshot has every file as a link to its blob.
func (d repoDir) linked(commit string, files []manifest.Entry) bool {
	for _, f := range files {
		at, err := os.Readlink(filepath.Join(d.snapshot(commit), filepath.FromSlash(f.Path)))
		if err != nil || at != target(f) {
			return false
		}
	}
	return true
}

// setRef lets a branch or tag point to a commit: the last step of a publication. The file holds exactly the commit; a
// line feed at its end would break every other reader.
func (d repoDir) setRef(revision, commit string) error {
	if manifest.IsCommit(revision) {
		return nil
	}
	dir := filepath.Join(d.dir(), "refs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	refs, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer refs.Close()
	if parent := path.Dir(revision); parent != "." {
		if err := refs.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	if old, err := refs.ReadFile(revision); err == nil && string(old) == commit {
		return nil
	}
	tmp := revision + ".nebula.tmp"
	if err := refs.WriteFile(tmp, []byte(commit), 0o644); err != nil {
		return err
	}
	return refs.Rename(tmp, revision)
}

// syncDir makes the names in a folder outlast a power failure.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
