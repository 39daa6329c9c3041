package client

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// WatchModelList yields the whole list of the models that o chooses, sorted by uid: when it is complete, and again at every change. It goes on by itself
// when the connection breaks, and ends as [Client.WatchModels] does.
func (c *Client) WatchModelList(ctx context.Context, o ListOptions) iter.Seq2[[]api.ModelView, error] {
	return func(yield func([]api.ModelView, error) bool) {
		list, complete := map[string]api.ModelView{}, false
		for e, err := range c.WatchModels(ctx, o) {
			if err != nil {
				yield(nil, err)
				return
			}
			switch e.Kind {
			case ModelChanged:
				list[e.UID] = e.View
			case ModelDeleted:
				delete(list, e.UID)
			case ModelsSynced:
				complete = true
			case ModelsReset: // the list begins anew
				clear(list)
				complete = false
			}
			if complete && !yield(slices.Collect(sorted(list)), nil) {
				return
			}
		}
	}
}

// sorted yields the models by uid.
func sorted(list map[string]api.ModelView) iter.Seq[api.ModelView] {
	return func(yield func(api.ModelView) bool) {
		for _, uid := range slices.Sorted(maps.Keys(list)) {
			if !yield(list[uid]) {
				return
			}
		}
	}
}
