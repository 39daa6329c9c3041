package cache

import (
	"context"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Stock is where contents may lie that then need not be fetched. Nothing in it is changed or deleted, and nothing of it is believed before its bytes
// were hashed, but for what this node has sealed itself.
type Stock struct {
	Roots   []Root   // of this node
	Foreign []string // folders of other programs, in the layout of Hugging Face or of ModelScope's tools
}

// found is a file that may be the content.
type found struct {
	path string
	// named by its hash: no program writes to such a file again. A file that is named by its path may be rewritten in place by the next download, and
	// would change in the cache too if it were the same file.
	named  bool
	sealed bool // by this node, and unchanged since
}

// Take brings the content of a file of a repository into d, without copying bytes where the file system can: as a reflink, or as a second name of a file
// that nobody writes to; else, when copies are allowed, as a copy. It tells whether the content is there now. The caller holds its lock, and records
// the seal.
func (k Stock) Take(ctx context.Context, d Dir, repo string, e manifest.Entry, copies bool, progress func(int64)) (bool, error) {
	if !e.Valid() || e.Size <= 0 {
		return false, nil
	}
	for _, f := range k.find(d, repo, e) {
		if ok, err := f.take(ctx, d, e, copies, progress); ok || err != nil {
			return ok, err
		}
		progress(0)
	}
	return false, nil
}

// May tells, without reading any, whether there is a file that may be the content.
func (k Stock) May(d Dir, repo string, e manifest.Entry) bool {
	if !e.Valid() || e.Size <= 0 {
		return false
	}
	return slices.ContainsFunc(k.find(d, repo, e), func(f found) bool {
		fi, err := os.Stat(f.path)
		return err == nil && fi.Mode().IsRegular() && fi.Size() == e.Size
	})
}

// find lists files that may be the content, the cheapest first.
func (k Stock) find(d Dir, repo string, e manifest.Entry) []found {
	var out []found
	for _, r := range k.Roots {
		seals, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(d.in(r).verified(e.Hash))), "*", e.Hex+".json"))
		if err != nil {
			continue // a root with a strange name
		}
		for _, s := range seals {
			other := Dir{r, filepath.Base(filepath.Dir(s))}
			if other != d && other.Sealed(e) {
				out = append(out, found{other.Blob(e.Hash), true, true})
			}
		}
	}
	for _, dir := range k.Foreign {
		own := filepath.Join(dir, "models--"+d.Name, "blobs", e.Hex)
		names := []string{own}
		if all, err := folders(dir); err == nil {
			for _, n := range all {
				if other := filepath.Join(dir, n, "blobs", e.Hex); strings.HasPrefix(n, "models--") && other != own {
					names = append(names, other)
				}
			}
		}
		for _, n := range names {
			out = append(out, found{path: n, named: true})
		}
		for _, n := range scopePaths(dir, repo) {
			out = append(out, found{path: filepath.Join(n, filepath.FromSlash(e.Path))})
		}
	}
	return out
}

// in is the same repository under another root.
func (d Dir) in(r Root) Dir { return Dir{r, d.Name} }

// scopePaths lists where ModelScope's tools keep a repository; see [tree.findScope].
func scopePaths(base, repo string) []string {
	org, name, ok := strings.Cut(repo, "/")
	if !ok {
		return nil
	}
	var out []string
	for _, under := range []string{"hub", "hub/models", "models", ""} {
		for _, n := range []string{strings.ReplaceAll(name, ".", "___"), name} {
			out = append(out, filepath.Join(base, under, org, n))
			if n == name {
				break
			}
		}
	}
	snapshots := filepath.Join(base, "models", org+"--"+name, "snapshots")
	if revisions, err := folders(snapshots); err == nil {
		for _, r := range revisions {
			out = append(out, filepath.Join(snapshots, r))
		}
	}
	return out
}

