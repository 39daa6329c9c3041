package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// PutSecret stores a secret, or gives the one of that name another value. No call returns the value again.
func (c *Client) PutSecret(ctx context.Context, name string, value api.Token) (api.SecretView, error) {
	var out api.SecretView
	_, err := c.call(ctx, request{method: http.MethodPut, path: secretPath(name), body: api.PutSecret{Value: value}}, &out)
	return out, err
}

// Secrets lists the secrets, without their values.
func (c *Client) Secrets(ctx context.Context) ([]api.SecretView, error) {
	var out []api.SecretView
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/secrets"}, &out)
	return out, err
}

// DeleteSecret forgets a secret. One that models name is refused unless force is set.
func (c *Client) DeleteSecret(ctx context.Context, name string, force bool) error {
	path := secretPath(name)
	if force {
		path += "?force=1"
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: path}, nil)
	return err
}

func secretPath(name string) string { return "/api/v2/secrets/" + url.PathEscape(name) }
