package modelfiles

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/test/hub"
)

// hangingDisk mounts a file system that answers nothing, as one on a server that is gone. Release lets all who wait for it fail.
func hangingDisk(t *testing.T, dir string) (release func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("skipped: a file system that hangs needs /dev/fuse: %v", err)
	}
	if err := unix.Mount("nebula-test", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		_ = unix.Close(fd)
		t.Skipf("skipped: a file system that hangs needs root: %v", err)
	}
	released := false
	release = func() {
		if !released {
			released = true
			_ = unix.Close(fd)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	t.Cleanup(release)
	return release
}

// TestRun_hangingDisk: a file system that hangs holds up the look at it and nothing else. The last picture stays, and the node can end.
func TestRun_hangingDisk(t *testing.T) {
	s := newStore(t, hub.Start(t))
	dir := s.cfg.CacheDir
	place(t, dir, "mine/m.gguf", ggufFile(100, 1))
	hung := filepath.Join(dir, "on-nfs")
	if err := os.Mkdir(hung, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for {
		p, newer := s.Storage()
		if p.Disk != nil {
			break
		}
		<-newer
	}
	release := hangingDisk(t, hung)
	place(t, dir, "new/m.gguf", ggufFile(100, 1)) // the watch tells of it, and the look hangs
	for busy := false; !busy; {
		if busy = !s.storage.looking.TryLock(); !busy {
			s.storage.looking.Unlock()
			time.Sleep(10 * time.Millisecond)
		}
	}
	told := make(chan Storage, 1)
	go func() {
		p, _ := s.Storage()
		told <- p
	}()
	select {
	case p := <-told:
		if len(p.Models) != 1 || p.Models[0].ModelName != "mine" {
			t.Errorf("%+v", p.Models)
		}
	case <-time.After(10 * time.Second):
		t.Error("the picture cannot be had while the disk hangs")
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the node cannot end while the disk hangs")
	}
	release()
	s.storage.looking.Lock() // the look fails, and is over before the test is
	defer s.storage.looking.Unlock()
}
