package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/procs"
	"github.com/nebula-serve/nebula/test/traffic"
)

// The background load: slow enough to leave two cores to what is tested.
const (
	streamClients = 15
	plainClients  = 15
	clientPause   = time.Second
	leastAnswered = 200 // requests below which a run has shown nothing
)

// dialFirst connects to the first machine that takes the connection.
func dialFirst(order []*machine) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		var all error
		for _, m := range order {
			conn, err := d.DialContext(ctx, network, strings.TrimPrefix(m.url, "http://"))
			if err == nil {
				return conn, nil
			}
			all = err
		}
		return nil, all
	}
}

// load is a running background load, and the ends of processes that carried requests.
type load struct {
	*traffic.Load
	l     *lab
	kills []kill
}

// kill is the end of one process of the data path.
type kill struct {
	gateway string // its name; empty: it was a node's
	at      time.Time
}

// load starts the background load through all gateways and waits until it flows.
func (l *lab) load(ctx context.Context, model string) (*load, error) {
	r := &load{l: l, Load: traffic.Start(traffic.Spec{
		Gateways: l.asGateways(l.gateways...), Model: model, Reply: reply, Streams: streamClients, Plain: plainClients, Pause: clientPause,
	})}
	return r, r.flow(ctx, 50)
}

// flow waits until so many more requests are answered.
func (r *load) flow(ctx context.Context, more int) error {
	from := r.Answered()
	_, err := until(ctx, time.Minute, "requests are answered", func(context.Context) error {
		if n := r.Answered() - from; n < more {
			return fmt.Errorf("%d of %d", n, more)
		}
		return nil
	})
	return err
}

// kill kills a machine of the data path and starts it again.
func (r *load) kill(m *machine) error {
	k := kill{at: time.Now()}
	if slices.Contains(r.l.gateways, m) {
		k.gateway = m.name
	}
	r.kills = append(r.kills, k)
	return m.again()
}

// slack is for the time that passes between a kill and its record.
const slack = 250 * time.Millisecond

// excused tells whether a request ended as it did because the process itself that was carrying it was killed: a gateway takes the connections of its
// clients with it, and the node of an engine those streams of which the client had something already, so that nobody could begin them anew.
func (r *load) excused(rec traffic.Record) bool {
	for _, k := range r.kills {
		under := rec.Began.Before(k.at.Add(slack)) && rec.Began.Add(rec.Took).After(k.at.Add(-slack))
		gateway := k.gateway != "" && rec.Outcome == traffic.Lost && rec.Gateway == k.gateway
		node := k.gateway == "" && rec.Outcome == traffic.ErrorEvent && rec.FirstByte > 0
		if under && (gateway || node) {
			return true
		}
	}
	return false
}

// finish stops the load and prints what failed.
func (r *load) finish(name string) error {
	report := r.Stop()
	out := r.l.o.out
	out.Note("%s: %s", name, report)
	if report.Good() < leastAnswered {
		return fmt.Errorf("%d requests answered are too few to show anything", report.Good())
	}
	var failed []traffic.Record
	cut := 0
	for _, rec := range report.Other() {
		if r.excused(rec) {
			cut++
		} else {
			failed = append(failed, rec)
		}
	}
	for line := range strings.Lines(traffic.Show(failed)) {
		out.Note("%s: %s", name, strings.TrimSpace(line))
	}
	r.l.o.plain(name+"_requests", float64(len(report.Records)), "requests")
	r.l.o.plain(name+"_cut_with_the_process_that_carried_them", float64(cut), "requests")
	r.l.o.target(name+"_failed_requests", float64(len(failed)), "requests", 0)
	return nil
}

// engines returns the engine's process of each ready replica.
func (l *lab) engines(ctx context.Context, s *machine, uid string) (map[uint32]procs.ID, error) {
	d, err := s.client.Model(ctx, uid)
	if err != nil {
		return nil, err
	}
	out := map[uint32]procs.ID{}
	for _, e := range d.Endpoints {
		if id, runs := procs.Find(e.PID); runs && e.Status == api.EndpointReady {
			out[e.ReplicaID] = id
		}
	}
	if len(out) != int(d.Replicas.Desired) {
		return nil, fmt.Errorf("%d of %d engines run", len(out), d.Replicas.Desired)
	}
	return out, nil
}

// restarted counts the engines that are not those of before, by pid and start time.
func (l *lab) restarted(ctx context.Context, s *machine, uid string, before map[uint32]procs.ID) (int, error) {
	now, err := l.engines(ctx, s, uid)
	n := 0
	for replica, id := range before {
		if now[replica] != id {
			n++
		}
	}
	return n, err
}

// orphans waits until the engines that run are those that the cluster's endpoints name, each with one shim, and counts what is left that has no
// owner, or is named and does not run. It gives up waiting after half a minute.
func (l *lab) orphans(ctx context.Context, s *machine) (int, error) {
	left := 0
	_, err := until(ctx, 30*time.Second, "every engine has its owner", func(ctx context.Context) error {
		page, err := s.models(ctx)
		if err != nil {
			return err
		}
		named := map[int]string{}
		for i := range page {
			for _, e := range page[i].Endpoints {
				named[e.PID] = e.Key()
			}
		}
		shims, running := 0, 0
		left = 0
		for _, n := range l.nodes {
			all, err := procs.Of(n.dir + "/")
			if err != nil {
				return err
			}
			for _, p := range all {
				switch p.Kind() {
				case procs.KindShim:
					shims++
				case procs.KindEngine:
					running++
					if _, ok := named[p.PID]; !ok {
						left++
					}
					delete(named, p.PID)
				}
			}
		}
		left += len(named) + max(shims-running, running-shims)
		if left > 0 {
			return fmt.Errorf("%d shims, %d engines, endpoints without an engine: %v", shims, running, slices.Sorted(maps.Values(named)))
		}
		return nil
	})
	if left > 0 && ctx.Err() == nil {
		l.o.out.Note("%v", err)
		return left, nil
	}
	return left, err
}

// heard is what each node last said of its endpoints, as the cluster shows it.
func (m *machine) heard(ctx context.Context, node string) (map[string]int64, error) {
	page, err := m.models(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for i := range page {
		for _, e := range page[i].Endpoints {
			if e.NodeID == node {
				out[e.Key()] = e.LastHeartbeatMS
			}
		}
	}
	return out, nil
}

// news waits until nothing is shown any more that a node said before.
func (l *lab) news(ctx context.Context, s, node *machine, before map[string]int64) (time.Duration, error) {
	return until(ctx, time.Minute, "the new agent of "+node.name+" has spoken", func(ctx context.Context) error {
		now, err := s.heard(ctx, node.name)
		if err != nil {
			return err
		}
		for key, at := range before {
			if now[key] == at || now[key] == 0 {
				return errors.New("nothing new of " + key)
			}
		}
		return nil
	})
}
