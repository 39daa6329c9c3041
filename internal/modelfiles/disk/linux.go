//go:build linux

package disk

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// NoFollow makes opening a symbolic link an error.
const NoFollow = unix.O_NOFOLLOW

// Allocate reserves the blocks of [from, from+n) without changing the file's length; an error means that there are not
// that many left. known is false on a file system that cannot reserve, or that is memory: there it costs as much as
// writing.
func Allocate(f *os.File, from, n int64) (known bool, err error) {
	if n <= 0 {
		return true, nil
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) == nil && fs.Type == unix.TMPFS_MAGIC {
		return false, nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	return err == nil, err
}

// Release gives the blocks of [from, from+n) back: they read as zeros. A file system that cannot do this keeps them.
func Release(f *os.File, from, n int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, from, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// StartWriting lets the system begin to write what it still holds in memory, so that a later sync is short. It is a
// hint: a file system that does not take it loses nothing.
func StartWriting(f *os.File) { _ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) }

// SyncData makes written bytes outlast a power failure.
func SyncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// Usage returns the total, used and available bytes of the file system that holds path. Available is what others than
// root may use, so used + available is less than total.
func Usage(path string) (total, used, available uint64, err error) {
	s, err := space(path)
	return s.Total, s.Used, s.Available, err
}

func space(path string) (Space, error) {
	var s unix.Statfs_t
	var dev unix.Stat_t
	if err := unix.Statfs(path, &s); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if err := unix.Stat(path, &dev); err != nil {
		return Space{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	block := uint64(s.Frsize)
	return Space{
		Device: dev.Dev, Total: s.Blocks * block, Used: (s.Blocks - s.Bfree) * block, Available: s.Bavail * block,
		Files: s.Files, FreeFiles: min(s.Ffree, s.Files),
	}, nil
}

// BootID names the running system's boot; "" when it cannot be told.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func stat(fi fs.FileInfo) *syscall.Stat_t {
	s, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return &syscall.Stat_t{}
	}
	return s
}

// Inode is a file's number on its file system.
func Inode(fi fs.FileInfo) uint64 { return stat(fi).Ino }

// Allocated is how many bytes the file takes on the disk.
func Allocated(fi fs.FileInfo) int64 { return stat(fi).Blocks * 512 }
