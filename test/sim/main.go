// Command sim measures a server of Nebula with a fleet that is not there: hollow nodes, which run the real agent and the real link over real
// connections, with engines that cost nothing. It prints one line per figure.
//
//	go run ./test/sim --nodes 1000 --models 10000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options say how large the fleet is.
type options struct {
	nodes, models int
	replicas      uint
	changes       int           // single changes whose way to the node is timed
	hold          time.Duration // how long the idle fleet is watched
	nebula        string        // the program under test
	dir           string        // for everything that is written
	verbose       bool
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == listCommand {
		if err := listMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "sim: list models:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sim:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	f.IntVar(&o.nodes, "nodes", 1000, "hollow nodes")
	f.IntVar(&o.models, "models", 10000, "models")
	f.UintVar(&o.replicas, "replicas", 2, "replicas of each model")
	f.IntVar(&o.changes, "changes", 200, "single changes whose way to the node is timed")
	f.DurationVar(&o.hold, "hold", 30*time.Second, "how long the idle fleet is watched")
	f.StringVar(&o.nebula, "nebula", "bin/nebula", "nebula's program file")
	f.BoolVar(&o.verbose, "v", false, "show the server's log at the end")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.nodes < 1 || o.models < 1 || o.replicas < 1 {
		return errors.New("there must be a node, a model and a replica")
	}
	var err error
	if o.nebula, err = filepath.Abs(o.nebula); err != nil {
		return err
	}
	// Thousands of credentials are written: on a real fleet to as many disks, here to none.
	parent := ""
	if _, err := os.Stat("/dev/shm"); err == nil {
		parent = "/dev/shm"
	}
	nodes, err := os.MkdirTemp(parent, "nebula-sim-nodes")
	if err != nil {
		return err
	}
	defer os.RemoveAll(nodes)
	if o.dir, err = os.MkdirTemp("", "nebula-sim"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	defer s.stop(o.verbose)
	return measure(ctx, o, s, nodes)
}

// measure takes the figures one after the other.
func measure(ctx context.Context, o options, s *server, dir string) error {
	fleet, err := newFleet(ctx, o, s, dir)
	if err != nil {
		return err
	}
	defer fleet.stop()
	joined, err := fleet.join(ctx)
	if err != nil {
		return err
	}
	say("join_of_%d_nodes", float64(joined.Seconds()), "s", "<=", 15, o.nodes)

	lists, err := s.listing(s.token)
	if err != nil {
		return err
	}
	placed, err := fleet.deploy(ctx)
	if err != nil {
		return err
	}
	say("place_and_acknowledge_%d_replicas", placed.Seconds(), "s", "<=", 30, o.models*int(o.replicas))
	busy := lists.cut()
	say("list_page_p99_while_placing", busy.p99(), "ms", "<", 50)

	way, err := fleet.change(ctx)
	if err != nil {
		return err
	}
	say("change_to_node_p50", way.quantile(0.5), "ms", "", 0)
	say("change_to_node_p99", way.p99(), "ms", "<=", 2000)
	if err := lists.stop(); err != nil {
		return fmt.Errorf("list models: %w", err)
	}

	idle, err := s.idle(ctx, o.hold)
	if err != nil {
		return err
	}
	say("raft_entries_while_idle", float64(idle.raft), "entries", "<=", 0)
	say("store_revisions_while_idle", float64(idle.revisions), "revisions", "<=", 0)
	say("server_idle_cpu", idle.server, "% of a core", "<=", 15)
	say("store_idle_cpu", idle.store, "% of a core", "", 0)
	say("server_rss", idle.serverRSS, "MB", "<=", 500)
	say("store_rss", idle.storeRSS, "MB", "", 0)
	quiet, err := s.times(ctx, 200)
	if err != nil {
		return err
	}
	say("list_page_p99_idle", quiet.p99(), "ms", "<", 50)
	return nil
}
