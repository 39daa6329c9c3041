package modelfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/hub"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// settle fetches those files of which the source told no hash, and returns all with the hash that they have: from then on
// they are like any other, only marked as unverified. They are small ones that a hub keeps in git.
func (s *Store) settle(ctx context.Context, j job, p hub.Pin, files []manifest.Entry, m *meter) ([]manifest.Entry, error) {
	if !slices.ContainsFunc(files, func(e manifest.Entry) bool { return !e.Known() }) {
		return files, nil
	}
	blobs, counts := counters(files)
	m.plan(counts)
	unknown := map[manifest.Hash]manifest.Hash{}
	for i, e := range blobs {
		if e.Known() {
			continue
		}
		if s.cfg.Offline {
			return nil, offline()
		}
		h, err := s.fetchUnknown(ctx, j, j.repo.Source(p, e), e, counts[i])
		if err != nil {
			return nil, err
		}
		unknown[e.Hash] = h
	}
	out := slices.Clone(files)
	for i, e := range out {
		if h, ok := unknown[e.Hash]; ok {
			out[i].Hash, out[i].Unverified = h, true
		}
	}
	return out, nil
}

// fetchUnknown brings one such file into the cache under the hash of what came. It is fetched in one go, from its start
// after each failure: bytes of two versions must not get into one file, and no hash would tell.
func (s *Store) fetchUnknown(ctx context.Context, j job, src *hub.Source, e manifest.Entry, c *counter) (manifest.Hash, error) {
	unlock, err := cache.LockFile(ctx, j.dir.Lock(e.Hash), func() {})
	if err != nil {
		return manifest.Hash{}, disk.Explain(string(j.dir.Root), "lock", err)
	}
	defer unlock()
	space, err := s.reserve(ctx, j.dir, []manifest.Entry{e})
	if err != nil {
		return manifest.Hash{}, err
	}
	defer space.Release()
	if err := os.MkdirAll(j.dir.Blobs(), 0o755); err != nil {
		return manifest.Hash{}, disk.Explain(string(j.dir.Root), "create folder", err)
	}
	at, err := s.partialOf(j.dir, e.Hash)
	if err != nil {
		return manifest.Hash{}, err
	}
	part := at.part
	var sum manifest.Hash
	err = j.client.Retry(ctx, func() int64 { return 0 }, func() (err error) {
		sum, err = writeUnknown(ctx, src, e, part, func(have, more int64) {
			c.Have.Store(have)
			c.Network.Add(more)
		})
		if _, ok := fail.As(err); ok {
			return err
		}
		return disk.Explain(string(j.dir.Root), "write", err)
	})
	if err != nil {
		return manifest.Hash{}, errors.Join(err, disk.Remove(part))
	}
	err = os.Rename(part, j.dir.Blob(sum))
	if err == nil {
		err = errors.Join(disk.SyncDir(j.dir.Blobs()), j.dir.SetSeal(sum))
	}
	c.done.Store(err == nil)
	return sum, disk.Explain(string(j.dir.Root), "publish", err)
}

// writeUnknown writes a file from its start to its end and returns its hash.
func writeUnknown(ctx context.Context, src *hub.Source, e manifest.Entry, name string, told func(have, more int64)) (manifest.Hash, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|disk.NoFollow, 0o644)
	if err != nil {
		return manifest.Hash{}, err
	}
	defer f.Close() // once more than needed does no harm
	sum, at := sha256.New(), int64(0)
	told(0, 0)
	if e.Size > 0 {
		body, _, err := src.Open(ctx, 0, e.Size)
		if err != nil {
			return manifest.Hash{}, err
		}
		defer body.Close()
		buf := make([]byte, 256<<10)
		for at < e.Size {
			n, err := body.Read(buf)
			if _, werr := f.Write(buf[:n]); werr != nil {
				return manifest.Hash{}, werr
			}
			sum.Write(buf[:n])
			at += int64(n)
			told(at, int64(n))
			if err != nil && (at < e.Size || !errors.Is(err, io.EOF)) {
				return manifest.Hash{}, err
			}
		}
	}
	return manifest.Hash{Algo: manifest.SHA256, Hex: hex.EncodeToString(sum.Sum(nil))}, errors.Join(disk.SyncData(f), f.Close())
}
