package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/test/figures"
)

// measureAgents kills the agents of two nodes again and again, in turns, under a background load through two gateways.
func measureAgents(ctx context.Context, o options) error {
	l, err := newLab(ctx, o, shape{servers: 1, nodes: 2, gateways: 2})
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
	var back []float64
	for i := range pick(o, 50, 10) {
		n := l.nodes[i%len(l.nodes)]
		said, err := s.heard(ctx, n.name)
		if err != nil {
			return err
		}
		if len(said) == 0 {
			return fmt.Errorf("%s has no endpoint", n.name)
		}
		if err := r.kill(n); err != nil {
			return err
		}
		took, err := l.news(ctx, s, n, said)
		if err != nil {
			return errors.Join(err, n.check())
		}
		back = append(back, took.Seconds())
		// The load meets the node again before the other one goes, and requests that lost an engine once have ended: one that has seen two
		// engines go is given no third.
		if err := errors.Join(r.flow(ctx, 10), wait(ctx, pick(o, 2*time.Second, time.Second))); err != nil {
			return err
		}
	}
	if err := r.finish("agent_kills"); err != nil {
		return err
	}
	if err := l.settled(ctx, s, "m"); err != nil {
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
	o.plain("agent_kills", float64(len(back)), "kills")
	o.plain("agent_kills_back_p50", figures.Median(back), "s")
	o.plain("agent_kills_back_max", figures.Quantile(back, 1), "s")
	o.target("agent_kills_engine_restarts", float64(restarted), "engines", 0)
	o.target("agent_kills_orphans", float64(left), "processes", 0)
	return nil
}

// models lists all models as a server shows them.
func (m *machine) models(ctx context.Context) (all []api.ModelView, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for cursor := ""; ; {
		page, next, err := m.client.Models(ctx, client.ListOptions{Limit: 500, Cursor: cursor})
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); next == "" {
			return all, nil
		}
		cursor = next
	}
}
