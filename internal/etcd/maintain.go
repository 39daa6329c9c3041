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
	member     uint64
	Version    string
	Revision   int64 // of its last raft entry's effect, as far as this member has come
	Bytes      int64 // of its database file
	InUse      int64 // bytes of it that hold data; the rest is freed by Defragment
	QuotaBytes int64 // the size at which etcd takes no more writes; 0 when the member does not say
	Full       bool  // whether it has reached the quota
	Leader     bool
}

// Status asks the member in use for its condition.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.call(ctx, func(ctx context.Context, l *lane) (err error) {
		s, err = statusOf(ctx, l)
		return err
	})
	if err != nil {
		return Status{}, fmt.Errorf("status: %w", readError(err))
	}
	return s, nil
}

func statusOf(ctx context.Context, l *lane) (Status, error) {
	r, err := l.etcd.Status(ctx, l.endpoint)
	if err != nil {
		return Status{}, err
	}
	return Status{
		member:     r.Header.GetMemberId(),
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
	err := c.call(ctx, func(ctx context.Context, l *lane) error {
		_, err := l.etcd.Compact(ctx, revision)
		return err
	})
	if err != nil {
		return fmt.Errorf("compact: %w", readError(err))
	}
	return nil
}

// Defragment gives the free space of every member's database back to its disk, one member after the other. A member
// answers nothing while it is at it.
func (c *Client) Defragment(ctx context.Context) error {
	var errs []error
	for _, l := range c.allLanes() {
		if _, err := l.etcd.Defragment(ctx, l.endpoint); err != nil {
			errs = append(errs, fmt.Errorf("defragment %s: %w", l.endpoint, readError(err)))
		}
	}
	return errors.Join(errs...)
}
