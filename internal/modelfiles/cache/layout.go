// Package cache is the models on this node's disk: where what is, in the Hugging Face layout that other programs read too, which models are
// complete, and what else lies there.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// Root is a folder that holds models: hub/ in the Hugging Face cache layout, which other programs read too, and nebula/
// with what Nebula knows about it.
type Root string

// Hub is the folder in the Hugging Face layout.
func (r Root) Hub() string { return filepath.Join(string(r), "hub") }

// State is a folder of Nebula's own records.
func (r Root) State(kind string) string { return filepath.Join(string(r), "nebula", kind) }

// Dir is one repository in the cache. Names from outside are checked before they get here: repository and revision
// by hub.CheckRepo, hashes by Hash.Valid, paths by manifest.NameFault.
type Dir struct {
	Root Root
	Name string // "org--name"
}

// NewDir returns the folder of a repository.
func NewDir(r Root, repo string) Dir {
	return Dir{r, strings.ReplaceAll(repo, "/", "--")}
}

// Path is the repository's folder.
func (d Dir) Path() string { return filepath.Join(d.Root.Hub(), "models--"+d.Name) }

// Blobs is the folder of the contents.
func (d Dir) Blobs() string { return filepath.Join(d.Path(), "blobs") }

// Blob is where a verified content is.
func (d Dir) Blob(h manifest.Hash) string { return filepath.Join(d.Blobs(), h.Hex) }

// Snapshot is the folder of a commit, with links to contents.
func (d Dir) Snapshot(c string) string { return filepath.Join(d.Path(), "snapshots", c) }

func (d Dir) manifests() string {
	return filepath.Join(d.Root.State("manifests"), "huggingface", d.Name)
}

// verified is where the seal of a blob is.
func (d Dir) verified(h manifest.Hash) string {
	return filepath.Join(d.Root.State("verified"), "huggingface", d.Name, h.Hex+".json")
}

// Lock is the file that the hub's Python client locks for the same blob.
func (d Dir) Lock(h manifest.Hash) string {
	return filepath.Join(d.Root.Hub(), ".locks", "models--"+d.Name, h.Hex+".lock")
}

// Part is the partial file. It must not end in ".incomplete": the hub's own tools delete those.
func (d Dir) Part(h manifest.Hash) string { return d.Blob(h) + ".nebula.part" }

// Journal is where a partial file can be taken up again, as the transfer notes it.
func (d Dir) Journal(h manifest.Hash) string { return d.Blob(h) + ".nebula.journal" }

// PartAlone and JournalAlone are in their places where locks exclude nobody: id is of one transfer, and nobody takes them up again.
func (d Dir) PartAlone(h manifest.Hash, id string) string {
	return d.Blob(h) + "." + id + ".nebula.part"
}

// JournalAlone is the journal of a [Dir.PartAlone].
func (d Dir) JournalAlone(h manifest.Hash, id string) string {
	return d.Blob(h) + "." + id + ".nebula.journal"
}

// seal is how a blob looked when its bytes were verified. While it looks the same, it need not be read again.
type seal struct {
	Size  int64  `json:"size"`
	Inode uint64 `json:"inode"`
	MTime int64  `json:"mtime_ns"`
}

func sealOf(fi fs.FileInfo) seal { return seal{fi.Size(), disk.Inode(fi), fi.ModTime().UnixNano()} }

// Sealed tells whether the blob is there and as it was when it was verified.
func (d Dir) Sealed(e manifest.Entry) bool {
	fi, err := os.Lstat(d.Blob(e.Hash))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != e.Size {
		return false
	}
	var s seal
	return disk.ReadJSON(d.verified(e.Hash), &s) == nil && s == sealOf(fi)
}

// Pieces is a table of a content's checksums, by which the damaged place of a large file can be named. Empty = none is known.
type Pieces struct {
	Bytes  int64    `json:"piece_bytes,omitempty"` // that each covers, the last one maybe fewer
	CRC32C []uint32 `json:"piece_crc32c,omitempty"`
}

// tabled is a seal with the table of its content. Other readers of the file want only the seal.
type tabled struct {
	seal
	Pieces
}

// pieces is the table that was kept of a content.
func (d Dir) pieces(h manifest.Hash) Pieces {
	var t tabled
	if disk.ReadJSON(d.verified(h), &t) != nil || t.Bytes <= 0 {
		return Pieces{}
	}
	return t.Pieces
}

// SetSeal records that the blob was verified. A table that was kept of its content stays: the content is named by its hash.
func (d Dir) SetSeal(h manifest.Hash) error { return d.SetSealPieces(h, d.pieces(h)) }

// SetSealPieces records that the blob was verified, and the table of its content.
func (d Dir) SetSealPieces(h manifest.Hash, p Pieces) error {
	fi, err := os.Lstat(d.Blob(h))
	if err != nil {
		return err
	}
	name := d.verified(h)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return disk.WriteJSON(name, tabled{sealOf(fi), p}, false)
}

// Link makes the snapshot of a commit: one relative link per file, to blobs that are all there. Names come from the
// hub, so every step stays below the snapshot's folder, and that in the repository's, whatever links lie there.
func (d Dir) Link(commit string, files []manifest.Entry) error {
	dir := d.Snapshot(commit)
	if err := os.MkdirAll(d.Path(), 0o755); err != nil {
		return err
	}
	repo, err := os.OpenRoot(d.Path())
	if err != nil {
		return err
	}
	defer repo.Close()
	at := path.Join("snapshots", commit)
	if err := repo.MkdirAll(at, 0o755); err != nil {
		return err
	}
	snap, err := repo.OpenRoot(at)
	if err != nil {
		return err
	}
	defer snap.Close()
	for _, f := range files {
		if err := linkOne(snap, f); err != nil {
			return err
		}
	}
	return disk.SyncDir(dir)
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
func (d Dir) linked(commit string, files []manifest.Entry) bool {
	for _, f := range files {
		at, err := os.Readlink(filepath.Join(d.Snapshot(commit), filepath.FromSlash(f.Path)))
		if err != nil || at != target(f) {
			return false
		}
	}
	return true
}

// SetRef lets a branch or tag point to a commit: the last step of a publication. The file holds exactly the commit; a
// line feed at its end, or nothing after a power failure, would break every other reader.
func (d Dir) SetRef(revision, commit string) error {
	if manifest.IsCommit(revision) {
		return nil
	}
	repo, err := os.OpenRoot(d.Path())
	if err != nil {
		return err
	}
	defer repo.Close()
	name := path.Join("refs", revision)
	if err := repo.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if old, err := repo.ReadFile(name); err == nil && string(old) == commit {
		return nil
	}
	tmp := name + ".nebula.tmp"
	f, err := repo.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(commit)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return repo.Rename(tmp, name)
}
