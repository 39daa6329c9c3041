package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/scheduler"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestScheduler_competingLeaders lets three servers compete for the leadership, each of which goes on writing for as long as the store lets it:
// it never looks whether it still leads, as one that was stopped and woken up does not. Leases are lost, servers are paused in the
// middle of a write, answers get lost, watches end. Whatever happens, each placement is a register that only compare-and-swap
// changes, no write of an earlier leader follows one of a later, and in the end each model has its replicas, once.
func TestScheduler_competingLeaders(t *testing.T) {
	var total tally
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { race(t, seed, &total) })
		})
	}
	t.Logf("%+v", total)
	if total.committed < 300 || total.stale == 0 || total.unknown == 0 || total.terms < 24 {
		t.Errorf("too little happened for the test to mean anything: %+v", total)
	}
}

// tally is what happened in all runs.
type tally struct{ committed, refused, stale, unknown, terms int }

const (
	raceModels = 6
	raceFor    = 4 * time.Minute
)

func race(t *testing.T, seed uint64, total *tally) {
	kv := storetest.NewMem()
	defer func() { _ = kv.Close() }()
	log := &tries{}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range 3 {
		kv.Put(fmt.Sprintf("/nodes/n%d/status", i), fmt.Appendf(nil,
			`{"node_id":"n%d","gpus":[{"index":0,"memory_total_mb":80000},{"index":1,"memory_total_mb":80000}],"engines":[{"name":"vllm"}]}`, i))
		s := &racer{MemKV: kv, log: log, id: i}
		running.Go(func() { s.serve(ctx, t) })
		log.servers = append(log.servers, s)
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range raceModels {
		kv.Put(fmt.Sprintf("/models/m%d/spec", i), fmt.Appendf(nil, `{"model_uid":"m%d","model_name":"m%d","engine_type":"vllm"}`, i, i))
	}
	for began := time.Now(); time.Since(began) < raceFor; {
		disturb(ctx, kv, log, rng)
		time.Sleep(time.Duration(rng.IntN(900)) * time.Millisecond)
	}
	for i := range raceModels {
		wish(kv, i, 1)
	}
	time.Sleep(2 * time.Minute) // all faults are over; whoever leads makes it right
	checkPlans(t, kv)
	stop()
	running.Wait()
	log.check(t, kv, total)
}

// disturb does one thing that may happen.
func disturb(ctx context.Context, kv *storetest.MemKV, log *tries, rng *rand.Rand) {
	s := log.servers[rng.IntN(len(log.servers))]
	switch rng.IntN(10) {
	default:
		wish(kv, rng.IntN(raceModels), rng.IntN(3))
	case 6:
		kv.AmbiguousNextTxn(rng.IntN(2) == 0)
	case 7:
		if held, _, err := kv.List(ctx, "/leader/"); err == nil && len(held) > 0 {
			kv.Expire(held[0].Lease)
		}
	case 8:
		s.pause(time.Duration(1+rng.IntN(20)) * time.Second)
	case 9:
		kv.DropWatches()
	}
}

func wish(kv *storetest.MemKV, model, replicas int) {
	state := "running"
	if replicas == 0 {
		state = "stopped"
	}
	kv.Put(fmt.Sprintf("/deployments/m%d", model), fmt.Appendf(nil, `{"model_uid":"m%d","desired_state":%q,"replicas":%d,"version":1}`, model, state, max(1, replicas)))
}

// checkPlans looks for models without their replica and for GPUs with two.
func checkPlans(t *testing.T, kv *storetest.MemKV) {
	t.Helper()
	st, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := st.Current()
	taken := map[cluster.GPU]string{}
	for i := range raceModels {
		uid := fmt.Sprintf("m%d", i)
		plan, _ := s.Placements.Value(uid)
		if len(plan.Assignments) != 1 {
			t.Errorf("%s has the replicas %+v, want one", uid, plan.Assignments)
		}
		for _, a := range plan.Assignments {
			for _, g := range a.GPUs() {
				at := cluster.GPU{NodeID: a.NodeID, Index: g}
				if taken[at] != "" {
					t.Errorf("%s and %s both have %+v", taken[at], uid, at)
				}
				taken[at] = uid
			}
		}
	}
}

// racer is one server: it sees the store through itself, so that it can be paused and its writes are on record.
type racer struct {
	*storetest.MemKV
	log *tries
	id  int

	mu     sync.Mutex
	paused time.Time // until when
}

func (r *racer) pause(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = time.Now().Add(d)
}

// wait blocks while the server is paused.
func (r *racer) wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		left := time.Until(r.paused)
		r.mu.Unlock()
		if left <= 0 {
			return nil
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serve schedules whenever the store lets it, term after term.
func (r *racer) serve(ctx context.Context, t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	st, err := store.Open(ctx, r, quiet)
	if err != nil {
		t.Error(err)
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { _ = st.Run(ctx) })
	for ctx.Err() == nil {
		leader, err := store.Campaign(ctx, r, store.Candidate{Name: "scheduler", ID: fmt.Sprint(r.id), TTLSeconds: 5, Log: quiet})
		if err != nil {
			return
		}
		r.log.terms.Add(1)
		term, end := context.WithCancel(ctx)
		_ = scheduler.Run(term, scheduler.Config{Cluster: untilFenced{placements{st, leader.Fence()}, end}, Log: quiet})
		end()
		_ = leader.Resign(context.WithoutCancel(ctx)) // that of a lost office does nothing
	}
}

// untilFenced ends the term when the store refuses it, and for no other reason.
type untilFenced struct {
	placements
	end context.CancelFunc
}

func (u untilFenced) Place(ctx context.Context, changes []scheduler.Change) error {
	err := u.placements.Place(ctx, changes)
	if errors.Is(err, store.ErrFenced) {
		u.end()
	}
	return err
}

func (r *racer) KeepAlive(ctx context.Context, lease int64) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	return r.MemKV.KeepAlive(ctx, lease)
}

// Txn pauses before the request and before the answer, and takes writes of placements down.
func (r *racer) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.TxnResult, error) {
	if err := r.wait(ctx); err != nil {
		return store.TxnResult{}, err
	}
	called := r.log.tick()
	res, err := r.MemKV.Txn(ctx, ifs, ops)
	if waitErr := r.wait(ctx); waitErr != nil {
		res, err = store.TxnResult{}, waitErr
	}
	r.log.write(r.id, called, ifs, ops, res, err)
	return res, err
}

