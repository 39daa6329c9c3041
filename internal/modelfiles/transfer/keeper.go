package transfer

import (
	"context"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// How often a running transfer notes where it is: a kill costs what came since.
const (
	lookEvery    = 100 * time.Millisecond
	journalEvery = 250 * time.Millisecond
	journalBytes = 64 << 20
	syncEvery    = 10 * time.Second
	syncBytes    = 512 << 20
)

// chase hashes what is written, from the frontier on, until the context ends. What a connection hashes itself, because
// it writes at the frontier, is not read again.
func (b *Blob) chase(ctx context.Context) error {
	buf := b.job.Limits.buffer()
	defer b.job.Limits.giveBack(buf)
	for {
		b.mu.Lock()
		to := b.written.prefix()
		b.mu.Unlock()
		if b.digest.hashed() < to {
			if err := b.digest.readTo(ctx, b.part, to, buf[:], b.raise); err != nil {
				return b.explain("read", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.nudge:
		}
	}
}

// hashTo hashes what is written up to offset to.
func (b *Blob) hashTo(ctx context.Context, to int64) error {
	buf := b.job.Limits.buffer()
	defer b.job.Limits.giveBack(buf)
	return b.explain("read", b.digest.readTo(ctx, b.part, to, buf[:], b.raise))
}

// keep writes the journal and syncs the file, from time to time, until the context ends.
func (b *Blob) keep(ctx context.Context) error {
	have := b.job.Gauge.Have.Load
	noted, synced := have(), have()
	notedAt, syncedAt := time.Now(), time.Now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, have := time.Now(), have()
		if have-noted < journalBytes && now.Sub(notedAt) < journalEvery || have == noted && have == synced {
			continue
		}
		if b.loose.Load() {
			if err := b.room(b.job.Entry.Size - have); err != nil {
				return err
			}
		}
		if have-noted >= journalBytes {
			disk.StartWriting(b.part)
		}
		durable := have-synced >= syncBytes || have > synced && now.Sub(syncedAt) >= syncEvery
		if err := b.note(durable); err != nil {
			return err
		}
		noted, notedAt = have, now
		if durable {
			synced, syncedAt = have, now
		}
	}
}

// note writes the journal; if durable, what it says outlasts a power failure. A journal that cannot be written is no
// reason to stop.
func (b *Blob) note(durable bool) error {
	j, err := b.journal()
	if err != nil {
		return b.explain("journal", err)
	}
	if durable {
		if err := disk.SyncData(b.part); err != nil {
			return b.explain("sync", err)
		}
		j.Synced = j.Now
		b.mu.Lock()
		b.synced = j.Now.clone()
		b.mu.Unlock()
	}
	if err := disk.WriteJSON(b.job.Journal, j, durable); err != nil {
		b.job.Log.Warn("partial download may start over", "file", b.job.Entry.Path, "error", err)
	}
	return nil
}

// journal returns where the transfer is.
func (b *Blob) journal() (journal, error) {
	m, err := b.digest.mark() // first: what it covers is written
	b.mu.Lock()
	defer b.mu.Unlock()
	return journal{
		Version: journalVersion, Boot: b.job.Boot, Hash: b.job.Entry.Hash, Size: b.job.Entry.Size,
		Now: progress{slices.Clone(b.written), m}, Synced: b.synced.clone(), PeerGot: slices.Clone(b.peerGot),
	}, err
}
