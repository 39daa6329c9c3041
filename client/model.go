package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// ListOptions choose models.
type ListOptions struct {
	State  api.ModelState
	Label  string // key=value
	Engine string
	Search string // a part of the uid, the name or the value of a label, in capitals or not
	Sort   string // uid, name, state, engine, replicas, created or updated, with - before it for the reverse; empty = uid
	Limit  int    // 0 = all
	Cursor string // from the answer before
}

// Models lists models and returns the cursor of the next page, empty when there is none.
func (c *Client) Models(ctx context.Context, o ListOptions) ([]api.ModelView, string, error) {
	var out []api.ModelView
	h, err := c.call(ctx, request{method: http.MethodGet, path: modelsPath(o, url.Values{})}, &out)
	return out, h.Get("Nebula-Next-Cursor"), err
}

func modelsPath(o ListOptions, q url.Values) string {
	for key, value := range map[string]string{"state": string(o.State), "label": o.Label, "engine": o.Engine, "cursor": o.Cursor, "q": o.Search, "sort": o.Sort} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	if len(q) == 0 {
		return "/api/v2/models"
	}
	return "/api/v2/models?" + q.Encode()
}

// ModelSummary counts the models that o chooses; Sort, Limit and Cursor have no part in it.
func (c *Client) ModelSummary(ctx context.Context, o ListOptions) (api.ModelSummary, error) {
	o.Sort, o.Limit, o.Cursor = "", 0, ""
	_, query, _ := strings.Cut(modelsPath(o, url.Values{}), "?")
	path := "/api/v2/summary/models"
	if query != "" {
		path += "?" + query
	}
	var out api.ModelSummary
	_, err := c.call(ctx, request{method: http.MethodGet, path: path}, &out)
	return out, err
}

// CreateModel declares a model.
func (c *Client) CreateModel(ctx context.Context, req api.CreateModel) (api.ModelCreated, error) {
	var out api.ModelCreated
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/models", body: req}, &out)
	return out, err
}

// Model returns one model in detail.
func (c *Client) Model(ctx context.Context, uid string) (api.ModelDetail, error) {
	var out api.ModelDetail
	err := c.onModel(ctx, uid, request{method: http.MethodGet}, &out)
	return out, err
}

// UpdateModel changes a model.
func (c *Client) UpdateModel(ctx context.Context, uid string, req api.UpdateModel) (api.ModelWritten, error) {
	var out api.ModelWritten
	err := c.onModel(ctx, uid, request{method: http.MethodPut, body: req}, &out)
	return out, err
}

// StartModel wishes a model to run.
func (c *Client) StartModel(ctx context.Context, uid string, req api.StartModel) (api.DeploymentWritten, error) {
	var out api.DeploymentWritten
	err := c.onModel(ctx, uid, request{method: http.MethodPost, path: "/start", body: req}, &out)
	return out, err
}

// StopModel wishes a model to stop; its declaration stays.
func (c *Client) StopModel(ctx context.Context, uid string) (api.DeploymentWritten, error) {
	var out api.DeploymentWritten
	err := c.onModel(ctx, uid, request{method: http.MethodPost, path: "/stop"}, &out)
	return out, err
}

// ScaleModel changes the number of replicas.
func (c *Client) ScaleModel(ctx context.Context, uid string, replicas uint32) (api.DeploymentWritten, error) {
	var out api.DeploymentWritten
	err := c.onModel(ctx, uid, request{method: http.MethodPut, path: "/scale", body: api.ScaleModel{Replicas: &replicas}}, &out)
	return out, err
}

// DrainReplica lets one replica finish its requests and go, when another has taken its place.
func (c *Client) DrainReplica(ctx context.Context, uid string, replica uint32) (api.ReplicaDrain, error) {
	var out api.ReplicaDrain
	err := c.onModel(ctx, uid, request{method: http.MethodPost, path: fmt.Sprintf("/replicas/%d/drain", replica)}, &out)
	return out, err
}

// DeleteModel removes a model; its files stay.
func (c *Client) DeleteModel(ctx context.Context, uid string) error {
	return c.onModel(ctx, uid, request{method: http.MethodDelete}, &api.ModelDeleted{})
}

// PurgeModel removes a model and asks the nodes to delete its files; the answer says where, and what stays and why.
func (c *Client) PurgeModel(ctx context.Context, uid string) (api.Purged, error) {
	var out api.ModelDeleted
	if err := c.onModel(ctx, uid, request{method: http.MethodDelete, path: "?purge=1"}, &out); err != nil {
		return api.Purged{}, err
	}
	if out.Purge == nil { // a server of an earlier version deletes the model alone
		return api.Purged{Kept: "this server does not know how to delete them"}, nil
	}
	return *out.Purge, nil
}

// LogOptions choose a part of a replica's log.
type LogOptions struct {
	Replica  uint32
	Node     string // empty: where the replica is
	Tail     int    // 0 = all that is kept
	Follow   bool
	Previous bool
}

// Logs returns a replica's log; the caller closes it.
func (c *Client) Logs(ctx context.Context, uid string, o LogOptions) (io.ReadCloser, error) {
	q := url.Values{"replica": {strconv.FormatUint(uint64(o.Replica), 10)}}
	if o.Node != "" {
		q.Set("node", o.Node)
	}
	if o.Tail > 0 {
		q.Set("tail", strconv.Itoa(o.Tail))
	}
	if o.Follow {
		q.Set("follow", "1")
	}
	if o.Previous {
		q.Set("previous", "1")
	}
	path, err := modelPath(uid, "/logs?"+q.Encode())
	if err != nil {
		return nil, err
	}
	res, err := c.Do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// onModel is call for a route of one model; the request's path is what follows the uid.
func (c *Client) onModel(ctx context.Context, uid string, req request, out any) error {
	var err error
	if req.path, err = modelPath(uid, req.path); err != nil {
		return err
	}
	_, err = c.call(ctx, req, out)
	return err
}

// modelPath refuses what no model is called: an empty uid or "..", say, would make the path that of another route.
func modelPath(uid, rest string) (string, error) {
	if !api.KnownUID(uid) {
		return "", api.Errorf(api.CodeInvalidUID, "%.80q is not the uid of a model: list them with \"nebula model list\"", uid)
	}
	return "/api/v2/models/" + uid + rest, nil
}
