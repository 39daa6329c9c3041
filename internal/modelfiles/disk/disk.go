// Package disk is the file system under the models: how full it is and the alerts about it, promises of space to downloads, and small
// writes that outlast a power failure.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Ledger adds up the disk space that running downloads still need, so that two of them are not promised the same.
type Ledger struct {
	keep uint64

	mu    sync.Mutex
	taken map[*Reservation]bool
}

// NewLedger returns a ledger that leaves keep bytes of each disk free; 0 = 2 % of the disk, at most 5 GiB.
func NewLedger(keep uint64) *Ledger { return &Ledger{keep: keep, taken: map[*Reservation]bool{}} }

// Reservation is the space that one download still needs. It shrinks as files take their blocks.
type Reservation struct {
	ledger *Ledger
	left   int64 // guarded by ledger.mu
}

// Took says that n bytes of the promised space are blocks of files now.
func (r *Reservation) Took(n int64) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	r.left = max(r.left-n, 0)
}

// Release gives the rest back.
func (r *Reservation) Release() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	delete(r.ledger.taken, r)
}

// Reserve promises need bytes on the disk of dir, which exists, or says by how much it is short.
func (l *Ledger) Reserve(dir string, need int64) (*Reservation, error) {
	r := &Reservation{ledger: l, left: need}
	total, _, avail, err := Usage(dir)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, Explain(dir, "read the free space", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && r.left > 0 {
		promised := int64(0)
		for other := range l.taken {
			promised += other.left
		}
		keep := l.keep
		if keep == 0 {
			keep = min(total/50, 5<<30)
		}
		if free := int64(avail) - promised - int64(keep); free < r.left {
			return nil, fail.Passing(api.FailDiskFull, fail.DiskSpace,
				"the model needs %s more on the disk of %s, which has %s free, %s of it promised to other downloads and %s kept free: %s are missing. Free some space, or put model_path on another disk.",
				fail.Size(r.left), dir, fail.Size(avail), fail.Size(promised), fail.Size(keep), fail.Size(r.left-free))
		}
	}
	l.taken[r] = true
	return r, nil
}

// Status reports the file system of a folder, which need not exist yet. Its percentage is df's: of what others than root can use.
func Status(nodeID, dir string, now time.Time) (api.NodeDiskStatus, error) {
	at := dir
	for {
		total, used, avail, err := Usage(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return api.NodeDiskStatus{}, fmt.Errorf("disk of %s: %w", dir, err)
		}
		return api.NodeDiskStatus{
			NodeID: nodeID, ModelDir: dir, TotalBytes: total, UsedBytes: used, AvailableBytes: avail,
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
