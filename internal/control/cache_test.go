package control_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// depot is a world with nodes and caches.
type depot struct {
	*world
	mem *storetest.MemKV
}

func newDepot(t *testing.T) *depot {
	t.Helper()
	w := newWorld(t)
	w.Control = control.New(w.st, time.Now).WithFleet(control.Fleet{Leases: w.kv})
	return &depot{w, w.kv.(*storetest.MemKV)}
}

// node makes a member, alive or away, with the named repositories in its cache.
func (d *depot) node(id string, alive bool, cached ...string) {
	d.t.Helper()
	if err := d.RegisterLocal(ann(d.t), api.Member{Role: api.MachineNode, ID: id, KeyHash: "k"}); err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.st.Update(ann(d.t), store.OwnerNode, func(tx *store.Tx) error {
		for i, name := range cached {
			if err := store.Cache.Put(tx, fmt.Sprintf("%s/%d", id, i), api.ModelCacheEntry{NodeID: id, ModelName: name, CachePath: "/m/" + name, Complete: true}); err != nil {
				return err
			}
		}
		if !alive {
			return nil
		}
		return store.Nodes.Put(tx, id, api.NodeStatus{NodeID: id})
	}); err != nil {
		d.t.Fatal(err)
	}
}

// wishes returns the keys of what is wished, as "node kind".
func (d *depot) wishes() []string {
	s, _ := d.st.Current()
	out := []string{}
	for w := range s.Wishes.All() {
		out = append(out, w.Value.NodeID+" "+string(w.Value.Kind))
	}
	return out
}

func (d *depot) wants(what string, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), d.wishes()); diff != "" {
		d.t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func (d *depot) declare(uid, name string, files ...string) {
	d.t.Helper()
	d.create(api.CreateModel{ModelUID: uid, ModelName: name, Files: files})
}

func TestPullModel_wishesFilesUnderALease(t *testing.T) {
	d := newDepot(t)
	d.node("a", true)
	d.node("b", true)
	d.node("c", false)
	d.declare("m", "acme/m", "*Q4*.gguf")
	got, err := d.PullModel(ann(t), api.FilesRequest{ModelUID: "m"})
	if err != nil || strings.Join(got.NodeIDs, " ") != "a b" {
		t.Fatalf("pulled to %v, %v; want the nodes that report", got.NodeIDs, err)
	}
	got, err = d.PullModel(ann(t), api.FilesRequest{ModelName: "acme/other", NodeIDs: []string{"c"}})
	if err != nil || strings.Join(got.Away, " ") != "c" {
		t.Errorf("%+v, %v; want a pull that waits for c", got, err)
	}
	d.wants("pulls", "a pull", "b pull", "c pull")
	s, _ := d.st.Current()
	for w := range s.Wishes.Prefix("a/") {
		v := w.Value
		if w.Lease == 0 || v.ExpiresAtMS-v.CreatedAtMS != (24*time.Hour).Milliseconds() || v.Spec.ModelUID != "m" || v.Spec.EngineType != "llamacpp" || v.CreatedBy != "ann" {
			t.Errorf("wish under lease %d: %+v", w.Lease, v)
		}
	}
	views := cluster.Pulls(s, "")
	if len(views) != 3 || views[0].State != api.PullWaiting || views[2].State != api.PullAway {
		t.Errorf("views %+v", views)
	}
	if err := d.CancelPull(ann(t), "a", views[0].PullID); err != nil {
		t.Error(err)
	}
	if err := d.CancelPull(ann(t), "a", views[0].PullID); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("cancelled twice: %v", err)
	}
	d.wants("after the cancellation", "b pull", "c pull")
}

func TestFilesRequest_refusals(t *testing.T) {
	d := newDepot(t)
	d.node("a", true)
	d.create(api.CreateModel{ModelUID: "mine", ModelName: "mine", ModelSource: api.SourceLocal, ModelPath: "/m/x.gguf"})
	d.corrupt("/models/broken/spec")
	for name, c := range map[string]struct {
		req  api.FilesRequest
		code api.Code
	}{
		"nothing":     {api.FilesRequest{}, api.CodeInvalidRequest},
		"both":        {api.FilesRequest{ModelUID: "m", ModelName: "m"}, api.CodeInvalidRequest},
		"unknown":     {api.FilesRequest{ModelUID: "none"}, api.CodeNotFound},
		"no repo":     {api.FilesRequest{ModelName: "../../etc"}, api.CodeInvalidRequest},
		"local":       {api.FilesRequest{ModelUID: "mine"}, api.CodeInvalidRequest},
		"unreadable":  {api.FilesRequest{ModelUID: "broken"}, api.CodeConflict},
		"no member":   {api.FilesRequest{ModelName: "acme/m", NodeIDs: []string{"a", "zz"}}, api.CodeNotFound},
		"not an id":   {api.FilesRequest{ModelName: "acme/m", NodeIDs: []string{"a/b"}}, api.CodeNotFound},
		"no revision": {api.FilesRequest{ModelName: "acme/m", Revision: "a b"}, api.CodeInvalidRequest},
	} {
		if _, err := d.PullModel(ann(t), c.req); !api.HasCode(err, c.code) {
			t.Errorf("%s: %v; want %s", name, err, c.code)
		}
	}
	d.wants("after refusals")
}

