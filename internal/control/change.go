package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
	"github.com/nebula-serve/nebula/internal/store"
)

// answeredLife is how long an Idempotency-Key is remembered.
const answeredLife = 24 * time.Hour

// update is the one way in which people change anything: fn's writes, their record in the audit log and the events of the models are one transaction, so
// that nothing changes which is not recorded. A function that writes nothing is not recorded. Object is what the change is about, such as
// "model/qwen"; empty, it is the first document that changes.
func (c *Control) update(ctx context.Context, verb, object string, fn func(*store.Tx) error) error {
	_, err := carryOut(ctx, c, verb, object, nil, func(tx *store.Tx) (struct{}, error) { return struct{}{}, fn(tx) })
	return err
}

// create is update for what makes something new. With an Idempotency-Key the same request is carried out once, and answered with fn's result
// each time; a result that holds a secret has a method WithoutSecret, and without it is what later answers get.
func create[T any](ctx context.Context, c *Control, verb, object string, fn func(*store.Tx) (T, error)) (T, error) {
	var none T
	who := CallerOf(ctx)
	if who == nil || who.Idempotent == nil || who.DryRun {
		return carryOut(ctx, c, verb, object, nil, fn)
	}
	s, _ := c.store.Current()
	if _, done := s.Answered.Value(who.Idempotent.ID); done {
		return carryOut(ctx, c, verb, object, &remembered{}, fn)
	}
	lease, err := c.grant(ctx, answeredLife)
	if err != nil {
		return none, err
	}
	out, err := carryOut(ctx, c, verb, object, &remembered{lease}, fn)
	if err != nil || who.Replayed {
		_ = c.fleet.Leases.Revoke(context.WithoutCancel(ctx), lease) // it holds nothing; it would end by itself
	}
	return out, err
}

// remembered is how an answer is kept: under a lease.
type remembered struct{ lease int64 }

func carryOut[T any](ctx context.Context, c *Control, verb, object string, keep *remembered, fn func(*store.Tx) (T, error)) (T, error) {
	var out T
	who := CallerOf(ctx)
	if who == nil {
		return out, errors.New("a change without a caller cannot be audited: " + verb)
	}
	do := func(tx *store.Tx) (err error) {
		var none T
		out = none
		if keep != nil {
			replayed, err := replay(tx, who.Idempotent, &out)
			if who.Replayed = replayed; err != nil || replayed {
				return err
			}
		}
		if out, err = fn(tx); err != nil {
			return err
		}
		if len(tx.Changes()) == 0 {
			return nil
		}
		if err := c.note(tx, who, verb, object); err != nil {
			return err
		}
		if keep == nil {
			return nil
		}
		return remember(tx, who.Idempotent, out, keep.lease, c.now())
	}
	if who.DryRun {
		after, err := c.store.Preview(store.OwnerControl, do)
		who.after = after
		return out, err
	}
	_, err := c.store.Update(ctx, store.OwnerControl, do, store.InTurn())
	return out, c.endless(ctx, err)
}

// replay gives the answer that a request had before.
func replay[T any](tx *store.Tx, key *Idempotent, out *T) (bool, error) {
	old, found, err := store.Answered.Get(tx, key.ID)
	if err != nil || !found {
		return false, err
	}
	if old.RequestHash != key.RequestHash {
		return false, api.Errorf(api.CodeConflict, "this Idempotency-Key was used for another request: send each new request with a key of its own")
	}
	if err := json.Unmarshal(old.Result, out); err != nil {
		return false, fmt.Errorf("read a former answer: %w", err)
	}
	return true, nil
}

func remember(tx *store.Tx, key *Idempotent, out any, lease int64, now time.Time) error {
	if s, ok := out.(interface{ WithoutSecret() any }); ok {
		out = s.WithoutSecret()
	}
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("keep the answer: %w", err)
	}
	return store.Answered.PutLeased(tx, key.ID, api.IdempotentAnswer{
		ID: key.ID, RequestHash: key.RequestHash, Result: b, CreatedAtMS: now.UnixMilli(),
	}, lease)
}

// note adds to a transaction what it does: to the audit log, and to the history of each model that it changes.
func (c *Control) note(tx *store.Tx, who *Caller, verb, object string) error {
	var docs []audit.Document
	models := map[string]bool{}
	for _, ch := range tx.Changes() {
		docs = append(docs, audit.Document{Name: ch.Table + " " + ch.ID, Before: ch.Before, After: ch.After, Private: ch.Private})
		if uid, ok := modelOf(ch); ok {
			models[uid] = true
		}
		if uid, ok := modelOf(ch); ok && object == "" {
			object = "model/" + uid
		}
		if object == "" {
			object = strings.ReplaceAll(ch.Table, " ", "-") + "/" + ch.ID
		}
	}
	changes, truncated := audit.Diff(docs)
	seq, err := c.append(tx, who, api.AuditRecord{Verb: verb, Object: object, Result: api.AuditOK, Changes: changes, Truncated: truncated})
	if err != nil {
		return err
	}
	for uid := range models {
		if err := c.event(tx, who, uid, verb, changes, seq); err != nil {
			return err
		}
	}
	return nil
}

// modelOf tells which model a change is about.
func modelOf(ch store.Change) (string, bool) {
	if ch.Table == store.Requests.Name() {
		var r api.ModelRequest
		err := json.Unmarshal([]byte(cmp.Or(string(ch.After), string(ch.Before))), &r)
		return r.Request.ModelUID, err == nil && api.KnownUID(r.Request.ModelUID)
	}
	return ch.ID, ch.Table == store.Models.Name() || ch.Table == store.Deployments.Name()
}

// event adds to the history of a model what audit record seq says of it.
func (c *Control) event(tx *store.Tx, who *Caller, uid, verb string, changes []api.DocumentChange, seq uint64) error {
	now := c.now().UnixMilli()
	ev := api.ModelEvent{
		ID: fmt.Sprintf("%013d-%012d", now, seq), TimeMS: now, ModelUID: uid, Kind: "change", Actor: &who.Actor, Verb: verb,
		Message: summary(uid, changes),
	}
	value, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return tx.Append(store.EventsPrefix+uid+"/"+ev.ID, value, 0)
}

// maxSummary bounds how many fields the message of an event names.
const maxSummary = 8

// summary says which fields of a model changed.
func summary(uid string, changes []api.DocumentChange) string {
	var parts []string
	for _, ch := range changes {
		if !strings.HasSuffix(ch.Document, " "+uid) || ch.Field == "updated_at_ms" || ch.Field == "version" {
			continue
		}
		if len(parts) == maxSummary {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%s: %s → %s", ch.Field, orNothing(ch.Before), orNothing(ch.After)))
	}
	return strings.Join(parts, ", ")
}

func orNothing(v json.RawMessage) string {
	if v == nil {
		return "-"
	}
	return string(v)
}
