package hub

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
)

// Big is a large file that nobody holds whole: the bytes of a smaller one on disk, over and over, up to Size. From a
// tmpfs it is sent without a copy. With a length of the block that is no multiple of a client's ranges no two ranges are
// alike, so that one in the place of another shows.
type Big struct {
	Block  string // path; empty = the file is listed and never served, for sizes that nobody can hash
	Size   int64
	SHA256 string // empty = Push reads everything once to know it
}

// content is what a file holds, and its names.
type content struct {
	data    []byte
	block   string // instead of data
	size    int64
	sha256  string
	gitSHA1 string
}

func contentOf(data []byte) content {
	return content{data: data, size: int64(len(data)), sha256: sha256Hex(data), gitSHA1: GitSHA1(data)}
}

// contentOfBig reads a block file to the end as often as needed, unless the hash is known.
func contentOfBig(b Big) (content, error) {
	c := content{block: b.Block, size: b.Size, sha256: b.SHA256}
	c.gitSHA1 = GitSHA1([]byte("pointer " + c.sha256)) // large files are never stored in git itself
	if b.SHA256 != "" {
		return c, nil
	}
	d := sha256.New()
	if err := c.copy(d, 0, c.size); err != nil {
		return content{}, err
	}
	c.sha256 = hex.EncodeToString(d.Sum(nil))
	return c, nil
}

// copy writes n bytes from an offset on.
func (c content) copy(w io.Writer, from, n int64) error {
	if c.block == "" {
		_, err := w.Write(c.data[from : from+n])
		return err
	}
	f, err := os.Open(c.block)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("%s is empty", c.block)
	}
	for n > 0 {
		at := from % info.Size()
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		sent, err := io.CopyN(w, f, min(n, info.Size()-at))
		from, n = from+sent, n-sent
		if err != nil {
			return err
		}
	}
	return nil
}

// body is one answer's part of a file, with what is wrong with it.
type body struct {
	content
	at, to int64 // what is left of the content
	flip   int64 // offset of a byte that goes out wrong; negative = none
	tail   []byte
}

func (b *body) left() int64 { return b.to - b.at + int64(len(b.tail)) }

// compress makes the whole body its gzip form, one that costs next to nothing: a hub that is busy packing looks like one that stalls.
func (b *body) compress() error {
	var plain, packed bytes.Buffer
	if err := b.write(&plain, b.left()); err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		return err
	}
	_, _ = z.Write(plain.Bytes()) // a buffer takes everything
	_ = z.Close()
	*b = body{flip: -1, tail: packed.Bytes()}
	return nil
}

// write sends the next n bytes.
func (b *body) write(w io.Writer, n int64) error {
	for n > 0 && b.at < b.to {
		step := min(n, b.to-b.at)
		if b.flip > b.at {
			step = min(step, b.flip-b.at)
		}
		var err error
		if b.flip == b.at {
			step = 1
			var one bytes.Buffer
			if err = b.copy(&one, b.at, 1); err == nil {
				_, err = w.Write([]byte{one.Bytes()[0] ^ 1})
			}
		} else {
			err = b.copy(w, b.at, step)
		}
		if err != nil {
			return err
		}
		b.at, n = b.at+step, n-step
	}
	n = min(n, int64(len(b.tail)))
	if n <= 0 {
		return nil
	}
	out := b.tail[:n]
	b.tail = b.tail[n:]
	_, err := w.Write(out)
	return err
}

// GitSHA1 is the name that git gives to content.
func GitSHA1(content []byte) string {
	d := sha1.New()
	fmt.Fprintf(d, "blob %d\x00", len(content))
	return sumHex(d, content)
}

func sha256Hex(content []byte) string { return sumHex(sha256.New(), content) }

func sumHex(d hash.Hash, content []byte) string {
	d.Write(content)
	return hex.EncodeToString(d.Sum(nil))
}
