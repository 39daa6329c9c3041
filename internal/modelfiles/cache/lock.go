package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// lockEvery is how often a lock that somebody else holds is tried again.
const lockEvery = 100 * time.Millisecond

// LockFile takes the lock file, calling waiting between tries, and returns what gives it back. It is the flock(2) that
// the hub's Python client takes, so both can fill one cache, and it excludes others in this process too. Lock files
// stay: deleting one would let two owners in. Where the file system has no locks everybody gets it, see [Root.Exclusive].
func LockFile(ctx context.Context, name string, waiting func()) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	for {
		l := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o664))
		ok, err := l.TryLock()
		if lockless(err) {
			return func() {}, nil
		}
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

// lock is one descriptor's lock of a file.
type lock interface {
	TryLock() (bool, error)
	Close() error
}

// lockState is what taking a lock twice, by two descriptors, tells.
type lockState int

const (
	lockFree   lockState = iota // the first got it and the second did not
	lockHeld                    // by somebody else
	lockBroken                  // it excludes nobody
)

// probe finds the state of the lock that open opens, and gives it back.
func probe(open func() lock) (lockState, error) {
	for _, last := range []bool{false, true} {
		l := open()
		defer l.Close()
		ok, err := l.TryLock()
		switch {
		case lockless(err):
			return lockBroken, nil
		case err != nil:
			return lockBroken, err
		case !ok && last:
			return lockFree, nil
		case !ok:
			return lockHeld, nil
		}
	}
	return lockBroken, nil
}

// probeFile is probe of a file that is there.
func probeFile(name string) (lockState, error) {
	return probe(func() lock { return flock.New(name, flock.SetFlag(os.O_RDWR)) })
}

// lockless tells whether err means that the file system has no locks: NFS without its lock service, Lustre mounted without flock.
func lockless(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK)
}

// Exclusive tests whether locks in the root exclude anybody, by taking one of a new file twice. On some network file systems all of them are granted.
func (r Root) Exclusive() (bool, error) {
	if err := os.MkdirAll(r.State("locks"), 0o755); err != nil {
		return false, err
	}
	f, err := os.CreateTemp(r.State("locks"), "test-*.tmp")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	state, err := probeFile(f.Name())
	return state == lockFree, errors.Join(err, f.Close())
}
