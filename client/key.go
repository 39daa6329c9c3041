package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// CreateKey makes an API key. Only this answer has it.
func (c *Client) CreateKey(ctx context.Context, req api.CreateKey) (api.KeyCreated, error) {
	var out api.KeyCreated
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/keys", body: req}, &out)
	return out, err
}

// Keys lists keys, without their secrets: the caller's own, or, for admins, those of owner, or of all when that is empty.
func (c *Client) Keys(ctx context.Context, owner string) ([]api.KeyView, error) {
	path := "/api/v2/keys"
	if owner != "" {
		path += "?owner=" + url.QueryEscape(owner)
	}
	var out []api.KeyView
	_, err := c.call(ctx, request{method: http.MethodGet, path: path}, &out)
	return out, err
}

// Key returns one key, without its secret.
func (c *Client) Key(ctx context.Context, id string) (api.KeyView, error) {
	var out api.KeyView
	_, err := c.call(ctx, request{method: http.MethodGet, path: keyPath(id)}, &out)
	return out, err
}

// UpdateKey changes a key; what the request leaves out stays as it is.
func (c *Client) UpdateKey(ctx context.Context, id string, req api.UpdateKey) (api.KeyView, error) {
	var out api.KeyView
	_, err := c.call(ctx, request{method: http.MethodPut, path: keyPath(id), body: req}, &out)
	return out, err
}

// RotateKey gives a key another secret, which only this answer has.
func (c *Client) RotateKey(ctx context.Context, id string, req api.RotateKey) (api.KeyCreated, error) {
	var out api.KeyCreated
	_, err := c.call(ctx, request{method: http.MethodPost, path: keyPath(id) + "/rotate", body: req}, &out)
	return out, err
}

// DeleteKey ends a key for good.
func (c *Client) DeleteKey(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: keyPath(id)}, nil)
	return err
}

func keyPath(id string) string { return "/api/v2/keys/" + url.PathEscape(id) }
