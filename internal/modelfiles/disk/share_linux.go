package disk

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes dst share the blocks of src. Few file systems can (btrfs, xfs).
func Clone(dst, src *os.File) error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) }

// OpenPlain opens a regular file for reading. It does not wait for the other end of a pipe that lies in its place.
func OpenPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|NoFollow, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, f.Close(), fs.ErrInvalid)
	}
	return f, nil
}

// OnlyOurs tells whether nobody but this process's user and root may write to a file.
func OnlyOurs(fi fs.FileInfo) bool {
	uid := stat(fi).Uid
	return (uid == 0 || int(uid) == os.Geteuid()) && fi.Mode().Perm()&0o022 == 0
}
