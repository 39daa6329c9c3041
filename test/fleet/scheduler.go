package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/test/figures"
)

const (
	leaderKey     = "/leader/scheduler"
	placements    = "/placements/"
	takeOverGoal  = 6.0 // seconds: the leader's lease of 5 s and one more
	declareEvery  = 50 * time.Millisecond
	afterTakeOver = time.Second     // how long the old leader stays paused after its successor's first plan
	afterResume   = 3 * time.Second // how long it has to try what it had in mind
)

// measureScheduler kills and pauses the server that schedules, while models are declared all the time. It measures how long it takes until one that
// is declared right after the fault has its place, and looks for plans that a server wrote which did not lead any more.
func measureScheduler(ctx context.Context, o options) error {
	l, err := newLab(ctx, o, shape{servers: 3, nodes: 1})
	defer l.close()
	if err != nil {
		return err
	}
	h := &plans{}
	rounds := pick(o, 5, 1)
	for _, f := range []struct {
		name   string
		target float64 // seconds; 0: none
		begin  func(*machine) error
		end    func(*machine) error
	}{
		{"killed", takeOverGoal, func(m *machine) error { return m.Kill() }, (*machine).start},
		{"paused", takeOverGoal, func(m *machine) error { return m.Pause() }, func(m *machine) error { return m.Resume() }},
		// When the machine also led the store, its election comes first, and a new leader of the store prolongs all leases.
		{"killed-with-its-store", 0, (*machine).die, (*machine).start},
	} {
		var took []float64
		for round := range rounds {
			one, err := l.depose(ctx, h, fmt.Sprintf("%s-%d", f.name, round), f.begin, f.end)
			if err != nil {
				return fmt.Errorf("leader %s: %w", f.name, err)
			}
			took = append(took, one.Seconds())
		}
		name := "scheduler_" + strings.ReplaceAll(f.name, "-", "_") + "_take_over"
		o.plain(name+"_p50", figures.Median(took), "s")
		if worst := figures.Quantile(took, 1); f.target == 0 {
			o.plain(name, worst, "s")
		} else {
			o.target(name, worst, "s", f.target)
		}
	}
	return l.stale(h)
}

// planned is one write of a plan, leads one of the leadership; both as the store has them.
type planned struct {
	rev     int64
	uid     string
	version uint64
	placed  bool // somewhere
	at      time.Time
}

type leads struct {
	rev int64
	id  string
}

// plans is what the store's watch has told.
type plans struct {
	mu      sync.Mutex
	plans   []planned
	leaders []leads
	after   int64 // the last revision that was told
}

func (h *plans) take(b store.Batch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range b.Events {
		uid, isPlan := strings.CutPrefix(e.Key, placements)
		switch {
		case e.ModRev <= h.after || e.Deleted:
		case e.Key == leaderKey:
			h.leaders = append(h.leaders, leads{e.ModRev, string(e.Value)})
		case isPlan:
			var p api.PlacementPlan
			if err := json.Unmarshal(e.Value, &p); err != nil {
				return fmt.Errorf("plan of %s: %w", uid, err)
			}
			h.plans = append(h.plans, planned{e.ModRev, uid, p.Version, len(p.Assignments) > 0, time.Now()})
		}
	}
	h.after = max(h.after, b.Revision)
	return nil
}

// follow watches through one server's member of the store, from where the last watch ended.
func (h *plans) follow(ctx context.Context, kv *etcd.Client) error {
	h.mu.Lock()
	after := h.after
	h.mu.Unlock()
	if after == 0 {
		held, rev, err := kv.List(ctx, leaderKey)
		if err != nil {
			return err
		}
		for _, k := range held {
			h.leaders = append(h.leaders, leads{k.ModRev, string(k.Value)})
		}
		h.after, after = rev, rev
	}
	for ctx.Err() == nil {
		err := kv.Watch(ctx, "/", after, h.take)
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		h.mu.Lock()
		after = h.after
		h.mu.Unlock()
	}
	return nil
}

// placed returns when a model got a place; the zero time while it has none.
func (h *plans) placed(uid string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.plans {
		if p.uid == uid && p.placed {
			return p.at
		}
	}
	return time.Time{}
}

// depose lets a fault happen to the leader and returns how long it took until a model that was declared after it had its place.
func (l *lab) depose(ctx context.Context, h *plans, name string, begin, end func(*machine) error) (time.Duration, error) {
	if err := l.whole(ctx); err != nil {
		return 0, err
	}
	if err := wait(ctx, l.o.calm()/2); err != nil { // a server that came back takes its part
		return 0, err
	}
	leader, kv, err := l.planner(ctx)
	if err != nil {
		return 0, err
	}
	defer kv.Close()
	other := l.servers[(slices.Index(l.servers, leader)+1)%len(l.servers)]
	storeLeader, err := l.storeLeader(ctx)
	if err != nil {
		return 0, err
	}

	roundCtx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	var watchErr error
	working.Go(func() { watchErr = h.follow(roundCtx, kv) })
	working.Go(func() { l.declareOn(roundCtx, other, name) })
	took, err := l.fault(ctx, h, name, leader, other, begin, end)
	l.o.out.Note("%s: %.2f s; the server led the store, too: %v", name, took.Seconds(), storeLeader == leader)
	cancel()
	working.Wait()
	if errors.Is(watchErr, context.Canceled) {
		watchErr = nil
	}
	return took, errors.Join(err, watchErr)
}

