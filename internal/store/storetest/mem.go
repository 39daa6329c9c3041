// Package storetest holds what tests of the store need: a KV in memory that can be made to fail, and the behaviours
// that every KV must have as a test suite. It is never part of a program.
package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/nebula-serve/nebula/internal/store"
)

// MemKV is a [store.KV] in memory, with etcd's semantics. Make it with [NewMem]; it needs no clean-up but Close, which ends
// its watches and timers.
type MemKV struct {
	manual bool

	mu        sync.Mutex
	revision  int64
	compacted int64 // history before this revision is gone
	keys      *btree.BTreeG[stored]
	history   []commit
	leases    map[int64]*lease
	lastLease int64
	clock     time.Time     // of a manual clock
	changed   chan struct{} // closed, and replaced, when a watch may have something to do
	epoch     int           // of watches: those of an older one have been dropped
	closed    bool
	faults    faults
}

var _ store.KV = (*MemKV)(nil)

type stored struct {
	store.KeyValue
	created int64
}

// commit is what one transaction did.
type commit struct {
	revision int64
	events   []store.Event
}

type lease struct {
	ttl   time.Duration
	ends  time.Time
	timer *time.Timer // nil with a manual clock
}

// progressEvery is how often a watch hears from an idle MemKV: as often as etcd is asked.
const progressEvery = time.Second

// watchChunk is how many transactions one batch holds at most; a watch that lags gets several in one, as from etcd.
const watchChunk = 100

var errClosed = errors.New("store in memory is closed")

// NewMem returns an empty MemKV at revision 1. Its leases end by real timers, which in a synctest bubble are the
// bubble's.
func NewMem() *MemKV {
	return &MemKV{
		revision: 1,
		keys:     btree.NewG(32, func(a, b stored) bool { return a.Key < b.Key }),
		leases:   map[int64]*lease{},
		changed:  make(chan struct{}),
	}
}

// NewMemManual returns an empty MemKV whose leases end only when [MemKV.Advance] has passed their time.
func NewMemManual() *MemKV {
	m := NewMem()
	m.manual, m.clock = true, time.Unix(0, 0)
	return m
}

// Close ends all watches with an error and stops all timers.
func (m *MemKV) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.faults.releaseWatches()
	for _, l := range m.leases {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	m.wake()
	return nil
}

// wake lets all watches look again. The caller holds mu.
func (m *MemKV) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Revision is the present one.
func (m *MemKV) Revision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision
}

// List implements [store.KV].
func (m *MemKV) List(ctx context.Context, prefix string) ([]store.KeyValue, int64, error) {
	if err := m.faults.pause(ctx); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.faults.takeList(); err != nil {
		return nil, 0, err
	}
	if m.closed {
		return nil, 0, errClosed
	}
	var all []store.KeyValue
	m.keys.AscendGreaterOrEqual(stored{KeyValue: store.KeyValue{Key: prefix}}, func(s stored) bool {
		if !hasPrefix(s.Key, prefix) {
			return false
		}
		kv := s.KeyValue
		kv.Value = slices.Clone(kv.Value)
		all = append(all, kv)
		return true
	})
	return all, m.revision, nil
}

func hasPrefix(key, prefix string) bool {
	return len(key) >= len(prefix) && key[:len(prefix)] == prefix
}

// Txn implements [store.KV].
func (m *MemKV) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	if err := store.CheckTxn(ifs, ops); err != nil {
		return store.TxnResult{}, err
	}
	if err := m.faults.pause(ctx); err != nil {
		return store.TxnResult{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return store.TxnResult{}, errClosed
	}
	fault := m.faults.takeTxn()
	if fault.err != nil && !fault.commit {
		return store.TxnResult{}, fault.err
	}
	res, err := m.apply(ifs, ops)
	if fault.err != nil {
		return store.TxnResult{}, fault.err
	}
	return res, err
}

// Put writes one key without any condition or fault and returns the revision: for values that no program of ours
// would write.
func (m *MemKV) Put(key string, value []byte) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commit([]store.Op{{Key: key, Value: value}})
}

// apply checks and commits. The caller holds mu.
func (m *MemKV) apply(ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	for _, c := range ifs {
		s, _ := m.keys.Get(stored{KeyValue: store.KeyValue{Key: c.Key}})
		is := s.ModRev
		if c.Create {
			is = s.created
		}
		if is != c.ModRev {
			return store.TxnResult{Revision: m.revision}, nil
		}
	}
	for _, op := range ops {
		if _, ok := m.leases[op.Lease]; op.Lease != 0 && !op.Delete && !ok {
			return store.TxnResult{}, fmt.Errorf("put %q: %w", op.Key, store.ErrLeaseGone)
		}
	}
	return store.TxnResult{OK: true, Revision: m.commit(ops)}, nil
}

