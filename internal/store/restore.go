package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// Restored turns the store of a backup into one that may be served, before anybody can read it. What lived under a lease is of a time
// that is over, and goes: nodes' signs of life, leadership, join tokens. The cluster's history becomes another one, which nobody has
// accepted yet: nodes stop nothing that the backup does not know until somebody has looked. It may be repeated.
func Restored(ctx context.Context, kv KV, now time.Time) error {
	all, _, err := kv.List(ctx, root)
	if err != nil {
		return fmt.Errorf("restored store: %w", err)
	}
	var ops []Op
	for _, doc := range all {
		if doc.Lease != 0 {
			ops = append(ops, Op{Key: doc.Key, Delete: true})
		}
	}
	if op, ok, err := newHistory(all, now); err != nil {
		return err
	} else if ok {
		ops = append(ops, op)
	}
	for chunk := range slices.Chunk(ops, MaxTxnOps) {
		if _, err := kv.Txn(ctx, nil, chunk); err != nil {
			return fmt.Errorf("restored store: %w", err)
		}
	}
	return nil
}

// newHistory is the write that begins another history; not ok when the backup is of a store that has none yet.
func newHistory(all []KeyValue, now time.Time) (Op, bool, error) {
	key, _ := Info.keys.key(api.ClusterInfoID)
	at := slices.IndexFunc(all, func(doc KeyValue) bool { return doc.Key == key })
	if at < 0 {
		return Op{}, false, nil
	}
	var info api.ClusterInfo
	if err := json.Unmarshal(all[at].Value, &info); err != nil {
		return Op{}, false, fmt.Errorf("restored store: %s cannot be read: %w", key, err)
	}
	info.History, info.HistoryAccepted, info.RestoredAtMS = rand.Text(), false, now.UnixMilli()
	value, err := json.Marshal(info)
	if err != nil {
		return Op{}, false, fmt.Errorf("restored store: %w", err)
	}
	return Op{Key: key, Value: value}, true, nil
}
