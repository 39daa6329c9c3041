package modelfiles

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"strconv"

	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// journal is what a download leaves behind so that the next one goes on where it stopped, without reading again what
// was hashed already. The partial file's own length tells what was written since: it grows byte by byte.
type journal struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"` // of the system that wrote it: after another boot only synced bytes are on the disk
	manifest.Hash
	Size   int64 `json:"size"`
	Hashed mark  `json:"hashed"`
	Synced mark  `json:"synced"`
}

// mark is a state of the hash after the first At bytes.
type mark struct {
	At    int64  `json:"at"`
	State []byte `json:"state,omitempty"`
}

const journalVersion = 1

// newSum returns the hash that names content of that size.
func newSum(h manifest.Hash, size int64) hash.Hash {
	if h.Algo == manifest.GitSHA1 {
		d := sha1.New()
		d.Write([]byte("blob " + strconv.FormatInt(size, 10) + "\x00"))
		return d
	}
	return sha256.New()
}

// markOf takes the state of a hash.
func markOf(sum hash.Hash, at int64) (mark, error) {
	m, ok := sum.(encoding.BinaryMarshaler)
	if !ok {
		return mark{}, fmt.Errorf("a %T keeps no state", sum)
	}
	b, err := m.MarshalBinary()
	return mark{at, b}, err
}

// fits tells whether the journal is about this content.
func (j *journal) fits(e manifest.Entry) bool {
	return j.Version == journalVersion && j.Hash == e.Hash && j.Size == e.Size
}

// resumeAt returns the hash and the offset to go on from: the newest mark that can be believed, else the beginning.
// length is the partial file's.
func (j *journal) resumeAt(e manifest.Entry, boot string, length int64) (hash.Hash, int64) {
	sum := newSum(e.Hash, e.Size)
	m := j.Synced
	if boot != "" && j.Boot == boot {
		m = j.Hashed
	}
	u, ok := sum.(encoding.BinaryUnmarshaler)
	if !ok || m.At <= 0 || m.At > min(length, e.Size) || u.UnmarshalBinary(m.State) != nil {
		return newSum(e.Hash, e.Size), 0
	}
	return sum, m.At
}

// readJournal returns the journal, or an empty one when there is none that can be read.
func readJournal(path string) journal {
	b, err := os.ReadFile(path)
	if err != nil {
		return journal{}
	}
	return decodeJournal(b)
}

func decodeJournal(b []byte) journal {
	var j journal
	if json.Unmarshal(b, &j) != nil {
		return journal{}
	}
	return j
}