// commit writes ops at the next revision, unless they change nothing. The caller holds mu.
func (m *MemKV) commit(ops []store.Op) int64 {
	next := m.revision + 1
	var events []store.Event
	for _, op := range ops {
		old, exists := m.keys.Get(stored{KeyValue: store.KeyValue{Key: op.Key}})
		if op.Delete {
			if exists {
				m.keys.Delete(old)
				events = append(events, store.Event{KeyValue: store.KeyValue{Key: op.Key, ModRev: next}, Deleted: true})
			}
			continue
		}
		s := stored{created: next, KeyValue: store.KeyValue{Key: op.Key, Value: slices.Clone(op.Value), ModRev: next, Lease: op.Lease}}
		if exists {
			s.created = old.created
		}
		m.keys.ReplaceOrInsert(s)
		events = append(events, store.Event{KeyValue: s.KeyValue})
	}
	if len(events) == 0 {
		return m.revision
	}
	m.revision = next
	m.history = append(m.history, commit{next, events})
	m.wake()
	return next
}

// Compact forgets the history before revision. Like etcd it refuses a revision that is compacted already or has
// not been.
func (m *MemKV) Compact(_ context.Context, revision int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision <= m.compacted || revision > m.revision {
		return fmt.Errorf("compact to %d, compacted to %d, at %d: %w", revision, m.compacted, m.revision, store.ErrCompacted)
	}
	m.compacted = revision
	m.history = slices.Delete(m.history, 0, m.after(revision-1))
	m.wake()
	return nil
}

// Backup returns a function that puts everything back as it is now, the revision too: what restoring a backup of etcd
// does. Leases stay as they are.
func (m *MemKV) Backup() (restore func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	revision, compacted, keys, history := m.revision, m.compacted, m.keys.Clone(), slices.Clone(m.history)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.revision, m.compacted, m.keys, m.history = revision, compacted, keys.Clone(), slices.Clone(history)
		m.wake()
	}
}

// after is the index of the first commit after a revision. The caller holds mu.
func (m *MemKV) after(revision int64) int {
	i, _ := slices.BinarySearchFunc(m.history, revision+1, func(c commit, rev int64) int { return cmp.Compare(c.revision, rev) })
	return i
}

// Watch implements [store.KV].
func (m *MemKV) Watch(ctx context.Context, prefix string, revision int64, fn func(store.Batch) error) error {
	m.mu.Lock()
	epoch := m.epoch
	m.mu.Unlock()
	idle := time.NewTicker(progressEvery)
	defer idle.Stop()
	for progress := false; ; {
		if err := m.faults.pauseWatch(ctx); err != nil {
			return err
		}
		batch, more, err := m.next(prefix, revision, epoch)
		if err != nil {
			return err
		}
		if len(batch.Events) > 0 || progress {
			if err := fn(batch); err != nil {
				return err
			}
			progress = false
		}
		revision = batch.Revision
		if len(batch.Events) > 0 {
			continue
		}
		select {
		case <-more:
		case <-idle.C:
			progress = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next returns what a watch has not seen, and a channel that is closed when there may be more.
func (m *MemKV) next(prefix string, revision int64, epoch int) (store.Batch, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return store.Batch{}, nil, errClosed
	case epoch != m.epoch:
		return store.Batch{}, nil, ErrDropped
	case m.revision < revision:
		return store.Batch{}, nil, fmt.Errorf("watch after revision %d, the store is at %d: %w", revision, m.revision, store.ErrCompacted)
	case revision+1 < m.compacted:
		return store.Batch{}, nil, fmt.Errorf("watch after revision %d, compacted to %d: %w", revision, m.compacted, store.ErrCompacted)
	}
	b := store.Batch{Revision: m.revision}
	seen := 0
	for _, c := range m.history[m.after(revision):] {
		if seen == watchChunk {
			b.Revision = c.revision - 1
			break
		}
		before := len(b.Events)
		for _, ev := range c.events {
			if hasPrefix(ev.Key, prefix) {
				ev.Value = slices.Clone(ev.Value)
				b.Events = append(b.Events, ev)
			}
		}
		if len(b.Events) > before {
			seen++
		}
	}
	return b, m.changed, nil
}
