package control

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// ModelEvents returns the history of a model, oldest first.
func (c *Control) ModelEvents(ctx context.Context, uid string) ([]api.ModelEvent, error) {
	kvs, err := c.store.Records(ctx, store.EventsPrefix+uid+"/")
	if err != nil {
		return nil, err
	}
	events := make([]api.ModelEvent, 0, len(kvs))
	for _, kv := range kvs {
		var e api.ModelEvent
		if json.Unmarshal(kv.Value, &e) != nil {
			continue // of another version: the rest is worth showing
		}
		if e.Actor != nil {
			e.Actor = &api.Actor{ID: e.Actor.ID, Kind: e.Actor.Kind}
		}
		events = append(events, e)
	}
	return events, nil
}

// Histories returns the uids of all models that have a history, deleted ones too, in order.
func (c *Control) Histories(ctx context.Context) (uids []string, err error) {
	for _, first := range uidBegins { // a part at a time: all histories together may be large
		kvs, err := c.store.Records(ctx, store.EventsPrefix+string(first))
		if err != nil {
			return nil, err
		}
		for _, kv := range kvs {
			uid, _, _ := strings.Cut(kv.Key[len(store.EventsPrefix):], "/")
			if len(uids) == 0 || uids[len(uids)-1] != uid {
				uids = append(uids, uid)
			}
		}
	}
	return uids, nil
}

// uidBegins are the characters with which the uid of a model may begin.
const uidBegins = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
