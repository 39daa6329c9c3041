package main

import (
	"context"
	"time"
)

// measureOutage kills all servers with their stores for a while, and meanwhile one of two gateways and, one after the other, both nodes' agents. The
// background load goes on through all of it.
func measureOutage(ctx context.Context, o options) error {
	l, err := newLab(ctx, o, shape{servers: 3, nodes: 2, gateways: 2})
	defer l.close()
	if err != nil {
		return err
	}
	s := l.servers[0]
	if err := l.model(ctx, s, "m", 2); err != nil {
		return err
	}
	before, err := l.engines(ctx, s, "m")
	if err != nil {
		return err
	}
	r, err := l.load(ctx, "m")
	if err != nil {
		return err
	}
	defer r.Stop()
	began := time.Now()
	for _, s := range l.servers {
		if err := s.die(); err != nil {
			return err
		}
	}
	outage := pick(o, 60*time.Second, 10*time.Second)
	step := outage / 6 // of the load between two restarts
	for _, m := range []*machine{l.gateways[0], l.nodes[0], l.nodes[1]} {
		if err := wait(ctx, step); err != nil {
			return err
		}
		if err := r.kill(m); err != nil {
			return err
		}
		if m == l.gateways[0] {
			if err := l.routes(ctx, m); err != nil { // from what it kept on its disk
				return err
			}
		}
	}
	if err := wait(ctx, outage-time.Since(began)); err != nil {
		return err
	}
	if err := r.flow(ctx, 10); err != nil {
		return err
	}
	lasted := time.Since(began)
	for _, s := range l.servers {
		if err := s.start(); err != nil {
			return err
		}
	}
	if err := l.whole(ctx); err != nil {
		return err
	}
	back := time.Since(began) - lasted
	if err := l.settled(ctx, s, "m"); err != nil {
		return err
	}
	if err := r.flow(ctx, 50); err != nil {
		return err
	}
	if err := r.finish("outage"); err != nil {
		return err
	}
	restarted, err := l.restarted(ctx, s, "m", before)
	if err != nil {
		return err
	}
	left, err := l.orphans(ctx, s)
	if err != nil {
		return err
	}
	o.plain("outage_without_servers", lasted.Seconds(), "s")
	o.plain("outage_whole_again_after", back.Seconds(), "s")
	o.target("outage_engine_restarts", float64(restarted), "engines", 0)
	o.target("outage_orphans", float64(left), "processes", 0)
	return nil
}
