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
