package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nebula-serve/nebula/internal/store"
)

// Grant implements [store.Leases]. etcd lets no lease live shorter than about 2 s.
func (c *Client) Grant(ctx context.Context, ttlSeconds int64) (int64, error) {
	if ttlSeconds < 1 {
		return 0, fmt.Errorf("lease of %d s: at least 1", ttlSeconds)
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	resp, err := c.etcd.Grant(ctx, ttlSeconds)
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", readError(err))
	}
	return int64(resp.ID), nil
}

// KeepAlive implements [store.Leases]. It is one exchange on a stream of its own: the library's KeepAliveOnce asks
// again and again, without a pause, while etcd has no leader.
func (c *Client) KeepAlive(ctx context.Context, lease int64) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	resp, err := c.renew(ctx, lease)
	if err != nil {
		return fmt.Errorf("keep lease %x alive: %w", lease, readError(err))
	}
	if resp.TTL <= 0 {
		return fmt.Errorf("keep lease %x alive: %w", lease, store.ErrLeaseGone)
	}
	return nil
}

func (c *Client) renew(ctx context.Context, lease int64) (*pb.LeaseKeepAliveResponse, error) {
	stream, err := c.leases.LeaseKeepAlive(ctx, callOptions()...)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: lease}); err != nil {
		return nil, err
	}
	return stream.Recv()
}

// Revoke implements [store.Leases].
func (c *Client) Revoke(ctx context.Context, lease int64) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	_, err := c.etcd.Revoke(ctx, clientv3.LeaseID(lease))
	if err = readError(err); err != nil && !errors.Is(err, store.ErrLeaseGone) {
		return fmt.Errorf("revoke lease %x: %w", lease, err)
	}
	return nil
}
