package storetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nebula-serve/nebula/internal/store"
)

func openMem(t *testing.T) store.KV {
	m := NewMem()
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestMemKV_conforms(t *testing.T)           { Conformance(t, openMem) }
func TestMemKV_conformsCompacting(t *testing.T) { ConformanceCompacting(t, openMem) }

func TestMemKV_manualClock(t *testing.T) {
	m := NewMemManual()
	short, long := grant(t, m, 5, "/short"), grant(t, m, 8, "/long")
	m.Advance(4 * time.Second)
	if err := m.KeepAlive(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	m.Advance(4 * time.Second)
	wantContent(t, m, "/", "/short=leased")
	wantGone(t, "keep alive", m.KeepAlive(t.Context(), long))
	m.Advance(time.Second)
	wantContent(t, m, "/")
}

func TestMemKV_inBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMem()
		defer func() { _ = m.Close() }()
		grant(t, m, 5, "/x")
		time.Sleep(4999 * time.Millisecond)
		wantContent(t, m, "/", "/x=leased")
		time.Sleep(2 * time.Millisecond)
		wantContent(t, m, "/")
	})
}

func TestMemKV_txnFaults(t *testing.T) {
	m := NewMemManual()
	broken := errors.New("broken")
	m.FailNextTxn(broken)
	m.AmbiguousNextTxn(true)
	m.AmbiguousNextTxn(false)
	for i, want := range []error{broken, store.ErrAmbiguous, store.ErrAmbiguous, nil} {
		_, err := m.Txn(t.Context(), nil, []store.Op{put("/"+string(rune('a'+i)), "")})
		if !errors.Is(err, want) {
			t.Errorf("transaction %d: got %v, want %v", i, err, want)
		}
	}
	wantContent(t, m, "/", "/b=", "/d=")
	m.FailNextList(broken)
	if _, _, err := m.List(t.Context(), "/"); !errors.Is(err, broken) {
		t.Errorf("list: %v", err)
	}
	m.FailLeases(broken)
	if _, err := m.Grant(t.Context(), 1); !errors.Is(err, broken) {
		t.Errorf("grant: %v", err)
	}
}

func TestMemKV_watchFaults(t *testing.T) {
	m := NewMem()
	defer func() { _ = m.Close() }()
	r := watching(t, m, "/", m.Revision())
	release := m.HoldWatches()
	m.Put("/k", []byte("{undecodable"))
	select {
	case <-r.more:
		t.Error("a watch on hold delivered")
	case <-time.After(20 * time.Millisecond):
	}
	release()
	r.wantChanges(t, "/k={undecodable")
	m.DropWatches()
	<-r.ended
	if !errors.Is(r.err, ErrDropped) {
		t.Errorf("got %v, want ErrDropped", r.err)
	}
	m.SetDelay(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, _, err := m.List(ctx, "/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("list with a delay: %v", err)
	}
}

func TestMemKV_closeEndsWatches(t *testing.T) {
	m := NewMem()
	r := watching(t, m, "/", 0)
	m.HoldWatches()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	<-r.ended
	if r.err == nil {
		t.Error("the watch ended without an error")
	}
}

func TestMemKV_backup(t *testing.T) {
	m := NewMem()
	defer func() { _ = m.Close() }()
	m.Put("/k", []byte("old"))
	restore := m.Backup()
	m.Put("/k", []byte("new"))
	r := watching(t, m, "/", m.Revision())
	restore()
	<-r.ended
	if !errors.Is(r.err, store.ErrCompacted) {
		t.Errorf("got %v, want ErrCompacted", r.err)
	}
	wantContent(t, m, "/", "/k=old")
}
