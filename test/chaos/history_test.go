//go:build chaos

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/internal/store"
)

// history is everything that happened to placements and to the scheduler's office, as the store tells it.
type history struct {
	f      *fleet
	cancel context.CancelFunc
	done   sync.WaitGroup
	from   map[*server]int64 // where each server's log ended when the history began

	mu     sync.Mutex
	last   int64
	events []store.Event
}

const (
	officeKey   = "/leader/scheduler"
	placementAt = "/placements/"
)

// record begins a history, and loads the scheduler with models whose number of replicas changes all the time. They have no file, so that no engine
// is started for them.
func (f *fleet) record(t *testing.T) *history {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{f: f, cancel: cancel, from: map[*server]int64{}}
	kv := f.up(t).store(t)
	var err error
	_, h.last, err = kv.List(t.Context(), officeKey)
	ok(t, err)
	_, since := f.planner(t, kv)
	h.last = min(h.last, since-1) // with the beginning of the term that runs
	for _, s := range f.servers {
		info, err := os.Stat(s.log)
		ok(t, err)
		h.from[s] = info.Size()
	}
	h.done.Go(func() { h.follow(ctx) })
	for i := range 4 {
		uid := "p" + strconv.Itoa(i)
		one := uint32(1)
		_, err := f.up(t).client.CreateModel(t.Context(), api.CreateModel{
			ModelName: uid, ModelUID: uid, ModelSource: api.SourceLocal, ModelPath: "/nowhere.gguf", AutoStart: true, Replicas: &one,
		})
		if !api.HasCode(err, api.CodeModelExists) {
			ok(t, err)
		}
		h.done.Go(func() { h.scale(ctx, uid, i) })
	}
	t.Cleanup(h.stop)
	h.flow(t)
	return h
}

func (h *history) stop() {
	h.cancel()
	h.done.Wait()
}

// follow watches the store, through whichever server's there is, without a gap.
func (h *history) follow(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		s := h.f.servers[i%len(h.f.servers)]
		socket, err := etcd.SocketPath(filepath.Join(s.dir, "etcd"))
		if err == nil && !s.Paused() {
			err = h.watch(ctx, socket)
		}
		if err != nil && ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (h *history) watch(ctx context.Context, socket string) error {
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + socket}, DialTimeout: time.Second})
	if err != nil {
		return err
	}
	defer kv.Close()
	return kv.Watch(ctx, "/", h.last, func(b store.Batch) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, e := range b.Events {
			if e.Key == officeKey || strings.HasPrefix(e.Key, placementAt) {
				h.events = append(h.events, e)
			}
		}
		h.last = max(h.last, b.Revision)
		return nil
	})
}

// scale changes a model's replicas between one and two.
func (h *history) scale(ctx context.Context, uid string, at int) {
	for n := uint32(0); ctx.Err() == nil; n++ {
		call, cancel := context.WithTimeout(ctx, time.Second)
		_, err := h.f.servers[at%len(h.f.servers)].client.ScaleModel(call, uid, 1+n%2)
		cancel()
		if err != nil {
			at++
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// flow waits until placements have been written, in the newest term.
func (h *history) flow(t *testing.T) {
	t.Helper()
	count := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.events)
	}
	from := count()
	eventually(t, time.Minute, func() error {
		if n := count() - from; n < 10 {
			return fmt.Errorf("%d placements written", n)
		}
		return nil
	})
}

// took is how long nobody was known to lead: from a moment until the next term began.
func (h *history) next(t *testing.T, kv *etcd.Client, after int64) (*server, int64) {
	t.Helper()
	var s *server
	var since int64
	eventually(t, time.Minute, func() error {
		if s, since = h.f.planner(t, kv); since == after {
			return fmt.Errorf("%s still holds the office", s.name)
		}
		return nil
	})
	return s, since
}

// write is an accepted write of a placement: which one, and by whose order.
type write struct {
	model   string
	version uint64
	epoch   int64 // of the term of the server that says it wrote it
	holder  int64 // the term that the store was in
	server  string
}

// office is the sequential behaviour that the history must have: terms never go back, a write is made in the term that the store is in, and the
// versions of a placement only grow.
var office = porcupine.Model{
	Init: func() any { return map[string]uint64{} },
	Step: func(state, input, _ any) (bool, any) {
		seen, w := state.(map[string]uint64), input.(write)
		if w.epoch != w.holder || uint64(w.epoch) < seen[""] || w.version <= seen[w.model] {
			return false, state
		}
		next := map[string]uint64{}
		maps.Copy(next, seen)
		next[""], next[w.model] = uint64(w.epoch), w.version
		return true, next
	},
	Equal: func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) },
	DescribeOperation: func(in, _ any) string {
		w := in.(write)
		return fmt.Sprintf("%s writes %s version %d in term %d", w.server, w.model, w.version, w.epoch)
	},
}

