package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// TemplateOptions choose templates.
type TemplateOptions struct {
	Category api.TemplateCategory // empty = any
	Source   api.TemplateSource   // empty = any
}

// Templates lists templates, the built-in ones among them, in order of id.
func (c *Client) Templates(ctx context.Context, o TemplateOptions) ([]api.ModelTemplate, error) {
	q := url.Values{}
	if o.Category != "" {
		q.Set("category", string(o.Category))
	}
	if o.Source != "" {
		q.Set("source", string(o.Source))
	}
	path := "/api/v2/templates"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	var out []api.ModelTemplate
	_, err := c.call(ctx, request{method: http.MethodGet, path: path}, &out)
	return out, err
}

// Template returns one template, and the revision to change it with; a built-in one, which cannot be changed, has revision 0.
func (c *Client) Template(ctx context.Context, id string) (api.ModelTemplate, int64, error) {
	var out api.ModelTemplate
	h, err := c.onTemplate(ctx, id, request{method: http.MethodGet}, &out)
	return out, revisionOf(h), err
}

// CreateTemplate stores a template; replace lets it take the place of one with the same id.
func (c *Client) CreateTemplate(ctx context.Context, req api.CreateTemplate, replace bool) (api.ModelTemplate, error) {
	var out api.ModelTemplate
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/templates" + replacing(replace), body: req}, &out)
	return out, err
}

// UpdateTemplate changes a stored template.
func (c *Client) UpdateTemplate(ctx context.Context, id string, req api.UpdateTemplate) (api.ModelTemplate, error) {
	var out api.ModelTemplate
	_, err := c.onTemplate(ctx, id, request{method: http.MethodPut, body: req}, &out)
	return out, err
}

// DeleteTemplate forgets a stored template; models that were made of it stay.
func (c *Client) DeleteTemplate(ctx context.Context, id string) error {
	_, err := c.onTemplate(ctx, id, request{method: http.MethodDelete}, nil)
	return err
}

// DeployTemplate declares a model as a template says and starts it.
func (c *Client) DeployTemplate(ctx context.Context, id string, req api.DeployTemplate) (api.ModelCreated, error) {
	var out api.ModelCreated
	_, err := c.onTemplate(ctx, id, request{method: http.MethodPost, path: "/deploy", body: req}, &out)
	return out, err
}

// SaveTemplate makes a template of a model and of the configuration that it runs with.
func (c *Client) SaveTemplate(ctx context.Context, uid string, req api.SaveTemplate, replace bool) (api.ModelTemplate, error) {
	var out api.ModelTemplate
	err := c.onModel(ctx, uid, request{method: http.MethodPost, path: "/save-as-template" + replacing(replace), body: req}, &out)
	return out, err
}

// PatchModel changes single fields of a model, or clears them.
func (c *Client) PatchModel(ctx context.Context, uid string, patch api.PatchModel) (api.ModelWritten, error) {
	var out api.ModelWritten
	err := c.onModel(ctx, uid, request{method: http.MethodPatch, body: patch}, &out)
	return out, err
}

func replacing(replace bool) string {
	if replace {
		return "?replace=1"
	}
	return ""
}

// onTemplate is call for a route of one template; the request's path is what follows the id.
func (c *Client) onTemplate(ctx context.Context, id string, req request, out any) (http.Header, error) {
	path, err := templatePath(id)
	if err != nil {
		return http.Header{}, err
	}
	req.path = path + req.path
	return c.call(ctx, req, out)
}

// templatePath refuses what no template is called, as modelPath does.
func templatePath(id string) (string, error) {
	if !api.KnownUID(id) {
		return "", api.Errorf(api.CodeInvalidRequest, "%.80q is not the id of a template: list them with \"nebula template list\"", id)
	}
	return "/api/v2/templates/" + id, nil
}
