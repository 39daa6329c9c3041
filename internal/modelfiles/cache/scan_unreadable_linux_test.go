package cache

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScan_unreadable: a folder that may not be read hides what is in it and nothing else, and no model of which a part is hidden is complete.
func TestScan_unreadable(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "open/m.gguf\nhalf/m.gguf\nhalf/closed/n.gguf\nclosed/m.gguf")
	for dir := root; dir != "/"; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm()&0o001 == 0 && os.Chmod(dir, 0o755) != nil {
			t.Fatal(dir, err)
		}
		if filepath.Dir(dir) == os.TempDir() {
			break
		}
	}
	for _, dir := range []string{"half/closed", "closed"} {
		if err := os.Chmod(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("skipped: somebody else's folders need root")
	}
	runtime.LockOSThread() // for the file system this thread alone is nobody
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setfsuid(0) }()
	if _, err := os.ReadDir(filepath.Join(root, "closed")); err == nil {
		t.Skip("skipped: nobody may read everything here")
	}
	got := lines(root, mustScan(t, NewScanner(ScanConfig{}), root, time.Now()))
	if want := "half: partial, 1 files, 10 bytes, in half\nopen: complete, 1 files, 10 bytes, in open"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
