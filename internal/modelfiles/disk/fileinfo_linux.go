package disk

import (
	"io/fs"
	"time"
)

// Names is how many names a file has: with more than one, removing one frees nothing.
func Names(fi fs.FileInfo) uint64 { return uint64(stat(fi).Nlink) }

// Changed is when a file's bytes, name or mode last changed, which nobody can set.
func Changed(fi fs.FileInfo) time.Time { return time.Unix(stat(fi).Ctim.Unix()) }

// Device tells file systems apart.
func Device(fi fs.FileInfo) uint64 { return stat(fi).Dev }
