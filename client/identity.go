package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// Whoami tells who the client's credential belongs to.
func (c *Client) Whoami(ctx context.Context) (out api.Whoami, err error) {
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/api/v2/whoami"}, &out)
	return out, err
}

// CreatePersonalToken makes a personal token for a user who shows a password; the client needs no credential for that.
func (c *Client) CreatePersonalToken(ctx context.Context, req api.CreatePersonalToken) (out api.PersonalToken, err error) {
	_, err = c.call(ctx, request{method: http.MethodPost, path: "/api/v2/auth/token", body: req}, &out)
	return out, err
}

// Setup makes the first user; the client needs no credential for that.
func (c *Client) Setup(ctx context.Context, req api.Setup) (out api.Whoami, err error) {
	_, err = c.call(ctx, request{method: http.MethodPost, path: "/api/v2/setup", body: req}, &out)
	return out, err
}

// Users lists users in the order of their names.
func (c *Client) Users(ctx context.Context) (out []api.User, err error) {
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/api/v2/users"}, &out)
	return out, err
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, req api.CreateUser) (out api.User, err error) {
	_, err = c.call(ctx, request{method: http.MethodPost, path: "/api/v2/users", body: req}, &out)
	return out, err
}

// UpdateUser changes what the request names of a user.
func (c *Client) UpdateUser(ctx context.Context, name string, req api.UpdateUser) (out api.User, err error) {
	_, err = c.call(ctx, request{method: http.MethodPut, path: "/api/v2/users/" + url.PathEscape(name), body: req}, &out)
	return out, err
}

// SetPassword gives a user another password and ends the user's sessions.
func (c *Client) SetPassword(ctx context.Context, name string, password api.Token) error {
	_, err := c.call(ctx, request{method: http.MethodPut, path: "/api/v2/users/" + url.PathEscape(name) + "/password", body: api.SetPassword{Password: password}}, nil)
	return err
}

// DeleteUser removes a user with sessions and keys.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/api/v2/users/" + url.PathEscape(name)}, nil)
	return err
}

// Sessions lists the caller's sessions, or for an administrator those of all.
func (c *Client) Sessions(ctx context.Context) (out []api.SessionView, err error) {
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/api/v2/sessions"}, &out)
	return out, err
}

// DeleteSession ends a session.
func (c *Client) DeleteSession(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/api/v2/sessions/" + url.PathEscape(id)}, nil)
	return err
}

// User returns one user.
func (c *Client) User(ctx context.Context, name string) (out api.User, err error) {
	_, err = c.call(ctx, request{method: http.MethodGet, path: "/api/v2/users/" + url.PathEscape(name)}, &out)
	return out, err
}

// ChangePassword gives the caller another password, and ends the caller's other sessions.
func (c *Client) ChangePassword(ctx context.Context, req api.ChangePassword) error {
	_, err := c.call(ctx, request{method: http.MethodPut, path: "/api/v2/password", body: req}, nil)
	return err
}

// UpdateProfile changes what the caller says of himself or herself.
func (c *Client) UpdateProfile(ctx context.Context, req api.UpdateProfile) (out api.User, err error) {
	_, err = c.call(ctx, request{method: http.MethodPut, path: "/api/v2/profile", body: req}, &out)
	return out, err
}