func (l *lab) fault(ctx context.Context, h *plans, name string, leader, other *machine, begin, end func(*machine) error) (time.Duration, error) {
	path, err := l.demo()
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, time.Second); err != nil { // plans are being written
		return 0, err
	}
	fell := time.Now()
	if err := begin(leader); err != nil {
		return 0, err
	}
	uid, one := "after-"+name, uint32(1)
	_, err = until(ctx, time.Minute, "a model can be declared", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := other.client.CreateModel(ctx, api.CreateModel{
			ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal, ModelPath: path, EngineType: api.EngineLlamaCPP, AutoStart: true, Replicas: &one,
		})
		if api.HasCode(err, api.CodeConflict) {
			return nil // an earlier try's answer was lost
		}
		return err
	})
	if err != nil {
		return 0, errors.Join(err, end(leader))
	}
	_, err = until(ctx, time.Minute, "it has its place", func(context.Context) error {
		if h.placed(uid).IsZero() {
			return errors.New("no plan places it")
		}
		return nil
	})
	took := h.placed(uid).Sub(fell)
	if err == nil {
		err = wait(ctx, afterTakeOver)
	}
	if err = errors.Join(err, end(leader)); err == nil {
		err = wait(ctx, afterResume)
	}
	// The engine of the round is not needed any more.
	return took, errors.Join(err, other.client.DeleteModel(ctx, uid))
}

// declareOn goes on declaring models that no node can run, so that there is always a plan to be written.
func (l *lab) declareOn(ctx context.Context, s *machine, name string) {
	tick := time.NewTicker(declareEvery)
	defer tick.Stop()
	var working sync.WaitGroup
	defer working.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		working.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			uid := fmt.Sprintf("%s-%04d", name, n)
			// Those that fail are as good as not declared.
			_, _ = s.client.CreateModel(ctx, api.CreateModel{
				ModelUID: uid, ModelName: uid, ModelSource: api.SourceLocal, ModelPath: "/none", EngineType: api.EngineVLLM, AutoStart: true,
			})
		})
	}
}

// planner is the server that leads the scheduling, and the store as another server's member has it.
func (l *lab) planner(ctx context.Context) (leader *machine, kv *etcd.Client, err error) {
	_, err = until(ctx, time.Minute, "somebody schedules", func(ctx context.Context) error {
		for _, s := range l.servers {
			c, err := s.openStore(ctx)
			if err != nil {
				return err
			}
			held, _, err := c.List(ctx, leaderKey)
			if err != nil || len(held) == 0 || string(held[0].Value) == s.name {
				if err == nil && len(held) == 0 {
					err = errors.New("nobody leads")
				}
				if err = errors.Join(err, c.Close()); err != nil {
					return err
				}
				continue
			}
			i := slices.IndexFunc(l.servers, func(m *machine) bool { return m.name == string(held[0].Value) })
			if i < 0 {
				return errors.Join(fmt.Errorf("%q leads", held[0].Value), c.Close())
			}
			// The other member must outlast the leader's.
			leader, kv = l.servers[i], c
			return nil
		}
		return errors.New("no other server")
	})
	return leader, kv, err
}

// openStore opens the store through the server's member.
func (m *machine) openStore(ctx context.Context) (*etcd.Client, error) {
	socket, err := etcd.SocketPath(filepath.Join(m.dir, "etcd"))
	if err != nil {
		return nil, err
	}
	return etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + socket}})
}

// stale counts plans in the store that were written by a server which did not lead when the store took them. Every server logs what it has written.
func (l *lab) stale(h *plans) error {
	writers := map[string]string{} // by model and version
	refused := 0
	for _, s := range l.servers {
		err := eachLog(s.dir+".log", func(line logLine) {
			switch line.Msg {
			case "model planned":
				writers[fmt.Sprint(line.Model, "/", line.Version)] = s.name
			case "plans not written; planning again", "not leading any more":
				refused++
			}
		})
		if err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	stale, unknown := h.count(writers)
	l.o.out.Note("%d plans in the store under %d leaderships; of %d the writer was killed before it could say so; terms ended or writes were refused %d times",
		len(h.plans), len(h.leaders), unknown, refused)
	if len(h.plans)-unknown < 100 || len(h.leaders) < 3 {
		return errors.New("too few plans or leaderships: this run says nothing")
	}
	l.o.target("scheduler_stale_writes_accepted", float64(stale), "writes", 0)
	return nil
}

// count returns how many plans were written by another server than the one that led when the store took them, and of how many the writer is not known.
// The writers are by model and version of the plan.
func (h *plans) count(writers map[string]string) (stale, unknown int) {
	for _, p := range h.plans {
		leader := ""
		for _, t := range h.leaders {
			if t.rev < p.rev {
				leader = t.id
			}
		}
		switch writers[fmt.Sprint(p.uid, "/", p.version)] {
		case leader:
		case "":
			unknown++
		default:
			stale++
		}
	}
	return stale, unknown
}

// logLine is what is read of a program's log.
type logLine struct {
	Msg     string
	Model   string
	Version uint64
}

func eachLog(path string, fn func(logLine)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var line logLine
		if json.Unmarshal(in.Bytes(), &line) == nil {
			fn(line)
		}
	}
	return in.Err()
}
