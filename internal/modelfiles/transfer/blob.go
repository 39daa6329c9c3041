package transfer

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// Job says what to fetch, and where to.
type Job struct {
	Entry   manifest.Entry
	Part    string // the partial file
	Journal string // beside it
	Path    string // of the verified blob, in the same folder
	// Sources gives whom to ask, best first. It is asked at the start, after failures and every few seconds.
	Sources  func(context.Context) ([]Source, error)
	Limits   *Limits
	Gauge    *Gauge
	Wrong    func()        // bytes of other nodes were wrong, and hubs are asked for them; nil = nobody asks
	Took     func(n int64) // so many bytes of the disk are now taken by the partial file; nil = nobody asks
	Patience Patience      // zero = the default
	Boot     string        // of the running system, see [disk.BootID]
	Log      *slog.Logger  // nil = silent
}

// Result is what is known of a published blob beyond its hash.
type Result struct {
	Pieces []uint32 // CRC32C of every [Piece] bytes
}

// Blob is one transfer. Whoever runs it holds the lock of the blob's files.
type Blob struct {
	job  Job
	done chan struct{}

	part   *os.File // set by Run
	digest digest
	nudge  chan struct{} // there is something to hash
	// loose: the file system cannot reserve blocks, so others may take them.
	loose atomic.Bool

	mu       sync.Mutex
	written  spans
	peerGot  spans // of them, what came from other nodes
	synced   progress
	running  []*task
	had      int64         // bytes of the disk that the partial file took when it was opened
	front    int64         // hashed from the beginning on
	grown    chan struct{} // closes when front changes; nil while nobody waits
	doubtful bool          // bytes of peers were wrong: only hubs are asked from now on
}

// New returns a transfer that has not begun.
func New(j Job) *Blob {
	if j.Patience == (Patience{}) {
		j.Patience = DefaultPatience()
	}
	if j.Wrong == nil {
		j.Wrong = func() {}
	}
	if j.Took == nil {
		j.Took = func(int64) {}
	}
	if j.Log == nil {
		j.Log = slog.New(slog.DiscardHandler)
	}
	return &Blob{job: j, done: make(chan struct{}), nudge: make(chan struct{}, 1)}
}

// Run fetches the blob and returns when it is published: every byte is on the disk and hashed as listed. It goes on where
// the last run stopped. Faults that may pass are borne without end, with the last one in the gauge; an error is a
// *fail.Error that another try would meet again, or the context's. What was fetched is kept. Run once.
func (b *Blob) Run(ctx context.Context) (Result, error) {
	defer b.end()
	e := b.job.Entry
	for wrong := 0; ; {
		err := b.open(ctx)
		if err == nil {
			err = b.fetch(ctx)
		}
		if err != nil {
			b.pause()
			return Result{}, err
		}
		got, pieces := b.digest.result()
		if got == e.Hex {
			return Result{pieces}, b.publish()
		}
		b.job.Log.Warn("fetched file has the wrong hash", "file", e.Path, "want", e.Hex, "got", got, "from_peers", b.peerGot.total(), "again", wrong == 0)
		if len(b.peerGot) > 0 {
			b.job.Wrong()
			err = b.dropPeers()
		} else {
			wrong++
			err = b.discard()
		}
		if err != nil {
			return Result{}, err
		}
		if wrong == 2 {
			return Result{}, fail.Final(api.FailDownload, fail.Corrupt,
				"%q arrived damaged twice: its %s is %s and should be %s. Nothing of it was kept. Something between here and the hub changes data (a proxy, a mirror, bad memory).",
				e.Path, e.Algo, got, e.Hex)
		}
	}
}

// Frontier returns how many bytes from the beginning on are in the partial file and hashed, and a channel that closes
// when that changes or the transfer ends.
func (b *Blob) Frontier() (int64, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.done:
		return b.front, b.done
	default:
	}
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.front, b.grown
}

func (b *Blob) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.done)
	b.tell()
}

// Done closes when the transfer has ended.
func (b *Blob) Done() <-chan struct{} { return b.done }

// Entry is what is fetched.
func (b *Blob) Entry() manifest.Entry { return b.job.Entry }

// Have is how many bytes are in place.
func (b *Blob) Have() int64 { return b.job.Gauge.Have.Load() }

// Part is the partial file, from which the bytes before the frontier may be read.
func (b *Blob) Part() string { return b.job.Part }

// raise moves the frontier; whoever hashed less comes too late.
func (b *Blob) raise(at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at > b.front {
		b.front = at
		b.tell()
	}
}

// tell wakes those who wait for the frontier. The caller holds the lock.
func (b *Blob) tell() {
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
}

