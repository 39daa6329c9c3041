package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nebula-serve/nebula/internal/store"
)

// Status is the condition of one etcd member.
type Status struct {
	member     uint64
	Version    string
	Revision   int64  // of its last raft entry's effect, as far as this member has come
	RaftIndex  uint64 // of the last entry of its log
	Bytes      int64  // of its database file
	InUse      int64  // bytes of it that hold data; the rest is freed by Defragment
	QuotaBytes int64  // the size at which etcd takes no more writes; 0 when the member does not say
	Full       bool   // whether it has reached the quota
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
		RaftIndex:  r.RaftIndex,
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

// CompactNow forgets all history up to now.
func (c *Client) CompactNow(ctx context.Context) error {
	at, err := c.newest(ctx)
	if err != nil {
		return err
	}
	if err := c.Compact(ctx, at); err != nil && !errors.Is(err, store.ErrCompacted) { // nothing has happened since the last time
		return err
	}
	return nil
}

// defragTime bounds the defragmentation of one member: it copies the database.
const defragTime = 5 * time.Minute

// Defragment gives the free space of every member's database back to its disk, one member after the other, the leader last. A member
// answers nothing while it is at it; its own server uses another one meanwhile.
func (c *Client) Defragment(ctx context.Context) error {
	o, err := c.Overview(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, leader := range []bool{false, true} {
		for _, m := range o {
			switch {
			case m.lane == nil && !leader:
				errs = append(errs, fmt.Errorf("the store's member %s at %v does not answer", m.Name, m.ClientURLs))
			case m.lane != nil && m.Status.Leader == leader:
				errs = append(errs, defragment(ctx, m.lane))
			}
		}
	}
	return errors.Join(errs...)
}

func defragment(ctx context.Context, l *lane) error {
	ctx, cancel := context.WithTimeout(ctx, defragTime)
	defer cancel()
	if _, err := l.etcd.Defragment(ctx, l.endpoint); err != nil {
		return fmt.Errorf("defragment %s: %w", l.endpoint, readError(err))
	}
	return nil
}

// MemberStatus is a member and its condition.
type MemberStatus struct {
	Member
	Answers bool // Status is that of now
	Status  Status
	lane    *lane
}

// Overview returns all members and how each is, by name. It needs no majority.
func (c *Client) Overview(ctx context.Context) ([]MemberStatus, error) {
	var list []Member
	err := c.call(ctx, func(ctx context.Context, l *lane) error {
		r, err := l.etcd.MemberList(ctx, clientv3.WithSerializable())
		if err == nil {
			list = members(r.Members)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("members of the store: %w", readError(err))
	}
	lanes := c.allLanes()
	answers := make([]Status, len(lanes))
	var asking sync.WaitGroup
	for i, l := range lanes {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, lookTime)
			defer cancel()
			answers[i], _ = statusOf(ctx, l) // silence is an answer too
		})
	}
	asking.Wait()
	var out []MemberStatus
	for _, m := range list {
		s := MemberStatus{Member: m}
		if i := slices.IndexFunc(answers, func(a Status) bool { return memberID(a.member) == m.ID }); i >= 0 {
			s.Answers, s.Status, s.lane = true, answers[i], lanes[i]
		}
		out = append(out, s)
	}
	return out, nil
}
