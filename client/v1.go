package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/nebula-serve/nebula/api"
)

// Requests lists the requests for models of version 1, each with how its model stands.
func (c *Client) Requests(ctx context.Context) ([]api.ModelRequest, error) {
	var out []api.ModelRequest
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/requests"}, &out)
	return out, err
}

// LoadModel declares a model, to run, by a request of version 1. The answer has the request's id.
func (c *Client) LoadModel(ctx context.Context, req api.ModelLoadRequest) (api.V1Loaded, error) {
	var out api.V1Loaded
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/models/load", body: req}, &out)
	return out, err
}

// UnloadRequest has the model of a request not run any more. The request is gone when nothing of it runs.
func (c *Client) UnloadRequest(ctx context.Context, id string) (api.V1Status, error) {
	var out api.V1Status
	_, err := c.call(ctx, request{method: http.MethodDelete, path: requestPath(id)}, &out)
	return out, err
}

// ScaleRequest changes how many replicas a request asks for.
func (c *Client) ScaleRequest(ctx context.Context, id string, replicas uint32) (api.V1Scaled, error) {
	var out api.V1Scaled
	_, err := c.call(ctx, request{method: http.MethodPut, path: requestPath(id) + "/scale", body: api.V1Scale{Replicas: replicas}}, &out)
	return out, err
}

func requestPath(id string) string { return "/api/models/requests/" + url.PathEscape(id) }

// ServerLog returns the last lines of the log of the process that is asked; 0 = as many as it thinks good. The caller closes it.
func (c *Client) ServerLog(ctx context.Context, lines int) (io.ReadCloser, error) {
	path := "/api/logs"
	if lines > 0 {
		path += "?lines=" + strconv.Itoa(lines)
	}
	res, err := c.Do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// FollowServerLog yields what the process that is asked logs from now on, line by line. It ends as [Client.WatchModel] does.
func (c *Client) FollowServerLog(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for e, err := range c.stream(ctx, http.MethodGet, "/v1/admin/logs/stream", nil) {
			if !yield(e.Data, err) || err != nil {
				return
			}
		}
	}
}
