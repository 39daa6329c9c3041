package modelfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// ledger adds up the disk space that running downloads still need, so that two of them are not promised the same.
type ledger struct {
	keep uint64 // bytes left free; 0 = a share of the disk

	mu    sync.Mutex
	taken map[*reservation]bool
}

// reservation is the space that one download still needs. It shrinks as files take their blocks.
type reservation struct {
	ledger *ledger
	root   root
	left   int64 // guarded by ledger.mu
}

func (r *reservation) took(n int64) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	r.left = max(r.left-n, 0)
}

func (r *reservation) release() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	delete(r.ledger.taken, r)
}

// reserve promises the space for blobs, or says by how much it is short.
func (s *Store) reserve(d repoDir, blobs []manifest.Entry) (*reservation, error) {
	r := &reservation{ledger: &s.room, root: d.root}
	for _, b := range blobs {
		if fi, err := os.Lstat(d.blob(b.Hash)); err == nil && fi.Size() == b.Size {
			continue
		}
		r.left += b.Size
		if fi, err := os.Lstat(d.part(b.Hash)); err == nil {
			r.left -= min(allocated(fi), b.Size)
		}
	}
	if err := os.MkdirAll(d.root.hub(), 0o755); err != nil {
		return nil, diskError(string(d.root), "create folder", err)
	}
	total, _, avail, err := usage(string(d.root))
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, diskError(string(d.root), "read the free space", err)
	}
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if err == nil && r.left > 0 {
		promised := int64(0)
		for other := range s.room.taken {
			promised += other.left
		}
		keep := s.room.keep
		if keep == 0 {
			keep = min(total/50, 5<<30)
		}
		if free := int64(avail) - promised - int64(keep); free < r.left {
			return nil, fail.Passing(api.FailDiskFull, fail.DiskSpace,
				"the model needs %s more on the disk of %s, which has %s free, %s of it promised to other downloads and %s kept free: %s are missing. Free some space, or put model_path on another disk.",
				fail.Size(r.left), d.root, fail.Size(avail), fail.Size(promised), fail.Size(keep), fail.Size(r.left-free))
		}
	}
	s.room.taken[r] = true
	return r, nil
}

// Disk reports the file system of CacheDir. Its percentage is df's: of what others than root can use.
func (s *Store) Disk(now time.Time) (api.NodeDiskStatus, error) {
	dir := s.cfg.CacheDir
	for { // before the first download the folder may not exist yet
		total, used, avail, err := usage(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return api.NodeDiskStatus{}, fmt.Errorf("disk of %s: %w", s.cfg.CacheDir, err)
		}
		return api.NodeDiskStatus{
			NodeID: s.cfg.NodeID, ModelDir: s.cfg.CacheDir, TotalBytes: total, UsedBytes: used, AvailableBytes: avail,
			UsagePct: percent(used, avail), UpdatedAtMS: now.UnixMilli(),
		}, nil
	}
}

// percent is used of used + available, rounded up as df does, with one decimal.
func percent(used, avail uint64) float64 {
	if used+avail == 0 {
		return 0
	}
	return math.Ceil(float64(used)/float64(used+avail)*1000) / 10
}

// The disk alerts, as [api.DiskAlert] names them.
const (
	AlertWarning  = "disk_warning"
	AlertCritical = "disk_critical"
)

// thresholds are where an alert begins and ends, in percent; the gap keeps it from flickering.
var thresholds = []struct {
	kind         string
	raise, clear float64
	advice       string
}{
	{AlertWarning, 85, 83, "Delete models that are not needed."},
	{AlertCritical, 95, 93, "Downloads will fail soon: delete models that are not needed, or add space."},
}

// Alerts returns the alerts that hold, given those that held before: one that goes on keeps its time.
func Alerts(before []api.DiskAlert, d api.NodeDiskStatus, now time.Time) []api.DiskAlert {
	var out []api.DiskAlert
	for _, t := range thresholds {
		since, held := now.UnixMilli(), false
		for _, b := range before {
			if b.AlertType == t.kind {
				since, held = b.CreatedAtMS, true
			}
		}
		if d.UsagePct >= t.raise || held && d.UsagePct >= t.clear {
			out = append(out, api.DiskAlert{
				NodeID: d.NodeID, AlertType: t.kind, ModelDir: d.ModelDir, UsagePct: d.UsagePct, AvailableBytes: d.AvailableBytes, CreatedAtMS: since,
				Message: fmt.Sprintf("The disk of %s is %.1f %% full; %s are left. %s", d.ModelDir, d.UsagePct, fail.Size(d.AvailableBytes), t.advice),
			})
		}
	}
	return out
}
