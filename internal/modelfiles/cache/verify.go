package cache

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Checked is a content that was read.
type Checked struct {
	File  string // a name that a model has for it
	Path  string
	Bytes int64  // that were read
	Fault string // what is wrong with it; empty = nothing
}

// Contents lists what Verify has to read, with a name that a model has for each, and the bytes to be read.
func (s *Survey) Contents() (names map[string]string, bytes int64) {
	names = map[string]string{}
	for _, commit := range slices.Sorted(maps.Keys(s.Names)) {
		for _, path := range slices.Sorted(maps.Keys(s.Names[commit])) {
			if c := s.Names[commit][path]; c != "" && hashNamed(c).Valid() {
				names[c] = path
			}
		}
	}
	for _, r := range s.Records {
		for _, f := range r.Files {
			names[f.Hex] = f.Path
		}
	}
	for c := range names {
		if fi, err := os.Stat(filepath.Join(s.Dir.Blobs(), c)); err == nil {
			bytes += fi.Size()
		}
	}
	return names, bytes
}

// Verify reads a content and compares it with its name. A damaged one loses its seal, so that nothing starts with it before it is fetched again; it is
// not deleted, because an engine may have it open. A sound one of a record gets its seal back. read is called with the bytes as they are read.
func (d Dir) Verify(ctx context.Context, s Survey, content string, read func(int)) (Checked, error) {
	h := hashNamed(content)
	c := Checked{Path: d.Blob(h)}
	size, recorded := int64(-1), false
	for _, r := range s.Records {
		for _, f := range r.Files {
			if f.Hash == h {
				size, recorded = f.Size, true
			}
		}
	}
	pieces := checker{want: d.pieces(h), wrong: -1}
	before, got, err := sumOf(ctx, c.Path, h.Algo, &pieces, read)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Fault = "it is missing"
	case ctx.Err() != nil:
		return c, ctx.Err()
	case err != nil:
		c.Fault = fmt.Sprintf("it cannot be read: %v", err)
	default:
		c.Bytes = before.Size()
		switch {
		case size >= 0 && before.Size() != size:
			c.Fault = fmt.Sprintf("it is %d bytes long and should be %d", before.Size(), size)
		case got != h.Hex:
			c.Fault = fmt.Sprintf("its %s is %s%s", h.Algo, got, pieces.where())
		}
	}
	if !recorded {
		return c, nil
	}
	return c, d.Locked(ctx, func() error {
		if c.Fault != "" {
			return disk.Remove(d.verified(h))
		}
		if now, err := os.Lstat(c.Path); err != nil || sealOf(now) != sealOf(before) {
			return nil // it was changed while it was read: whoever needs it reads it again
		}
		return d.SetSeal(h)
	})
}

// sumOf reads a file and returns its hash, and how it looked before. What is read is also written to pieces.
func sumOf(ctx context.Context, path string, algo manifest.Algo, pieces *checker, read func(int)) (fs.FileInfo, string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|disk.NoFollow, 0)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	if !fi.Mode().IsRegular() {
		return nil, "", errors.New("it is no plain file")
	}
	sum := sumFor(algo, fi.Size())
	buf := make([]byte, 1<<20)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		pieces.write(buf[:n])
		read(n)
		if errors.Is(err, io.EOF) {
			pieces.end()
			return fi, hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return nil, "", err
		}
	}
	return nil, "", ctx.Err()
}

// sumFor is the hash that names content of that size.
func sumFor(algo manifest.Algo, size int64) hash.Hash {
	if algo == manifest.GitSHA1 {
		sum := sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", size)
		return sum
	}
	return sha256.New()
}

// checker compares content, from its first byte on, with a table of checksums.
type checker struct {
	want  Pieces
	at    int64
	crc   uint32 // of the begun piece
	wrong int64  // where the first piece that differs begins; -1 = none did
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *checker) write(p []byte) {
	for len(p) > 0 && len(c.want.CRC32C) > 0 && c.wrong < 0 {
		n := min(c.want.Bytes-c.at%c.want.Bytes, int64(len(p)))
		c.crc = crc32.Update(c.crc, castagnoli, p[:n])
		c.at += n
		p = p[n:]
		if c.at%c.want.Bytes == 0 {
			c.compare(c.at - c.want.Bytes)
		}
	}
}

// end compares the last piece, which may be a short one.
func (c *checker) end() {
	if begun := c.at % max(c.want.Bytes, 1); begun > 0 && c.wrong < 0 {
		c.compare(c.at - begun)
	}
}

func (c *checker) compare(from int64) {
	if i := from / c.want.Bytes; i >= int64(len(c.want.CRC32C)) || c.want.CRC32C[i] != c.crc {
		c.wrong = from
	}
	c.crc = 0
}

// where says where the damage is, if that is known.
func (c *checker) where() string {
	if c.wrong < 0 {
		return ""
	}
	return fmt.Sprintf(", and the first damage is in the %d bytes from byte %d on", c.want.Bytes, c.wrong)
}
