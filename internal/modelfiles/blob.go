package modelfiles

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// How often a running download leaves a mark to go on from.
const (
	journalEvery = time.Second
	journalBytes = 64 << 20
	syncEvery    = 10 * time.Second
	syncBytes    = 512 << 20
)

// opener gives a file's bytes from one offset to another, and says where what comes ends.
type opener func(ctx context.Context, from, to int64) (io.ReadCloser, int64, error)

// segment is the most that one request asks for: a CDN does not serve files of any size in one answer.
const segment = 1 << 30

// blob is one file's content on its way into the cache. One goroutine owns it, under the blob's lock.
type blob struct {
	manifest.Entry
	dir  cache.Dir
	log  *slog.Logger
	boot string

	count   *counter
	network func(n int64)
	took    func(n int64) // disk space now taken by the partial file

	part     *os.File
	sum      hash.Hash
	at       int64 // bytes of the partial file that are written and hashed
	journal  journal
	wroteAt  time.Time // the journal
	syncedAt time.Time
}

// fetch brings the blob into the cache, verified; retry is [hub.Client.Retry].
func (b *blob) fetch(ctx context.Context, open opener, retry func(context.Context, func() int64, func() error) error) error {
	unlock, err := cache.LockFile(ctx, b.dir.Lock(b.Hash), b.watchOther)
	if err != nil {
		return b.diskError("lock", err)
	}
	defer unlock()
	if here, err := b.here(ctx); err != nil || here {
		return err
	}
	for second := false; ; second = true {
		if err := b.resume(ctx); err != nil {
			return err
		}
		err := retry(ctx, func() int64 { return b.at }, func() error { return b.stream(ctx, open) })
		if err != nil {
			b.pause()
			return err
		}
		got := fmt.Sprintf("%x", b.sum.Sum(nil))
		if got == b.Hex {
			return b.publish()
		}
		if err := b.discard(); err != nil {
			return err
		}
		b.log.Warn("fetched file has the wrong hash", "file", b.Path, "want", b.Hex, "got", got, "again", !second)
		if second {
			return fail.Final(api.FailDownload, fail.Corrupt,
				"%q arrived damaged twice: its %s is %s and should be %s. Nothing of it was kept. Something between here and the hub changes data (a proxy, a mirror, bad memory).",
				b.Path, b.Algo, got, b.Hex)
		}
	}
}

// watchOther follows a download of the same blob by somebody else, here or in another process: the partial file grows.
func (b *blob) watchOther() {
	if fi, err := os.Lstat(b.dir.Part(b.Hash)); err == nil {
		b.count.have.Store(fi.Size())
	}
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
	b.sum = newSum(b.Hash, b.Size)
	if err := b.hashFrom(ctx, f, 0); err != nil {
		return false, err
	}
	if fmt.Sprintf("%x", b.sum.Sum(nil)) != b.Hex {
		b.log.Warn("cached file has the wrong hash, will fetch it", "file", name)
		b.count.have.Store(0)
		return false, b.diskError("remove", disk.Remove(name))
	}
	if err := b.dir.SetSeal(b.Hash); err != nil {
		return false, b.diskError("record", err)
	}
	b.finish()
	return true, nil
}

func (b *blob) finish() {
	b.count.have.Store(b.Size)
	b.count.done.Store(true)
}

// hashFrom hashes a file's bytes from offset at on and counts them.
func (b *blob) hashFrom(ctx context.Context, f *os.File, at int64) error {
	buf := make([]byte, 1<<20)
	for at < b.Size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), b.Size-at)], at)
		b.sum.Write(buf[:n])
		at += int64(n)
		b.count.have.Store(at)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			b.at = at
			return nil
		case err != nil:
			return b.diskError("read", err)
		}
	}
	b.at = at
	return nil
}

// resume opens the partial file and goes on where it ends. Then it takes the disk space of the rest.
func (b *blob) resume(ctx context.Context) error {
	if err := os.MkdirAll(b.dir.Blobs(), 0o755); err != nil {
		return b.diskError("create folder", err)
	}
	f, err := os.OpenFile(b.dir.Part(b.Hash), os.O_RDWR|os.O_CREATE|disk.NoFollow, 0o644)
	if err != nil {
		return b.diskError("open", err)
	}
	if err := b.catchUp(ctx, f); err != nil {
		return errors.Join(err, f.Close())
	}
	b.part = f
	if b.at > 0 {
		b.log.Info("download resumed", "file", b.Path, "at", b.at, "size", b.Size)
	}
	b.wroteAt, b.syncedAt = time.Now(), time.Now()
	err = b.mark(false)
	if err == nil && b.at < b.Size {
		err = b.diskError("reserve space", disk.Allocate(f, b.at, b.Size-b.at))
	}
	if err != nil {
		b.pause()
		return err
	}
	b.took(b.Size - b.at)
	return nil
}

