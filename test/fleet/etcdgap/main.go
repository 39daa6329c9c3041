// Command etcdgap measures how long three members of the store leave their servers without a write and without a word on a watch when
// their leader is killed, paused, or cut off, and checks that nothing is lost that was acknowledged:
//
//	go run ./test/fleet/etcdgap -nebula bin/nebula
//
// It prints one line for each figure. With root and network namespaces each member is on a host of its own; without, the cut is left out,
// and a line says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/test/figures"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == serverArg {
		if err := server(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	nebula := flag.String("nebula", "bin/nebula", "the program")
	rounds := flag.Int("rounds", 3, "how often each fault happens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, *nebula, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "etcdgap:", err)
		os.Exit(1)
	}
}

// fault is what happens to the leader, and what may come of it.
type fault struct {
	name     string
	target   float64 // seconds without a write
	begin    func(*fleet, *member) error
	end      func(*fleet, *member) error
	excluded bool // the leader's own server cannot write while the fault lasts, and is not counted
}

const (
	lasting   = 6 * time.Second  // of a fault
	calm      = 8 * time.Second  // before the next one: the cluster has found together, and servers are back with their own members
	watchGoal = 5.0              // seconds without a word on a watch
	patience  = 40 * time.Second // for everything that must happen in the end
)

var faults = []fault{
	{
		name: "killed", target: 2,
		begin: func(_ *fleet, m *member) error { return m.signal(syscall.SIGKILL) },
		end:   func(*fleet, *member) error { return nil },
	}, {
		name: "paused", target: 3,
		begin: func(_ *fleet, m *member) error { return m.signal(syscall.SIGSTOP) },
		end:   func(_ *fleet, m *member) error { return m.signal(syscall.SIGCONT) },
	}, {
		name: "partitioned", target: 4, excluded: true,
		begin: func(_ *fleet, m *member) error { return m.host.Cut(subnet) },
		end:   func(_ *fleet, m *member) error { return m.host.Heal() },
	},
}

func measure(ctx context.Context, nebula string, rounds int) error {
	out := figures.Report{W: os.Stdout}
	f, err := newFleet(ctx, nebula)
	if err != nil {
		return err
	}
	defer f.stop()
	for _, ft := range faults {
		if ft.excluded && f.net == nil {
			out.Note("etcd leader %s: not measured, this needs root and network namespaces", ft.name)
			continue
		}
		var write, watch time.Duration
		for range rounds {
			w, s, err := f.suffer(ctx, ft)
			if err != nil {
				return fmt.Errorf("leader %s: %w", ft.name, err)
			}
			write, watch = max(write, w), max(watch, s)
		}
		out.Add(figures.Figure{Name: "etcd_leader_" + ft.name + "_write_gap", Value: write.Seconds(), Unit: "s", Op: "<=", Target: ft.target})
		out.Add(figures.Figure{Name: "etcd_leader_" + ft.name + "_watch_silence", Value: watch.Seconds(), Unit: "s", Op: "<=", Target: watchGoal})
	}
	lost, acked, err := f.lost(ctx)
	if err != nil {
		return err
	}
	if acked == 0 {
		return errors.New("no write was acknowledged: this run says nothing")
	}
	out.Note("%d writes were acknowledged", acked)
	out.Add(figures.Figure{Name: "etcd_acknowledged_writes_lost", Value: float64(lost), Unit: "writes", Op: "<=", Target: 0})
	return nil
}

// suffer lets a fault happen to the leader, and returns the longest times without a write and without a word, of the servers that count.
func (f *fleet) suffer(ctx context.Context, ft fault) (write, watch time.Duration, err error) {
	if err := wait(ctx, calm); err != nil {
		return 0, 0, err
	}
	leader, err := f.leader(ctx)
	if err != nil {
		return 0, 0, err
	}
	from := time.Now()
	if err := ft.begin(f, leader); err != nil {
		return 0, 0, err
	}
	err = wait(ctx, lasting)
	if err = errors.Join(err, ft.end(f, leader)); err != nil {
		return 0, 0, err
	}
	to := time.Now()
	for _, m := range f.members {
		if ft.excluded && m == leader {
			continue
		}
		write = max(write, figures.Gap(m.times("ack"), from, to))
		watch = max(watch, figures.Gap(m.times("word"), from, to))
	}
	return write, watch, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
