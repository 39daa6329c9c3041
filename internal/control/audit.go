package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/store"
)

// ErrFull is in the chain of errors of changes that a full store has refused.
var ErrFull = store.ErrFull

// append puts a record of what the caller did at the end of the audit log and returns its number.
func (c *Control) append(tx *store.Tx, who *Caller, rec api.AuditRecord) (uint64, error) {
	rec.Actor, rec.Source, rec.RequestID = who.Actor, who.Source, who.RequestID
	return c.appendAs(tx, rec)
}

// appendAs is append of a record that says itself who did it.
func (c *Control) appendAs(tx *store.Tx, rec api.AuditRecord) (uint64, error) {
	head, _, err := store.AuditHead.Get(tx, api.AuditHeadID)
	if err != nil {
		return 0, unrecorded(err)
	}
	return c.appendTo(tx, head, rec)
}

// unrecorded says what to do when nothing can be recorded because the end of the log is damaged.
func unrecorded(err error) error {
	if !api.HasCode(err, api.CodeConflict) {
		return err
	}
	return fmt.Errorf("%w: %w", api.Errorf(api.CodeUnavailable,
		"the end of the audit log cannot be read, and what cannot be recorded is not done: an administrator mends it with: nebula admin audit-repair"), err)
}

func (c *Control) appendTo(tx *store.Tx, head api.AuditHead, rec api.AuditRecord) (uint64, error) {
	if rec.TimeMS == 0 {
		rec.TimeMS = c.now().UnixMilli()
	}
	rec, line, head, err := audit.Chain(head, rec)
	if err != nil {
		return 0, err
	}
	if err := tx.Append(auditKey(rec.Seq), line, 0); err != nil {
		return 0, err
	}
	return rec.Seq, store.AuditHead.Put(tx, api.AuditHeadID, head)
}

// auditKey is the key of a record: its number in 20 digits, so that keys sort like numbers.
func auditKey(seq uint64) string { return fmt.Sprintf("%s%0*d", store.AuditPrefix, auditDigits, seq) }

const auditDigits = 20

// Record writes what is no change into the audit log: a login, the reading of a secret, a backup. Its error means that nothing is recorded, and
// whoever asked must not get what needs a record.
func (c *Control) Record(ctx context.Context, rec api.AuditRecord) error {
	who := CallerOf(ctx)
	if who == nil {
		return errors.New("an audit record without a caller: " + rec.Verb)
	}
	_, err := c.store.Update(ctx, store.OwnerControl, func(tx *store.Tx) error {
		_, err := c.append(tx, who, rec)
		return err
	}, store.InTurn())
	return c.endless(ctx, err)
}

// endless explains the conflict that a log without its end makes: the number that a record would have is taken, again and again.
func (c *Control) endless(ctx context.Context, err error) error {
	if s, _ := c.store.Current(); err == nil || !api.HasCode(err, api.CodeConflict) || s.AuditHead.Has(api.AuditHeadID) {
		return err
	}
	if recs, rerr := c.store.Records(ctx, auditKey(1)); rerr != nil || len(recs) == 0 {
		return err
	}
	return fmt.Errorf("%w: %w", api.Errorf(api.CodeUnavailable,
		"the end of the audit log is lost, and what cannot be recorded is not done: an administrator finds it anew with: nebula admin audit-repair"), err)
}

// denialBatch bounds how many denials one transaction records.
const denialBatch = 40

// KeepDenials records what d collects, once a second, until ctx ends. What cannot be recorded now is tried again.
func (c *Control) KeepDenials(ctx context.Context, d *audit.Denials) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = c.recordDenials(ctx, d) // the store is away: that is told elsewhere, and they come again
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = c.recordDenials(last, d)
			return nil
		}
	}
}

func (c *Control) recordDenials(ctx context.Context, d *audit.Denials) error {
	due := d.Take(c.now())
	for len(due) > 0 {
		part := due[:min(denialBatch, len(due))]
		_, err := c.store.Update(ctx, store.OwnerControl, func(tx *store.Tx) error {
			for _, rec := range part {
				if _, err := c.appendAs(tx, rec); err != nil {
					return err
				}
			}
			return nil
		}, store.InTurn())
		if err != nil {
			d.Return(due)
			return err
		}
		due = due[len(part):]
	}
	return nil
}

// AuditQuery chooses records of the audit log. Empty fields choose all.
type AuditQuery struct {
	Actor        string
	Verb, Object string // prefixes: "model." finds all that was done to models
	Result       string
	From, To     int64 // Unix milliseconds, both included; 0 = open
	Before       uint64
	Limit        int // at least 1
}