// catchUp goes on from the journal's mark: what a killed process wrote after it is in the file and only has to be
// hashed. After another boot only synced bytes are what was written.
func (b *blob) catchUp(ctx context.Context, f *os.File) error {
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("the partial file is no plain file")
	}
	if err != nil {
		return b.diskError("open", err)
	}
	j := readJournal(b.dir.Journal(b.Hash))
	if !j.fits(b.Entry) {
		j = journal{}
	}
	length := min(fi.Size(), b.Size)
	if j.Boot != b.boot || b.boot == "" {
		length = min(length, j.Synced.At)
	}
	b.sum, b.at = j.resumeAt(b.Entry, b.boot, length)
	if err := f.Truncate(length); err != nil {
		return b.diskError("truncate", err)
	}
	b.journal = journal{Version: journalVersion, Boot: b.boot, Hash: b.Hash, Size: b.Size}
	if j.Synced.At <= length {
		b.journal.Synced = j.Synced
	}
	return b.hashFrom(ctx, f, b.at)
}

// stream writes what comes until the file is whole or the connection breaks.
func (b *blob) stream(ctx context.Context, open opener) error {
	buf := make([]byte, 256<<10)
	for b.at < b.Size {
		body, end, err := open(ctx, b.at, min(b.at+segment, b.Size))
		if err != nil {
			return err
		}
		err = b.copy(body, end, buf)
		_ = body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *blob) copy(body io.Reader, end int64, buf []byte) error {
	for b.at < end {
		n, err := body.Read(buf[:min(int64(len(buf)), end-b.at)])
		if n > 0 {
			if err := b.write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && b.at < end {
			return err
		}
	}
	return nil
}

func (b *blob) write(p []byte) error {
	n, err := b.part.WriteAt(p, b.at)
	b.sum.Write(p[:n])
	b.at += int64(n)
	b.count.have.Store(b.at)
	b.network(int64(n))
	if err != nil {
		return b.diskError("write", err)
	}
	return b.leaveMark()
}

// leaveMark writes the journal when it is time.
func (b *blob) leaveMark() error {
	now := time.Now()
	switch {
	case b.at-b.journal.Synced.At >= syncBytes || now.Sub(b.syncedAt) >= syncEvery:
		if err := disk.SyncData(b.part); err != nil {
			return b.diskError("sync", err)
		}
		b.syncedAt = now
		return b.mark(true)
	case b.at-b.journal.Hashed.At >= journalBytes || now.Sub(b.wroteAt) >= journalEvery:
		b.wroteAt = now
		return b.mark(false)
	}
	return nil
}

func (b *blob) mark(synced bool) error {
	m, err := markOf(b.sum, b.at)
	if err != nil {
		return b.diskError("journal", err)
	}
	b.journal.Hashed = m
	if synced {
		b.journal.Synced = m
	}
	return b.diskError("journal", disk.WriteJSON(b.dir.Journal(b.Hash), b.journal, synced))
}

// pause leaves the partial file for the next time and gives back the space of what did not come. A failure costs
// fetching again, so it is not worth another error.
func (b *blob) pause() {
	if b.part == nil {
		return
	}
	err := errors.Join(b.mark(false), b.part.Truncate(b.at), b.part.Close())
	b.part = nil
	if err != nil {
		b.log.Warn("partial download may start over", "file", b.Path, "error", err)
	}
}

// discard deletes what was fetched.
func (b *blob) discard() error {
	err := errors.Join(b.part.Close(), disk.Remove(b.dir.Part(b.Hash), b.dir.Journal(b.Hash)))
	b.part = nil
	b.count.have.Store(0)
	return b.diskError("remove", err)
}

// publish gives the verified bytes their name.
func (b *blob) publish() error {
	name := b.dir.Blob(b.Hash)
	err := errors.Join(b.part.Truncate(b.Size), disk.SyncData(b.part), b.part.Close())
	b.part = nil
	if err == nil {
		err = os.Rename(b.dir.Part(b.Hash), name)
	}
	if err == nil {
		err = errors.Join(disk.SyncDir(b.dir.Blobs()), b.dir.SetSeal(b.Hash), disk.Remove(b.dir.Journal(b.Hash)))
	}
	if err != nil {
		return b.diskError("publish", err)
	}
	b.finish()
	return nil
}

// diskError explains a failure of the disk; nil stays nil, and so does a context's end.
func (b *blob) diskError(what string, err error) error {
	return disk.Explain(string(b.dir.Root), what, err)
}
