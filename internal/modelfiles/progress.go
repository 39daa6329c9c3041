package modelfiles

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/transfer"
)

// Progress is how far a fetch is. Total is known before the first byte, Done never falls, and Done equals Total exactly
// when all bytes are here, verified: from phase verifying on.
type Progress struct {
	Phase      api.DownloadPhase
	TotalBytes uint64
	DoneBytes  uint64 // in place on this disk: found, resumed and fetched
	FilesTotal uint32
	FilesDone  uint32
	Speed      uint64 // bytes per second from the network, smoothed over about 5 s
	ETASeconds uint64 // 0 while unknown

	NetworkBytes uint64 // that came from hubs
	PeerBytes    uint64 // that came from other nodes
	ReusedBytes  uint64 // that an earlier fetch had left
	Retries      uint64 // requests that failed and were repeated
	Source       string // whom the last bytes came from
	LastError    string // what keeps bytes from coming, as a sentence; empty while they come
}

// Fill writes the progress into a document.
func (p Progress) Fill(d *api.DownloadProgress) {
	d.Phase, d.TotalBytes, d.DownloadedBytes = p.Phase, p.TotalBytes, p.DoneBytes
	d.FilesTotal, d.FilesDone, d.SpeedBytesPerSec, d.ETASeconds = p.FilesTotal, p.FilesDone, p.Speed, p.ETASeconds
	d.NetworkBytes, d.PeerBytes, d.ReusedBytes, d.Retries, d.Source, d.LastError = p.NetworkBytes, p.PeerBytes, p.ReusedBytes, p.Retries, p.Source, p.LastError
	d.ProgressPct = 0
	if p.TotalBytes > 0 {
		// Rounded down, so that 100 means done.
		d.ProgressPct = math.Floor(float64(p.DoneBytes)/float64(p.TotalBytes)*1000) / 10
	} else if p.Phase == api.PhaseComplete {
		d.ProgressPct = 100
	}
}

// counter counts the bytes of one blob that are here.
type counter struct {
	transfer.Gauge
	size  int64
	files uint32      // that are links to it
	done  atomic.Bool // verified and published
}

// counted is never all of the blob before it is published: the last byte counts when its hash was right.
func (c *counter) counted() int64 {
	if c.done.Load() {
		return c.size
	}
	return min(max(c.Have.Load(), 0), max(c.size-1, 0))
}

// meter adds up a fetch. It is fed by the fetch and read by everybody who waits for it.
type meter struct {
	mu      sync.Mutex
	phase   api.DownloadPhase
	blobs   []*counter
	past    []*counter    // of earlier plans: their traffic counts
	changed chan struct{} // closes when the phase or the plan changes
	best    uint64
	rate    rate
}

func newMeter() *meter { return &meter{phase: api.PhaseDownloading, changed: make(chan struct{})} }

// plan sets what is to be counted.
func (m *meter) plan(blobs []*counter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.past = append(m.past, m.blobs...)
	m.blobs = blobs
	m.wake()
}

// also counts the traffic of blobs that are fetched before there is a plan.
func (m *meter) also(blobs []*counter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.past = append(m.past, blobs...)
}

func (m *meter) enter(p api.DownloadPhase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = p
	m.wake()
}

func (m *meter) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// at returns the progress and a channel that closes at the next change of phase or plan.
func (m *meter) at(now time.Time) (Progress, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := Progress{Phase: m.phase}
	for _, b := range m.past {
		p.add(b)
	}
	p.LastError, p.ReusedBytes = "", 0
	for _, b := range m.blobs {
		p.add(b)
		p.TotalBytes += uint64(b.size)
		p.DoneBytes += uint64(b.counted())
		p.FilesTotal += b.files
		if b.done.Load() {
			p.FilesDone += b.files
		}
	}
	// A blob that turned out wrong is fetched again; the figure stands still until that is made up for. It never
	// stands at the end before the end, also when a second listing turned out shorter than the first.
	m.best = max(m.best, p.DoneBytes)
	if m.best >= p.TotalBytes {
		m.best = p.DoneBytes
	}
	p.DoneBytes = m.best
	if p.Phase == api.PhaseDownloading && p.TotalBytes > 0 && p.DoneBytes == p.TotalBytes {
		p.Phase = api.PhaseVerifying
	}
	if p.Speed = m.rate.sample(now, p.NetworkBytes+p.PeerBytes); p.Speed > 0 {
		p.ETASeconds = (p.TotalBytes - p.DoneBytes + p.Speed - 1) / p.Speed
	}
	if p.Phase != api.PhaseDownloading {
		p.Speed, p.ETASeconds = 0, 0
	}
	return p, m.changed
}

// add counts a blob's traffic. Of several that are in trouble any one speaks for all.
func (p *Progress) add(c *counter) {
	p.NetworkBytes += uint64(c.Network.Load())
	p.PeerBytes += uint64(c.Peers.Load())
	p.ReusedBytes += uint64(c.Reused.Load())
	p.Retries += uint64(c.Retries.Load())
	if s := c.Source(); s != "" {
		p.Source = s
	}
	if s := c.Trouble(); s != "" {
		p.LastError = s
	}
}

// rate is a mean of the speed that weighs the last 5 seconds most.
type rate struct {
	last  time.Time
	bytes uint64
	mean  float64
}

const rateWindow = 5 * time.Second

// sample takes the counter's value at a time and returns the speed in bytes per second.
func (r *rate) sample(now time.Time, bytes uint64) uint64 {
	dt := now.Sub(r.last)
	switch {
	case r.last.IsZero():
		r.last, r.bytes = now, bytes
	case dt >= 100*time.Millisecond:
		v := float64(bytes-r.bytes) / dt.Seconds()
		if r.mean == 0 {
			r.mean = v
		} else {
			w := 1 - math.Exp(-float64(dt)/float64(rateWindow))
			r.mean += w * (v - r.mean)
		}
		r.last, r.bytes = now, bytes
	}
	return uint64(max(r.mean, 0))
}
