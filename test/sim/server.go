package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/test/procs"
)

// server is the real program under test.
type server struct {
	proc   *procs.Running
	log    procs.Log
	dir    string
	token  string
	client *client.Client
	fleet  string // where machines connect
}

// many keeps as many connections as the simulator has callers, so that it measures calls and not handshakes.
var many = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}}

// startServer starts "nebula server" on a data directory of its own and waits until it is ready.
func startServer(ctx context.Context, o options) (*server, error) {
	s := &server{dir: filepath.Join(o.dir, "data")}
	var err error
	s.proc, err = procs.Start(procs.Program{Name: "nebula server", Path: o.nebula, Log: &s.log, Args: []string{
		"server", "--data-dir", s.dir, "--node-id", "sim-server", "--listen", "127.0.0.1:0", "--fleet-listen", "127.0.0.1:0", "--log-level", "warn",
	}})
	if err != nil {
		return nil, err
	}
	err = s.until(ctx, time.Minute, "the server is ready", func(ctx context.Context) (bool, error) {
		select {
		case <-s.proc.Exited():
			return false, fmt.Errorf("the server ended: %s", s.log.Tail(20))
		default:
		}
		addr, err := os.ReadFile(filepath.Join(s.dir, "server.addr"))
		if err != nil {
			return false, nil
		}
		token, err := os.ReadFile(filepath.Join(s.dir, "admin.token"))
		if err != nil {
			return false, err
		}
		s.token = strings.TrimSpace(string(token))
		s.client = client.New(strings.TrimSpace(string(addr)), s.token).WithHTTP(many)
		view, err := s.client.Cluster(ctx)
		if err != nil || len(view.Servers) == 0 {
			return false, nil
		}
		s.fleet = view.Servers[0].Addr
		return true, nil
	})
	if err != nil {
		s.stop(true)
		return nil, err
	}
	return s, nil
}

func (s *server) stop(verbose bool) {
	if verbose {
		fmt.Fprintln(os.Stderr, s.log.Tail(40))
	}
	_ = s.proc.Interrupt(30 * time.Second)
}

// until asks every 100 ms.
func (s *server) until(ctx context.Context, limit time.Duration, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := ask(ctx)
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// some tells whether any model is in a state.
func (s *server) some(ctx context.Context, state api.ModelState) (bool, error) {
	list, _, err := s.client.Models(ctx, client.ListOptions{State: state, Limit: 1})
	return len(list) > 0, err
}

// page is how many models a list is asked for: what a screen shows, and what the API's clients ask for.
const page = 100

// times lists models again and again and returns how long each took. Every page begins elsewhere.
func (s *server) times(ctx context.Context, n int) (sample, error) {
	var out sample
	cursor := ""
	for range n {
		began := time.Now()
		_, next, err := s.client.Models(ctx, client.ListOptions{Limit: page, Cursor: cursor})
		if err != nil {
			return nil, err
		}
		out, cursor = append(out, time.Since(began)), next
	}
	return out, nil
}

// idleness is what a fleet costs that does nothing.
type idleness struct {
	raft, revisions     int64
	server, store       float64 // percent of a core
	serverRSS, storeRSS float64 // MB
}

// idle watches the server for a while, after it has come to rest.
func (s *server) idle(ctx context.Context, hold time.Duration) (idleness, error) {
	if err := pause(ctx, 5*time.Second); err != nil {
		return idleness{}, err
	}
	child, err := s.storeProcess()
	if err != nil {
		return idleness{}, err
	}
	before, err := s.client.StoreStatus(ctx)
	if err != nil {
		return idleness{}, err
	}
	server, store, began := cpu(s.proc.PID), cpu(child), time.Now()
	if err := pause(ctx, hold); err != nil {
		return idleness{}, err
	}
	took := time.Since(began).Seconds()
	out := idleness{
		server: 100 * (cpu(s.proc.PID) - server) / took, store: 100 * (cpu(child) - store) / took,
		serverRSS: rss(s.proc.PID), storeRSS: rss(child),
	}
	after, err := s.client.StoreStatus(ctx)
	out.raft, out.revisions = raftIndex(after)-raftIndex(before), after.Revision-before.Revision
	return out, err
}

// raftIndex is how far the log of the store's leader is.
func raftIndex(s api.StoreStatus) int64 {
	var index uint64
	for _, m := range s.Members {
		index = max(index, m.RaftIndex)
	}
	return int64(index)
}

// storeProcess finds the server's child that holds the store.
func (s *server) storeProcess() (int, error) {
	list, err := procs.Of(s.dir)
	if err != nil {
		return 0, err
	}
	for _, p := range list {
		if p.Kind() == procs.KindEtcd {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("the store's process was not found")
}

// cpu is the processor time of a process so far, in seconds.
func cpu(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.ParseFloat(f[11], 64) // a number, by proc(5)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // the clock tick of every Linux that Go runs on
}

// rss is the resident memory of a process in MB.
func rss(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
