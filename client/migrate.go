package client

import (
	"context"
	"net/http"

	"github.com/nebula-serve/nebula/api"
)

// Migrate stores, as models, what requests of version 1 declare. It may be repeated: what is stored already is skipped.
func (c *Client) Migrate(ctx context.Context) (api.Migration, error) {
	var out api.Migration
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/migrate"}, &out)
	return out, err
}

// V1Usage tells who has called version 1 on the server that is asked, since it was started.
func (c *Client) V1Usage(ctx context.Context) ([]api.V1Use, error) {
	var out []api.V1Use
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/v1-usage"}, &out)
	return out, err
}
