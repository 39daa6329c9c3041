package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
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

// fake is a file system's locks: each kind answers who asks first, and who asks while the first has it.
type fake struct {
	ok  bool
	err error
}

func (f fake) TryLock() (bool, error) { return f.ok, f.err }
func (fake) Close() error             { return nil }

func TestProbe(t *testing.T) {
	got, not, broken := fake{ok: true}, fake{}, errors.New("broken")
	for name, c := range map[string]struct {
		answers []fake
		want    lockState
		err     error
	}{
		"good":                    {[]fake{got, not}, lockFree, nil},
		"held by somebody":        {[]fake{not}, lockHeld, nil},
		"granted to all":          {[]fake{got, got}, lockBroken, nil},
		"Lustre without flock":    {[]fake{{err: syscall.ENOSYS}}, lockBroken, nil},
		"no locks":                {[]fake{{err: syscall.EOPNOTSUPP}}, lockBroken, nil},
		"NFS without its service": {[]fake{{err: syscall.ENOLCK}}, lockBroken, nil},
		"a fault":                 {[]fake{got, {err: broken}}, lockBroken, broken},
	} {
		t.Run(name, func(t *testing.T) {
			state, err := probe(func() lock {
				l := c.answers[0]
				c.answers = c.answers[1:]
				return l
			})
			if state != c.want || !errors.Is(err, c.err) || len(c.answers) > 0 {
				t.Errorf("state %d, error %v, %d not asked", state, err, len(c.answers))
			}
		})
	}
}

// TestExclusive: on this disk locks are as they should be, and the test leaves nothing.
func TestExclusive(t *testing.T) {
	r := Root(t.TempDir())
	ok, err := r.Exclusive()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if left, err := os.ReadDir(r.State("locks")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}
