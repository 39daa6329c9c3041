package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is one member of the store's cluster as its list of members says.
type Member struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"` // empty while it has never started
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls,omitempty"`
	Learner    bool     `json:"learner,omitempty"` // it does not vote yet, and serves nobody
}

// Errors of changes of the list of members.
var (
	// ErrJoining says that another server is on its way into the cluster.
	ErrJoining = errors.New("another server is joining")
	// ErrUnhealthy says that the change would risk the majority of voters that the store needs.
	ErrUnhealthy = errors.New("the store has too few members that answer")
	// ErrNoMember says that there is no such member.
	ErrNoMember = errors.New("the store has no such member")
)

func memberID(id uint64) string { return strconv.FormatUint(id, 16) }

// Members returns the members of the cluster, by name.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	list, err := c.memberList(ctx)
	if err != nil {
		return nil, err
	}
	return members(list), nil
}

func members(list []*pb.Member) []Member {
	var out []Member
	for _, m := range list {
		out = append(out, Member{memberID(m.ID), m.Name, m.PeerURLs, m.ClientURLs, m.IsLearner})
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return out
}

func (c *Client) memberList(ctx context.Context) ([]*pb.Member, error) {
	var resp *clientv3.MemberListResponse
	err := c.call(ctx, func(ctx context.Context, l *lane) (err error) {
		resp, err = l.etcd.MemberList(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("members of the store: %w", readError(err))
	}
	return resp.Members, nil
}

// AddLearner takes a new server into the list of members and returns what it needs to start: [ClusterConfig.Initial]. Until it has
// caught up it is a learner, which does not vote; a client with [Config.Members] set then promotes it. Repeated for the same server it
// returns the same. Only one server can be on its way at a time: ErrJoining.
func (c *Client) AddLearner(ctx context.Context, name, peerURL string) (initial string, err error) {
	members, err := c.memberList(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range members {
		same := slices.Contains(m.PeerURLs, peerURL)
		switch {
		case same && m.IsLearner && (m.Name == "" || m.Name == name):
			return initialCluster(members, m.ID, name), nil
		case same:
			return "", fmt.Errorf("the store's member %q is at %s already: remove that one first, or give the new server another address", m.Name, peerURL)
		case m.Name == name:
			return "", fmt.Errorf("the store has a member %q already: remove that one first, or give the new server another name", name)
		}
	}
	if slices.ContainsFunc(members, func(m *pb.Member) bool { return m.IsLearner }) {
		return "", fmt.Errorf("add a member to the store: %w", changeError(rpctypes.ErrTooManyLearners))
	}
	var resp *clientv3.MemberAddResponse
	err = c.change(ctx, func(ctx context.Context, e *clientv3.Client) (err error) {
		resp, err = e.MemberAddAsLearner(ctx, []string{peerURL})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("add a member to the store: %w", err)
	}
	return initialCluster(resp.Members, resp.Member.ID, name), nil
}

// settle is how long a cluster in good order may call itself unhealthy: members that have not been connected for 5 s count as missing.
const settle = 8 * time.Second

// change makes a change of the list of members, and waits for a cluster that has just changed.
func (c *Client) change(ctx context.Context, do func(context.Context, *clientv3.Client) error) error {
	for start := time.Now(); ; {
		try, cancel := c.bound(ctx)
		err := do(try, c.era.Load().etcd)
		cancel()
		if err = changeError(err); err == nil || !errors.Is(err, ErrUnhealthy) || time.Since(start) > settle {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(settle / 16):
		}
	}
}

// initialCluster lists all members, with a name for the new one, which has none yet. A member that has never started has none either: it
// gets its id, because etcd wants one and looks at the addresses only.
func initialCluster(members []*pb.Member, joining uint64, name string) string {
	var parts []string
	for _, m := range members {
		called := m.Name
		switch {
		case m.ID == joining:
			called = name
		case called == "":
			called = memberID(m.ID)
		}
		for _, u := range m.PeerURLs {
			parts = append(parts, called+"="+u)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// RemoveMember takes a member out by its name for good. ErrNoMember when there is none; ErrUnhealthy when the rest could not go on.
func (c *Client) RemoveMember(ctx context.Context, name string) error {
	members, err := c.memberList(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(members, func(m *pb.Member) bool { return m.Name == name })
	if at < 0 {
		return fmt.Errorf("%w: %q", ErrNoMember, name)
	}
	if len(members) == 1 {
		return fmt.Errorf("%q is the only member: without it there is no store", name)
	}
	err = c.change(ctx, func(ctx context.Context, e *clientv3.Client) error {
		_, err := e.MemberRemove(ctx, members[at].ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove the store's member %q: %w", name, err)
	}
	return nil
}

// changeError names the error of a change of the list of members.
func changeError(err error) error {
	if err == nil {
		return nil
	}
	switch is := rpctypes.Error(err); {
	case errors.Is(is, rpctypes.ErrTooManyLearners):
		return fmt.Errorf("%w: wait until it votes (nebula admin status shows it), or remove it if it will never come", ErrJoining)
	case errors.Is(is, rpctypes.ErrUnhealthy), errors.Is(is, rpctypes.ErrMemberNotEnoughStarted):
		return fmt.Errorf("%w: see nebula admin status, bring the missing ones back, then try again", ErrUnhealthy)
	}
	return readError(err)
}
