package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// PruneCache has a node remove files that it does not need, or tells what it would remove.
func (c *Client) PruneCache(ctx context.Context, node string, req api.CachePrune) (api.CachePruned, error) {
	var out api.CachePruned
	path := "/cache/prune"
	if req.DryRun { // which others than administrators may ask for
		path += "/dry-run"
	}
	_, err := c.call(ctx, request{method: http.MethodPost, path: nodePath(node, path), body: req}, &out)
	return out, err
}

// EvictFiles has a node remove one model's files, or tells what it would remove.
func (c *Client) EvictFiles(ctx context.Context, node string, req api.CacheEvict) (api.CachePruned, error) {
	q := url.Values{"model": {req.ModelName}}
	if req.CachePath != "" {
		q.Set("path", req.CachePath)
	}
	if req.DryRun {
		q.Set("dry_run", "1")
	}
	var out api.CachePruned
	_, err := c.call(ctx, request{method: http.MethodDelete, path: nodePath(node, "/cache?"+q.Encode())}, &out)
	return out, err
}

// VerifyCache has a node read its files and compare them with their hashes. It calls tell with each event until the end, whose event it returns too.
func (c *Client) VerifyCache(ctx context.Context, node string, req api.CacheVerify, tell func(api.VerifyEvent)) (api.VerifyEvent, error) {
	res, err := c.Do(ctx, http.MethodPost, nodePath(node, "/cache/verify"), nil, req)
	if err != nil {
		return api.VerifyEvent{}, err
	}
	defer func() { _ = res.Body.Close() }()
	for lines := json.NewDecoder(res.Body); ; {
		var e api.VerifyEvent
		if err := lines.Decode(&e); err != nil {
			return e, c.broken(ctx, err)
		}
		tell(e)
		switch {
		case e.Type == api.VerifyFailed && e.Error != nil:
			return e, e.Error
		case e.Type == api.VerifyEnd, e.Type == api.VerifyFailed:
			return e, nil
		}
	}
}
