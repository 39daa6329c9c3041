package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nebula-serve/nebula/api"
)

// CreateToken makes a join token. Its secret is in this answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, req api.CreateJoinToken) (api.JoinTokenCreated, error) {
	var out api.JoinTokenCreated
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/tokens", body: req}, &out)
	return out, err
}

// Tokens lists the join tokens that are not used yet.
func (c *Client) Tokens(ctx context.Context) ([]api.JoinTokenView, error) {
	var out []api.JoinTokenView
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/tokens"}, &out)
	return out, err
}

// RevokeToken takes a join token back.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/api/v2/tokens/" + url.PathEscape(id)}, nil)
	return err
}

// Members lists the machines of the cluster.
func (c *Client) Members(ctx context.Context) ([]api.Member, error) {
	var out []api.Member
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/members"}, &out)
	return out, err
}

// RemoveMember removes a machine and revokes its credential. A node that serves is refused unless force is set.
func (c *Client) RemoveMember(ctx context.Context, role api.MachineRole, id string, force bool) error {
	path := "/api/v2/members/" + url.PathEscape(string(role)) + "/" + url.PathEscape(id)
	if force {
		path += "?force=1"
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: path}, nil)
	return err
}

// Cluster returns the cluster as a whole.
func (c *Client) Cluster(ctx context.Context) (api.ClusterView, error) {
	var out api.ClusterView
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/api/v2/cluster"}, &out)
	return out, err
}

// AcceptHistory says that a restored cluster is right.
func (c *Client) AcceptHistory(ctx context.Context) (api.ClusterInfo, error) {
	var out api.ClusterInfo
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/api/v2/cluster/accept-history"}, &out)
	return out, err
}

// Node returns one node.
func (c *Client) Node(ctx context.Context, id string) (api.NodeView, error) {
	var out api.NodeView
	_, err := c.call(ctx, request{method: http.MethodGet, path: nodePath(id, "")}, &out)
	return out, err
}

// CordonNode lets a node take no new replica.
func (c *Client) CordonNode(ctx context.Context, id string) (api.Member, error) {
	return c.nodeVerb(ctx, id, "/cordon")
}

// UncordonNode ends cordon and drain.
func (c *Client) UncordonNode(ctx context.Context, id string) (api.Member, error) {
	return c.nodeVerb(ctx, id, "/uncordon")
}

// DrainNode wishes a node's replicas to move elsewhere. It returns when the wish is stored.
func (c *Client) DrainNode(ctx context.Context, id string) (api.Member, error) {
	return c.nodeVerb(ctx, id, "/drain")
}

func (c *Client) nodeVerb(ctx context.Context, id, verb string) (api.Member, error) {
	var out api.Member
	_, err := c.call(ctx, request{method: http.MethodPost, path: nodePath(id, verb)}, &out)
	return out, err
}

// RemoveNode removes a node and revokes its credential. One that serves is refused unless force is set.
func (c *Client) RemoveNode(ctx context.Context, id string, force bool) error {
	rest := ""
	if force {
		rest = "?force=1"
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: nodePath(id, rest)}, nil)
	return err
}

func nodePath(id, rest string) string { return "/api/v2/nodes/" + url.PathEscape(id) + rest }