func (q *AuditQuery) matches(r *api.AuditRecord) bool {
	return (q.Actor == "" || r.Actor.ID == q.Actor) && strings.HasPrefix(r.Verb, q.Verb) && strings.HasPrefix(r.Object, q.Object) &&
		(q.Result == "" || r.Result == q.Result) && (q.From == 0 || r.TimeMS >= q.From) && (q.To == 0 || r.TimeMS <= q.To)
}

// Blocks of records, by how many of the digits of their numbers they share.
const (
	blockRecords = 1000
	// scanBlocks bounds what one question reads: what is further back the next page brings.
	scanBlocks = 20
	// clockSlack is how much the clocks of servers may differ: records are in the order of their writing, which is that of time but for this.
	clockSlack = 10 * time.Minute
)

// Audit returns records of the audit log, newest first, and the number before which the next page begins; 0: there is none. A page may hold fewer
// than it could, and even none, when few records match.
func (c *Control) Audit(ctx context.Context, q AuditQuery) (recs []api.AuditRecord, next uint64, err error) {
	head, err := c.AuditHead()
	if err != nil {
		return nil, 0, err
	}
	first := uint64(1)
	if head.Anchor != nil {
		first = head.Anchor.Seq + 1
	}
	last := head.Seq
	if q.Before > 0 {
		last = min(last, q.Before-1)
	}
	for range scanBlocks {
		if last < first {
			return recs, 0, nil
		}
		block, err := c.auditBlock(ctx, last)
		if err != nil {
			return nil, 0, err
		}
		for _, kv := range slices.Backward(block) {
			var rec api.AuditRecord
			if json.Unmarshal(kv.Value, &rec) != nil || rec.Seq > last {
				continue // a damaged record is no reason to show none; verify finds it
			}
			if q.From > 0 && rec.TimeMS < q.From-clockSlack.Milliseconds() {
				return recs, 0, nil
			}
			if !q.matches(&rec) {
				continue
			}
			if recs = append(recs, rec); len(recs) == q.Limit {
				if rec.Seq <= first {
					return recs, 0, nil
				}
				return recs, rec.Seq, nil
			}
		}
		last = last/blockRecords*blockRecords - 1
		if last+1 == 0 { // block 0 was the last
			return recs, 0, nil
		}
	}
	if last < first {
		return recs, 0, nil
	}
	return recs, last + 1, nil
}

// auditBlock reads the records of the block that seq is in.
func (c *Control) auditBlock(ctx context.Context, seq uint64) ([]store.KeyValue, error) {
	key := auditKey(seq)
	return c.store.Records(ctx, key[:len(key)-3])
}

// AuditHead returns the end of the log as it is now.
func (c *Control) AuditHead() (api.AuditHead, error) {
	s, _ := c.store.Current()
	if key, _ := store.AuditHead.Key(api.AuditHeadID); s.Bad.Has(key) {
		return api.AuditHead{}, api.Errorf(api.CodeUnavailable, "the end of the audit log cannot be read: an administrator mends it with: nebula admin audit-repair")
	}
	head, _ := s.AuditHead.Value(api.AuditHeadID)
	return head, nil
}

// AuditRecord returns one record as it is stored.
func (c *Control) AuditRecord(ctx context.Context, seq uint64) ([]byte, error) {
	kvs, err := c.store.Records(ctx, auditKey(seq))
	if err != nil {
		return nil, err
	}
	if len(kvs) == 0 {
		return nil, api.Errorf(api.CodeNotFound, "there is no audit record %d: it was not written yet, or it is older than what is kept", seq)
	}
	return kvs[0].Value, nil
}

// ExportAudit calls fn with each record as it is stored, from a number on, up to what the log's end is at the beginning.
func (c *Control) ExportAudit(ctx context.Context, from uint64, fn func([]byte) error) error {
	head, err := c.AuditHead()
	if err != nil {
		return err
	}
	if head.Anchor != nil {
		from = max(from, head.Anchor.Seq+1)
	}
	for from = max(from, 1); from <= head.Seq; from = from/blockRecords*blockRecords + blockRecords {
		block, err := c.auditBlock(ctx, from)
		if err != nil {
			return err
		}
		for _, kv := range block {
			if kv.Key < auditKey(from) || kv.Key > auditKey(head.Seq) {
				continue
			}
			if err := fn(kv.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
