package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

// Grant implements [store.Leases].
func (m *MemKV) Grant(ctx context.Context, ttlSeconds int64) (int64, error) {
	if ttlSeconds < 1 {
		return 0, fmt.Errorf("lease of %d s: at least 1", ttlSeconds)
	}
	if err := m.faults.pause(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.faults.lease; err != nil {
		return 0, err
	}
	if m.closed {
		return 0, errClosed
	}
	m.lastLease++
	id := m.lastLease
	l := &lease{ttl: time.Duration(ttlSeconds) * time.Second}
	l.ends = m.now().Add(l.ttl)
	if !m.manual {
		l.timer = time.AfterFunc(l.ttl, func() { m.due() })
	}
	m.leases[id] = l
	return id, nil
}

// KeepAlive implements [store.Leases].
func (m *MemKV) KeepAlive(ctx context.Context, id int64) error {
	if err := m.faults.pause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.faults.lease; err != nil {
		return err
	}
	m.expire()
	l, ok := m.leases[id]
	if !ok {
		return fmt.Errorf("keep lease %d alive: %w", id, store.ErrLeaseGone)
	}
	l.ends = m.now().Add(l.ttl)
	if l.timer != nil {
		l.timer.Reset(l.ttl)
	}
	return nil
}

// Revoke implements [store.Leases].
func (m *MemKV) Revoke(ctx context.Context, id int64) error {
	if err := m.faults.pause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.faults.lease; err != nil {
		return err
	}
	m.end(id)
	return nil
}

// Expire ends a lease now, as if its time had passed.
func (m *MemKV) Expire(id int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(id)
}

// Advance moves a manual clock on and ends the leases whose time has passed, each at a revision of its own.
func (m *MemKV) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = m.clock.Add(d)
	m.expire()
}

// now is the time that leases live by. The caller holds mu.
func (m *MemKV) now() time.Time {
	if m.manual {
		return m.clock
	}
	return time.Now()
}

// due is what a lease's timer does.
func (m *MemKV) due() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.expire()
	}
}

// expire ends the leases whose time has passed. The caller holds mu.
func (m *MemKV) expire() {
	now := m.now()
	for id, l := range m.leases {
		if !l.ends.After(now) {
			m.end(id)
		}
	}
}

// end forgets a lease and deletes the keys that it still holds. The caller holds mu.
func (m *MemKV) end(id int64) {
	l, ok := m.leases[id]
	if !ok {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	delete(m.leases, id)
	var ops []store.Op
	m.keys.Ascend(func(s stored) bool {
		if s.Lease == id {
			ops = append(ops, store.Op{Key: s.Key, Delete: true})
		}
		return true
	})
	m.commit(ops)
}
