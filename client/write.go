package client

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Write says under which condition a change is made, and whether it is made at all.
type Write struct {
	// IfMatch is the revision that the object must still have; 0 = any. Where it has another one the answer is api.CodeRevisionMismatch.
	IfMatch int64
	// DryRun checks everything and changes nothing.
	DryRun bool
}

// CreateModelWith declares a model and returns the revision of what was made.
func (c *Client) CreateModelWith(ctx context.Context, req api.CreateModel, w Write) (api.ModelCreated, int64, error) {
	var out api.ModelCreated
	rev, err := c.write(ctx, request{method: http.MethodPost, path: "/api/v2/models", body: req}, w, &out)
	return out, rev, err
}

// UpdateModelWith changes a model and returns its new revision.
func (c *Client) UpdateModelWith(ctx context.Context, uid string, req api.UpdateModel, w Write) (api.ModelSpec, int64, error) {
	var out api.ModelSpec
	path, err := modelPath(uid, "")
	if err != nil {
		return out, 0, err
	}
	rev, err := c.write(ctx, request{method: http.MethodPut, path: path, body: req}, w, &out)
	return out, rev, err
}

// PatchModelWith changes the fields of a model that the patch names, and returns the model's new revision.
func (c *Client) PatchModelWith(ctx context.Context, uid string, patch api.PatchModel, w Write) (api.ModelSpec, int64, error) {
	var out api.ModelSpec
	path, err := modelPath(uid, "")
	if err != nil {
		return out, 0, err
	}
	rev, err := c.write(ctx, request{method: http.MethodPatch, path: path, body: patch}, w, &out)
	return out, rev, err
}

// PutDeployment replaces the whole wish to run a model and returns the model's new revision.
func (c *Client) PutDeployment(ctx context.Context, uid string, req api.PutDeployment, w Write) (api.ModelDeployment, int64, error) {
	var out api.ModelDeployment
	path, err := modelPath(uid, "/deployment")
	if err != nil {
		return out, 0, err
	}
	rev, err := c.write(ctx, request{method: http.MethodPut, path: path, body: req}, w, &out)
	return out, rev, err
}

// DeleteModelWith removes a model; its files stay.
func (c *Client) DeleteModelWith(ctx context.Context, uid string, w Write) error {
	path, err := modelPath(uid, "")
	if err != nil {
		return err
	}
	_, err = c.write(ctx, request{method: http.MethodDelete, path: path}, w, nil)
	return err
}

// write is call for a change: it returns the revision of the object after it, 0 when the server names none.
func (c *Client) write(ctx context.Context, req request, w Write, out any) (int64, error) {
	req.ifMatch = w.IfMatch
	if w.DryRun {
		mark := "?"
		if strings.Contains(req.path, "?") {
			mark = "&"
		}
		req.path += mark + "dry_run=1"
	}
	h, err := c.call(ctx, req, out)
	if err != nil {
		return 0, err
	}
	rev, err := strconv.ParseInt(strings.Trim(h.Get("ETag"), `"`), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // an answer without a revision is still one
	}
	return rev, nil
}

// CreateTemplateWith stores a template and returns its revision.
func (c *Client) CreateTemplateWith(ctx context.Context, req api.CreateTemplate, w Write) (api.ModelTemplate, int64, error) {
	var out api.ModelTemplate
	rev, err := c.write(ctx, request{method: http.MethodPost, path: "/api/v2/templates", body: req}, w, &out)
	return out, rev, err
}

// UpdateTemplateWith changes a stored template and returns its new revision.
func (c *Client) UpdateTemplateWith(ctx context.Context, id string, req api.UpdateTemplate, w Write) (api.ModelTemplate, int64, error) {
	var out api.ModelTemplate
	path, err := templatePath(id)
	if err != nil {
		return out, 0, err
	}
	rev, err := c.write(ctx, request{method: http.MethodPut, path: path, body: req}, w, &out)
	return out, rev, err
}

// DeleteTemplateWith forgets a stored template; models that were made of it stay.
func (c *Client) DeleteTemplateWith(ctx context.Context, id string, w Write) error {
	path, err := templatePath(id)
	if err != nil {
		return err
	}
	_, err = c.write(ctx, request{method: http.MethodDelete, path: path}, w, nil)
	return err
}
