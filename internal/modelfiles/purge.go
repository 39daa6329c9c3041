package modelfiles

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Purge deletes a model's files as far as they were complete before a time and nothing else refers to them, and returns how many bytes of disk that
// freed. The files of a local model are never touched. While a fetch into the same repository goes on it is refused, and a fetch that comes
// meanwhile waits for it.
func (s *Store) Purge(ctx context.Context, spec api.ModelSpec, before time.Time) (freed uint64, err error) {
	if spec.ModelSource == api.SourceLocal {
		return 0, fail.Final(api.FailInvalidModel, fail.Unsupported, "%s is a local model: its files are the user's own, and stay", spec.ModelName)
	}
	j, err := s.newJob(Request{Spec: spec}, wanted(Request{Spec: spec}))
	if err != nil {
		return 0, err
	}
	leave, err := s.enterPurge(j.dir)
	if err != nil {
		return 0, err
	}
	defer leave()
	freed, err = s.purge(ctx, j.dir, cache.Selection(j.want), before)
	if _, told := fail.As(err); told {
		return freed, err
	}
	return freed, disk.Explain(string(j.dir.Root), "delete files", err)
}

// purge removes the records of a selection, of whatever commit, and, when no other is left, what broken-off downloads left before that time.
func (s *Store) purge(ctx context.Context, d cache.Dir, selection string, before time.Time) (freed uint64, err error) {
	m := cache.Remover{Step: s.cfg.step}
	others := 0
	for _, r := range d.Records() {
		if r.Selection != selection || r.CreatedMS >= before.UnixMilli() {
			others++
			continue
		}
		n, kept, err := m.Unit(ctx, d, r.Commit, r.Selection, nil)
		freed += uint64(n)
		if err == nil && kept != "" {
			err = fail.Passing(api.FailDownload, fail.Disk, "files of %s stay for now: they are %s", d.Model(), kept)
		}
		if err != nil {
			return freed, err
		}
	}
	if others > 0 {
		return freed, nil
	}
	sv, err := d.Surveyed(ctx)
	if err != nil {
		return freed, err
	}
	loose := sv.Loose()
	for _, name := range slices.Sorted(maps.Keys(loose)) {
		if loose[name] != cache.LoosePart || !sv.Files[name].Wrote.Before(before) {
			continue
		}
		n, err := m.Loose(ctx, d, name)
		freed += uint64(n)
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// isPurged tells whether files of a repository are being deleted now.
func (s *Store) isPurged(dir cache.Dir) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.purging[dir.Path()] != nil
}

// enterPurge closes a repository to fetches until the returned function is called.
func (s *Store) enterPurge(dir cache.Dir) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.flights {
		if strings.HasPrefix(key, dir.Path()+"\x00") {
			return nil, fail.Passing(api.FailDownload, fail.Disk, "files of %s are being fetched", dir.Name)
		}
	}
	if s.purging[dir.Path()] != nil {
		return nil, fail.Passing(api.FailDownload, fail.Disk, "files of %s are being deleted already", dir.Name)
	}
	over := make(chan struct{})
	s.purging[dir.Path()] = over
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.purging, dir.Path())
		close(over)
	}, nil
}