// open opens the partial file, takes up what can be believed of it, and reserves the disk for the rest.
func (b *Blob) open(ctx context.Context) error {
	if b.part != nil { // another round: the file is as it has to be
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(b.job.Part), 0o755); err != nil {
		return b.explain("create folder", err)
	}
	f, err := os.OpenFile(b.job.Part, os.O_RDWR|os.O_CREATE|disk.NoFollow, 0o644)
	if err != nil {
		return b.explain("open", err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("the partial file is no plain file")
	}
	if err == nil {
		err = b.resume(ctx, f, fi.Size())
	}
	if err != nil {
		return b.explain("open", errors.Join(err, f.Close()))
	}
	b.part = f
	b.had = disk.Allocated(fi)
	return b.room(b.job.Entry.Size - b.had)
}

// room fails when so many bytes more do not fit on the disk.
func (b *Blob) room(need int64) error {
	dir := filepath.Dir(b.job.Part)
	_, _, avail, err := disk.Usage(dir)
	if unknown := err != nil; unknown || int64(avail) >= need { // who cannot tell finds out when the disk is full
		return nil
	}
	return fail.Passing(api.FailDiskFull, fail.DiskSpace, "the disk of %s has %s left, and %q needs %s more. What was fetched is kept; free some space and the download goes on.",
		dir, fail.Size(avail), b.job.Entry.Path, fail.Size(need))
}

// reserve takes the blocks of the whole file, so that nobody else does. Where the disk is memory that takes a while, so
// the first bytes come meanwhile.
func (b *Blob) reserve(ctx context.Context) error {
	const slice = 64 << 20
	for at := int64(0); at < b.job.Entry.Size && ctx.Err() == nil; at += slice {
		known, err := disk.Allocate(b.part, at, min(slice, b.job.Entry.Size-at))
		if err != nil {
			return b.explain("reserve space", err)
		}
		if !known {
			b.loose.Store(true)
			return nil
		}
	}
	b.job.Took(max(b.job.Entry.Size-b.had, 0))
	return nil
}

// resume takes up what the journal says, as far as it can be believed.
func (b *Blob) resume(ctx context.Context, f *os.File, length int64) error {
	e := b.job.Entry
	j := readJournal(b.job.Journal)
	p, sameBoot := j.trusted(e, b.job.Boot, length)
	if !sameBoot {
		buf := b.job.Limits.buffer()
		defer b.job.Limits.giveBack(buf)
		wrong, err := p.Mark.wrongPieces(ctx, f, buf[:])
		if err != nil {
			return err
		}
		for _, s := range wrong {
			b.job.Log.Warn("partial file has changed on the disk", "file", e.Path, "at", s.From, "bytes", s.size())
			p.Written, p.Mark = p.Written.without(s), mark{}
		}
	}
	b.digest.reset(e.Hash, e.Size)
	if p.Mark.At > 0 && !b.digest.resume(e.Hash, e.Size, p.Mark) {
		b.job.Log.Warn("partial file is hashed again", "file", e.Path)
	}
	b.mu.Lock()
	b.written = p.Written
	for _, gap := range p.Written.gaps(e.Size) {
		j.PeerGot = j.PeerGot.without(gap)
	}
	b.peerGot, b.synced = j.PeerGot, j.Synced
	if !sameBoot {
		b.synced = p.clone()
	}
	have := b.written.total()
	b.mu.Unlock()
	b.raise(b.digest.hashed())
	b.job.Gauge.Have.Store(have)
	b.job.Gauge.Reused.Store(have)
	if have > 0 {
		b.job.Log.Info("download resumed", "file", e.Path, "bytes", have, "size", e.Size)
	}
	return nil
}

// fetch returns when every byte is written and hashed.
func (b *Blob) fetch(ctx context.Context) error {
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var helpers sync.WaitGroup
	for _, help := range []func(context.Context) error{b.reserve, b.chase, b.keep} {
		helpers.Go(func() {
			if err := help(work); err != nil && work.Err() == nil {
				stop(err)
			}
		})
	}
	err := newLoop(b).run(work)
	cause := context.Cause(work)
	stop(nil)
	helpers.Wait()
	switch {
	case err != nil && cause != nil:
		return cause
	case err != nil:
		return err
	}
	return b.hashTo(ctx, b.job.Entry.Size)
}

// publish gives the verified bytes their name.
func (b *Blob) publish() error {
	err := errors.Join(b.part.Truncate(b.job.Entry.Size), disk.SyncData(b.part), b.part.Close())
	b.part = nil
	if err == nil {
		err = os.Rename(b.job.Part, b.job.Path)
	}
	if err == nil {
		err = errors.Join(disk.SyncDir(filepath.Dir(b.job.Path)), disk.Remove(b.job.Journal))
	}
	return b.explain("publish", err)
}

// pause leaves the partial file for the next time and gives back the disk that the rest would take. A failure costs
// fetching again, so it is not worth another error.
func (b *Blob) pause() {
	if b.part == nil {
		return
	}
	err := b.note(false)
	end := int64(0)
	if n := len(b.written); n > 0 {
		end = b.written[n-1].To
	}
	for _, gap := range b.written.gaps(end) {
		err = errors.Join(err, disk.Release(b.part, gap.From, gap.size()))
	}
	err = errors.Join(err, b.part.Truncate(end), b.part.Close())
	b.part = nil
	if err != nil {
		b.job.Log.Warn("partial download may start over", "file", b.job.Entry.Path, "error", err)
	}
}

// discard deletes what was fetched.
func (b *Blob) discard() error {
	err := errors.Join(disk.Remove(b.job.Journal), b.part.Close(), disk.Remove(b.job.Part))
	b.part = nil
	b.begin(nil)
	return b.explain("remove", err)
}

// dropPeers forgets what came from other nodes, to fetch it from a hub, and hashes the rest again.
func (b *Blob) dropPeers() error {
	b.mu.Lock()
	left := slices.Clone(b.written)
	for _, s := range b.peerGot {
		left = left.without(s)
	}
	b.doubtful = true
	b.mu.Unlock()
	b.begin(left)
	return b.explain("remove", disk.Remove(b.job.Journal))
}

// begin starts over with only these bytes.
func (b *Blob) begin(left spans) {
	b.digest.reset(b.job.Entry.Hash, b.job.Entry.Size)
	b.mu.Lock()
	b.written, b.peerGot, b.synced, b.front = left, nil, progress{}, 0
	b.tell()
	b.mu.Unlock()
	b.job.Gauge.Have.Store(left.total())
}

// explain says what a failure of the disk means; nil stays nil, and an *fail.Error or a context's end what it is.
func (b *Blob) explain(what string, err error) error {
	if _, ok := fail.As(err); ok {
		return err
	}
	return disk.Explain(filepath.Dir(b.job.Part), what, err)
}
