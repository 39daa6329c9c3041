package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// write puts n records into the log, as many transactions as needed.
func (w *world) write(n int, verb string) {
	w.t.Helper()
	for i := range n {
		if err := w.Record(ann(w.t), api.AuditRecord{Verb: fmt.Sprintf("%s.%d", verb, i%2), Object: "user/ann", Result: api.AuditOK}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestAudit_pages(t *testing.T) {
	w := newWorld(t)
	const n = 2105 // more than two blocks
	w.write(n, "login")
	var seen []uint64
	q := control.AuditQuery{Limit: 500}
	for {
		recs, next, err := w.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			seen = append(seen, r.Seq)
		}
		if q.Before = next; next == 0 {
			break
		}
	}
	if len(seen) != n || seen[0] != n || seen[n-1] != 1 {
		t.Fatalf("%d records, from %d to %d", len(seen), seen[0], seen[len(seen)-1])
	}
	for i := range seen {
		if seen[i] != uint64(n-i) {
			t.Fatalf("record %d at place %d", seen[i], i)
		}
	}
	for name, c := range map[string]struct {
		q    control.AuditQuery
		want int
	}{
		"verb":         {control.AuditQuery{Verb: "login.1"}, n / 2},
		"verb's begin": {control.AuditQuery{Verb: "login."}, n},
		"actor":        {control.AuditQuery{Actor: "bob"}, 0},
		"object":       {control.AuditQuery{Object: "user/"}, n},
		"result":       {control.AuditQuery{Result: api.AuditDenied}, 0},
		"from":         {control.AuditQuery{From: time.Now().Add(time.Hour).UnixMilli()}, 0},
		"to":           {control.AuditQuery{To: 1000}, 0},
		"before":       {control.AuditQuery{Before: 3}, 2},
	} {
		c.q.Limit = 10_000
		if recs, next, err := w.Audit(t.Context(), c.q); err != nil || len(recs) != c.want || next != 0 {
			t.Errorf("%s: %d records, next %d, error %v; want %d", name, len(recs), next, err, c.want)
		}
	}
	var lines int
	if err := w.ExportAudit(t.Context(), 1000, func([]byte) error { lines++; return nil }); err != nil || lines != n-999 {
		t.Errorf("export from 1000: %d lines, error %v", lines, err)
	}
}

// TestAudit_aLostEndIsFoundAnew damages the end of the log in each way: nothing can be changed then, and one verb mends it.
func TestAudit_aLostEndIsFoundAnew(t *testing.T) {
	for name, damage := range map[string]store.Op{
		"unreadable": {Key: "/audit_head/last", Value: []byte("{")},
		"lost":       {Key: "/audit_head/last", Delete: true},
		"behind":     {Key: "/audit_head/last", Value: []byte(`{"seq":1,"hash":"x"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(3, "login")
			res, err := w.kv.Txn(t.Context(), nil, []store.Op{damage})
			if err != nil {
				t.Fatal(err)
			}
			w.sees(res.Revision)
			_, err = w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/m", ModelUID: "m"})
			if s, _ := w.st.Current(); err == nil || s.Models.Has("m") {
				t.Fatalf("a change that cannot be audited was made; error %v", err)
			}
			if name != "behind" && (!api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), "audit-repair")) {
				t.Errorf("error %v; want one that says what to do", err)
			}
			head, err := w.RepairAudit(ann(t))
			if err != nil || head.Seq != 4 {
				t.Fatalf("repaired to %+v, error %v", head, err)
			}
			if _, err := w.CreateModel(ann(t), api.CreateModel{ModelName: "acme/m", ModelUID: "m"}); err != nil {
				t.Fatal(err)
			}
			if got := w.records(); len(got) != 5 || got[3].Verb != audit.VerbRepair || got[3].Actor.ID != "ann" {
				t.Errorf("records %+v", got)
			}
			if _, err := w.RepairAudit(ann(t)); !api.HasCode(err, api.CodeConflict) {
				t.Errorf("an end in order was repaired: %v", err)
			}
		})
	}
}

// sees waits until the State shows a revision.
func (w *world) sees(revision int64) {
	w.t.Helper()
	w.until(func(s *cluster.State) bool { return s.Revision >= revision })
}

// until waits for a State.
func (w *world) until(want func(*cluster.State) bool) {
	w.t.Helper()
	limit := time.After(10 * time.Second)
	for {
		s, changed := w.st.Current()
		if want(s) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			w.t.Fatal("the State does not come")
		}
	}
}

// trimmed lets retention work until only so many of the records before it are left.
func (w *world) trimmed(keep, last uint64) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.TrimAudit(ctx, control.AuditKeep{Age: time.Hour, Records: keep}, store.Fence(store.Cond{Key: "/leader/scheduler"}))
	}()
	w.until(func(s *cluster.State) bool {
		head, _ := s.AuditHead.Value(api.AuditHeadID)
		return head.Anchor != nil && head.Anchor.Seq >= last
	})
	cancel()
	<-done
}

// verified checks what is left of the log against its end.
func (w *world) verified() (audit.Checker, api.AuditHead) {
	w.t.Helper()
	var check audit.Checker
	head, err := w.AuditHead()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.ExportAudit(w.t.Context(), 1, check.Next); err != nil {
		w.t.Fatal(err)
	}
	if err := check.Complete(head); err != nil {
		w.t.Errorf("the log is not in order: %v", err)
	}
	return check, head
}

func TestRecord_failsWithTheStore(t *testing.T) {
	w := newWorld(t)
	w.kv.(*storetest.MemKV).FailNextTxn(store.ErrFull)
	if err := w.Record(ann(t), api.AuditRecord{Verb: "store.reclaim"}); !errors.Is(err, control.ErrFull) {
		t.Errorf("error %v, want one that says that the store is full", err)
	}
	if err := w.Record(t.Context(), api.AuditRecord{Verb: "login"}); err == nil {
		t.Error("a record of nobody was written")
	}
}

// TestAudit_theOldestGo: what is too old or too many goes, what stays can still be verified, and a record says that it happened.
func TestAudit_theOldestGo(t *testing.T) {
	w := newWorld(t)
	w.write(250, "login")
	w.trimmed(20, 231)
	check, head := w.verified()
	if check.First != head.Anchor.Seq+1 || check.Count != 20 {
		t.Errorf("from %d on %d records are left; anchor %+v", check.First, check.Count, head.Anchor)
	}
	if recs, _, err := w.Audit(t.Context(), control.AuditQuery{Verb: audit.VerbTrim, Limit: 10}); err != nil || len(recs) != 1 {
		t.Errorf("%d records say it, error %v; want 1", len(recs), err)
	}
	if _, err := w.AuditRecord(t.Context(), 5); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("a record that went: %v", err)
	}
}

// TestAudit_aLostEndKeepsItsAnchor: the end is lost after the oldest records went. What is left can be verified from where it begins, and retention goes on.
func TestAudit_aLostEndKeepsItsAnchor(t *testing.T) {
	for name, op := range map[string]store.Op{"lost": {Key: "/audit_head/last", Delete: true}, "damaged": {Key: "/audit_head/last", Value: []byte("{")}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(250, "login")
			w.trimmed(20, 231)
			before, _ := w.AuditHead()
			res, err := w.kv.Txn(t.Context(), nil, []store.Op{op})
			if err != nil {
				t.Fatal(err)
			}
			w.sees(res.Revision)
			after, err := w.RepairAudit(ann(t))
			if err != nil {
				t.Fatal(err)
			}
			if after.Anchor == nil || after.Anchor.Seq != before.Anchor.Seq || after.Anchor.Hash != before.Anchor.Hash {
				t.Errorf("anchor %+v, was %+v", after.Anchor, before.Anchor)
			}
			if check, _ := w.verified(); check.First != before.Anchor.Seq+1 {
				t.Errorf("what is kept begins at %d, want %d", check.First, before.Anchor.Seq+1)
			}
			w.write(30, "login")
			w.trimmed(20, 250)
			w.verified()
		})
	}
}

// TestAudit_retentionPassesDamage: a record that cannot be read goes with those around it, and the anchor is that of the last one that could be.
func TestAudit_retentionPassesDamage(t *testing.T) {
	w := newWorld(t)
	w.write(100, "login")
	for _, seq := range []int{1, 40, 41} {
		if _, err := w.kv.Txn(t.Context(), nil, []store.Op{{Key: fmt.Sprintf("%s%020d", store.AuditPrefix, seq), Value: []byte("{")}}); err != nil {
			t.Fatal(err)
		}
	}
	w.trimmed(20, 81)
	check, head := w.verified()
	if head.Anchor.Hash == "" || check.First != head.Anchor.Seq+1 {
		t.Errorf("anchor %+v, and the first record is %d", head.Anchor, check.First)
	}
	if left, _, err := w.kv.List(t.Context(), store.AuditPrefix); err != nil || len(left) > 21 {
		t.Errorf("%d records are left, error %v", len(left), err)
	}
}
