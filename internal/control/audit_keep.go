package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/store"
)

// RepairAudit finds the end of the log anew from the records themselves when the stored end is damaged, lost or behind them, and says so in a record that
// follows the last one that is in order. Without it nothing could be changed any more, because what cannot be recorded is not done. An end that
// is in order is left alone.
func (c *Control) RepairAudit(ctx context.Context) (api.AuditHead, error) {
	who := CallerOf(ctx)
	if who == nil {
		return api.AuditHead{}, errors.New("an audit record without a caller: " + audit.VerbRepair)
	}
	last, err := c.lastRecord(ctx)
	if err != nil {
		return api.AuditHead{}, err
	}
	anchor, err := c.foundAnchor(ctx)
	if err != nil {
		return api.AuditHead{}, err
	}
	_, err = c.store.Update(ctx, store.OwnerControl, func(tx *store.Tx) error {
		head, found, err := store.AuditHead.Get(tx, api.AuditHeadID)
		switch {
		case err == nil && found && head.Seq >= last.Seq:
			return api.Errorf(api.CodeConflict, "the end of the audit log is in order, so nothing was done; nebula audit verify checks the records")
		case err != nil:
			if err := store.AuditHead.Delete(tx, api.AuditHeadID); err != nil {
				return err
			}
			head = api.AuditHead{}
		}
		if head.Anchor == nil {
			head.Anchor = anchor
		}
		last := api.AuditHead{Seq: last.Seq, Hash: last.Hash, Anchor: head.Anchor}
		_, err = c.appendTo(tx, last, api.AuditRecord{
			Actor: who.Actor, Source: who.Source, RequestID: who.RequestID, Verb: audit.VerbRepair, Object: "cluster/audit", Result: api.AuditOK,
		})
		return err
	})
	if err != nil {
		return api.AuditHead{}, err
	}
	return c.AuditHead()
}

// lastRecord finds the newest stored record without reading all: blocks have no gap between them, so a search by halves finds the last one. A newest
// record that cannot be read has its number and no hash: the chain begins anew after it, and verify tells where.
func (c *Control) lastRecord(ctx context.Context) (api.AuditHead, error) {
	from, to := uint64(0), uint64(1) // blocks: from may hold records, to and what follows hold none
	first, err := c.firstBlock(ctx)
	if err != nil {
		return api.AuditHead{}, err
	}
	for from, to = first, first+1; ; from, to = to, to*2 {
		block, err := c.auditBlock(ctx, to*blockRecords)
		if err != nil {
			return api.AuditHead{}, err
		}
		if len(block) == 0 {
			break
		}
	}
	for to-from > 1 {
		middle := from + (to-from)/2
		block, err := c.auditBlock(ctx, middle*blockRecords)
		if err != nil {
			return api.AuditHead{}, err
		}
		if len(block) > 0 {
			from = middle
		} else {
			to = middle
		}
	}
	block, err := c.auditBlock(ctx, from*blockRecords)
	if err != nil || len(block) == 0 {
		return api.AuditHead{}, err
	}
	last := block[len(block)-1]
	var head api.AuditHead
	if _, err := fmt.Sscanf(last.Key[len(store.AuditPrefix):], "%d", &head.Seq); err != nil {
		return api.AuditHead{}, fmt.Errorf("the newest audit record has a key that is no number: %w", err)
	}
	if rec, err := audit.Read(last.Value); err == nil {
		head.Hash = rec.Hash
	}
	return head, nil
}

// foundAnchor is the anchor as the oldest kept record tells it, which names the hash of the one before; nil: none has gone. Without it retention would
// look for records that are long gone, and whoever verifies would miss them.
func (c *Control) foundAnchor(ctx context.Context) (*api.AuditAnchor, error) {
	first, err := c.firstBlock(ctx)
	if err != nil {
		return nil, err
	}
	block, err := c.auditBlock(ctx, first*blockRecords)
	if err != nil || len(block) == 0 {
		return nil, err
	}
	var seq uint64
	if _, err := fmt.Sscanf(block[0].Key[len(store.AuditPrefix):], "%d", &seq); err != nil {
		return nil, fmt.Errorf("the oldest audit record has a key that is no number: %w", err)
	}
	if seq <= 1 {
		return nil, nil
	}
	anchor := &api.AuditAnchor{Seq: seq - 1, TimeMS: c.now().UnixMilli()}
	if rec, err := audit.Read(block[0].Value); err == nil { // else verify tells that the chain is broken there
		anchor.Hash = rec.PrevHash
	}
	return anchor, nil
}

