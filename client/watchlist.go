package client

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/nebula-serve/nebula/api"
)

// WatchModelList yields the whole list of the models that o chooses, sorted by uid: when it is complete, and again at every change. It ends as
// [Client.WatchModel] does.
func (c *Client) WatchModelList(ctx context.Context, o ListOptions) iter.Seq2[[]api.ModelView, error] {
	return func(yield func([]api.ModelView, error) bool) {
		q := url.Values{"watch": {"1"}}
		for key, value := range map[string]string{"state": string(o.State), "label": o.Label} {
			if value != "" {
				q.Set(key, value)
			}
		}
		list, complete := map[string]api.ModelView{}, false
		for e, err := range c.stream(ctx, http.MethodGet, "/api/v2/models?"+q.Encode(), nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			var v api.ModelView
			switch e.Type {
			case "model", "deleted":
				if json.Unmarshal([]byte(e.Data), &v) != nil || v.ModelUID == "" {
					yield(nil, api.Errorf(api.CodeUpstream, "the server at %s sent an event that cannot be read", c.shown))
					return
				}
				list[v.ModelUID] = v
				if e.Type == "deleted" {
					delete(list, v.ModelUID)
				}
			case "synced":
				complete = true
			case "reset": // the list begins anew
				clear(list)
				complete = false
			default:
				continue
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
