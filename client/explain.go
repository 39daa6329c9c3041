package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// Explain says why a model stands as it does, what each node lacks for it, and what would help.
func (c *Client) Explain(ctx context.Context, uid string) (api.Explanation, error) {
	var out api.Explanation
	err := c.onModel(ctx, uid, request{method: http.MethodGet, path: "/explain"}, &out)
	return out, err
}

// Figures asks the engines that run what they say of themselves.
func (c *Client) Figures(ctx context.Context) (api.EngineFigures, error) {
	var out api.EngineFigures
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/endpoints/figures"}, &out)
	return out, err
}

// EndpointFilter chooses replicas; what is empty chooses all.
type EndpointFilter struct {
	Model, Node string
	Status      api.EndpointStatus
}

// Endpoints lists the replicas that run.
func (c *Client) Endpoints(ctx context.Context, f EndpointFilter) ([]api.EndpointInfo, error) {
	q := url.Values{}
	for key, value := range map[string]string{"model": f.Model, "node": f.Node, "status": string(f.Status)} {
		if value != "" {
			q.Set(key, value)
		}
	}
	var out []api.EndpointInfo
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/endpoints?" + q.Encode()}, &out)
	return out, err
}
