package cache

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// TestLock_deletedByOthers: a lock file that somebody deleted locks nothing.
func TestLock_deletedByOthers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.lock")
	first, err := LockFile(t.Context(), name, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	second, err := LockFile(t.Context(), name, func() {})
	if err != nil {
		t.Fatal(err)
	}
	first()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := LockFile(ctx, name, func() {}); err == nil {
		t.Error("two owners")
	}
	second()
}

func TestSameFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.lock")
	l := flock.New(name)
	if ok, err := l.TryLock(); err != nil || !ok || !sameFile(l, name) {
		t.Fatal(ok, err)
	}
	defer l.Close()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if sameFile(l, name) {
		t.Error("the lock of a deleted file counts")
	}
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if sameFile(l, name) {
		t.Error("the lock of another file counts")
	}
}
