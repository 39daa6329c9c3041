package app

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/nebula-serve/nebula/internal/obs"
)

// Times of the whole.
const (
	leaderTTL     = 5               // seconds; a dead scheduler's successor waits this long
	shutdownGrace = 5 * time.Second // for answers in flight when the process ends in order
)

// Up runs everything in one process until ctx ends: a server, and the agent of this machine beside it.
func Up(ctx context.Context, o Options) error {
	tighten()
	return run(ctx, o, up)
}

// Server runs a server until ctx ends: API, scheduler, gateway and store.
func Server(ctx context.Context, o Options) error {
	tighten()
	return run(ctx, o, serverOnly)
}

// serverGC keeps a server's memory closer to what it holds than Go does by itself: the state of a large fleet, and those who watch it, are what fills it. With
// 50 a watcher costs 55 KiB and with 70 it is 69 (make bench-api); the gateway's processor time for a request is the same.
const serverGC = 50

// tighten sets it, unless people have said something else, with GOGC.
func tighten() {
	if was := debug.SetGCPercent(serverGC); was != 100 {
		debug.SetGCPercent(was)
	}
}

// Node runs the agent of this machine for a cluster of which it knows only the servers, until ctx ends.
func Node(ctx context.Context, o Options) error { return run(ctx, o, nodeOnly) }

// Gateway runs the data plane of a cluster alone, until ctx ends.
func Gateway(ctx context.Context, o Options) error { return run(ctx, o, gatewayOnly) }

// run gives a role its life and its data directory.
func run(ctx context.Context, o Options, role func(context.Context, *life, Options) error) error {
	o.tail = obs.NewTail()
	o.Log = slog.New(o.tail.Handler(o.Log.Handler()))
	l := newLife(o.Log)
	defer l.stop()
	release, err := lockDir(o.DataDir)
	if err != nil {
		return err
	}
	l.onStop("data directory", func(context.Context) error { return release() })
	if o.NodeID, err = nodeID(o.NodeID); err != nil {
		return err
	}
	return role(ctx, l, o)
}

// up is a server and a node in one process: the link between the two is a pointer.
func up(ctx context.Context, l *life, o Options) error {
	s, err := startServer(ctx, l, o, o.NodeID)
	if err != nil {
		return err
	}
	around, err := s.startLocalNode(ctx)
	if err != nil {
		return err
	}
	s.files = around.files // before anybody is let in
	// The agent goes down before the store, and after the last answer has been sent.
	if err := startAgent(l, o, around); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	return l.wait(ctx)
}

func serverOnly(ctx context.Context, l *life, o Options) error {
	s, err := startServer(ctx, l, o, "")
	if err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	return l.wait(ctx)
}
