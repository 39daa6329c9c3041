package client

import (
	"context"
	"net/http"

	"github.com/nebula-serve/nebula/api"
)

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context) ([]api.NodeView, error) {
	var out []api.NodeView
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/nodes"}, &out)
	return out, err
}

// Alerts lists what people should look at.
func (c *Client) Alerts(ctx context.Context) ([]api.DiskAlert, error) {
	var out []api.DiskAlert
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/alerts"}, &out)
	return out, err
}

// Version returns the server's version.
func (c *Client) Version(ctx context.Context) (api.ServerVersion, error) {
	var out api.ServerVersion
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/version"}, &out)
	return out, err
}

// Ready returns nil when the server can serve.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/readyz"}, nil)
	return err
}
