//go:build !linux

package disk

import (
	"errors"
	"io/fs"
	"os"
)

// Clone fails.
func Clone(_, _ *os.File) error { return errors.ErrUnsupported }

// OpenPlain opens a regular file for reading.
func OpenPlain(path string) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, fs.ErrInvalid)
	}
	return os.Open(path)
}

// OnlyOurs is not known.
func OnlyOurs(fs.FileInfo) bool { return false }
