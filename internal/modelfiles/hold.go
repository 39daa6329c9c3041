package modelfiles

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Hold keeps a model's files from being deleted until release, or until this process ends: its owner, in words for people, is about to open the path or has
// it open already. Both count as a use. Files that are not in the cache need no hold: Nebula never deletes them.
func (s *Store) Hold(ctx context.Context, path, owner string) (release func(), err error) {
	d, what, ok := cache.At(path)
	if !ok {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			d, what, ok = cache.At(real) // a local model may be a link into the cache
		}
	}
	if !ok {
		return func() {}, nil
	}
	s.mu.Lock()
	s.roots[d.Root] = true
	s.mu.Unlock()
	free, err := d.Hold(ctx, what, owner)
	if err != nil {
		return nil, disk.Explain(string(d.Root), "hold files", err)
	}
	if _, err := os.Stat(path); err != nil {
		free()
		return nil, fail.Passing(api.FailDownload, fail.Missing, "%s was removed before it could be used: it will be fetched again", path).Because(err)
	}
	d.Touch(what, time.Now())
	return func() {
		d.Touch(what, time.Now())
		free()
	}, nil
}

// holdRepo keeps everything in a repository while somebody fetches into it.
func (s *Store) holdRepo(ctx context.Context, j job) (release func(), err error) {
	release, err = j.dir.Hold(ctx, cache.HeldAll, "a download of "+j.name)
	return release, disk.Explain(string(j.dir.Root), "hold files", err)
}
