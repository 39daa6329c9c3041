//go:build !linux

package modelfiles

import (
	"errors"
	"io/fs"
	"os"
)

// Elsewhere than on Linux there is no reservation, no power-failure mark and no disk usage: downloads work, and a full
// disk is noticed when it is full.

const noFollow = 0

func allocate(*os.File, int64, int64) error { return nil }

func syncData(f *os.File) error { return f.Sync() }

func usage(string) (total, used, available uint64, err error) { return 0, 0, 0, errors.ErrUnsupported }

func bootID() string { return "" }

func inode(fs.FileInfo) uint64 { return 0 }

func allocated(fi fs.FileInfo) int64 { return fi.Size() }
