//go:build !linux

package disk

import (
	"errors"
	"io/fs"
	"os"
)

// Elsewhere than on Linux there is no reservation, no power-failure mark and no disk usage: downloads work, and a full
// disk is noticed when it is full.

const NoFollow = 0

func Allocate(*os.File, int64, int64) (known bool, err error) { return false, nil }

func Release(*os.File, int64, int64) error { return nil }

func StartWriting(*os.File) {}

func SyncData(f *os.File) error { return f.Sync() }

func Usage(string) (total, used, available uint64, err error) { return 0, 0, 0, errors.ErrUnsupported }

func BootID() string { return "" }

func Inode(fs.FileInfo) uint64 { return 0 }

func Allocated(fi fs.FileInfo) int64 { return fi.Size() }

func space(string) (Space, error) { return Space{}, errors.ErrUnsupported }
