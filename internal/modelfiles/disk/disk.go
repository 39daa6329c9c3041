// Package disk is the file system under the models: how full it is and the alerts about it, promises of space to downloads, and small
// writes that outlast a power failure.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Status reports the file system of a folder, which need not exist yet. Its percentage is df's: of what others than root can use.
func Status(nodeID, dir string, now time.Time) (api.NodeDiskStatus, error) {
	s, err := Measure(dir)
	if err != nil {
		return api.NodeDiskStatus{}, err
	}
	return api.NodeDiskStatus{
		NodeID: nodeID, ModelDir: dir, TotalBytes: s.Total, UsedBytes: s.Used, AvailableBytes: s.Available,
		UsagePct: percent(s.Used, s.Available), UpdatedAtMS: now.UnixMilli(),
	}, nil
}

// Measure measures the file system of a folder, which need not exist yet.
func Measure(dir string) (Space, error) {
	at := dir
	for {
		s, err := space(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return Space{}, fmt.Errorf("disk of %s: %w", dir, err)
		}
		return s, nil
	}
}

// Space is how full a file system is.
type Space struct {
	Device                 uint64
	Total, Used, Available uint64 // bytes; available is what others than root may use
	Files, FreeFiles       uint64 // inodes; 0, 0 where a file system has no fixed number
}

// Percent is the fuller of bytes and inodes, each of what others than root can use.
func (s Space) Percent() float64 {
	return max(percent(s.Used, s.Available), percent(s.Files-s.FreeFiles, s.FreeFiles))
}

// percent is used of used + available, rounded up as df does, with one decimal.
func percent(used, avail uint64) float64 {
	if used+avail == 0 {
		return 0
	}
	return math.Ceil(float64(used)/float64(used+avail)*1000) / 10
}
