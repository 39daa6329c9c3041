package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/figures"
	"github.com/nebula-serve/nebula/test/netns"
	"github.com/nebula-serve/nebula/test/procs"
)

// fault is what happens to the server whose member leads the store, and what may come of it.
type fault struct {
	name   string
	target float64 // seconds without a write
	hosts  bool    // it needs machines that are hosts
	begin  func(*machine, procs.ID) error
	end    func(*machine, procs.ID) error
}

const (
	lasting   = 6 * time.Second // of a fault
	watchGoal = 5.0             // seconds without a word on a watch
)

var faults = []fault{
	{
		name: "killed", target: 2,
		begin: func(_ *machine, store procs.ID) error { return store.Signal(syscall.SIGKILL) },
		end:   func(*machine, procs.ID) error { return nil }, // its server starts it again
	}, {
		name: "paused", target: 3,
		begin: func(_ *machine, store procs.ID) error { return store.Signal(syscall.SIGSTOP) },
		end: func(_ *machine, store procs.ID) error {
			if err := store.Signal(syscall.SIGCONT); !errors.Is(err, os.ErrProcessDone) {
				return err
			}
			return nil // its server has given it up and started another
		},
	}, {
		name: "partitioned", target: 4, hosts: true,
		begin: func(m *machine, _ procs.ID) error { return m.host.Cut(netns.Control) },
		end:   func(m *machine, _ procs.ID) error { return m.host.Heal() },
	},
}

// calm is the time before the next fault: the cluster has found together again.
func (o options) calm() time.Duration { return pick(o, 8*time.Second, 4*time.Second) }

// measureStore lets faults happen to the store's leader among three servers, while a client writes through any of them and another one watches.
func measureStore(ctx context.Context, o options) error {
	l, err := newLab(ctx, o, shape{servers: 3, hosts: true})
	defer l.close()
	if err != nil {
		return err
	}
	ob, err := l.observer(ctx)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			ob.stop()
		}
	}()
	for _, ft := range faults {
		if ft.hosts && l.net == nil {
			o.out.Note("store leader %s: not measured, this needs root and network namespaces", ft.name)
			continue
		}
		var write, watch time.Duration
		for range pick(o, 3, 1) {
			w, s, err := l.suffer(ctx, ob, ft)
			if err != nil {
				return fmt.Errorf("leader %s: %w", ft.name, err)
			}
			write, watch = max(write, w), max(watch, s)
		}
		o.target("store_leader_"+ft.name+"_write_gap", write.Seconds(), "s", ft.target)
		o.target("store_leader_"+ft.name+"_watch_silence", watch.Seconds(), "s", watchGoal)
	}
	stopped = true
	return l.acknowledged(ctx, ob.stop())
}

// suffer lets a fault happen and returns the longest times without an acknowledged write and without a word on the watch.
func (l *lab) suffer(ctx context.Context, ob *observer, ft fault) (write, watch time.Duration, err error) {
	began := time.Now() // without a steady flow before the fault it would show nothing
	if err := wait(ctx, l.o.calm()); err != nil {
		return 0, 0, err
	}
	if figures.Gap(ob.times("ack"), began, time.Now()) > time.Second || figures.Gap(ob.times("word"), began, time.Now()) > time.Second {
		return 0, 0, errors.New("there was no steady flow of writes and words before the fault")
	}
	leader, err := l.storeLeader(ctx)
	if err != nil {
		return 0, 0, err
	}
	store, err := leader.store()
	if err != nil {
		return 0, 0, err
	}
	from := time.Now()
	if err := ft.begin(leader, store); err != nil {
		return 0, 0, err
	}
	err = wait(ctx, lasting)
	to := time.Now()
	if err = errors.Join(err, ft.end(leader, store)); err != nil {
		return 0, 0, err
	}
	return figures.Gap(ob.times("ack"), from, to), figures.Gap(ob.times("word"), from, to), nil
}

// storeLeader is the server whose member leads.
func (l *lab) storeLeader(ctx context.Context) (leader *machine, err error) {
	_, err = until(ctx, time.Minute, "the store has a leader", func(ctx context.Context) error {
		var all error
		for _, s := range l.servers {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			status, err := s.client.StoreStatus(ctx)
			cancel()
			if err != nil {
				all = errors.Join(all, err)
				continue
			}
			for _, m := range status.Members {
				for _, s := range l.servers {
					if m.Role == api.StoreLeader && m.Name == s.name {
						leader = s
						return nil
					}
				}
			}
		}
		return errors.Join(all, errors.New("no server names it"))
	})
	return leader, err
}

// acknowledged counts acknowledged writes that are lost.
func (l *lab) acknowledged(ctx context.Context, acked []string) error {
	if len(acked) == 0 {
		return errors.New("no write was acknowledged: this run says nothing")
	}
	kv, err := l.servers[0].openStore(ctx)
	if err != nil {
		return err
	}
	defer kv.Close()
	// From the store itself: what a server shows may lag a moment after a fault, and that is no loss.
	stored, _, err := kv.List(ctx, "/models/")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range stored {
		there[e.Key] = true
	}
	lost := 0
	for _, uid := range acked {
		if !there["/models/"+uid+"/spec"] {
			lost++
		}
	}
	l.o.out.Note("%d writes were acknowledged", len(acked))
	l.o.target("store_acknowledged_writes_lost", float64(lost), "writes", 0)
	return nil
}
