package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Status is the condition of one etcd member.
type Status struct {
	Version    string
	Revision   int64 // of its last raft entry's effect, as far as this member has come
	Bytes      int64 // of its database file
	InUse      int64 // bytes of it that hold data; the rest is freed by Defragment
	QuotaBytes int64 // the size at which etcd takes no more writes; 0 when the member does not say
	Full       bool  // whether it has reached the quota
	Leader     bool
}

// Status asks the first endpoint for its condition.
func (c *Client) Status(ctx context.Context) (Status, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	r, err := c.etcd.Status(ctx, c.etcd.Endpoints()[0])
	if err != nil {
		return Status{}, fmt.Errorf("status: %w", readError(err))
	}
	return Status{
		Version:    r.Version,
		Revision:   r.Header.GetRevision(),
		Bytes:      r.DbSize,
		InUse:      r.DbSizeInUse,
		QuotaBytes: r.DbSizeQuota,
		Full:       slices.ContainsFunc(r.Errors, func(alarm string) bool { return strings.Contains(alarm, pb.AlarmType_NOSPACE.String()) }),
		Leader:     r.Leader == r.Header.GetMemberId(),
	}, nil
}

// Compact forgets the history before a revision: watches that have not come that far end with ErrCompacted.
func (c *Client) Compact(ctx context.Context, revision int64) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if _, err := c.etcd.Compact(ctx, revision); err != nil {
		return fmt.Errorf("compact: %w", readError(err))
	}
	return nil
}

// Defragment gives the free space of every member's database back to its disk, one member after the other. A member
// answers nothing while it is at it.
func (c *Client) Defragment(ctx context.Context) error {
	var errs []error
	for _, endpoint := range c.etcd.Endpoints() {
		if _, err := c.etcd.Defragment(ctx, endpoint); err != nil {
			errs = append(errs, fmt.Errorf("defragment %s: %w", endpoint, readError(err)))
		}
	}
	return errors.Join(errs...)
}
