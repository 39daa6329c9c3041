package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

// ErrDropped is how watches end that [MemKV.DropWatches] ended.
var ErrDropped = errors.New("watch dropped by the test")

// faults are the switches. The zero value is a healthy KV. mu guards the delays; the rest is guarded by the MemKV's.
type faults struct {
	txns  []txnFault // for the next transactions, in order
	lists []error
	lease error

	mu         sync.Mutex
	delay      time.Duration
	watchDelay time.Duration
	held       chan struct{} // watches wait until it is closed
	release    func()
}

type txnFault struct {
	err    error
	commit bool
}

// FailNextTxn makes the next transaction that no other fault waits for fail with err and commit nothing.
func (m *MemKV) FailNextTxn(err error) { m.addTxnFault(txnFault{err: err}) }

// AmbiguousNextTxn makes the next transaction end with ErrAmbiguous, committed or not.
func (m *MemKV) AmbiguousNextTxn(committed bool) {
	m.addTxnFault(txnFault{err: fmt.Errorf("injected: %w", store.ErrAmbiguous), commit: committed})
}

func (m *MemKV) addTxnFault(f txnFault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.txns = append(m.faults.txns, f)
}

// FailNextList makes the next List fail with err.
func (m *MemKV) FailNextList(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.lists = append(m.faults.lists, err)
}

// FailLeases makes all calls that concern leases fail with err, until it is called with nil. Leases go on ending.
func (m *MemKV) FailLeases(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults.lease = err
}

// DropWatches ends all present watches with [ErrDropped].
func (m *MemKV) DropWatches() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.wake()
}

// SetDelay makes every call but Watch wait so long before it does anything, its context permitting.
func (m *MemKV) SetDelay(d time.Duration) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.delay = d
}

// SetWatchDelay makes every batch of every watch wait so long.
func (m *MemKV) SetWatchDelay(d time.Duration) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.watchDelay = d
}

// HoldWatches stops all watches from delivering anything, progress too, until the returned function is called: a
// network that has gone silent.
func (m *MemKV) HoldWatches() (release func()) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	held := make(chan struct{})
	m.faults.held, m.faults.release = held, sync.OnceFunc(func() { close(held) })
	return m.faults.release
}

func (f *faults) releaseWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.release != nil {
		f.release()
	}
}

// takeTxn returns the fault for this transaction. The caller holds the MemKV's mu.
func (f *faults) takeTxn() txnFault {
	if len(f.txns) == 0 {
		return txnFault{}
	}
	first := f.txns[0]
	f.txns = f.txns[1:]
	return first
}

// takeList is takeTxn for a List.
func (f *faults) takeList() error {
	if len(f.lists) == 0 {
		return nil
	}
	first := f.lists[0]
	f.lists = f.lists[1:]
	return first
}

func (f *faults) pause(ctx context.Context) error {
	f.mu.Lock()
	d := f.delay
	f.mu.Unlock()
	return wait(ctx, d, nil)
}

func (f *faults) pauseWatch(ctx context.Context) error {
	f.mu.Lock()
	d, held := f.watchDelay, f.held
	f.mu.Unlock()
	return wait(ctx, d, held)
}

// wait waits for d and then until the channel, unless nil, is closed.
func wait(ctx context.Context, d time.Duration, until <-chan struct{}) error {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if until != nil {
		select {
		case <-until:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
