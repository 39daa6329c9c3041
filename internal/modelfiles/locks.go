package modelfiles

import (
	"crypto/rand"

	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// partial is where a transfer keeps what it has.
type partial struct {
	part, journal string
	alone         bool // locks exclude nobody here: the names are of this transfer only, and nobody takes up what it leaves
}

// partialOf names the files of a transfer of h into d.
func (s *Store) partialOf(d cache.Dir, h manifest.Hash) (partial, error) {
	ok, err := s.exclusive(d.Root)
	if err != nil {
		return partial{}, disk.Explain(string(d.Root), "test locks", err)
	}
	if ok {
		return partial{part: d.Part(h), journal: d.Journal(h)}, nil
	}
	id := rand.Text()
	return partial{part: d.PartAlone(h, id), journal: d.JournalAlone(h, id), alone: true}, nil
}

// drop removes what nobody would take up.
func (p partial) drop() error {
	if !p.alone {
		return nil
	}
	return disk.Remove(p.part, p.journal)
}

// exclusive tells whether the locks of a root exclude others, by a test at its first use, and warns once when they do not.
func (s *Store) exclusive(r cache.Root) (bool, error) {
	s.mu.Lock()
	ok, known := s.excludes[r]
	s.mu.Unlock()
	if known {
		return ok, nil
	}
	ok, err := s.cfg.exclusive(r)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	_, known = s.excludes[r]
	s.excludes[r] = ok
	s.mu.Unlock()
	if !ok && !known {
		s.cfg.Log.Warn("file locks exclude nobody on this disk, as on some network file systems: downloads that stop start over, processes that share the folder "+
			"fetch the same files twice, and files that a crashed process used are not deleted; use a local disk, or mount it with locks", "folder", string(r))
	}
	return ok, nil
}