// firstBlock finds the block in which the kept records begin: the anchor's, where it is known, else the first that holds any, by the digits of the keys.
func (c *Control) firstBlock(ctx context.Context) (uint64, error) {
	if head, err := c.AuditHead(); err == nil && head.Anchor != nil {
		return (head.Anchor.Seq + 1) / blockRecords, nil
	}
	all, err := c.store.Records(ctx, store.AuditPrefix) // only here, where the end is damaged, all are read
	if err != nil || len(all) == 0 {
		return 0, err
	}
	var seq uint64
	if _, err := fmt.Sscanf(all[0].Key[len(store.AuditPrefix):], "%d", &seq); err != nil {
		return 0, fmt.Errorf("the oldest audit record has a key that is no number: %w", err)
	}
	return seq / blockRecords, nil
}

// AuditKeep is how much of the audit log is kept; whichever is reached first counts.
type AuditKeep struct {
	Age     time.Duration
	Records uint64
}

// The defaults of AuditKeep.
const (
	AuditKeepAge     = 400 * 24 * time.Hour
	AuditKeepRecords = 500_000
)

const (
	trimEvery = time.Hour
	// trimStep bounds what one transaction removes.
	trimStep = 90
)

// TrimAudit removes the oldest records until ctx ends, as keep says. The leader calls it; fence makes sure that it is one.
func (c *Control) TrimAudit(ctx context.Context, keep AuditKeep, fence store.Option) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			more, err := c.trimOnce(ctx, keep, fence)
			if err != nil || !more {
				break // the next hour tries again; nothing hangs on it
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// trimOnce removes at most trimStep of the oldest records, all of one block, with the anchor that they leave, and tells whether there may be more.
func (c *Control) trimOnce(ctx context.Context, keep AuditKeep, fence store.Option) (more bool, err error) {
	head, err := c.AuditHead()
	if err != nil {
		return false, err
	}
	var gone api.AuditAnchor
	if head.Anchor != nil {
		gone = *head.Anchor
	}
	if head.Seq == gone.Seq {
		return false, nil
	}
	block, err := c.auditBlock(ctx, gone.Seq+1)
	if err != nil {
		return false, err
	}
	if n := len(block); n > 0 && !json.Valid(block[n-1].Value) { // what follows it is in the next block
		next, err := c.auditBlock(ctx, gone.Seq+1+blockRecords)
		if err != nil {
			return false, err
		}
		block = append(block, next...)
	}
	now := c.now()
	var remove, damaged []store.KeyValue
	for _, kv := range block {
		var rec api.AuditRecord
		if json.Unmarshal(kv.Value, &rec) != nil {
			damaged = append(damaged, kv) // it goes with the next one that can be read, else the log would grow for ever
			continue
		}
		old := now.Sub(time.UnixMilli(rec.TimeMS)) > keep.Age || head.Seq-rec.Seq >= keep.Records
		if !old || len(remove)+len(damaged) >= trimStep || rec.Seq >= head.Seq {
			break
		}
		remove, damaged = append(append(remove, damaged...), kv), nil
		gone = api.AuditAnchor{Seq: rec.Seq, Hash: rec.Hash, TimeMS: now.UnixMilli()}
	}
	if len(remove) == 0 {
		return false, nil
	}
	_, err = c.store.Update(ctx, store.OwnerControl, func(tx *store.Tx) error {
		head, _, err := store.AuditHead.Get(tx, api.AuditHeadID)
		if err != nil {
			return err
		}
		for _, kv := range remove {
			if err := tx.Remove(kv.Key, kv.ModRev); err != nil {
				return err
			}
		}
		// One record says it of the whole removal: a record for each step would grow the log that is to shrink.
		told := head.Anchor != nil && now.Sub(time.UnixMilli(head.Anchor.TimeMS)) < trimEvery/2
		head.Anchor = &gone
		if told {
			return store.AuditHead.Put(tx, api.AuditHeadID, head)
		}
		_, err = c.appendTo(tx, head, api.AuditRecord{
			Actor: api.Actor{ID: "retention", Kind: "system"}, Verb: audit.VerbTrim, Object: "cluster/audit", Result: api.AuditOK,
		})
		return err
	}, fence, store.InTurn())
	return err == nil, err
}
