package cache

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lockEvery is how often a lock that somebody else holds is tried again.
const lockEvery = 100 * time.Millisecond

// LockFile takes the lock file, calling waiting between tries, and returns what gives it back. It is the flock(2) that
// the hub's Python client takes, so both can fill one cache, and it excludes others in this process too. Lock files
// stay: deleting one would let two owners in.
func LockFile(ctx context.Context, name string, waiting func()) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	for {
		l := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o664))
		ok, err := l.TryLock()
		if err != nil {
			return nil, err
		}
		// Old versions of the Python client delete lock files: then this is the lock of nothing.
		if ok && sameFile(l, name) {
			return func() { _ = l.Close() }, nil
		}
		_ = l.Close()
		if ok {
			continue
		}
		waiting()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockEvery):
		}
	}
}

func sameFile(l *flock.Flock, name string) bool {
	held, err := l.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(name)
	return err == nil && os.SameFile(held, now)
}
