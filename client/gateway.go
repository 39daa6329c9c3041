package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// GatewayOverview tells how the gateway of the process that answers did over a window; an empty window is 15 minutes.
func (c *Client) GatewayOverview(ctx context.Context, window api.GatewayWindow) (out api.GatewayOverview, err error) {
	err = c.gateway(ctx, "overview", window, "", &out)
	return out, err
}

// GatewayTraffic tells what that gateway was asked; an empty window is an hour, and an empty step the whole window in one point.
func (c *Client) GatewayTraffic(ctx context.Context, window api.GatewayWindow, step api.GatewayStep) (out api.GatewayTraffic, err error) {
	err = c.gateway(ctx, "traffic", window, step, &out)
	return out, err
}

// GatewayReliability tells how engines failed that gateway; window and step as for GatewayTraffic.
func (c *Client) GatewayReliability(ctx context.Context, window api.GatewayWindow, step api.GatewayStep) (out api.GatewayReliability, err error) {
	err = c.gateway(ctx, "reliability", window, step, &out)
	return out, err
}

// GatewayLatency tells how long that gateway's answers took; window and step as for GatewayTraffic.
func (c *Client) GatewayLatency(ctx context.Context, window api.GatewayWindow, step api.GatewayStep) (out api.GatewayLatency, err error) {
	err = c.gateway(ctx, "latency", window, step, &out)
	return out, err
}

// GatewayProtection tells what that gateway kept from its engines; an empty window is 15 minutes.
func (c *Client) GatewayProtection(ctx context.Context, window api.GatewayWindow) (out api.GatewayProtection, err error) {
	err = c.gateway(ctx, "protection", window, "", &out)
	return out, err
}

func (c *Client) gateway(ctx context.Context, view string, window api.GatewayWindow, step api.GatewayStep, out any) error {
	q := url.Values{}
	for key, value := range map[string]string{"window": string(window), "step": string(step)} {
		if value != "" {
			q.Set(key, value)
		}
	}
	path := "/api/v2/observability/gateway/" + view
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	_, err := c.call(ctx, request{method: http.MethodGet, path: path}, out)
	return err
}
