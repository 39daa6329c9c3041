package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// maxErrorBody bounds what is read of an error answer.
const maxErrorBody = 64 << 10

// over says that the caller's own ctx has ended, or nil.
func (c *Client) over(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return api.Errorf(api.CodeTimeout, "the server at %s did not answer in time", c.shown)
	}
	return ctx.Err()
}

// unreachable words an error before the answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if over := c.over(ctx); over != nil {
		return over
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the address, which is said already
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return api.Errorf(api.CodeUnavailable, "the certificate of the server at %s is not trusted here (%v): give the authority that signed it with --ca-file", c.shown, err)
	}
	return api.Errorf(api.CodeUnavailable, "no Nebula server answers at %s (%v): start one with \"nebula up\", or name another with --server", c.shown, err)
}

// broken words an error within the answer.
func (c *Client) broken(ctx context.Context, err error) error {
	if over := c.over(ctx); over != nil {
		return over
	}
	return api.Errorf(api.CodeUnavailable, "the answer of the server at %s broke off (%v): try again", c.shown, err)
}

// answerError reads an error answer in any shape: ours, OpenAI's, a mere text under "error", or none of them, when something other than
// Nebula has answered.
func (c *Client) answerError(res *http.Response) error {
	if to := res.Header.Get("Location"); res.StatusCode/100 == 3 && to != "" {
		return api.Errorf(api.CodeUpstream,
			"the server at %s sends its callers on to %.200q, which is not followed, to keep the token here: if you trust it, name it with --server",
			c.shown, to)
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody)) // what could be read is enough
	out := parseError(b)
	if out.Message == "" {
		out.Message = "the server at " + c.shown + " answered \"" + http.StatusText(res.StatusCode) + "\" and did not say why"
	}
	if out.Code == "" || out.Code.HTTPStatus() != res.StatusCode {
		out.Code = codeOf(res.StatusCode) // a code that this version does not know
	}
	if out.RequestID == "" {
		out.RequestID = res.Header.Get("X-Request-Id")
	}
	return out
}

// parseError returns an empty error for what it cannot read.
func parseError(b []byte) *api.Error {
	var outer struct {
		Error json.RawMessage `json:"error"`
	}
	var text string
	var parts struct {
		Code      any         `json:"code"` // engines send numbers
		Message   string      `json:"message"`
		RequestID string      `json:"request_id"`
		Details   []api.Field `json:"details"`
	}
	switch {
	case json.Unmarshal(b, &outer) != nil:
		return &api.Error{}
	case json.Unmarshal(outer.Error, &text) == nil:
		return &api.Error{Message: text}
	case json.Unmarshal(outer.Error, &parts) != nil:
		return &api.Error{}
	}
	code, _ := parts.Code.(string)
	return &api.Error{Code: api.Code(code), Message: parts.Message, RequestID: parts.RequestID, Details: parts.Details}
}

// codeOf returns the most general code of a status.
func codeOf(status int) api.Code {
	for _, c := range []api.Code{
		api.CodeInvalidRequest, api.CodeUnauthorized, api.CodeForbidden, api.CodeNotFound, api.CodeMethodNotAllowed, api.CodeConflict,
		api.CodeRevisionMismatch, api.CodeTooLarge, api.CodeUnsupportedMedia, api.CodeMisdirected, api.CodeTooManyRequests,
		api.CodeUpstream, api.CodeUnavailable, api.CodeTimeout,
	} {
		if c.HTTPStatus() == status {
			return c
		}
	}
	if status/100 == 4 {
		return api.CodeInvalidRequest
	}
	return api.CodeInternal
}
