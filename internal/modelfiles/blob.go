package modelfiles

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
)

// blob is one file's content that has to be in the cache.
type blob struct {
	manifest.Entry
	model   string // the repository
	dir     cache.Dir
	store   *Store
	count   *counter
	space   *disk.Reservation
	sources func(context.Context) ([]transfer.Source, error)
}

// fetch brings the blob into the cache, verified.
func (b *blob) fetch(ctx context.Context) error {
	unlock, err := cache.LockFile(ctx, b.dir.Lock(b.Hash), b.watchOther)
	if err != nil {
		return b.diskError("lock", err)
	}
	defer unlock()
	if here, err := b.here(ctx); err != nil || here {
		return err
	}
	if here, err := b.adopt(ctx, true); err != nil || here {
		b.space.Took(b.Size)
		return err
	}
	at, err := b.store.partialOf(b.dir, b.Hash)
	if err != nil {
		return err
	}
	job := transfer.Job{
		Entry: b.Entry, Part: at.part, Journal: at.journal, Path: b.dir.Blob(b.Hash),
		Sources: b.sources, Limits: b.store.limits, Gauge: &b.count.Gauge, Took: b.space.Took,
		Patience: b.store.cfg.transferPatience(), Boot: b.store.boot, Log: b.store.cfg.Log,
	}
	complete := false
	end := b.share(&job)
	defer func() { end(complete) }()
	t := transfer.New(job)
	defer b.store.addPartial(b.Hash, t)()
	got, err := t.Run(ctx)
	if err != nil {
		_ = at.drop() // or the next prune does it
		return err
	}
	err = b.sealed(b.dir.SetSealPieces(b.Hash, cache.Pieces{Bytes: transfer.Piece, CRC32C: got.Pieces}))
	complete = err == nil
	return err
}

// adoptInPlace takes the content from elsewhere on this machine if that takes no space. It is tried before space is promised.
func (b *blob) adoptInPlace(ctx context.Context) error {
	if _, err := os.Lstat(b.dir.Blob(b.Hash)); err == nil || !b.store.stock().May(b.dir, b.model, b.Entry) {
		return nil
	}
	unlock, err := cache.LockFile(ctx, b.dir.Lock(b.Hash), b.watchOther)
	if err != nil {
		return b.diskError("lock", err)
	}
	defer unlock()
	if _, err := os.Lstat(b.dir.Blob(b.Hash)); err == nil {
		return nil
	}
	_, err = b.adopt(ctx, false)
	return err
}

// adopt takes the content from elsewhere on this machine, if it is there and as it should be.
func (b *blob) adopt(ctx context.Context, copies bool) (bool, error) {
	if ok, err := b.store.exclusive(b.dir.Root); err != nil || !ok { // two would write one copy
		return false, b.diskError("test locks", err)
	}
	ok, err := b.store.stock().Take(ctx, b.dir, b.model, b.Entry, copies, b.count.Have.Store)
	if !ok || err != nil {
		return false, b.diskError("adopt a file", err)
	}
	b.count.Reused.Store(b.Size)
	b.store.cfg.Log.Info("file taken from this machine instead of fetched", "repo", b.model, "file", b.Path, "bytes", b.Size)
	return true, b.seal()
}

// stock is where files may lie already: in other repositories of this node, in the folders of AdoptFrom, and in what other programs made of the roots.
func (s *Store) stock() cache.Stock {
	s.mu.Lock()
	roots := slices.Sorted(maps.Keys(s.roots))
	s.mu.Unlock()
	k := cache.Stock{Roots: roots, Foreign: slices.Clone(s.cfg.AdoptFrom)}
	for _, r := range roots {
		k.Foreign = append(k.Foreign, filepath.Join(string(r), ".cache", "huggingface", "hub"), filepath.Join(string(r), ".cache", "modelscope"), string(r))
	}
	return k
}

// watchOther follows a transfer of the same blob by somebody else, here or in another process.
func (b *blob) watchOther() {
	if t := b.store.Partial(b.Hash); t != nil && t.Part() == b.dir.Part(b.Hash) {
		b.count.Have.Store(t.Have())
		return
	}
	b.count.Have.Store(transfer.Written(b.dir.Journal(b.Hash)))
}

// here tells whether the cache has the blob already. One that Nebula has not verified is read once; a wrong one is
// deleted, so that it is fetched.
func (b *blob) here(ctx context.Context) (bool, error) {
	if b.dir.Sealed(b.Entry) {
		b.finish()
		return true, nil
	}
	name := b.dir.Blob(b.Hash)
	f, err := os.OpenFile(name, os.O_RDONLY|disk.NoFollow, 0)
	if err != nil {
		return false, nil // absent or unreadable: fetch it, and let the rename say what is wrong
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != b.Size {
		return false, b.diskError("stat", err)
	}
	got, _, err := transfer.Sum(ctx, f, b.Entry, b.count.Have.Store)
	if err != nil {
		return false, b.diskError("read", err)
	}
	if got != b.Hex {
		b.store.cfg.Log.Warn("cached file has the wrong hash, will fetch it", "file", name)
		b.count.Have.Store(0)
		return false, b.diskError("remove", disk.Remove(name))
	}
	return true, b.seal()
}

// seal records that the blob was verified.
func (b *blob) seal() error { return b.sealed(b.dir.SetSeal(b.Hash)) }

// sealed counts the blob as done once its seal is written.
func (b *blob) sealed(err error) error {
	if err != nil {
		return b.diskError("record", err)
	}
	b.finish()
	return nil
}

func (b *blob) finish() {
	b.count.Have.Store(b.Size)
	b.count.done.Store(true)
}

// diskError explains a failure of the disk; nil stays nil, and so does a context's end.
func (b *blob) diskError(what string, err error) error {
	return disk.Explain(string(b.dir.Root), what, err)
}

// Partial returns the running transfer of a blob, or nil.
func (s *Store) Partial(h manifest.Hash) *transfer.Blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partial[h]
}

// addPartial notes a running transfer until the returned function is called. The same content may come into another root meanwhile: either of
// them is as good for the other nodes, and the end of one must not hide the other.
func (s *Store) addPartial(h manifest.Hash, t *transfer.Blob) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partial[h] = t
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.partial[h] == t {
			delete(s.partial, h)
		}
	}
}
