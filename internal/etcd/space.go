package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// spaceEvery is how often WatchSpace looks, and tight the part of the quota from which on it warns.
const (
	spaceEvery = 30 * time.Second
	tight      = 0.8
)

// WatchSpace says in the log when the store is about to be full, is full, and no longer is, until ctx ends.
func (c *Client) WatchSpace(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	was := roomy
	for {
		if s, err := c.Status(ctx); err == nil {
			now := s.space()
			now.say(was, s, log)
			was = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// space is how much room is left.
type space int

const (
	roomy space = iota
	little
	none
)

func (s Status) space() space {
	switch {
	case s.Full:
		return none
	case s.QuotaBytes > 0 && float64(s.Bytes) > tight*float64(s.QuotaBytes):
		return little
	}
	return roomy
}

func (now space) say(was space, s Status, log *slog.Logger) {
	switch {
	case now == was:
	case now == none:
		log.Error("the store is full and takes no changes but deletions; models go on running: "+
			"remove what is not needed, then run nebula admin reclaim, or start the servers with a larger --etcd-quota",
			"bytes", s.Bytes, "quota", s.QuotaBytes)
	case now == little && was == roomy:
		log.Warn("the store is nearly full: run nebula admin reclaim, or start the servers with a larger --etcd-quota",
			"bytes", s.Bytes, "quota", s.QuotaBytes)
	case now == roomy || was == none:
		log.Info("the store has room again", "bytes", s.Bytes, "quota", s.QuotaBytes)
	}
}

// Disarm takes back the alarm that the store is full, on all members. It comes again when the store still is.
func (c *Client) Disarm(ctx context.Context) error {
	err := c.call(ctx, func(ctx context.Context, l *lane) error {
		alarms, err := l.etcd.AlarmList(ctx)
		if err != nil {
			return err
		}
		for _, a := range alarms.Alarms {
			if a.Alarm != pb.AlarmType_NOSPACE { // the other is about damage, and is not for us to take back
				continue
			}
			if _, err := l.etcd.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: a.MemberID, Alarm: a.Alarm}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take back the alarm of the store: %w", readError(err))
	}
	return nil
}

// Reclaim is the way out of a full store, after what is not needed was deleted: forget the history, give the free space back, take back
// the alarm. It returns the condition afterwards. ErrStillFull: there is nothing to reclaim.
func (c *Client) Reclaim(ctx context.Context) (Status, error) {
	if err := c.CompactNow(ctx); err != nil {
		return Status{}, err
	}
	if err := c.Defragment(ctx); err != nil {
		return Status{}, err
	}
	s, err := c.Status(ctx)
	if err != nil {
		return s, err
	}
	if s.QuotaBytes > 0 && s.Bytes >= s.QuotaBytes {
		return s, fmt.Errorf("%w: %d of %d bytes hold data that is in use: remove what is not needed, or start the servers with a larger --etcd-quota",
			ErrStillFull, s.InUse, s.QuotaBytes)
	}
	if err := c.Disarm(ctx); err != nil {
		return s, err
	}
	return c.Status(ctx)
}

// ErrStillFull says that the store has no space to give back.
var ErrStillFull = errors.New("the store is still full")
