package transfer

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Piece is how many bytes one checksum of a blob's table covers.
const Piece = 8 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newSum returns the hash that names content of that size.
func newSum(h manifest.Hash, size int64) hash.Hash {
	if h.Algo == manifest.GitSHA1 {
		d := sha1.New()
		d.Write([]byte("blob " + strconv.FormatInt(size, 10) + "\x00"))
		return d
	}
	return sha256.New()
}

// digest hashes a blob from its first byte on, and keeps a CRC32C of each piece. Its lock is held while it hashes.
type digest struct {
	mu     sync.Mutex
	sum    hash.Hash
	at     int64
	pieces []uint32 // of whole pieces
	crc    uint32   // of the begun one
}

// mark is the state of a digest after the first At bytes, as a journal keeps it.
type mark struct {
	At     int64  `json:"at"`
	State  []byte `json:"state,omitempty"`
	Pieces []byte `json:"pieces,omitempty"` // four bytes each, big endian
	CRC    uint32 `json:"crc,omitempty"`
}

// write hashes the next bytes.
func (d *digest) write(p []byte) {
	d.sum.Write(p)
	for len(p) > 0 {
		n := min(Piece-d.at%Piece, int64(len(p)))
		d.crc = crc32.Update(d.crc, castagnoli, p[:n])
		d.at += n
		p = p[n:]
		if d.at%Piece == 0 {
			d.pieces, d.crc = append(d.pieces, d.crc), 0
		}
	}
}

// offer hashes p, which is the content at off, if that is next and nobody else is hashing. It returns where hashing is.
func (d *digest) offer(p []byte, off int64) (int64, bool) {
	if !d.mu.TryLock() {
		return 0, false
	}
	defer d.mu.Unlock()
	if d.at != off {
		return 0, false
	}
	d.write(p)
	return d.at, true
}

// readTo hashes what r has up to offset to, a block at a time, and tells progress after each.
func (d *digest) readTo(ctx context.Context, r io.ReaderAt, to int64, buf []byte, progress func(at int64)) error {
	for ctx.Err() == nil {
		at, err := d.readBlock(r, to, buf)
		if err != nil {
			return err
		}
		progress(at)
		if at >= to {
			return nil
		}
	}
	return ctx.Err()
}

func (d *digest) readBlock(r io.ReaderAt, to int64, buf []byte) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at >= to {
		return d.at, nil
	}
	p := buf[:min(int64(len(buf)), to-d.at)]
	if n, err := r.ReadAt(p, d.at); n < len(p) {
		return d.at, fmt.Errorf("%d bytes at %d: %w", len(p), d.at, err)
	}
	d.write(p)
	return d.at, nil
}

// mark returns the state to go on from.
func (d *digest) mark() (mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sum.(encoding.BinaryMarshaler)
	if !ok {
		return mark{}, fmt.Errorf("a %T keeps no state", d.sum)
	}
	state, err := s.MarshalBinary()
	return mark{d.at, state, packPieces(d.pieces), d.crc}, err
}

// resume sets the state of a mark, which may come from a file; false means that it makes no sense, and nothing changed.
func (d *digest) resume(h manifest.Hash, size int64, m mark) bool {
	sum := newSum(h, size)
	s, ok := sum.(encoding.BinaryUnmarshaler)
	if !ok || m.At <= 0 || m.At > size || int64(len(m.Pieces)) != m.At/Piece*4 || s.UnmarshalBinary(m.State) != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sum, d.at, d.pieces, d.crc = sum, m.At, unpackPieces(m.Pieces), m.CRC
	return true
}

// reset begins anew.
func (d *digest) reset(h manifest.Hash, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sum, d.at, d.pieces, d.crc = newSum(h, size), 0, nil, 0
}

// result returns the hash in hexadecimal digits and the checksum of every piece.
func (d *digest) result() (string, []uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pieces := slices.Clone(d.pieces)
	if d.at%Piece != 0 {
		pieces = append(pieces, d.crc)
	}
	return hex.EncodeToString(d.sum.Sum(nil)), pieces
}

func (d *digest) hashed() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

func packPieces(pieces []uint32) []byte {
	out := make([]byte, 0, 4*len(pieces))
	for _, p := range pieces {
		out = append(out, byte(p>>24), byte(p>>16), byte(p>>8), byte(p))
	}
	return out
}

func unpackPieces(b []byte) []uint32 {
	out := make([]uint32, 0, len(b)/4)
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]))
	}
	return out
}

// wrongPieces reads what r has of the first m.At bytes and returns the pieces whose checksum is another than m says.
func (m mark) wrongPieces(ctx context.Context, r io.ReaderAt, buf []byte) (spans, error) {
	var wrong spans
	want := append(unpackPieces(m.Pieces), m.CRC)
	for i, w := range want {
		s := span{int64(i) * Piece, min(int64(i+1)*Piece, m.At)}
		crc := uint32(0)
		for at := s.From; at < s.To; {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			p := buf[:min(int64(len(buf)), s.To-at)]
			n, err := r.ReadAt(p, at)
			if n < len(p) {
				return nil, err
			}
			crc = crc32.Update(crc, castagnoli, p)
			at += int64(n)
		}
		if s.size() > 0 && crc != w {
			wrong = wrong.add(s)
		}
	}
	return wrong, nil
}

// Sum reads a file and returns its hash in hexadecimal digits and the checksum of every piece. progress is told after
// each block how far it is.
func Sum(ctx context.Context, r io.ReaderAt, e manifest.Entry, progress func(at int64)) (string, []uint32, error) {
	var d digest
	d.reset(e.Hash, e.Size)
	if err := d.readTo(ctx, r, e.Size, make([]byte, block), progress); err != nil {
		return "", nil, err
	}
	got, pieces := d.result()
	return got, pieces, nil
}
