package modelfiles

import (
	"context"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
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
	err = s.locked(ctx, j, "delete files", func() error {
		freed, err = j.dir.Purge(cache.Selection(j.want), before)
		return err
	})
	return freed, err
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
