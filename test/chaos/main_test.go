//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
)

// lab is what all rows share: a directory for everything, and the program under test.
var lab struct {
	dir    string
	nebula string
	closes []func() error // what outlives single rows, ended last in first out
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	err := setUp()
	if err == nil {
		code = m.Run()
	}
	for _, c := range slices.Backward(lab.closes) {
		err = errors.Join(err, c())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// labPrefix and the id of this process make the name of the lab's directory; every process of a run names it, in its arguments or its
// environment, and is found by it.
const labPrefix = "nebula-chaos-"

func setUp() error {
	if err := sweep(); err != nil {
		return err
	}
	lab.dir = filepath.Join(os.TempDir(), labPrefix+procs.Self().String())
	if err := os.Mkdir(lab.dir, 0o700); err != nil {
		return err
	}
	lab.closes = append(lab.closes, func() error { return clearAway(lab.dir) })
	if lab.nebula = os.Getenv("NEBULA_TEST_BINARY"); lab.nebula != "" {
		return nil
	}
	var err error
	lab.nebula, err = procs.Build(context.Background(), lab.dir)
	return err
}

// sweep ends and removes what earlier runs left that were killed themselves.
func sweep() error {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), labPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		owner, ok := procs.Parse(strings.TrimPrefix(filepath.Base(dir), labPrefix))
		if !ok || owner.Alive() {
			continue
		}
		if err := clearAway(dir); err != nil {
			return err
		}
	}
	return netns.Sweep()
}

// clearAway ends what works for a directory, unmounts what is mounted in it, and removes it.
func clearAway(dir string) error {
	if err := end(dir); err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at+"/", dir+"/") {
			if err := syscall.Unmount(at, 0); err != nil {
				return fmt.Errorf("unmount %s: %w", at, err)
			}
		}
	}
	return os.RemoveAll(dir)
}

// end kills every process that works for a directory: those that start others first.
func end(dir string) error {
	for range 10 { // one that was just being started may be missed once
		left, err := procs.Of(dir)
		if err != nil || len(left) == 0 {
			return err
		}
		var all error
		for _, kind := range []procs.Kind{procs.KindNebula, procs.KindEtcd, procs.KindShim, procs.KindEngine} {
			for _, p := range left {
				if p.Kind() == kind {
					all = errors.Join(all, p.Kill())
				}
			}
		}
		if all != nil {
			return all
		}
	}
	return fmt.Errorf("processes for %s come again and again", dir)
}

// full skips a row, or a part of one, that the short lane has no time for.
func full(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("in the full lane: make test-chaos-full")
	}
}

// eventually calls check until it returns nil and returns how long that took. The limit is generous, because it measures nothing.
func eventually(t *testing.T, limit time.Duration, check func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := check()
		switch took := time.Since(began); {
		case err == nil:
			return took
		case took > limit:
			t.Fatalf("not within %s: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// hold calls check for a time and fails the test as soon as it returns an error: for what must not happen.
func hold(t *testing.T, d time.Duration, check func() error) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// together calls fn for each item at once and returns all errors.
func together[T any](items []T, fn func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = fn(item) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
