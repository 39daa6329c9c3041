// Package store keeps the cluster in a key-value store: typed tables, a live State fed by one watch, and
// transactions that read their own writes. It never serves requests and never decides anything.
package store

import (
	"context"
	"errors"
	"fmt"
)

// KV is the key-value store underneath: bytes and revisions, nothing of Nebula's. etcd implements it.
//
// A revision is the store's version after a commit; it only grows. A lease is a set of keys that vanish together
// unless it is kept alive.
type KV interface {
	// List returns all keys that start with prefix, in key order, as of one revision, and that revision.
	List(ctx context.Context, prefix string) ([]KeyValue, int64, error)
	// Txn applies all ops if every condition holds, at one revision. ErrAmbiguous (wrapped) means that the commit may
	// or may not have happened; after any other error it has not happened. What [CheckTxn] refuses is never sent.
	Txn(ctx context.Context, ifs []Cond, ops []Op) (TxnResult, error)
	// Watch calls fn for everything that happens to keys under prefix after revision, in order and without a gap,
	// until ctx ends, fn returns an error, or the watch cannot go on: ErrCompacted when revision is too old, or newer
	// than the store, whose history went back (list again), any other error when the connection is gone or has been
	// silent for too long (watch again from the last revision seen).
	// Batches without events carry a revision only: everything up to it has been delivered. One comes about every
	// second, also when nothing changes.
	Watch(ctx context.Context, prefix string, revision int64, fn func(Batch) error) error
	Leases
}

// Leases grants and renews leases.
type Leases interface {
	// Grant makes a lease that lives ttlSeconds (at least 1) from each renewal.
	Grant(ctx context.Context, ttlSeconds int64) (int64, error)
	// KeepAlive renews a lease once; ErrLeaseGone when it has expired.
	KeepAlive(ctx context.Context, lease int64) error
	// Revoke ends a lease and deletes its keys; no error when it is gone already.
	Revoke(ctx context.Context, lease int64) error
}

// Errors of a KV, wrapped by its own.
var (
	ErrCompacted = errors.New("revision has been compacted")
	ErrLeaseGone = errors.New("lease has expired")
	ErrAmbiguous = errors.New("outcome of the transaction is unknown")
	// ErrUnavailable says that the KV could not be reached in time; a transaction has not happened.
	ErrUnavailable = errors.New("store cannot be reached")
	// ErrFull says that the KV takes no writes but deletions until space is freed.
	ErrFull = errors.New("store is full")
	// ErrTooLarge says that a transaction is larger than a KV takes: see CheckTxn.
	ErrTooLarge = errors.New("transaction is too large")
)

// Limits of one transaction: etcd's defaults, with room for what surrounds the bytes on the wire.
const (
	MaxTxnOps   = 128     // conditions, and operations
	MaxTxnBytes = 1 << 20 // keys and values together
)

// CheckTxn refuses what no KV takes: more than the limits (ErrTooLarge), an operation without a key, and two
// operations on one key.
func CheckTxn(ifs []Cond, ops []Op) error {
	if len(ifs) > MaxTxnOps || len(ops) > MaxTxnOps {
		return fmt.Errorf("%w: %d conditions and %d operations, of each at most %d", ErrTooLarge, len(ifs), len(ops), MaxTxnOps)
	}
	size := 0
	for _, c := range ifs {
		size += len(c.Key)
	}
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if op.Key == "" {
			return errors.New("transaction with an operation that has no key")
		}
		if seen[op.Key] {
			return fmt.Errorf("transaction with two operations on %q", op.Key)
		}
		seen[op.Key] = true
		size += len(op.Key) + len(op.Value)
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("%w: %d bytes of keys and values, at most %d", ErrTooLarge, size, MaxTxnBytes)
	}
	return nil
}

// KeyValue is one key as stored.
type KeyValue struct {
	Key    string
	Value  []byte
	ModRev int64 // revision of the last change
	Lease  int64 // 0 = none
}

// Cond is a condition on one key of a transaction. ModRev 0 means "the key does not exist".
type Cond struct {
	Key string
	// ModRev is compared with the revision of the last change, or, with Create set, of the creation of the key.
	ModRev int64
	Create bool
}

// Op is one write of a transaction: a put, or with Delete set a deletion.
type Op struct {
	Key    string
	Value  []byte
	Lease  int64
	Delete bool
}

// TxnResult is a transaction's outcome.
type TxnResult struct {
	OK       bool  // whether the conditions held
	Revision int64 // of the commit, or of the store when the conditions did not hold
}

// Batch is what one watch answer brings: events of whole transactions, and the revision they lead to.
type Batch struct {
	Revision int64
	Events   []Event
}

// Event is one change of one key.
type Event struct {
	KeyValue // Value is nil when Deleted
	Deleted  bool
}
