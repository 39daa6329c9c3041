package control

import (
	"context"
	"encoding/json"

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