// tries is every try to write a placement, by all servers.
type tries struct {
	servers []*racer
	terms   atomic.Int64
	clock   atomic.Int64

	mu  sync.Mutex
	all []porcupine.Operation
}

// write of one placement: what the register must hold, by whom it is written, and what.
type placed struct {
	key      string
	over     int64 // the revision that it is compared with
	compared bool
	epoch    int64 // of the leader; 0: no leader is compared
	value    string
}

type outcome struct {
	ok, unknown bool
	revision    int64
}

func (h *tries) tick() int64 { return h.clock.Add(1) }

func (h *tries) write(server int, called int64, ifs []store.Cond, ops []store.Op, res store.TxnResult, err error) {
	returned := h.tick()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range ops {
		if !strings.HasPrefix(op.Key, "/placements/") {
			continue
		}
		in := placed{key: op.Key, value: string(op.Value)}
		for _, c := range ifs {
			switch c.Key {
			case op.Key:
				in.over, in.compared = c.ModRev, true
			case "/leader/scheduler":
				in.epoch = c.ModRev
			}
		}
		h.all = append(h.all, porcupine.Operation{
			ClientId: server, Input: in, Call: called, Output: outcome{res.OK, err != nil, res.Revision}, Return: returned,
		})
	}
}

// register is one placement as the model sees it: its revision, or that it is some revision after that one, and who wrote it last.
type register struct {
	rev     int64
	unsure  bool
	deleted bool
	epoch   int64
}

// model is a register that only compare-and-swap by leaders in order changes. A refusal is always possible: another document of the transaction may
// have changed. A try of unknown outcome may have happened or not.
var model = porcupine.NondeterministicModel{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		at := map[string]int{}
		for _, op := range all {
			key := op.Input.(placed).key
			if _, ok := at[key]; !ok {
				at[key], parts = len(parts), append(parts, nil)
			}
			parts[at[key]] = append(parts[at[key]], op)
		}
		return parts
	},
	Init: func() []any { return []any{register{}} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(register), input.(placed), output.(outcome)
		fits := in.compared && in.epoch > 0 && in.epoch >= s.epoch &&
			(in.over == s.rev && !s.unsure || s.unsure && in.over > s.rev || in.over == 0 && s.deleted)
		next := register{rev: out.revision, epoch: in.epoch, deleted: in.value == ""}
		switch {
		case out.unknown && fits:
			return []any{s, register{rev: in.over, unsure: true, deleted: next.deleted, epoch: in.epoch}}
		case out.unknown, !out.ok:
			return []any{s}
		case fits && out.revision > s.rev:
			return []any{next}
		}
		return nil
	},
}

// check holds the record to the model, and the revisions of the store to the order of leaders.
func (h *tries) check(t *testing.T, kv *storetest.MemKV, total *tally) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.tick()
	for i := range h.all {
		if h.all[i].Output.(outcome).unknown {
			h.all[i].Return = end // it may happen at any time after it was sent
		}
	}
	if got := porcupine.CheckOperationsTimeout(model.ToModel(), h.all, time.Minute); got != porcupine.Ok {
		t.Errorf("the placements are no registers changed by leaders in order: %v", got)
	}
	h.epochs(t, kv, total)
	total.terms += int(h.terms.Load())
}

// epochs replays what the store holds and looks for a write of an earlier leader after one of a later.
func (h *tries) epochs(t *testing.T, kv *storetest.MemKV, total *tally) {
	byValue, newest := map[string]int64{}, int64(0)
	var done []porcupine.Operation
	for _, op := range h.all {
		in, out := op.Input.(placed), op.Output.(outcome)
		byValue[in.key+in.value] = max(byValue[in.key+in.value], in.epoch)
		switch {
		case out.unknown:
			total.unknown++
		case out.ok:
			total.committed++
			done = append(done, op)
		default:
			total.refused++
		}
	}
	slices.SortFunc(done, func(a, b porcupine.Operation) int {
		return int(a.Output.(outcome).revision - b.Output.(outcome).revision)
	})
	for _, op := range done {
		in := op.Input.(placed)
		if in.epoch < newest {
			t.Errorf("at revision %d leader %d wrote %s after leader %d", op.Output.(outcome).revision, in.epoch, in.key, newest)
		}
		newest = max(newest, in.epoch)
	}
	latest := int64(0) // by the time of asking: tries of those who had lost the leadership already
	for _, op := range h.all {
		epoch := op.Input.(placed).epoch
		if epoch < latest && !op.Output.(outcome).ok {
			total.stale++
		}
		latest = max(latest, epoch)
	}
	now, _, err := kv.List(context.Background(), "/placements/")
	if err != nil {
		t.Error(err)
	}
	for _, p := range now {
		if byValue[p.Key+string(p.Value)] == 0 {
			t.Errorf("%s holds what nobody on record wrote", p.Key)
		}
	}
}
