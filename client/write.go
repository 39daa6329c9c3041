package client

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Write says under which condition changes are made, and whether they are made at all.
type Write struct {
	// IfMatch is the revision that the object must still have; 0 = any. Where it has another one the answer is api.CodeRevisionMismatch.
	IfMatch int64
	// DryRun checks everything and changes nothing. Of a model, the answer says where it would run then, or why it would not.
	DryRun bool
	// Revision is set to the one that the object has after the change, 0 when the server names none. nil: nobody asks.
	Revision *int64
}

// On returns a client whose changes are made so:
//
//	spec, err := c.On(client.Write{IfMatch: rev}).UpdateModel(ctx, uid, change)
func (c *Client) On(w Write) *Client {
	other := *c
	other.on = w
	return &other
}

// condition adds what the server has to know to a request.
func (w *Write) condition(h http.Header, path string) string {
	if w.IfMatch > 0 {
		h.Set("If-Match", `"`+strconv.FormatInt(w.IfMatch, 10)+`"`)
	}
	switch {
	case !w.DryRun:
		return path
	case strings.Contains(path, "?"):
		return path + "&dry_run=1"
	}
	return path + "?dry_run=1"
}

// revisionOf reads the revision of an object out of the answer that holds it; 0 when it names none.
func revisionOf(h http.Header) int64 {
	rev, err := strconv.ParseInt(strings.Trim(h.Get("ETag"), `"`), 10, 64)
	if err != nil {
		return 0
	}
	return rev
}

// PutDeployment replaces the whole wish to run a model.
func (c *Client) PutDeployment(ctx context.Context, uid string, req api.PutDeployment) (api.DeploymentWritten, error) {
	var out api.DeploymentWritten
	err := c.onModel(ctx, uid, request{method: http.MethodPut, path: "/deployment", body: req}, &out)
	return out, err
}
