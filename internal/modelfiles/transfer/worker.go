package transfer

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// task is a stretch that one connection fetches. Nobody else writes to [at, end): what is hashed never changes again.
type task struct {
	src   *source
	whole bool // the source gives whole files only
	asked span // of the source
	began time.Time
	stop  context.CancelCauseFunc

	at, busy, end int64 // next byte to write, end of what is being written, end; guarded by Blob.mu

	got  atomic.Int64 // bytes that came
	last atomic.Int64 // when the last came, in ns since began; 0 = the source was not reached yet

	err error // why it ended, set before it is reported

	// The loop's own.
	seen      int64
	rate      float64
	slowSince time.Time
	kicked    error // why it was given up
	dropped   bool  // given up through no fault of its own
}

// flushEvery is how long bytes may wait for a block to fill.
const flushEvery = 200 * time.Millisecond

// work fetches a task's stretch.
func (b *Blob) work(ctx context.Context, t *task) error {
	body, end, err := t.src.Open(ctx, t.asked.From, t.asked.To)
	if err != nil {
		return err
	}
	defer body.Close()
	took := time.Since(t.began)
	t.src.seat.opened(took)
	t.last.Store(int64(took))
	buf := b.job.Limits.buffer()
	defer b.job.Limits.giveBack(buf)
	for at := t.asked.From; at < end; {
		room := int64(len(buf))
		if at < t.at { // of a whole file, the part that is here
			room = min(room, t.at-at)
		} else if left := b.left(t); left > 0 {
			room = min(room, left)
		} else {
			return nil
		}
		n, err := b.fill(ctx, t, body, buf[:min(room, end-at)])
		if at >= t.at {
			if err := b.put(t, buf[:n]); err != nil {
				return err
			}
		}
		if at += int64(n); err != nil && at < end {
			return ended(t.src.Name(), err)
		}
	}
	return nil
}

// fill reads until p is full, or for a while, or the body ends.
func (b *Blob) fill(ctx context.Context, t *task, body io.Reader, p []byte) (int, error) {
	began, n := time.Now(), 0
	for n < len(p) {
		k, err := body.Read(p[n:min(len(p), n+b.job.Limits.chunk)])
		n += k
		if k > 0 {
			t.got.Add(int64(k))
			t.src.seat.line.bytes.Add(int64(k))
			b.job.Gauge.came(&t.src.name, t.src.Peer(), int64(k))
			now := time.Now()
			t.last.Store(int64(now.Sub(t.began)))
			if !t.src.Peer() {
				if err := b.job.Limits.pay(ctx, k); err != nil {
					return n, err
				}
			}
			if now.Sub(began) > flushEvery {
				return n, err
			}
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// ended explains a body that stopped before its end.
func ended(name string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fail.Passing(api.FailDownload, fail.Network, "the connection to %s ended early", name).Because(err)
	}
	return err
}

func (b *Blob) left(t *task) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return t.end - t.at
}

// put writes the next bytes of a task, as far as they are still its own, and hashes them if they are next.
func (b *Blob) put(t *task, p []byte) error {
	b.mu.Lock()
	off := t.at
	p = p[:max(min(int64(len(p)), t.end-off), 0)]
	t.busy = off + int64(len(p))
	b.mu.Unlock()
	if len(p) == 0 {
		return nil
	}
	if _, err := b.part.WriteAt(p, off); err != nil {
		return b.explain("write", err)
	}
	if at, ok := b.digest.offer(p, off); ok {
		b.raise(at)
	}
	n := int64(len(p))
	b.mu.Lock()
	b.written = b.written.add(span{off, off + n})
	if t.src.Peer() {
		b.peerGot = b.peerGot.add(span{off, off + n})
	}
	t.at = t.busy
	behind := b.written.prefix() > b.front
	b.mu.Unlock()
	b.job.Gauge.Have.Add(n)
	if b.loose.Load() {
		b.job.Took(n)
	}
	if behind {
		select {
		case b.nudge <- struct{}{}:
		default:
		}
	}
	return nil
}