// check ends the history and holds it to the rules: no placement is written while the office is vacant, none by a server whose term is over, and
// every plan that a server says it wrote was written once.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.flow(t)
	h.settle(t)
	h.stop()
	claims := map[string]write{}
	for _, s := range h.f.servers {
		for _, c := range claimed(t, s, h.from[s]) {
			key := fmt.Sprintf("%s %d", c.model, c.version)
			if other, twice := claims[key]; twice {
				t.Errorf("%s and %s both say that they wrote version %d of %s", other.server, c.server, c.version, c.model)
			}
			claims[key] = c
		}
	}
	var ops []porcupine.Operation
	holder := store.Event{Deleted: true}
	plans := map[string]api.PlacementPlan{}
	terms := 0
	slices.SortStableFunc(h.events, func(a, b store.Event) int { return int(a.ModRev - b.ModRev) })
	for _, e := range h.events {
		if e.Key == officeKey {
			if !e.Deleted && holder.Deleted {
				terms++
			}
			holder = e
			continue
		}
		if holder.Deleted {
			t.Errorf("%s was written at revision %d while nobody held the office", e.Key, e.ModRev)
		}
		var plan api.PlacementPlan
		uid := strings.TrimPrefix(e.Key, placementAt)
		if e.Deleted || json.Unmarshal(e.Value, &plan) != nil {
			delete(plans, uid)
			continue
		}
		plans[uid] = plan
		onePerGPU(t, plans, e.ModRev)
		w, said := claims[fmt.Sprintf("%s %d", uid, plan.Version)]
		if !said { // the server died before it could say so: the store's word alone
			w = write{model: uid, version: plan.Version, epoch: holder.ModRev, server: string(holder.Value)}
		}
		w.holder = holder.ModRev
		ops = append(ops, porcupine.Operation{Input: w, Call: e.ModRev, Return: e.ModRev})
	}
	for i := range ops { // revisions are the order: no two overlap
		ops[i].Call, ops[i].Return = int64(2*i), int64(2*i+1)
	}
	result, info := porcupine.CheckOperationsVerbose(office, ops, time.Minute)
	t.Logf("%d placements written in %d terms: %s", len(ops), terms, result)
	if result != porcupine.Ok {
		path := filepath.Join(t.ArtifactDir(), "placements.html")
		t.Errorf("the history of placements is not that of one scheduler at a time (%s): %s, %v", result, path, porcupine.VisualizePath(office, info, path))
	}
	if terms < 2 {
		t.Errorf("invalid: %d terms, so that leadership never changed", terms)
	}
}

// onePerGPU checks that no GPU is given to two replicas.
func onePerGPU(t *testing.T, plans map[string]api.PlacementPlan, revision int64) {
	t.Helper()
	held := map[string]string{}
	for uid, p := range plans {
		for _, a := range p.Assignments {
			for _, g := range a.GPUIndices {
				at, name := fmt.Sprintf("GPU %d of %s", g, a.NodeID), fmt.Sprintf("%s/%d", uid, a.ReplicaID)
				if other := held[at]; other != "" {
					t.Errorf("at revision %d %s is given to %s and to %s", revision, at, other, name)
				}
				held[at] = name
			}
		}
	}
}

// settle waits until every placement has as many assignments as its model wants, all of different replicas.
func (h *history) settle(t *testing.T) {
	t.Helper()
	h.cancel() // nobody scales any more
	eventually(t, time.Minute, func() error {
		c := h.f.up(t).client
		for i := range 4 {
			d, err := c.Model(context.Background(), "p"+strconv.Itoa(i))
			if err != nil {
				return err
			}
			if d.Placement == nil || d.Deployment == nil || len(d.Placement.Assignments) != int(d.Deployment.Replicas) {
				return fmt.Errorf("%s: placement %+v for %+v", d.ModelUID, d.Placement, d.Deployment)
			}
			ids := map[uint32]bool{}
			for _, a := range d.Placement.Assignments {
				if ids[a.ReplicaID] {
					t.Fatalf("replica %d of %s is placed twice", a.ReplicaID, d.ModelUID)
				}
				ids[a.ReplicaID] = true
			}
		}
		return nil
	})
}

// claimed reads from a server's log which plans it says it wrote, and in which term.
func claimed(t *testing.T, s *server, from int64) []write {
	t.Helper()
	file, err := os.Open(s.log)
	ok(t, err)
	defer file.Close()
	var out []write
	epoch, offset := int64(0), int64(0)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		offset += int64(len(lines.Bytes())) + 1
		var line struct {
			Msg     string
			Office  string
			Epoch   int64
			Model   string
			Version uint64
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		switch {
		case line.Msg == "leading" && line.Office == "scheduler":
			epoch = line.Epoch
		case line.Msg == "model planned" && offset > from:
			out = append(out, write{model: line.Model, version: line.Version, epoch: epoch, server: s.name})
		}
	}
	ok(t, lines.Err())
	return out
}
