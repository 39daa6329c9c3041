package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Held says which files of a repository a hold is about.
type Held string

// HeldAll is a hold of a whole repository: somebody fetches into it.
const HeldAll Held = "fetch"

// HeldCommit is a hold of a commit's files: an engine has them open.
func HeldCommit(commit string) Held { return Held("commit-" + commit) }

// HeldBlob is a hold of one content: another node reads it.
func HeldBlob(h manifest.Hash) Held { return Held("blob-" + h.Hex) }

// leases is the folder of a repository's holds: WHAT/OWNER, each a file that its owner has locked.
func (d Dir) leases() string { return filepath.Join(d.Root.State("leases"), "huggingface", d.Name) }

// Hold keeps files from being removed until release, or until this process ends, however it ends. Others may hold them too. It waits for a
// removal that is going on in the repository, so what is seen after it stays.
func (d Dir) Hold(ctx context.Context, what Held, owner string) (release func(), err error) {
	var l *flock.Flock
	name := filepath.Join(d.leases(), string(what), fmt.Sprintf("%s@%d-%d", url.PathEscape(owner), os.Getpid(), holds.Add(1)))
	err = d.Locked(ctx, func() error {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		l = flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
		ok, err := l.TryLock() // who looks for owners locks the repository first, so nobody stands in the way
		if lockless(err) {
			return nil // while its file is there, it counts
		}
		if err == nil && !ok {
			err = errors.New("the lock file of a hold is locked by a stranger: " + name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return func() {
		_ = os.Remove(name) // or whoever looks for owners next does it
		_ = l.Close()
	}, nil
}

// holds makes each one of this process another file.
var holds atomic.Uint64

// Locked runs a change of the repository's names and records, one at a time on this node.
func (d Dir) Locked(ctx context.Context, change func() error) error {
	unlock, err := LockFile(ctx, filepath.Join(d.Root.State("locks"), d.Name+".lock"), func() {})
	if err != nil {
		return err
	}
	defer unlock()
	return change()
}

// holders lists who holds what of a repository, by what, and forgets holds whose owners are gone. The caller has locked the repository.
func (d Dir) holders() (map[Held][]string, error) {
	out := map[Held][]string{}
	err := filepath.WalkDir(d.leases(), func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && e.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		busy, err := locked(name)
		if err != nil {
			return err
		}
		if !busy {
			return disk.Remove(name)
		}
		owner, err := url.PathUnescape(e.Name()[:max(strings.LastIndexByte(e.Name(), '@'), 0)])
		if err != nil || owner == "" {
			owner = e.Name()
		}
		what := Held(filepath.Base(filepath.Dir(name)))
		out[what] = append(out[what], owner)
		return nil
	})
	return out, err
}

// locked tells whether somebody has locked a file, or may have, because locks exclude nobody there; one that is not there is not.
func locked(name string) (bool, error) {
	state, err := probeFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return state != lockFree, err
}

// At finds the repository, and what of it, that a path leads into: a snapshot or a content of the cache. False: it is another kind of file.
func At(path string) (Dir, Held, bool) {
	path = filepath.Clean(path)
	before, rest, ok := strings.Cut(path, "/hub/models--")
	parts := strings.SplitN(rest, "/", 4)
	if !ok || len(parts) < 3 || parts[0] == "" {
		return Dir{}, "", false
	}
	d := Dir{Root: Root(before), Name: parts[0]}
	switch h := hashNamed(parts[2]); {
	case parts[1] == "snapshots" && manifest.IsCommit(parts[2]):
		return d, HeldCommit(parts[2]), true
	case parts[1] == "blobs" && len(parts) == 3 && h.Valid():
		return d, HeldBlob(h), true
	}
	return Dir{}, "", false
}

// Touch notes that a model is used now, by whatever of it was held.
func (d Dir) Touch(what Held, now time.Time) {
	for _, r := range d.Records() {
		if what == HeldCommit(r.Commit) || r.has(what) {
			d.Used(r, now)
		}
	}
}

func (r *Record) has(what Held) bool {
	for _, f := range r.Files {
		if what == HeldBlob(f.Hash) {
			return true
		}
	}
	return false
}