// take takes one file, if it is the content.
//
// Branches, in order:
//  1. It is no regular file of the right size: no.
//  2. The file system can share its blocks: a file of our own, which is hashed.
//  3. It is named by its hash and only we can write to it: a second name for it, after it was hashed. A program that replaces it makes a new file; one that
//     rewrites it all the same is found out by the seal.
//  4. Copies are allowed: a copy, hashed on the way.
func (f found) take(ctx context.Context, d Dir, e manifest.Entry, copies bool, progress func(int64)) (bool, error) {
	path, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return false, nil
	}
	src, err := disk.OpenPlain(path)
	if err != nil {
		return false, nil
	}
	defer src.Close()
	before, err := src.Stat()
	if err != nil || before.Size() != e.Size { // 1
		return false, nil
	}
	if err := os.MkdirAll(d.Blobs(), 0o755); err != nil {
		return false, err
	}
	tmp := d.Blob(e.Hash) + ".nebula-adopt.incomplete"
	if err := disk.Remove(tmp); err != nil {
		return false, err
	}
	defer func() { _ = disk.Remove(tmp) }()                 // it has its name by then, or is of no use
	switch ok, err := cloned(ctx, src, tmp, e, progress); { // 2
	case err != nil:
		return false, err
	case ok:
		return true, d.publish(tmp, e)
	}
	if f.named && disk.OnlyOurs(before) { // 3
		if ok, err := linked(ctx, src, before, path, tmp, f.sealed, e, progress); ok || err != nil {
			if ok {
				err = d.publish(tmp, e)
			}
			return ok && err == nil, err
		}
	}
	if !copies {
		return false, nil
	}
	ok, err := copied(ctx, src, tmp, e, progress) // 4
	if ok && err == nil {
		err = d.publish(tmp, e)
	}
	return ok && err == nil, err
}

// publish gives a content its name. What an interrupted download had of it is of no use any more.
func (d Dir) publish(tmp string, e manifest.Entry) error {
	if err := os.Rename(tmp, d.Blob(e.Hash)); err != nil {
		return err
	}
	if err := disk.Remove(d.Part(e.Hash), d.Journal(e.Hash)); err != nil {
		return err
	}
	return disk.SyncDir(d.Blobs())
}

// cloned makes tmp of the blocks of src and hashes it.
func cloned(ctx context.Context, src *os.File, tmp string, e manifest.Entry, progress func(int64)) (bool, error) {
	dst, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return false, err
	}
	defer dst.Close()
	ok := disk.Clone(dst, src) == nil
	if ok {
		ok, err = hashes(ctx, dst, e, io.Discard, progress)
	}
	if !ok || err != nil {
		return false, firstOf(err, disk.Remove(tmp))
	}
	return true, disk.SyncData(dst)
}

// linked makes tmp another name of src, which lies at path, if its bytes are right and it did not change meanwhile.
func linked(
	ctx context.Context, src *os.File, before fs.FileInfo, path, tmp string, sealed bool, e manifest.Entry, progress func(int64),
) (bool, error) {
	if os.Link(path, tmp) != nil {
		return false, nil // another file system, or one without links
	}
	at, err := os.Lstat(tmp)
	if err != nil || !os.SameFile(at, before) {
		return false, firstOf(err, disk.Remove(tmp))
	}
	ok := sealed
	if !ok {
		if ok, err = hashes(ctx, src, e, io.Discard, progress); err != nil {
			return false, err
		}
	}
	after, err := src.Stat()
	if err != nil || !ok || sealOf(after) != sealOf(before) {
		return false, firstOf(err, disk.Remove(tmp))
	}
	return true, disk.SyncData(src)
}

// copied copies src to tmp and hashes it on the way.
func copied(ctx context.Context, src *os.File, tmp string, e manifest.Entry, progress func(int64)) (bool, error) {
	dst, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return false, err
	}
	defer dst.Close()
	if _, err := disk.Allocate(dst, 0, e.Size); err != nil {
		return false, err
	}
	ok, err := hashes(ctx, src, e, dst, progress)
	if err == nil && ok {
		err = disk.SyncData(dst)
	}
	return ok && err == nil, err
}

// hashes tells whether a file's bytes have the hash, and writes them to w. What cannot be read has not; an error is that of w, or the context's.
func hashes(ctx context.Context, f *os.File, e manifest.Entry, w io.Writer, progress func(int64)) (bool, error) {
	sum := sumFor(e.Algo, e.Size)
	buf := make([]byte, 1<<20)
	for at := int64(0); at < e.Size; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), e.Size-at)], at)
		if n == 0 && err != nil {
			return false, nil
		}
		sum.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return false, err
		}
		at += int64(n)
		progress(at)
	}
	return hex.EncodeToString(sum.Sum(nil)) == e.Hex, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
