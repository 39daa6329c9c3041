package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// ErrInUse says that another process works on the store directory.
var ErrInUse = errors.New("store directory is in use")

const (
	// lockPoll is how often a held lock is looked at again.
	lockPoll = 50 * time.Millisecond
	// lockPatience is how long to wait for a holder whose parent seems to live: after a kill -9 of both that can
	// be a parent that nobody has reaped yet.
	lockPatience = 2 * time.Second
)

// lockDir takes the lock of the store directory, which the system drops when this process ends, however it ends.
// etcd itself would wait for another etcd in silence and without end. A holder whose parent is gone is about to
// end, and gets up to wait.
func lockDir(ctx context.Context, dir string, wait time.Duration) (*flock.Flock, error) {
	path := filepath.Join(dir, "lock")
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	for start := time.Now(); ; {
		taken, err := lock.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock the store directory: %w", err)
		}
		if taken {
			holder := fmt.Sprintf("%d %d\n", os.Getpid(), os.Getppid())
			return lock, os.WriteFile(path, []byte(holder), 0o600)
		}
		pid, parent := holder(path)
		patience := wait
		if alive(parent) {
			patience = min(wait, lockPatience)
		}
		if time.Since(start) >= patience {
			return nil, fmt.Errorf("%w: process %d, started by process %d, has %s; stop that one first", ErrInUse, pid, parent, dir)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// holder reads who holds the lock; zeros when it has not written that yet.
func holder(path string) (pid, parent int) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0
	}
	if _, err := fmt.Sscan(string(text), &pid, &parent); err != nil {
		return 0, 0
	}
	return pid, parent
}

// alive tells whether a process exists. A child of process 1 counts as one whose parent is gone.
func alive(pid int) bool {
	if pid <= 1 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
