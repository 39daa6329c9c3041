package client

import (
	"context"
	"io"
	"net/http"

	"github.com/nebula-serve/nebula/api"
)

// StoreStatus returns the condition of the cluster's store.
func (c *Client) StoreStatus(ctx context.Context) (api.StoreStatus, error) {
	return c.store(ctx, http.MethodGet, "")
}

// CompactStore makes the store forget its history.
func (c *Client) CompactStore(ctx context.Context) (api.StoreStatus, error) {
	return c.store(ctx, http.MethodPost, "/compact")
}

// DefragmentStore gives the store's free space back to its disks, member by member.
func (c *Client) DefragmentStore(ctx context.Context) (api.StoreStatus, error) {
	return c.store(ctx, http.MethodPost, "/defragment")
}

// DisarmStore takes back the alarm that the store is full.
func (c *Client) DisarmStore(ctx context.Context) (api.StoreStatus, error) {
	return c.store(ctx, http.MethodPost, "/disarm")
}

// ReclaimStore compacts and defragments the store, and takes back the alarm.
func (c *Client) ReclaimStore(ctx context.Context) (api.StoreStatus, error) {
	return c.store(ctx, http.MethodPost, "/reclaim")
}

func (c *Client) store(ctx context.Context, method, verb string) (api.StoreStatus, error) {
	var out api.StoreStatus
	_, err := c.call(ctx, request{method: method, path: "/api/v2/admin/store" + verb}, &out)
	return out, err
}

// Backup writes a backup of the store. After an error what has been written is worth nothing.
func (c *Client) Backup(ctx context.Context, to io.Writer) error {
	res, err := c.Do(ctx, http.MethodGet, "/api/v2/admin/backup", nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(to, res.Body); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}
