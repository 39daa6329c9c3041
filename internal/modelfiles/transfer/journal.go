package transfer

import (
	"encoding/json"
	"os"
	"slices"

	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// journal is what a transfer leaves behind, so that the next one fetches and hashes nothing again.
type journal struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"` // of the system that wrote it: after another boot only synced bytes are on the disk
	manifest.Hash
	Size    int64    `json:"size"`
	Now     progress `json:"now"`
	Synced  progress `json:"synced"`
	PeerGot spans    `json:"peer_got,omitempty"` // what came from other nodes, and is doubted first
}

// progress is what was done at one time: these bytes were in the file, and its first ones were hashed.
type progress struct {
	Written spans `json:"written,omitempty"`
	Mark    mark  `json:"mark"`
}

const journalVersion = 2

// readJournal returns the journal, or an empty one when there is none that can be read.
func readJournal(path string) journal {
	b, err := os.ReadFile(path)
	if err != nil {
		return journal{}
	}
	return decodeJournal(b)
}

// decodeJournal returns a journal that keeps its promises, or an empty one.
func decodeJournal(b []byte) journal {
	var j journal
	if json.Unmarshal(b, &j) != nil || j.Version != journalVersion || j.Size < 0 || !j.PeerGot.sound(j.Size) {
		return journal{}
	}
	for _, p := range []*progress{&j.Now, &j.Synced} {
		if !p.Written.sound(j.Size) || p.Mark.At < 0 || p.Mark.At > j.Size {
			return journal{}
		}
		// A block is hashed as soon as it is written, and noted a moment later.
		p.Written = p.Written.add(span{0, p.Mark.At})
	}
	return j
}

// trusted is what of the journal can be believed about a file of that length: after the same boot all that was written,
// after another what had reached the disk.
func (j journal) trusted(e manifest.Entry, boot string, length int64) (p progress, sameBoot bool) {
	if j.Hash != e.Hash || j.Size != e.Size {
		return progress{}, false
	}
	p, sameBoot = j.Synced, false
	if boot != "" && j.Boot == boot {
		p, sameBoot = j.Now, true
	}
	p.Written = p.Written.without(span{length, j.Size})
	if p.Mark.At > p.Written.prefix() {
		p.Mark = mark{}
	}
	return p, sameBoot
}

// Written reads from a transfer's journal how many bytes it has in place, for those who watch another process.
func Written(journalPath string) int64 {
	return readJournal(journalPath).Now.Written.total()
}

func (p progress) clone() progress {
	p.Written = slices.Clone(p.Written)
	return p
}