func TestPins_outliveTheirModel(t *testing.T) {
	d := newDepot(t)
	d.node("a", true)
	d.node("b", false)
	d.declare("m", "acme/m")
	if _, err := d.PinModel(ann(t), api.FilesRequest{ModelUID: "m"}); err != nil {
		t.Fatal(err)
	}
	d.wants("pins", "a pin", "b pin")
	if err := d.DeleteModel(ann(t), "m", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.UnpinModel(ann(t), api.FilesRequest{ModelUID: "m", NodeIDs: []string{"b"}}); err != nil {
		t.Fatal(err)
	}
	d.wants("after one was lifted", "a pin")
	if err := d.RemoveMember(ann(t), api.MachineNode, "b", true); err != nil {
		t.Fatal(err)
	}
	if _, err := d.UnpinModel(ann(t), api.FilesRequest{ModelName: "acme/m"}); err != nil {
		t.Fatal(err)
	}
	d.wants("after the others")
	if _, err := d.UnpinModel(ann(t), api.FilesRequest{ModelName: "acme/m"}); !api.HasCode(err, api.CodeNotFound) {
		t.Errorf("lifted twice: %v", err)
	}
}

func TestPurgeModel_wishesFilesAwayWhereNothingElseWantsThem(t *testing.T) {
	d := newDepot(t)
	d.node("a", true, "acme/m")
	d.node("away", false, "acme/m")
	d.node("other", true, "other/m", "m")
	d.node("pinned", true, "acme/m")
	d.node("pulled", true, "acme/m")
	d.declare("m", "acme/m")
	for verb, node := range map[string]string{"pin": "pinned", "pull": "pulled"} {
		run := map[string]func() error{
			"pin": func() error {
				_, err := d.PinModel(ann(t), api.FilesRequest{ModelUID: "m", NodeIDs: []string{node}})
				return err
			},
			"pull": func() error {
				_, err := d.PullModel(ann(t), api.FilesRequest{ModelName: "acme/m", NodeIDs: []string{node}})
				return err
			},
		}[verb]
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.PullModel(ann(t), api.FilesRequest{ModelUID: "m", NodeIDs: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	got, err := d.PurgeModel(ann(t), "m", 0)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]api.PurgeState{}
	for _, n := range got.Nodes {
		states[n.NodeID] = n.State
	}
	want := map[string]api.PurgeState{"a": api.PurgeAsked, "away": api.PurgeAway, "pinned": api.PurgeKept, "pulled": api.PurgeKept}
	if diff := cmp.Diff(want, states); diff != "" || got.Kept != "" {
		t.Errorf("kept %q, nodes -want +got:\n%s", got.Kept, diff)
	}
	d.wants("wishes", "a purge", "away purge", "pinned pin", "pulled pull")
	s, _ := d.st.Current()
	var lease int64
	for w := range s.Wishes.Prefix("a/") {
		lease = w.Lease
	}
	if s.Models.Has("m") || lease == 0 {
		t.Errorf("model there: %v, lease %d", s.Models.Has("m"), lease)
	}
	d.mem.Expire(lease) // after the hour
	d.await(func() bool { return len(d.wishes()) == 2 })
}

// TestPurge_neverTakesWhatIsWantedAfterIt: A3 of the contract's defects.
func TestPurge_neverTakesWhatIsWantedAfterIt(t *testing.T) {
	for name, want := range map[string]func(*depot) error{
		"declared again": func(d *depot) error { d.declare("m", "acme/m"); return nil },
		"another choice": func(d *depot) error { d.declare("n", "acme/m", "*Q8*.gguf"); return nil },
		"changed into": func(d *depot) error {
			d.declare("x", "acme/x")
			name := "acme/m"
			_, err := d.UpdateModel(ann(t), "x", api.UpdateModel{ModelName: &name}, 0)
			return err
		},
		"pulled": func(d *depot) error {
			_, err := d.PullModel(ann(t), api.FilesRequest{ModelName: "acme/m"})
			return err
		},
		"pinned": func(d *depot) error {
			_, err := d.PinModel(ann(t), api.FilesRequest{ModelName: "acme/m"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(t)
			const nodes = 70 // more than a transaction takes at once
			for i := range nodes {
				d.node(fmt.Sprintf("n%02d", i), true, "acme/m")
			}
			d.declare("m", "acme/m")
			if _, err := d.PurgeModel(ann(t), "m", 0); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(strings.Join(d.wishes(), "\n"), "purge"); n != nodes {
				t.Fatalf("%d purges, want %d", n, nodes)
			}
			if err := want(d); err != nil {
				t.Fatal(err)
			}
			if left := strings.Join(d.wishes(), "\n"); strings.Contains(left, "purge") {
				t.Errorf("left:\n%s", left)
			}
		})
	}
}

func TestPurgeModel_keeps(t *testing.T) {
	d := newDepot(t)
	d.node("a", true, "acme/m", "mine", "acme/x")
	d.declare("m", "acme/m")
	d.create(api.CreateModel{ModelUID: "twin", ModelName: "acme/m", Revision: "v1"})
	got, err := d.PurgeModel(ann(t), "m", 0)
	if err != nil || !strings.Contains(got.Kept, "twin") || len(got.Nodes) != 0 {
		t.Errorf("%+v, %v; want all kept for twin", got, err)
	}
	d.create(api.CreateModel{ModelUID: "mine", ModelName: "mine", ModelSource: api.SourceLocal, ModelPath: "/m/mine.gguf"})
	if _, err := d.PurgeModel(ann(t), "mine", 0); !api.HasCode(err, api.CodeInvalidRequest) {
		t.Errorf("purge of a local model: %v", err)
	}
	s, _ := d.st.Current()
	if !s.Models.Has("mine") {
		t.Error("a refused purge deleted the model")
	}
	d.declare("x", "acme/x")
	d.corrupt("/models/broken/spec")
	if _, err := d.PurgeModel(ann(t), "broken", 0); !api.HasCode(err, api.CodeConflict) {
		t.Errorf("purge of an unreadable model: %v", err)
	}
	if got, err := d.PurgeModel(ann(t), "x", 0); err != nil || !strings.Contains(got.Kept, "broken") {
		t.Errorf("%+v, %v; want all kept, because nobody knows what broken uses", got, err)
	}
	d.wants("wishes")
}

// TestPurgeModel_raceWithItsSuccessor: whichever comes first, declared files are never left under a purge.
func TestPurgeModel_raceWithItsSuccessor(t *testing.T) {
	for range 20 {
		d := newDepot(t)
		d.node("a", true, "acme/m")
		d.declare("m", "acme/m")
		errs := together(2, func(i int) error {
			if i == 0 {
				_, err := d.PurgeModel(ann(t), "m", 0)
				return err
			}
			_, err := d.CreateModel(ann(t), api.CreateModel{ModelUID: "next", ModelName: "acme/m"})
			return err
		})
		if errs[0] != nil || errs[1] != nil {
			t.Fatal(errs)
		}
		d.wants("after both")
	}
}

// TestWishes_unreadable: one that cannot be read is no reason to delete anything, and people can take it back.
func TestWishes_unreadable(t *testing.T) {
	d := newDepot(t)
	d.node("a", true, "acme/m")
	d.declare("m", "acme/m")
	d.corrupt("/cache_wishes/a/pin-0011")
	d.corrupt("/cache_wishes/a/pull-0022")
	s, _ := d.st.Current()
	if got := cluster.Desired(s, "a"); strings.Join(got.FrozenWishes, " ") != "pin-0011 pull-0022" || len(got.CacheWishes) != 0 {
		t.Errorf("desired: %v, %v", got.FrozenWishes, got.CacheWishes)
	}
	got, err := d.PurgeModel(ann(t), "m", 0)
	if err != nil || len(got.Nodes) != 1 || got.Nodes[0].State != api.PurgeKept {
		t.Errorf("%+v, %v; want the files kept", got, err)
	}
	if err := d.CancelPull(ann(t), "a", "0022"); err != nil {
		t.Error(err)
	}
}
