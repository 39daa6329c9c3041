package disk

import (
	"errors"
	"fmt"
	"sync"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Ledger adds up the disk space that running downloads still need, so that two of them are not promised the same.
type Ledger struct {
	keep uint64

	mu    sync.Mutex
	taken map[*Reservation]bool
}

// NewLedger returns a ledger that leaves keep bytes of each disk free; 0 = 5 GiB or 2 % of the disk, whichever is more, but at most a tenth of it.
func NewLedger(keep uint64) *Ledger { return &Ledger{keep: keep, taken: map[*Reservation]bool{}} }

// Need is what a download takes of a disk.
type Need struct {
	Bytes int64
	Files int64 // inodes
}

// Reservation is the space that one download still needs. It shrinks as files take their blocks.
type Reservation struct {
	ledger *Ledger
	dir    string
	device uint64
	left   Need // guarded by ledger.mu
}

// Short is the cause of a refused reservation: how many bytes are missing.
type Short struct{ Bytes int64 }

func (s *Short) Error() string { return fail.Size(s.Bytes) + " of disk are missing" }

// Took says that n bytes of the promised space are blocks of files now.
func (r *Reservation) Took(n int64) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	r.left.Bytes = max(r.left.Bytes-n, 0)
}

// Release gives the rest back.
func (r *Reservation) Release() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	delete(r.ledger.taken, r)
}

// Reserve promises space on the disk of dir, or says by how much it is short.
func (l *Ledger) Reserve(dir string, need Need) (*Reservation, error) {
	r := &Reservation{ledger: l, dir: dir, left: need}
	s, err := Measure(dir)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, Explain(dir, "read the free space", err)
	}
	r.device = s.Device
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if err := l.fits(r, s); err != nil {
			return nil, err
		}
	}
	l.taken[r] = true
	return r, nil
}

// Check tells whether what is still needed has room yet: others write to the disk too.
func (r *Reservation) Check() error {
	s, err := Measure(r.dir)
	if err != nil {
		return nil // the download itself will meet it
	}
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.fits(r, s)
}

// fits tells whether a reservation has room beside all others on its disk.
func (l *Ledger) fits(r *Reservation, s Space) error {
	var promised Need
	for other := range l.taken {
		if other != r && other.device == r.device {
			promised.Bytes += other.left.Bytes
			promised.Files += other.left.Files
		}
	}
	if r.left.Bytes <= 0 {
		return nil
	}
	if free := int64(s.FreeFiles) - promised.Files; s.Files > 0 && free < r.left.Files {
		return fail.Passing(api.FailDiskFull, fail.DiskSpace,
			"the model needs %d more files on the disk of %s, which has room for %d (inodes): %d are missing, whatever space is free. Delete files that are not needed, or put model_path on another disk.",
			r.left.Files, r.dir, max(free, 0), r.left.Files-max(free, 0))
	}
	free, line := room(s, promised.Bytes, l.keep)
	if min(free, line) >= r.left.Bytes {
		return nil
	}
	missing := r.left.Bytes - min(free, line)
	why := fmt.Sprintf("%s kept free", fail.Size(kept(s, l.keep)))
	if line < free {
		why = fmt.Sprintf("of which no download may take it to %g %%", alertCritical)
	}
	return fail.Passing(api.FailDiskFull, fail.DiskSpace,
		"the model needs %s more on the disk of %s, which has %s free and is %.1f %% full, %s promised to other downloads and %s: %s are missing. Free some space, or put model_path on another disk.",
		fail.Size(r.left.Bytes), r.dir, fail.Size(s.Available), percent(s.Used, s.Available), fail.Size(promised.Bytes), why, fail.Size(missing)).Because(&Short{missing})
}

// below is the last percentage of use, in tenths rounded up, that is not critical.
const below = alertCritical - 0.1

// room is how many bytes a download may still take of a disk: before it reaches what is kept free, and before the disk becomes critical.
func room(s Space, promised int64, keep uint64) (free, line int64) {
	all := s.Used + s.Available
	return int64(s.Available) - promised - int64(kept(s, keep)), int64(float64(all)*below/100) - int64(s.Used) - promised
}

func kept(s Space, keep uint64) uint64 {
	if keep == 0 {
		keep = min(max(5<<30, s.Total/50), s.Total/10)
	}
	return keep
}
