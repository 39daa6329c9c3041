package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// CacheSummary returns what the caches of all nodes hold, and their disks.
func (c *Client) CacheSummary(ctx context.Context) (api.CacheSummary, error) {
	var out cacheSummary
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/cache/summary"}, &out)
	return api.CacheSummary(out), err
}

// NodeCache returns what the cache of one node holds.
func (c *Client) NodeCache(ctx context.Context, id string) ([]api.CacheEntryView, error) {
	var out cacheList
	_, err := c.call(ctx, request{method: http.MethodGet, path: nodePath(id, "/cache")}, &out)
	return out, err
}

// NodeDisk returns the disk that holds a node's models.
func (c *Client) NodeDisk(ctx context.Context, id string) (api.NodeDiskStatus, error) {
	var out api.NodeDiskStatus
	_, err := c.call(ctx, request{method: http.MethodGet, path: nodePath(id, "/disk")}, &out)
	return out, err
}

// PullFiles wishes a model's files on nodes. It returns when the wish is stored.
func (c *Client) PullFiles(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
	return c.wishFiles(ctx, "/pull", req)
}

// PinFiles wishes that a model's files are never deleted to make room.
func (c *Client) PinFiles(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
	return c.wishFiles(ctx, "/pin", req)
}

// UnpinFiles lifts pins.
func (c *Client) UnpinFiles(ctx context.Context, req api.FilesRequest) (api.FilesWished, error) {
	return c.wishFiles(ctx, "/unpin", req)
}

func (c *Client) wishFiles(ctx context.Context, verb string, req api.FilesRequest) (api.FilesWished, error) {
	var out api.FilesWished
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/cache" + verb, body: req}, &out)
	return out, err
}

// Pulls lists the pulls of a node, or of all nodes when that is empty.
func (c *Client) Pulls(ctx context.Context, node string) ([]api.PullView, error) {
	var out []api.PullView
	_, err := c.call(ctx, request{method: http.MethodGet, path: pullsPath(node, "")}, &out)
	return out, err
}

// WatchPulls yields the list of pulls now and at every change. It ends as [Client.WatchModel] does.
func (c *Client) WatchPulls(ctx context.Context, node string) iter.Seq2[[]api.PullView, error] {
	return func(yield func([]api.PullView, error) bool) {
		for e, err := range c.stream(ctx, http.MethodGet, pullsPath(node, "1"), nil) {
			var list []api.PullView
			switch {
			case err != nil:
			case e.Type != "pulls":
				continue
			case json.Unmarshal([]byte(e.Data), &list) != nil:
				err = api.Errorf(api.CodeUpstream, "the server at %s sent an event that cannot be read", c.shown)
			}
			if !yield(list, err) || err != nil {
				return
			}
		}
	}
}

func pullsPath(node, watch string) string {
	q := url.Values{}
	for key, value := range map[string]string{"node": node, "watch": watch} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if len(q) == 0 {
		return "/api/v2/cache/pulls"
	}
	return "/api/v2/cache/pulls?" + q.Encode()
}

// CancelPull takes a pull back; what has come stays.
func (c *Client) CancelPull(ctx context.Context, node, pull string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/api/v2/cache/pulls/" + url.PathEscape(node) + "/" + url.PathEscape(pull)}, nil)
	return err
}
